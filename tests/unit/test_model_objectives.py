"""The objectives: their gradients agree in the mean, or are known not to; they train, and stop and go on as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from sclatent.model import OBJECTIVES, Batches, CountData, CountVAE, Objective, train_vae
from sclatent.model.fused import compiles
from sclatent.model.training.loop import Run
from sclatent.settings import ModelSettings

CHUNKS, TIMES = 60, 40
KINDS = ("stl", "iwae", "dreg", "score")


def data(n: int = 80, genes: int = 12) -> CountData:
    rng = np.random.default_rng(0)
    fraction = rng.dirichlet(np.ones(genes), 2)[rng.integers(2, size=n)]
    counts = rng.poisson(30 * fraction).astype(np.float32)
    return CountData(csr_matrix(counts), counts.sum(1))


def model(latent: str = "gaussian") -> CountVAE:
    """A model whose codes matter to its rates."""
    settings = ModelSettings(latent=latent, decoder="linear", likelihood="poisson", n_latent=2, n_hidden=4)
    vae = CountVAE(12, settings, seed=0)
    with torch.no_grad():
        vae.decoder.weight.weight.mul_(2.0)
        vae.encoder.head.weight.mul_(2.0)
    return vae


def objective(given: dict) -> Objective:
    settings = ModelSettings(objective=given).objective
    return OBJECTIVES[settings.kind](settings)


def gradients(given: dict, kl_weight: float, latent: str = "gaussian") -> tuple[np.ndarray, np.ndarray]:
    """Mean and SE of the gradient of the encoder's head and of the decoder, over draws."""
    vae, one = model(latent), objective(given)
    batch = Batches(data()).gather(np.arange(4)).repeat(TIMES)
    noise = torch.Generator().manual_seed(3)
    parts = [vae.encoder.head.weight, vae.encoder.head.bias, vae.decoder.weight.weight]
    found = []
    for _ in range(CHUNKS):
        loss = one.loss(vae, batch, noise, None, kl_weight).cells.mean()
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parts)]).numpy())
    values = np.array(found, dtype=np.float64)
    return values.mean(0), values.std(0, ddof=1) / np.sqrt(CHUNKS)


def apart(one: dict, other: dict, kl_weight: float = 1.0, latent: str = "gaussian") -> float:
    """Largest difference of two mean gradients, in standard errors."""
    (a, se_a), (b, se_b) = gradients(one, kl_weight, latent), gradients(other, kl_weight, latent)
    return float((np.abs(a - b) / np.hypot(se_a, se_b).clip(1e-6)).max())


ELBO = {"kind": "elbo", "draws": 8}
BOUND = {"kind": "iwae", "draws": 4}


@pytest.mark.parametrize("kl_weight", [1.0, 0.3])
@pytest.mark.parametrize(
    "given",
    [
        {"kind": "elbo"},
        {"kind": "elbo", "draws": 4, "noise": "antithetic"},
        {"kind": "elbo", "draws": 4, "noise": "stratified"},
        {"kind": "elbo", "draws": 4, "noise": "sobol"},
        {"kind": "stl", "draws": 2},
        {"kind": "score", "baseline": "none"},
        {"kind": "score", "baseline": "running", "draws": 4, "noise": "antithetic"},
        {"kind": "score", "baseline": "others", "draws": 4},
    ],
    ids=str,
)
def test_gradients_of_the_elbo_agree_in_the_mean(given: dict, kl_weight: float) -> None:
    assert apart(ELBO, given, kl_weight) < 5


@pytest.mark.parametrize("kl_weight", [1.0, 0.3])
def test_gradients_of_the_weighted_bound_agree_in_the_mean(kl_weight: float) -> None:
    assert apart(BOUND, {"kind": "dreg", "draws": 4}, kl_weight) < 5


def test_the_comparison_would_see_another_bound() -> None:
    assert apart(ELBO, BOUND) > 10
    assert apart(BOUND, {"kind": "iwae", "draws": 32}) > 10


def test_a_baseline_and_more_draws_quieten_the_score_function() -> None:
    noise = {}
    for name, given in {
        "none": {"kind": "score", "baseline": "none", "draws": 4},
        "others": {"kind": "score", "baseline": "others", "draws": 4},
        "pathwise": {"kind": "elbo", "draws": 4},
    }.items():
        noise[name] = float((gradients(given, 1.0)[1][:12] ** 2).sum())
    assert noise["none"] > 2 * noise["others"]
    assert noise["others"] > 2 * noise["pathwise"]


