"""The compiled step and autograd through the modules are one computation."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numba import njit
from scipy import sparse

from sclatent.model import CountData
from sclatent.model.fused.compiled import KNOWN, CompiledStep, compiles, grain, prepare
from sclatent.model.fused.layers import product
from sclatent.model.kernels.barrier import meet
from sclatent.model.kernels.threads import ahead, one_blas_thread, only_shared, share, together
from sclatent.model.training.loop import Run
from sclatent.model.training.optimizer import Mover
from sclatent.settings import ModelSettings
from sclatent.settings.kinds import parts as kinds

CELLS, GENES = 90, 40
STILL = Mover(*np.zeros((2, 0), np.float32), np.zeros(0), np.zeros(0, np.int64), np.zeros((0, 3), np.float32), 1.0)
"""Moves no weights."""


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
    counts = prepare(run.vae, run.batches, cells)
    sums = CompiledStep(run.vae, run.flat, len(cells))(counts, run.noise, run.schedule.kl_weight(run.step), STILL)
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
    run = a_run(dropout=0.0, density=0.5 if dense else 0.15)
    step = CompiledStep(run.vae, run.flat, 20)
    first, second = (prepare(run.vae, run.batches, np.arange(at, at + 20)) for at in (0, 40))
    alone = [step(first, torch.Generator().manual_seed(1), 0.5, STILL), run.flat.gradient.clone()]
    step(second, torch.Generator().manual_seed(2), 1.0, STILL)
    again = [step(first, torch.Generator().manual_seed(1), 0.5, STILL), run.flat.gradient.clone()]
    assert all(torch.equal(a, b) for a, b in zip(alone, again, strict=True))


def test_what_is_not_a_number_is_noticed() -> None:
    names = [name for name, p in a_run().vae.named_parameters() if p.numel() and not name.endswith("log_theta")]
    for name in names:
        run = a_run(dropout=0.0)
        dict(run.vae.named_parameters())[name].data.view(-1)[0] = np.nan
        assert not torch.isfinite(run._step(np.arange(80))).all(), name


@pytest.mark.parametrize("likelihood", ["nb", "poisson"])
def test_threads_do_not_change_a_byte(likelihood: str) -> None:
    """Sizes at which BLAS rounds differently in products of other heights."""
    ends, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            run = a_run(likelihood=likelihood, batch_size=80, n_hidden=96, covariates=True, n_layers=2)
            for _ in range(3):
                run.one_epoch()
            ends.append(run.flat.values)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(end, ends[0]) for end in ends[1:])


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
    assert not compiles(run.vae, run.objective)
    run.one_epoch()
    assert np.isfinite(run.history[0]["train_elbo"])


def test_every_setting_is_known_to_the_compiled_step_or_refused() -> None:
    """Whoever adds a setting says there whether the compiled step does what it asks for."""
    assert set(ModelSettings.model_fields) == set(KNOWN)
    for registry in (kinds.LIKELIHOODS, kinds.DECODERS, kinds.LATENTS, kinds.OBJECTIVES):
        for kind, settings in KNOWN[registry.key].items():
            assert {"kind", *settings} == set(registry[kind].model_fields)


def test_a_setting_that_the_compiled_step_does_not_know_goes_through_autograd() -> None:
    class More(ModelSettings):
        tempering: float = 1.0

    run = a_run()
    assert compiles(run.vae, run.objective)
    run.vae.settings = More.model_validate(run.settings.model_dump())
    assert not compiles(run.vae, run.objective)


@pytest.mark.parametrize(
    ("key", "base"),
    [
        ("likelihood", kinds.NBSettings),
        ("decoder", kinds.MLPSettings),
        ("latent", kinds.GaussianSettings),
        ("objective", kinds.PathwiseSettings),
    ],
)
def test_a_setting_of_a_kind_that_it_does_not_know_goes_through_autograd(key: str, base: type) -> None:
    class More(base):  # type: ignore[misc, valid-type]
        tempering: float = 1.0

    class Another(base):  # type: ignore[misc, valid-type]
        kind: str = "another"

    run = a_run()
    for settings in (More(), Another()):
        run.vae.settings = run.settings.model_copy(update={key: settings})
        assert not compiles(run.vae, run.objective)
    run.vae.settings = run.settings
    assert compiles(run.vae, run.objective)


@pytest.mark.parametrize("part", ["encoder", "decoder", "likelihood", "latent", "modality", "objective", "vae"])
def test_a_part_of_another_type_goes_through_autograd(part: str) -> None:
    run = a_run()
    one = getattr(run if part in ("objective", "vae") else run.vae, part)
    one.__class__ = type("Other", (type(one),), {})
    assert not compiles(run.vae, run.objective)


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
            done: list[tuple[int, int]] = []
            share(10, lambda *stretch: done.append(stretch))
            assert sorted(i for a, b in done for i in range(a, b)) == list(range(10))
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


@njit(nogil=True)
def _passes_on(part, threads, counter, rounds, places):  # type: ignore[no-untyped-def]
    """In every round each thread adds one to what its neighbour has left in the round before."""
    for i in range(rounds):
        taken = places[(part + 1) % threads]
        meet(counter, threads, 2 * i + 1)
        places[part] = taken + 1
        meet(counter, threads, 2 * i + 2)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_meet(threads: int) -> None:
    """Also when there are more of them than cores, and when two calls want the same threads at once."""
    rounds, before = 300, torch.get_num_threads()
    made = [np.zeros(threads, np.int64) for _ in range(4)]

    def calls(places: np.ndarray) -> None:
        torch.set_num_threads(threads)
        with only_shared():
            together(_passes_on, rounds, places)

    try:
        calls(np.zeros(threads, np.int64))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(calls, made))
    finally:
        torch.set_num_threads(before)
    assert all((places == rounds).all() for places in made)


def test_nobody_waits_for_a_thread_that_was_interrupted() -> None:
    def work(part: int, threads: int, counter: np.ndarray) -> None:
        if part == 0:
            raise KeyboardInterrupt
        meet(counter, threads, 1)
        meet(counter, threads, 2)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with only_shared():
            with pytest.raises(KeyboardInterrupt):
                together(work)
            together(_passes_on, 3, np.zeros(3, np.int64))  # and the threads are there for what comes next
    finally:
        torch.set_num_threads(before)


def test_products_keep_their_bytes_at_the_cuts() -> None:
    rng = np.random.default_rng(3)
    seen, weight = rng.normal(size=(80, 106)).astype(np.float32), rng.normal(size=(106, 500)).astype(np.float32)
    whole, cut = np.empty((80, 500), np.float32), np.empty((80, 500), np.float32)
    rows = grain(80, 106, 500)
    with one_blas_thread():
        product(seen, weight, whole)
        for at in range(rows, 80, rows):
            product(seen[:at], weight, cut[:at])
            product(seen[at:], weight, cut[at:])
            assert np.array_equal(cut, whole)
