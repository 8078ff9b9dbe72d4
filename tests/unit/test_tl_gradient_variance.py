"""The noise of gradients on cells, and on toys whose noise is known."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

import sclatent as sl
from sclatent.model.parts.latents.gaussian import GaussianPosterior
from sclatent.settings import InputError


@pytest.fixture(scope="module")
def world():  # type: ignore[no-untyped-def]
    from sclatent.settings import DatasetSettings

    small = {"n_latent": 3, "n_hidden": 16, "epochs": 80, "refit": False, "decoder": "linear"}
    settings = DatasetSettings.model_validate(
        {
            "name": "t",
            "file": "t.yaml",
            "counts": "-",
            "models": {k: small | {"latent": k} for k in ("gaussian", "point", "states")},
        }
    )
    prepared = sl.pp.prepare(sl.data.simulate(250, 100, median_library=20_000, seed=1), **settings.parts(sl.pp.prepare))
    return prepared, {
        kind: sl.tl.train(prepared, model=settings.models[kind], **settings.parts(sl.tl.train))
        for kind in settings.models
    }


def test_the_table(world) -> None:  # type: ignore[no-untyped-def]
    prepared, trained = world
    table = sl.tl.gradient_variance(prepared, trained["gaussian"], cells=12, repeats=40)
    assert len(table) == 18
    assert np.isfinite(table.select_dtypes(float)).all().all()
    assert ((table["low"] <= table["relative"]) & (table["relative"] <= table["high"])).mean() > 0.8
    encoder = table[table["group"] == "encoder"].set_index("objective")["relative"]
    assert 0.4 < encoder["elbo"] < 2.5
    assert encoder["elbo draws=8 noise=stratified"] < 0.8
    assert encoder["score baseline=none"] > 20 * encoder["elbo"]
    assert encoder["score baseline=others draws=8"] < 0.3 * encoder["score baseline=none"]
    assert encoder["dreg draws=8"] < encoder["iwae draws=8"]
    assert table["p"].min() > 0.001
    again = sl.tl.gradient_variance(prepared, trained["gaussian"], objectives=["stl"], cells=12, repeats=40)
    timed = ["objective", "seconds", "relative_per_second"]
    assert (
        again.drop(columns=timed).to_numpy() == table[table["objective"] == "stl"].drop(columns=timed).to_numpy()
    ).all()
    assert (table["seconds"] > 0).all()
    per_decode = table["seconds"] / table["draws"]
    np.testing.assert_allclose(
        table["relative_per_second"] / table["relative"] / per_decode,
        (table["relative_per_second"] / table["relative"] / per_decode).iloc[0],
    )
    fig = sl.pl.gradient_variance(table)
    assert len(fig.axes) == 2
    assert fig.axes[0].get_xscale() == "log"
    plt.close(fig)


def test_agreement_sees_a_bias(world) -> None:  # type: ignore[no-untyped-def]
    """The weighted bound has another mean gradient than the ELBO."""
    from sclatent.model import Batches
    from sclatent.tl._gradients.moments import Moment
    from sclatent.tl._gradients.variance import _Gradients, _objective

    prepared, trained = world
    vae = trained["gaussian"].vae
    batch = Batches(sl.tl.inputs(prepared, trained["gaussian"].card)).gather(np.arange(40))
    elbo, same, other = (
        _Gradients(Moment("end", vae, 1.0), _objective(vae, given), batch, 100, seed)
        for seed, given in enumerate([{"kind": "stl", "draws": 8}, {"kind": "elbo"}, {"kind": "dreg", "draws": 16}])
    )
    assert same.agreement(elbo, "encoder", 0)[1] > 0.01
    away, p = other.agreement(elbo, "encoder", 0)
    assert away > 4
    assert p < 0.01


def test_states_and_points(world) -> None:  # type: ignore[no-untyped-def]
    prepared, trained = world
    table = sl.tl.gradient_variance(prepared, trained["states"], cells=20, repeats=10)
    assert set(table["bound"]) == {"elbo"}
    assert (table[table["group"] == "encoder"]["variance"] > 0).all()
    assert trained["states"].vae.progress == 1
    still = sl.tl.gradient_variance(prepared, trained["point"], cells=20, repeats=5)
    assert (still["variance"] == 0).all()
    assert still[["relative", "low", "agreement", "p"]].isna().all().all()
    plt.close(sl.pl.gradient_variance(still))
    with pytest.raises(InputError, match="gradient_variance: iwae: objective: iwae needs the density"):
        sl.tl.gradient_variance(prepared, trained["point"], objectives=["iwae"])
    with pytest.raises(InputError, match="repeats: 2 gradients are too few"):
        sl.tl.gradient_variance(prepared, trained["gaussian"], repeats=2)


def test_at_three_moments(world, tmp_path) -> None:  # type: ignore[no-untyped-def]
    prepared, trained = world
    model = trained["gaussian"]
    before = {name: value.clone() for name, value in model.vae.state_dict().items()}
    moments = ("start", "tenth", "end")
    some = {"cells": 12, "repeats": 12, "objectives": ["stl", {"kind": "score", "baseline": "none"}]}
    table = sl.tl.gradient_variance(prepared, model, moments=moments, **some)
    assert list(dict.fromkeys(table["moment"])) == list(moments)
    encoder = table[(table["group"] == "encoder") & (table["objective"] == "score baseline=none")]
    assert (encoder["relative"] > 5).all()
    assert encoder["variance"].nunique() == 3
    last = sl.tl.gradient_variance(prepared, model, **some)
    assert (last["variance"].to_numpy() == table[table["moment"] == "end"]["variance"].to_numpy()).all()
    assert all(torch.equal(value, before[name]) for name, value in model.vae.state_dict().items())
    assert model.vae.progress == 1
    sl.io.write_table(table, tmp_path / "gradients.tsv")
    fig = sl.pl.gradient_variance(sl.bridge.read_table(tmp_path / "gradients.tsv"))
    assert len(fig.axes) == 6
    plt.close(fig)
    with pytest.raises(InputError, match="no moment 'middle': known: start, tenth, end"):
        sl.tl.gradient_variance(prepared, model, moments=["middle"])


def test_the_weights_after_a_tenth_are_those_that_training_went_through(world) -> None:  # type: ignore[no-untyped-def]
    """With the whole of the schedule the model of the training itself comes out, but for the average of its weights."""
    from sclatent.model import early_model, train_vae

    prepared, trained = world
    model = trained["gaussian"]
    data = sl.tl.inputs(prepared, model.card)
    cells = np.flatnonzero(prepared.obs["split"] == "train")
    start, weight = early_model(data, cells, model.vae.settings, 0.0)
    early, later = early_model(data, cells, model.vae.settings, 0.1)
    assert weight < later < 1
    assert 0 < early.progress < 0.2
    settings = model.vae.settings
    whole, _ = early_model(data, cells, settings, 1.0)
    full, _ = train_vae(data, cells, np.empty(0, np.int64), settings)

    def away(vae) -> float:  # type: ignore[no-untyped-def]
        return float((vae.decoder.bias - full.decoder.bias).norm())

    assert away(whole) < 0.2 * away(early) < 0.2 * away(start) + 1


def test_where_the_noise_comes_from(world) -> None:  # type: ignore[no-untyped-def]
    prepared, trained = world
    model = trained["gaussian"]
    table = sl.tl.gradient_noise(prepared, model, cells=20, batches=6)
    assert len(table) == 3 * 2 * 3
    np.testing.assert_allclose(table.groupby(["moment", "group"])["share"].sum(), 1)
    assert ((table["low"] <= table["share"] + 0.05) & (table["share"] <= table["high"] + 0.05)).all()
    share = table.set_index(["moment", "group", "source"])["share"]
    assert share["end", "encoder", "draws"] > 0.3
    pd.testing.assert_frame_equal(table, sl.tl.gradient_noise(prepared, model, cells=20, batches=6))
    fig = sl.pl.gradient_noise(table)
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["encoder", "decoder"]
    plt.close(fig)
    for name in ("batches", "masks", "draws"):
        with pytest.raises(InputError, match=f"gradient_noise: {name}: 1 is too few for a variance"):
            sl.tl.gradient_noise(prepared, model, **{name: 1})
    # a point has nothing to draw, and without dropout there are no masks
    still = sl.tl.gradient_noise(prepared, trained["point"], cells=20, batches=4, moments=["end"])
    share = still.set_index(["group", "source"])["variance"]
    assert share["encoder", "draws"] == 0
    assert share["encoder", "cells"] > 0
    dry = sl.tl.train(prepared, model={"n_latent": 3, "n_hidden": 16, "epochs": 5, "refit": False, "dropout": 0})
    found = sl.tl.gradient_noise(prepared, dry, cells=20, batches=4, masks=2, draws=40, moments=["end"])
    share = found.set_index(["group", "source"])["share"]
    assert share["encoder", "dropout"] < 0.1


# --- toys ---


def toy(sigma: float, f, way: str, n: int = 200_000) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """Gradients of E f(z), z ~ N(μ, σ²), with respect to μ and σ at μ = 1, one row per draw."""
    mu = torch.ones(n, 1, dtype=torch.float64, requires_grad=True)
    sd = torch.full((n, 1), sigma, dtype=torch.float64, requires_grad=True)
    q = GaussianPosterior(mu, sd)
    eps = torch.randn(1, n, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = q.sample(eps)
    loss = f(z).sum() if way == "pathwise" else (f(z.detach())[..., 0] * q.log_q(z.detach())).sum()
    return torch.cat(torch.autograd.grad(loss, [mu, sd]), 1)


def test_resamples_have_the_variance_of_the_rows_in_the_mean() -> None:
    from sclatent.tl._gradients.variance import resampled

    rows = np.random.default_rng(0).normal(size=(12, 400))
    times, variances = resampled(rows, np.random.default_rng(1))
    assert (times.sum(1) == 12).all()
    error = variances.std(ddof=1) / np.sqrt(len(variances))
    assert abs(variances.mean() - rows.var(0, ddof=1).sum()) < 4 * error
    # by hand, one resample
    again = np.repeat(rows, times[0].astype(int), axis=0)
    assert variances[0] == pytest.approx(again.var(0, ddof=1).sum() * 12 / 11)


def test_quadratic() -> None:
    """Pathwise: variance 4σ². Score function: 1/σ² + 14 + 15σ², which grows as σ falls. One mean, 2μ."""
    noise = {}
    for sigma in (0.5, 0.2, 0.05):
        path, score = (toy(sigma, torch.square, way)[:, 0] for way in ("pathwise", "score"))
        assert abs(float(path.mean()) - 2) < 0.02
        assert abs(float(score.mean()) - 2) < 5 * float(score.std()) / np.sqrt(200_000)
        assert abs(float(path.var()) / (4 * sigma**2) - 1) < 0.02
        noise[sigma] = float(score.var())
        assert abs(noise[sigma] / (sigma**-2 + 14 + 15 * sigma**2) - 1) < 0.06
    assert noise[0.5] < noise[0.2] < noise[0.05]


def test_linear() -> None:
    """Pathwise: no variance at all in μ, and ∂L/∂σ = ε ∂L/∂z."""
    path = toy(0.5, lambda z: 3 * z, "pathwise")
    assert float(path[:, 0].var()) == 0
    eps = torch.randn(1, 200_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(path[:, 1], 3 * eps.flatten())
    assert float(toy(0.5, lambda z: 3 * z, "score")[:, 0].var()) > 10


def test_a_step_has_no_pathwise_gradient_but_a_score() -> None:
    """Of P(z > 1.5): the pathwise gradient is 0, which is wrong; the score function finds the density."""
    step = lambda z: (z > 1.5).to(z.dtype) + 0 * z  # noqa: E731
    assert float(toy(0.5, step, "pathwise").abs().max()) == 0
    truth = torch.distributions.Normal(1.0, 0.5).log_prob(torch.tensor(1.5)).exp()
    assert abs(float(toy(0.5, step, "score")[:, 0].mean() - truth)) < 0.02
