"""The compiled step and autograd through the modules are one computation."""

from __future__ import annotations

import threading
import time
from functools import partial

import numpy as np
import pytest
import torch
from scipy import sparse

from sclatent.model import CountData
from sclatent.model._parallel import ahead, only_shared, share
from sclatent.model.compiled import CompiledStep, compiles
from sclatent.model.run import Run
from sclatent.settings import ModelSettings

CELLS, GENES = 90, 40


def a_run(*, covariates: bool = False, rest: bool = False, density: float = 0.15, **settings: object) -> Run:
    rng = np.random.default_rng(0)
    counts = sparse.random(CELLS, GENES, density, "csr", np.float32, rng)
    counts.data = np.ceil(rng.lognormal(1, 1.5, counts.nnz)).astype(np.float32)
    library = np.asarray(counts.sum(1)).ravel() * (1.5 if rest else 1.0)
    codes = np.column_stack([rng.integers(0, 3, CELLS), rng.integers(0, 2, CELLS)]) if covariates else None
    values = rng.normal(size=(CELLS, 1)).astype(np.float32) if covariates else None
    data = CountData(counts, library, codes, values)
    given = ModelSettings(**{"n_latent": 5, "n_hidden": 24, "batch_size": 32, "epochs": 9} | settings)
    levels = (3, 2) if covariates else ()
    return Run(data, np.arange(80), np.arange(80, 90), given, n_levels=levels, rest=rest, seed=0, device="cpu")


@pytest.mark.parametrize("likelihood", ["nb", "poisson"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_layers": 2, "covariates": True},
        {"n_layers": 3, "rest": True, "dropout": 0.0},
        {"n_latent": 1, "covariates": True, "rest": True},
        {"density": 0.5, "covariates": True},
    ],
    ids=str,
)
def test_same_gradients_and_values_as_autograd(likelihood: str, options: dict) -> None:
    run = a_run(likelihood=likelihood, **options)
    assert run.compiled
    for _ in range(12):  # away from where training starts, with a KL weight that counts
        run._step(np.arange(31))
    cells = np.arange(20, 57)
    start = run.noise.get_state()
    sums = run._compiled_backward(run.batches.gather(cells))
    compiled = {name: p.grad.clone() for name, p in run.vae.named_parameters()}
    after = run.noise.get_state()
    run.noise.set_state(start)
    run.flat.forget()
    expected = run._backward(cells)
    assert torch.equal(run.noise.get_state(), after)  # and so the steps that follow
    torch.testing.assert_close(sums, expected, rtol=1e-6, atol=1e-4)
    for name, parameter in run.vae.named_parameters():
        if parameter.grad is None:  # no covariates
            assert not compiled[name].any()
            continue
        largest = float(parameter.grad.abs().max())
        assert largest > 0, name
        # float32 both: a bias's gradient is a sum that cancels, and its rounding differs from processor to processor
        torch.testing.assert_close(compiled[name], parameter.grad, rtol=1e-5, atol=3e-5 * largest, msg=name)


@pytest.mark.parametrize("dense", [False, True])
def test_a_step_knows_no_other_step(dense: bool) -> None:
    """Buffers that stay must not carry anything from one batch to the next."""
    run = a_run(dropout=0.0)
    step = CompiledStep(run.vae, 20, dense=dense)
    first, second = (run.batches.gather(np.arange(at, at + 20)) for at in (0, 40))
    alone = [step(first, torch.Generator().manual_seed(1), 0.5), run.flat.gradient.clone()]
    step(second, torch.Generator().manual_seed(2), 1.0)
    again = [step(first, torch.Generator().manual_seed(1), 0.5), run.flat.gradient.clone()]
    assert all(torch.equal(a, b) for a, b in zip(alone, again, strict=True))


def test_what_is_not_a_number_is_noticed() -> None:
    names = [name for name, p in a_run().vae.named_parameters() if p.numel() and name != "log_theta"]
    for name in names:
        run = a_run(dropout=0.0)
        dict(run.vae.named_parameters())[name].data.view(-1)[0] = np.nan
        assert not torch.isfinite(run._step(np.arange(80))).all(), name


@pytest.mark.parametrize(
    "options",
    [
        {"likelihood": "zinb"},
        {"likelihood": "bernoulli"},
        {"decoder": "linear"},
        {"decoder": "additive"},
        {"dispersion": "gene-cell"},
        {"dispersion": "gene-batch", "covariates": True},
    ],
    ids=str,
)
def test_what_autograd_trains(options: dict) -> None:
    run = a_run(**options)
    assert not compiles(run.vae)
    run.one_epoch()
    assert np.isfinite(run.history[0]["train_elbo"])


@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_goes_on_after_an_error(threads: int) -> None:
    begun, ended = [], []

    def work(i: int) -> float:
        begun.append(i)
        time.sleep(0.05)
        ended.append(i)
        return 1 / (1 - i)

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with only_shared(), pytest.raises(ZeroDivisionError):
            list(ahead(work, range(5)))
        assert begun == ended == list(range(1 + threads))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_stretch_once_and_errors_come_through(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with only_shared():
            assert torch.get_num_threads() == 1
            for own in (False, True):
                done: list[tuple[int, int]] = []
                alone = partial(done.append, (-1, -1)) if own else None
                share(10, lambda *stretch, done=done: done.append(stretch), alone)  # type: ignore[misc]
                assert sorted(i for a, b in done for i in range(a, b)) == list(range(10))
                assert ((-1, -1) in done) == own
            assert list(ahead(lambda i: i * i, range(5))) == [0, 1, 4, 9, 16]
            with pytest.raises(ZeroDivisionError):
                share(10, lambda a, b: 1 // (10 - b))
            with pytest.raises(ZeroDivisionError):
                list(ahead(lambda i: 1 // (3 - i), range(5)))
        assert torch.get_num_threads() == threads
        seen: list[int] = []
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert seen == [threads]  # a new thread finds what the user has set
    finally:
        torch.set_num_threads(before)
