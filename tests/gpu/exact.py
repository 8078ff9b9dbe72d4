"""Is it right on the GPU: likelihoods, gradients, trainings.

Float32 on the device is held against the CPU. With ``--device cpu`` the one side goes through autograd and the formulas
in PyTorch, as on a GPU, and not through compiled kernels, so that the two sides are still two ways.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import engine
import numpy as np
import torch
from report import emit
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.distributions import NegativeBinomial, Poisson
from torch.nn.functional import logsigmoid

from sclatent.model import Batch, Batches, CountData, CountVAE, train_vae
from sclatent.model.parts import encoder
from sclatent.model.parts import log_likelihoods as likelihoods
from sclatent.model.training import checkpoint, loop, trainer
from sclatent.settings import ModelSettings
from sclatent.tl._model.held_out_fit import held_out

CLOSE = 0.0005
"""Within this share of the held-out fit two trainings are the same: of four seeds on the CPU it has an SD of 0.0001."""


@contextmanager
def by_pytorch() -> Iterator[None]:
    """Within it nothing goes through the compiled kernels of the CPU."""
    with (
        mock.patch.object(likelihoods, "_compiled", return_value=False),
        mock.patch.object(encoder, "_compiled", return_value=False),
        mock.patch.object(loop, "compiles", return_value=False),
    ):
        yield


def distance(ours: Tensor, reference: Tensor) -> float:
    """Norm of the difference, relative to that of the reference."""
    reference = reference.double()
    return float((ours.cpu().double() - reference).norm() / reference.norm().clamp(min=1e-30))


# --- values and gradients ---------------------------------------------------------------------------------------------


def reference(name: str, logits: Tensor, theta: Tensor, gate: Tensor, batch: Batch) -> Tensor:
    """Log-likelihood of each cell (B,) by torch.distributions, in float64."""
    x = batch.dense().double()
    log_mu = (torch.log_softmax(logits, 1) + batch.library.double().log()[:, None])[:, : batch.n_genes]
    if name == "bernoulli":
        rate = log_mu.exp()
        return torch.where(x > 0, torch.log(-torch.expm1(-rate)), -rate).sum(1)
    if name in ("poisson", "zip"):
        base = Poisson(log_mu.exp(), validate_args=False).log_prob(x)
    else:
        base = NegativeBinomial(total_count=theta, logits=log_mu - theta.log(), validate_args=False).log_prob(x)
    if name in ("zip", "zinb"):
        base = torch.where(
            x == 0, torch.logaddexp(logsigmoid(gate), logsigmoid(-gate) + base), logsigmoid(-gate) + base
        )
    return base.sum(1)


def ours(name: str, logits: Tensor, theta: Tensor, gate: Tensor, batch: Batch) -> Tensor:
    """Log-likelihood of each cell (B,) by the package."""
    return {
        "poisson": lambda: likelihoods.poisson(logits, batch),
        "nb": lambda: likelihoods.negative_binomial(logits, theta, batch),
        "zip": lambda: likelihoods.zero_inflated_poisson(logits, gate, batch),
        "zinb": lambda: likelihoods.zero_inflated_nb(logits, theta, gate, batch),
        "bernoulli": lambda: likelihoods.bernoulli(logits, batch),
    }[name]()


def check_likelihoods(device: str, small: bool) -> None:
    """Values and gradients of each likelihood against float64 on the CPU, with and without a rest category."""
    n, genes = (32, 200) if small else (256, 2000)
    rng = np.random.default_rng()  # other inputs every time
    index = np.arange(n)
    for rest in (False, True):
        logits = rng.normal(0, 2, (n, genes + rest))
        logits[:, genes:] += 9.0  # the rest takes most of a library
        fraction = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        library = 10 ** rng.uniform(2, 6, n)
        mu = library[:, None] * fraction[:, :genes]
        counts = rng.poisson(mu * rng.gamma(2.0, 0.5, mu.shape)).astype(np.float32)
        theta, gate = 10 ** rng.uniform(-2, 3, (1, genes)), rng.normal(-2, 2, (n, genes))
        data = CountData(csr_matrix(counts), library)
        there, here = Batches(data, device).gather(index), Batches(data).gather(index)
        given = [torch.from_numpy(array.astype(np.float32)) for array in (logits, theta, gate)]
        weight = torch.from_numpy(rng.uniform(0.5, 1.5, n))
        for name in ("poisson", "nb", "zip", "zinb", "bernoulli"):
            exact = [leaf.double().requires_grad_() for leaf in given]
            leaves = [leaf.clone().to(device).requires_grad_() for leaf in given]
            expected = reference(name, *exact, here)
            with by_pytorch():
                found = ours(name, *leaves, there)
            (expected * weight).sum().backward()
            (found.double() * weight.to(device)).sum().backward()
            error = (
                (found.detach().cpu().double() - expected.detach()).abs() / expected.detach().abs().clamp(min=1)
            ).max()
            of = f"{name}{' with rest' if rest else ''}"
            emit(f"{of}: log p, worst relative error", float(error), most=1e-5)
            pairs = [(a.grad, b.grad) for a, b in zip(leaves, exact, strict=True) if b.grad is not None]
            emit(f"{of}: gradients, relative norm", max(distance(a, b) for a, b in pairs), most=1e-4)
    check_models(device, engine.data_of(csr_matrix(counts), rng.integers(3, size=(n, 1))))


def check_models(device: str, data: CountData) -> None:
    """Gradients of whole models against those on the CPU, at the same draw and without dropout."""
    index, eps = np.arange(data.n_cells), torch.randn(data.n_cells, 8, generator=torch.Generator().manual_seed(0))
    for decoder, likelihood, dispersion in (
        ("mlp", "nb", "gene"),
        ("linear", "poisson", "gene"),
        ("additive", "zinb", "gene-cell"),
        ("mlp", "nb", "gene-batch"),
    ):
        settings = ModelSettings(n_latent=8, decoder=decoder, likelihood=likelihood, dispersion=dispersion)
        vae = CountVAE(data.n_genes, settings, n_levels=(3,))
        found = []
        for where, way in (("cpu", nullcontext), (device, by_pytorch)):
            model, batch = copy.deepcopy(vae).to(where), Batches(data, where).gather(index)
            with way():
                (code,), kl = model.encode(batch).draw(eps.to(where)[None])
                (kl.sum(1) - model.log_prob(code, batch)).mean().backward()
            found.append(torch.cat([p.grad.cpu().flatten() for p in model.parameters() if p.grad is not None]))
        emit(f"{decoder}, {likelihood} {dispersion}: gradients", distance(found[1], found[0]), most=1e-4)


# --- trainings --------------------------------------------------------------------------------------------------------


def world(small: bool) -> tuple[CountData, np.ndarray, np.ndarray, np.ndarray]:
    """Simulated cells of three batches; positions of training, validation and test cells."""
    n, genes = (300, 100) if small else (4000, 1000)
    codes = np.random.default_rng(1).integers(3, size=(n, 1))
    order = np.random.default_rng(2).permutation(n)
    parts = np.split(order, [n // 10, n // 5])
    return engine.data_of(engine.simulated(n, genes, 0.1), codes), parts[2], parts[1], parts[0]


def check_same(device: str, small: bool) -> None:
    """Same seed, same bytes; and a training that was stopped goes on to the same bytes."""
    data, fit, validation, _ = world(small)
    epochs = 4 if small else 10
    for given in (
        {"likelihood": "nb"},
        {"likelihood": "poisson", "decoder": "linear"},
        {"likelihood": "zinb", "decoder": "additive", "dispersion": "gene-batch"},
    ):
        settings = ModelSettings(epochs=epochs, **given)
        how = {"n_levels": (3,), "seed": 5, "device": device}
        (first, history), (second, again) = (train_vae(data, fit, validation, settings, **how) for _ in range(2))
        name = ", ".join(given.values())
        emit(f"{name}: same weights with the same seed", int(same(first, second)), least=1)
        emit(f"{name}: same history", int(history.equals(again)), least=1)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "checkpoint.pt"
            stopped_after(2, data, fit, validation, settings, checkpoint=file, **how)
            with mock.patch.object(loop.Run, "one_epoch", autospec=True, side_effect=loop.Run.one_epoch) as one_epoch:
                resumed, again = train_vae(data, fit, validation, settings, checkpoint=file, **how)
        emit(f"{name}: epochs after it resumed", one_epoch.call_count, most=epochs - 2)
        emit(f"{name}: same weights after it resumed", int(same(first, resumed)), least=1)
        emit(f"{name}: same history after it resumed", int(history.equals(again)), least=1)


def same(a: CountVAE, b: CountVAE) -> bool:
    """Whether two models have the same weights, to the byte."""
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def stopped_after(epochs: int, *given: object, **how: object) -> None:
    """Train, and stop once so many checkpoints are written."""
    write, written = checkpoint.write, []

    def write_then_stop(path: Path, state: dict) -> None:
        write(path, state)
        written.append(path)
        if len(written) == epochs:
            raise KeyboardInterrupt

    with mock.patch.object(trainer, "SAVE_EVERY", 0.0), mock.patch.object(checkpoint, "write", write_then_stop):
        try:
            train_vae(*given, **how)
        except KeyboardInterrupt:
            return
    raise AssertionError("the training was not stopped")


def check_training(device: str, small: bool) -> None:
    """Held-out fit after training on the device and on the CPU; draws differ, so it is the same within a tolerance."""
    data, fit, validation, test = world(small)
    for likelihood in ("nb", "poisson"):
        settings = ModelSettings(likelihood=likelihood, epochs=20 if small else 40)
        found = []
        for where, way in (("cpu", nullcontext), (device, by_pytorch)):
            with way():
                vae, _ = train_vae(data, fit, validation, settings, n_levels=(3,), device=where, threads=4)
            found.append(held_out(vae, data, test)[1].mean())
            emit(f"{likelihood}: held-out marginal, trained on {where}", found[-1], "nats/cell")
        emit(f"{likelihood}: difference, relative", abs(found[1] - found[0]) / abs(found[0]), most=CLOSE)
