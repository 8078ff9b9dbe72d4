"""Models of other latents on the way through the stages: embedded, judged, traversed, joined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sclatent as sl
from sclatent.tl._model.train import TrainedModel


@pytest.fixture(scope="module")
def world():  # type: ignore[no-untyped-def]
    from sclatent.settings import DatasetSettings

    kinds = ("point", "fullrank", "lognormal", "dirichlet", "states")
    small = {"n_latent": 4, "n_hidden": 32, "epochs": 150, "refit": False}
    settings = DatasetSettings.model_validate(
        {"name": "t", "file": "t.yaml", "counts": "-", "models": {kind: small | {"latent": kind} for kind in kinds}}
    )
    prepared = sl.pp.prepare(sl.data.simulate(250, 150, median_library=20_000, seed=1), **settings.parts(sl.pp.prepare))
    return prepared, sl.tl.cycle(prepared, **settings.parts(sl.tl.cycle)), settings


@pytest.mark.parametrize("kind", ["point", "fullrank", "lognormal", "dirichlet", "states"])
def test_through_the_stages(world, kind: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    prepared, cycle, settings = world
    sl.tl.train(prepared, model=settings.models[kind], **settings.parts(sl.tl.train)).save(tmp_path)
    trained = TrainedModel.load(tmp_path)
    assert trained.vae.latent.given.kind == kind
    latent = sl.tl.embed(prepared, trained)
    assert np.isfinite(latent.X).all()
    assert np.isfinite(latent.layers["sd"]).all()
    assert np.isfinite(latent.varm["loadings"]).all()
    turned = not np.allclose(trained.vae.rotation, np.eye(4))
    assert turned == (kind == "fullrank")
    metrics = sl.tl.evaluate(prepared, trained, samples=20)
    test = metrics["test"]
    if kind == "point":
        assert test["marginal"] is None
        assert test["elbo"] is None
        assert np.isfinite(test["fit"])
        axes = sl.tl.annotate(prepared, cycle, latent, **settings.parts(sl.tl.annotate))
        chosen, _ = sl.tl.select({0: metrics, 1: metrics}, {0: latent, 1: latent}, {0: axes, 1: axes})
        assert chosen["criterion"].startswith("largest log-likelihood at the point")
        assert chosen["value"] == metrics["validation"]["fit"]
    else:
        assert test["elbo"] <= test["marginal"] < 0
        assert test["kl"] > 0
    paths = sl.tl.traverse(prepared, cycle, latent, trained, **settings.parts(sl.tl.traverse))
    assert np.isfinite(paths.X).all()
    assert np.isfinite(paths.layers["sd"]).all()
    assert (paths.layers["sd"].max() > 0) == (kind != "point")
    assert np.isfinite(sl.tl.query(prepared, trained).X).all()
    assert ("state" in latent.obs) == (kind == "states")
    if kind == "states":
        probability = latent.obsm["state_probability"]
        np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)
        assert (latent.obs["state"].cat.codes.to_numpy() == probability.argmax(1)).all()
        axes = sl.tl.annotate(prepared, cycle, latent, **settings.parts(sl.tl.annotate))
        atlas = sl.atlas.build(
            prepared,
            cycle,
            latent,
            sl.tl.map(latent, settings.map),
            axes,
            card=trained.card,
            name=settings.name,
            config=sl.settings.section_json(settings),
            **settings.parts(sl.atlas.build),
        )
        assert (atlas.obs["state"] == latent.obs["state"].to_numpy()).all()
        np.testing.assert_array_equal(atlas.obsm["state_probability"], probability)
        assert len(atlas.uns["state_colors"]) == 4


def test_draws_are_those_of_the_posterior_along_the_turned_axes(world) -> None:  # type: ignore[no-untyped-def]
    prepared, _, settings = world
    trained = sl.tl.train(prepared, model=settings.models["fullrank"], **settings.parts(sl.tl.train))
    latent = sl.tl.embed(prepared, trained)
    data = sl.tl.inputs(prepared, trained.card)
    drawn = trained.vae.draws(data, np.arange(5), 4000)
    np.testing.assert_allclose(drawn.mean(0), latent.X[:5], atol=0.08)
    np.testing.assert_allclose(drawn.std(0), latent.layers["sd"][:5], rtol=0.08)
