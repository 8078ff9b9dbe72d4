"""The default model on a CPU, trained without autograd.

With autograd, arithmetic takes half of the time of a step; the other half is a hundred small operations of PyTorch and
their bookkeeping, which run on one thread. Here the same step is one compiled call (`step.step`) with preallocated
buffers. Everything else (GPUs, other decoders and likelihoods, evaluation) uses the modules of `CountVAE`, which define
what is computed; `tests/unit/test_model_fused.py` checks that both give the same gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from sclatent.model.data import Batches
from sclatent.model.fused import buffers, step
from sclatent.model.fused.layers import Network, product
from sclatent.model.kernels.compile_once import ready
from sclatent.model.kernels.sparse_rows import write_dense
from sclatent.model.kernels.threads import one_blas_thread, together
from sclatent.model.objective import Objective, PathwiseELBO
from sclatent.model.parts.decoders import NETWORK_SHARE, MLPDecoder
from sclatent.model.parts.encoder import FLIP, Encoder
from sclatent.model.parts.latents.gaussian import SD_OFFSET, SMALLEST_SD, Gaussian
from sclatent.model.parts.layers import bytes_left_out, fill, words_for
from sclatent.model.parts.likelihoods import LOG_THETA, NegativeBinomial, Poisson
from sclatent.model.parts.modality import Modality
from sclatent.model.training.optimizer import Mover
from sclatent.model.training.weights import FlatWeights
from sclatent.model.vae import CountVAE
from sclatent.settings.kinds.parts import KindSettings

_f = np.float32


ANY = None
KNOWN: dict[str, Any] = {
    "likelihood": {"poisson": {}, "nb": {"dispersion": ("gene", "gene-batch")}},  # one row of θ: `compiles` checks
    "decoder": {"mlp": {"rotate": ANY}},
    "latent": {"gaussian": {}},
    "objective": {"elbo": {"draws": (1,), "noise": ("independent",)}},
    # sizes and rates that the step takes from the model
    **dict.fromkeys(("n_latent", "n_hidden", "n_layers", "dropout"), ANY),
    "devices": (1,),  # the step does not stop between the gradient and the optimizer
    # settings that act before, between or after the steps
    **dict.fromkeys(("epochs", "batch_size", "learning_rate", "weight_decay", "patience", "refit", "device"), ANY),
}
"""Every setting of a model, with the values that the compiled step supports: a tuple of values, kinds with their own
settings, or `ANY`. A model with a setting that is not listed uses PyTorch until someone has checked the step for it."""


PARTS = (CountVAE, Modality, Gaussian, Encoder, MLPDecoder, Poisson, NegativeBinomial, PathwiseELBO)
"""The parts that the compiled step replaces, by exact type, because a subclass may compute something else."""


def compiles(vae: CountVAE, objective: Objective) -> bool:
    """Whether `CompiledStep` can train this model: it supports every setting, and the exact type of every part."""
    parts = (vae, vae.modality, vae.latent, vae.encoder, vae.decoder, vae.likelihood, objective)
    return (
        vae.device.type == "cpu"
        and not vae.others
        and _knows(vae.settings, KNOWN)
        and all(type(part) in PARTS for part in parts)
        and all(len(one) == 1 for one in vae.likelihood.gene_wise())
    )


def _knows(settings: BaseModel, known: Mapping[str, Any]) -> bool:
    """Whether every field of `settings` is among the `known`, with its value."""
    for key in type(settings).model_fields:
        value, values = getattr(settings, key), known.get(key, ())
        if values is ANY or (key == "kind" and isinstance(settings, KindSettings)):
            continue
        if isinstance(value, KindSettings):
            if value.kind not in values or not _knows(value, values[value.kind]):
                return False
        elif value not in values:
            return False
    return True


def prepare(vae: CountVAE, batches: Batches, index: np.ndarray) -> buffers.Counts:
    """Return the cells `index` for `CompiledStep`. No weights are needed, so another thread can do it in advance."""
    (offsets, columns, values, logs, by_gene), cells = batches.take(np.ascontiguousarray(index, np.int64))
    dense = _empty(len(index) if batches.density > FLIP else 0, batches.n_genes)
    if len(dense):
        write_dense(offsets, columns, logs, dense)
    covariates = (torch.from_numpy(cells["categorical"]), torch.from_numpy(cells["continuous"]))
    return buffers.Counts(
        n_genes=batches.n_genes,
        library=cells["library"],
        total=cells["total"],
        log_factorial=cells["log_factorial"],
        offsets=offsets,
        columns=columns,
        values=values,
        logs=logs,
        by_gene=by_gene,
        dense=dense,
        design=vae.design(*covariates).numpy(),
    )


@cache
def grain(n: int, n_in: int, n_out: int) -> int:
    """Return a number of rows such that products divided at its multiples have the same bytes as the whole product.

    BLAS computes a product in tiles of rows and rounds differently in the last, narrower tiles. The width of the tiles
    is not documented, so it is found by trial. Otherwise the bytes would depend on the number of threads.
    """
    rng = np.random.default_rng(0)
    seen, weight = rng.normal(size=(n, n_in)).astype(_f), rng.normal(size=(n_in, n_out)).astype(_f)
    logits = rng.normal(size=(n, n_out)).astype(_f)

    def made(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        out = _empty(a.shape[0], b.shape[1])
        product(a, b, out)
        return out

    def keeps(a: np.ndarray, b: np.ndarray, rows: int) -> bool:
        whole, last = made(a, b), (len(a) - 1) // rows * rows
        cuts = {rows, last // 2 // rows * rows, last} - {0}
        stretches = [stretch for cut in cuts for stretch in (slice(0, cut), slice(cut, len(a)))]
        return all(np.array_equal(made(a[at].copy("K"), b), whole[at]) for at in stretches)

    with one_blas_thread():
        for rows in (12, 24, 48):
            if rows >= max(n, n_in):
                break
            if keeps(seen, weight, rows) and keeps(logits, weight.T, rows) and keeps(seen.T, logits, rows):
                return rows
    return max(n, n_in)


class CompiledStep:
    """A training step on `n` cells.

    Parameters
    ----------
    vae
        A model for which `compiles` holds.
    flat
        Its parameters and their gradients.
    n
        Number of cells of a step.
    """

    def __init__(self, vae: CountVAE, flat: FlatWeights, n: int) -> None:
        ready()
        self.n, self.flat = n, flat
        encoder, decoder, settings = vae.encoder, vae.decoder, vae.settings
        assert isinstance(decoder, MLPDecoder)
        width, n_axes, n_out = settings.n_hidden, settings.n_axes, decoder.bias.shape[0]
        theta = vae.likelihood.gene_wise()
        n_theta = vae.n_genes if theta else 0
        n_inputs = n_axes + decoder.covariates.shape[0]
        rows = grain(n, width + n_axes, n_out)

        def places(linears: Sequence[Any], norms: Sequence[Any]) -> np.ndarray:
            pairs = zip(linears, norms, strict=True)
            return np.array([_places(a.weight, a.bias, b.weight, b.bias) for a, b in pairs])

        self.places = buffers.Places(
            encoder=places([encoder.first, *encoder.layers], list(encoder.norms)),
            decoder=places(list(decoder.layers), list(decoder.norms)),
            head=_places(encoder.head.weight, encoder.head.bias),
            last=_places(decoder.last_weight, decoder.bias, decoder.covariates, *theta),
        )

        self.drawn: list[Tensor] = []

        def network(layers: int, kept: int) -> Network:
            x, normal, to_x = _empty(layers, n, width), _empty(layers, n, width), _empty(n, width)
            drawn = torch.stack([words_for(n * width)] * layers)
            self.drawn.append(drawn)
            made = (normal, _empty(layers, n), _empty(kept, n, width), to_x, _empty(n, width))
            return Network(x, drawn.view(torch.uint8).numpy(), *made)

        self.encoder = network(len(encoder.norms), len(encoder.norms))
        self.decoder = network(len(decoder.norms), len(decoder.norms) - 1)
        self.eps = torch.empty(n, n_axes)
        self.ends = buffers.Ends(
            head=_empty(n, 2 * n_axes),
            to_head=_empty(n, 2 * n_axes),
            eps=self.eps.numpy(),
            sd=_empty(n, n_axes),
            slope=_empty(n, n_axes),
            kl=_empty(n),
            inputs=_empty(n, n_inputs),
            to_inputs=_empty(n, n_inputs),
            seen=_empty(n, width + n_axes),
            to_seen=_empty(n, width + n_axes),
            logits=_empty(n, n_out),
            log_prob=np.empty(n),
            theta=_empty(2, n_theta),
            by_theta=_empty(-(-n // rows), n_theta),
            sums=np.empty(2),
            zeros=np.zeros(width, np.float32),
        )
        self.left_out, factor = bytes_left_out(settings.dropout)
        numbers = (_f(factor), _f(NETWORK_SHARE), _f(SD_OFFSET), _f(SMALLEST_SD), LOG_THETA)
        self.rates = buffers.Rates(self.left_out, *numbers, rows, kl_weight=0.0)

    def __call__(self, counts: buffers.Counts, generator: torch.Generator, kl_weight: float, mover: Mover) -> Tensor:
        """Update the weights along the gradient of the mean of kl_weight · KL − log p; return the sums of log p and KL.

        The gradient is left in `flat`. Random numbers are drawn in the order of `PathwiseELBO.terms`.
        """
        encoder, decoder = self.drawn
        self._draw(encoder, generator)
        torch.randn(self.eps.shape, generator=generator, out=self.eps)
        self._draw(decoder, generator)
        vectors = (self.flat.values.numpy(), self.flat.gradient.numpy())
        rates = self.rates._replace(kl_weight=kl_weight)
        all_buffers = (self.places, self.encoder, self.decoder, self.ends)
        together(step.step, *vectors, *all_buffers, counts, rates, mover)
        return torch.from_numpy(self.ends.sums.copy())

    def _draw(self, layers: Tensor, generator: torch.Generator) -> None:
        if self.left_out:
            for words in layers:
                fill(words, generator)


def _places(*parameters: Tensor) -> np.ndarray:
    return np.array([p.data.storage_offset() for p in parameters])


def _empty(*shape: int) -> np.ndarray:
    return np.empty(shape, np.float32)