def test_doubly_reparameterized_is_quieter_in_the_encoder() -> None:
    plain, doubly = (float((gradients({"kind": k, "draws": 16}, 1.0)[1][:12] ** 2).sum()) for k in ("iwae", "dreg"))
    assert doubly < 0.7 * plain


def test_sticking_the_landing_is_silent_where_q_is_exact() -> None:
    """With a decoder that does not look, the posterior is the prior."""
    vae = model()
    with torch.no_grad():
        vae.decoder.weight.weight.zero_()
        vae.encoder.head.weight.zero_()
        vae.encoder.head.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0]))
    batch, loud = Batches(data()).gather(np.arange(4)), {}
    for given in ({"kind": "stl"}, {"kind": "iwae", "draws": 2}):
        loss = objective(given).loss(vae, batch, torch.Generator().manual_seed(0), None, 1.0)
        (gradient,) = torch.autograd.grad(loss.cells.mean(), [vae.encoder.head.bias])
        loud[given["kind"]] = float(gradient.abs().max())
    assert loud["stl"] < 1e-3 < loud["iwae"]


def test_bounds_are_in_order() -> None:
    vae, batch = model(), Batches(data()).gather(np.arange(80))
    with torch.no_grad():
        scores = [
            float(objective(given).score(vae, batch.repeat(20), torch.Generator().manual_seed(0)).mean())
            for given in (
                {"kind": "elbo"},
                {"kind": "iwae", "draws": 2},
                {"kind": "dreg", "draws": 8},
                {"kind": "iwae", "draws": 64, "noise": "sobol"},
            )
        ]
    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns(kind: str) -> None:
    counts = data(300)
    settings = ModelSettings(
        objective={"kind": kind, "draws": 4}, likelihood="poisson", n_latent=2, n_hidden=16, epochs=40, dropout=0.1
    )
    run = Run(counts, np.arange(50, 300), np.arange(50), settings, n_levels=(), rest=False, seed=0, device="cpu")
    assert not compiles(run.vae, run.objective)
    while not run.finished:
        run.one_epoch()
    best = max(row["validation_elbo"] for row in run.history)
    assert best > run.history[0]["validation_elbo"] + 2


@pytest.mark.parametrize("kind", ["score", "dreg"])
def test_an_interrupted_training_ends_with_the_same_bytes(kind: str, tmp_path: Path) -> None:
    settings = ModelSettings(objective=kind, likelihood="poisson", n_latent=2, n_hidden=8, epochs=6)
    options = {"n_levels": (), "rest": False, "seed": 0, "device": "cpu"}
    whole, first, second = (Run(data(), np.arange(20, 80), np.arange(20), settings, **options) for _ in range(3))
    for run, epochs in ((whole, 6), (first, 3)):
        for _ in range(epochs):
            run.one_epoch()
    torch.save(first.state(), tmp_path / "half.pt")
    second.restore(torch.load(tmp_path / "half.pt", weights_only=True))
    for _ in range(3):
        second.one_epoch()
    assert torch.equal(whole.flat.values, second.flat.values)
    assert second.history == whole.history


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "dreg", "draws": 4, "noise": "antithetic"}, "dreg works with independent draws only"),
        ({"kind": "iwae", "draws": 1}, "greater than or equal to 2"),
        ({"kind": "score", "baseline": "others"}, "baseline: others compares the draws of a cell, found draws: 1"),
        (
            {"kind": "score", "baseline": "others", "draws": 4, "noise": "sobol"},
            "baseline: others works with independent draws only, otherwise the gradient is biased, found noise: sobol",
        ),
        ({"kind": "stl", "noise": "antithetic"}, "comes in pairs"),
        ({"kind": "elbo", "baseline": "none"}, "elbo has no key 'baseline'"),
    ],
)
def test_what_is_refused(given: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ModelSettings(objective=given)


def test_the_bytes_of_the_default_do_not_depend_on_how_it_is_written() -> None:
    counts, weights = data(), []
    for given in ("elbo", {"kind": "elbo", "draws": 1, "noise": "independent"}):
        settings = ModelSettings(objective=given, n_latent=2, n_hidden=8, epochs=2)
        vae, _ = train_vae(counts, np.arange(20, 80), np.arange(20), settings)
        weights.append(vae.decoder.bias)
    assert torch.equal(*weights)
