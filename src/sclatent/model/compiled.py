"""One step of the default model on a CPU, forth and back, without autograd.

Through autograd arithmetic is half of a step; the rest are a hundred small operations of PyTorch and their bookkeeping,
which no thread shares. Here the same step is some forty calls: matrix products into buffers that stay,
and compiled passes over rows. Everything else (GPUs, other decoders and likelihoods, evaluation) goes through the
modules of `CountVAE`, which say what is computed; `tests/unit/test_model_compiled.py` holds both to one gradient.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sclatent.model import _csr, _kernels, _layers
from sclatent.model._parallel import share
from sclatent.model.batches import Batch
from sclatent.model.decoders import NETWORK_SHARE, MLPDecoder
from sclatent.model.likelihoods import sparse_arrays
from sclatent.model.networks import SD_OFFSET, SMALLEST_SD, bytes_left_out, random_bytes
from sclatent.model.vae import LOG_THETA, CountVAE

_f = np.float32
TOGETHER = 32
"""The gradient to θ is summed over so many cells at a time: the sums do not depend on the number of threads."""


def compiles(vae: CountVAE) -> bool:
    """Whether `CompiledStep` can train this model."""
    settings = vae.settings
    one_theta = not vae.uses_theta or (len(vae.log_theta) == 1 and settings.dispersion != "gene-cell")
    return (
        vae.device.type == "cpu"
        and isinstance(vae.decoder, MLPDecoder)
        and settings.likelihood in ("poisson", "nb")
        and one_theta
    )


class _Hidden:
    """Norm, ReLU and dropout of a hidden layer for `n` cells: from ``x`` to the first columns of ``out``."""

    def __init__(self, norm: nn.LayerNorm, rate: float, share: float, x: Tensor, out: Tensor) -> None:
        n, width = x.shape
        self.x, self.to_x = x, torch.empty_like(x)
        self.left_out, factor = bytes_left_out(rate)
        numbers = (self.left_out, _f(share * factor))
        self.drawn = np.zeros((n, width), np.uint8)
        normal, inverse = np.empty((n, width), np.float32), np.empty(n, np.float32)
        weight, bias = norm.weight.data.numpy(), norm.bias.data.numpy()
        to_weight, to_bias = _gradient(norm.weight).numpy(), _gradient(norm.bias).numpy()
        self.given, self.made = (x.numpy(), weight, bias), (*numbers, normal, inverse, out.numpy())
        self.back = (normal, inverse, weight, out.numpy(), numbers[1], self.to_x.numpy(), to_weight, to_bias)

    def forward(self, generator: torch.Generator) -> None:
        """Write the units."""
        if self.left_out:
            self.drawn = random_bytes(self.x.shape, generator, self.x.device).numpy()
        _layers.hidden_rows(*self.given, self.drawn, *self.made)

    def backward(self, upstream: Tensor) -> Tensor:
        """Leave the gradients of the norm, return that to ``x``."""
        _layers.hidden_rows_gradient(upstream.numpy(), *self.back)
        return self.to_x


class CompiledStep:
    """The gradients of the mean loss over `n` cells, left in the parameters.

    Parameters
    ----------
    vae
        A model for which `compiles` holds. Its parameters and their gradients, which must be there, may change their
        values but not their places.
    n
        Number of cells of a step.
    dense
        Whether the encoder's first layer is a dense product: faster where more than `FLIP` of the counts are not 0.
    """

    def __init__(self, vae: CountVAE, n: int, *, dense: bool = False) -> None:
        self.vae, self.n, self.n_axes = vae, n, vae.settings.n_axes
        encoder, decoder, settings = vae.encoder, vae.decoder, vae.settings
        assert isinstance(decoder, MLPDecoder)
        self.encoder, self.decoder = encoder, decoder
        width, n_out = settings.n_hidden, decoder.bias.shape[0]
        self.none = np.zeros(width, np.float32)
        self.dense = torch.empty(n, vae.n_genes) if dense else None
        # what the last layer sees: the units of the network, then z
        self.seen, self.to_seen = torch.empty(n, width + self.n_axes), torch.empty(n, width + self.n_axes)
        self.z, self.to_z = self.seen[:, width:], self.to_seen[:, width:]
        shapes = [torch.empty(n, width) for _ in encoder.norms]
        self.units = [torch.empty(n, width) for _ in encoder.norms]
        self.encoding = [
            _Hidden(norm, encoder.rate, 1.0, x, out)  # type: ignore[arg-type]
            for norm, x, out in zip(encoder.norms, shapes, self.units, strict=True)
        ]
        self.below = [torch.empty(n, width) for _ in decoder.norms[1:]]
        outs, shares = [*self.below, self.seen], [1.0] * len(self.below) + [NETWORK_SHARE]
        self.decoding = [
            _Hidden(norm, decoder.rate, share, torch.empty(n, width), out)  # type: ignore[arg-type]
            for norm, share, out in zip(decoder.norms, shares, outs, strict=True)
        ]
        self.head, self.to_head = torch.empty(n, 2 * self.n_axes), torch.empty(n, 2 * self.n_axes)
        self.eps, self.kl = torch.empty(n, self.n_axes), torch.empty(n)
        sd, slope = np.empty((n, self.n_axes), np.float32), np.empty((n, self.n_axes), np.float32)
        head, eps = self.head.numpy(), self.eps.numpy()
        offsets = (_f(SD_OFFSET), _f(SMALLEST_SD))
        self.draw = (head, *offsets, eps, sd, slope, self.seen.numpy(), self.kl.numpy())
        self.draw_back = (head, eps, sd, slope)
        self.logits, self.tops = torch.empty(n, n_out), torch.empty(n)  # the logits, then the gradient to them
        self.log_prob = torch.empty(n, dtype=torch.float64)
        self.pieces = math.ceil(n / TOGETHER)
        self.by_theta = torch.empty(self.pieces if vae.uses_theta else 0, vae.n_genes)

    @torch.no_grad()
    def __call__(self, batch: Batch, generator: torch.Generator, kl_weight: float) -> Tensor:
        """Leave the gradient of the mean of kl_weight · KL − log p; return the sums of log p and KL, float64.

        `generator` is drawn from in the order of `CountVAE.elbo_terms`.
        """
        design = self.vae.design(batch.categorical, batch.continuous) if self.vae.n_design else None
        values = torch.log1p(batch.values).numpy()
        self._encode(batch, values, generator)
        self._decode(design, generator)
        self._likelihood(batch, design)

        def below() -> None:
            self._decode_back(design)
            self._encode_back(batch, values, kl_weight / self.n)

        # half of the work each, and the weights of either half stay with one thread
        share(self.logits.shape[1], partial(self._gene_gradients, design), below)
        return torch.stack([self.log_prob.sum(), self.kl.sum(dtype=torch.float64)])

    def _encode(self, batch: Batch, values: np.ndarray, generator: torch.Generator) -> None:
        encoder, first = self.encoder, self.encoder.first
        sparse = (batch.offsets.numpy(), batch.columns.numpy(), values)
        # alone: to fetch what the other thread has changed of the weights would take as long
        if self.dense is None:
            arrays = (first.weight.data.numpy(), first.bias.data.numpy(), self.encoding[0].x.numpy())
            _csr.sparse_product(0, self.n, *sparse, *arrays)
        else:
            _csr.write_dense(*sparse, self.dense.numpy())
            torch.addmm(first.bias, self.dense, first.weight, out=self.encoding[0].x)
        self.encoding[0].forward(generator)
        linears: list[Any] = list(encoder.layers)
        for linear, layer, below in zip(linears, self.encoding[1:], self.units, strict=False):
            torch.addmm(linear.bias, below, linear.weight.T, out=layer.x)
            layer.forward(generator)
        torch.addmm(encoder.head.bias, self.units[-1], encoder.head.weight.T, out=self.head)
        torch.randn(self.eps.shape, generator=generator, out=self.eps)
        _layers.draw_rows(*self.draw)

    def _decode(self, design: Tensor | None, generator: torch.Generator) -> None:
        """Write what the last layer sees."""
        decoder = self.decoder
        linears: list[Any] = list(decoder.layers)
        for linear, layer, below in zip(linears, self.decoding, [self._input(design), *self.below], strict=True):
            torch.addmm(linear.bias, below, linear.weight.T, out=layer.x)
            layer.forward(generator)

    def _input(self, design: Tensor | None) -> Tensor:
        """What the first layer of the decoder sees."""
        return self.z if design is None else torch.cat([self.z, design], 1)

    def _likelihood(self, batch: Batch, design: Tensor | None) -> None:
        """Write log p and its gradient to the logits, and that of the mean of −log p to what the last layer sees.

        From the last layer's input to its gradient cells have nothing to do with one another, so each thread takes some
        of them all the way.
        """
        decoder, logits, scale = self.decoder, self.logits, -1.0 / self.n
        head = (batch.n_genes, logits.numpy(), self.tops.numpy(), batch.library.numpy())
        sparse, log_prob = sparse_arrays(batch), self.log_prob.numpy()
        if self.vae.uses_theta:
            self.theta = self.vae.log_theta.clamp(*LOG_THETA).exp()
            dispersion = (self.theta.numpy(), self.theta.reciprocal().numpy())

        def some(first: int, last: int) -> None:
            start, stop = first * TOGETHER, min(last * TOGETHER, self.n)
            rows = slice(start, stop)
            torch.addmm(decoder.bias, self.seen[rows], decoder.last_weight, out=logits[rows])
            if design is not None:
                logits[rows].addmm_(design[rows], decoder.covariates)
            torch.amax(logits[rows], 1, out=self.tops[rows])
            if self.vae.uses_theta:
                _kernels.nb_rows(start, stop, *head, *dispersion, *sparse, log_prob, TOGETHER, self.by_theta.numpy())
            else:
                _kernels.poisson_rows(start, stop, *head, *sparse, log_prob)
            _product(self.to_seen[rows], logits[rows], decoder.last_weight.T, scale)

        share(self.pieces, torch.no_grad()(some))
        self.log_prob -= batch.log_factorial

    @torch.no_grad()
    def _gene_gradients(self, design: Tensor | None, first: int, last: int) -> None:
        """Leave the gradients of the last layer and of θ, for the genes first..last."""
        decoder, scale, genes = self.decoder, -1.0 / self.n, slice(first, last)
        upstream = self.logits[:, genes]
        torch.sum(upstream, 0, out=_gradient(decoder.bias)[genes]).mul_(scale)
        _product(_gradient(decoder.last_weight)[:, genes], self.seen.T, upstream, scale)
        if design is not None:
            _product(_gradient(decoder.covariates)[:, genes], design.T, upstream, scale)
        if self.vae.uses_theta:  # which has no *rest* category
            log_theta, theta = self.vae.log_theta[:, genes], self.theta[:, genes]
            inside = (log_theta >= LOG_THETA[0]) & (log_theta <= LOG_THETA[1])
            to_log = _gradient(self.vae.log_theta)[:, genes]
            torch.sum(self.by_theta[:, genes], 0, keepdim=True, out=to_log).mul_(theta * inside).mul_(scale)

    def _decode_back(self, design: Tensor | None) -> None:
        """Leave the gradients of the decoder's network, and in ``to_z`` that to z."""
        decoder = self.decoder
        back = self.to_seen
        below = [self._input(design), *self.below]
        for i in reversed(range(len(self.decoding))):
            linear: Any = decoder.layers[i]
            to_x = self.decoding[i].backward(back)
            _sum(to_x, linear.bias)
            torch.mm(to_x.T, below[i], out=_gradient(linear.weight))
            if i:
                back = to_x @ linear.weight
            else:
                self.to_z.addmm_(to_x, linear.weight[:, : self.n_axes])

    def _encode_back(self, batch: Batch, values: np.ndarray, to_kl: float) -> None:
        encoder, first = self.encoder, self.encoder.first
        _layers.draw_rows_gradient(*self.draw_back, self.to_seen.numpy(), _f(to_kl), self.to_head.numpy())
        upstream = self.to_head
        linears: list[Any] = [*encoder.layers, encoder.head]
        for linear, layer, below in zip(reversed(linears), reversed(self.encoding), reversed(self.units), strict=True):
            _sum(upstream, linear.bias)
            torch.mm(upstream.T, below, out=_gradient(linear.weight))
            upstream = layer.backward(upstream @ linear.weight)
        _sum(upstream, first.bias)
        if self.dense is not None:
            torch.mm(self.dense.T, upstream, out=_gradient(first.weight))
            return
        sparse = (batch.offsets.numpy(), batch.columns.numpy(), values)
        arrays = (upstream.numpy(), self.none, _gradient(first.weight).numpy())
        _csr.sparse_product(0, batch.n_genes, *_csr.by_column(*sparse, batch.n_genes), *arrays)


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _sum(rows: Tensor, parameter: Tensor) -> Tensor:
    """Leave the sum of the rows in the gradient of a parameter, and return it."""
    gradient = _gradient(parameter)
    return torch.sum(rows, 0, keepdim=gradient.ndim == 2, out=gradient)


def _product(out: Tensor, a: Tensor, b: Tensor, scale: float) -> None:
    """Write scale · a b to `out`."""
    torch.addmm(out, a, b, beta=0.0, alpha=scale, out=out)
