"""A latent made of blocks is what its blocks are, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import sclatent as sl
from sclatent.model.parts.latents import LATENTS, make_latent
from sclatent.model.parts.latents.blocks import Blocks
from sclatent.settings import DatasetSettings, ModelSettings
from sclatent.tl._model.train import TrainedModel

BLOCKS = {"logistic-normal": 3, "fullrank": 2, "exponential": 2, "states": 3}


def blocks(given: dict | None = None) -> Blocks:
    settings = ModelSettings(latent=BLOCKS if given is None else given)
    made = make_latent(settings.latent, settings.n_axes)
    assert isinstance(made, Blocks)
    return made


def test_sizes_are_those_of_the_blocks() -> None:
    one = blocks()
    alone = [LATENTS[kind](part.given, n) for (kind, n), part in zip(BLOCKS.items(), one.parts, strict=True)]
    for name in ("n_axes", "n_code", "n_noise", "n_parameters"):
        assert getattr(one, name) == sum(getattr(part, name) for part in alone)
    assert one.turning() == [slice(3, 5)]


def test_what_the_blocks_say_one_by_one() -> None:
    one = blocks()
    raw = torch.randn(4, one.n_parameters, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    eps = torch.randn(6, 4, one.n_noise, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    q = one.posterior(raw, 1.0)
    code = q.sample(eps)
    parts = [part.posterior(raw[:, at], 1.0) for part, at in zip(one.parts, one.heads, strict=True)]
    codes = [part.sample(eps[..., at]) for part, at in zip(parts, one.noises, strict=True)]
    assert torch.equal(code, torch.cat(codes, -1))
    drawn, kl = q.draw(eps)
    assert torch.equal(drawn, code)
    torch.testing.assert_close(kl, torch.cat([part.kl() for part in parts], -1))
    for name in ("log_q", "log_prior"):
        each = [getattr(part, name)(z) for part, z in zip(parts, codes, strict=True)]
        torch.testing.assert_close(getattr(q, name)(code), torch.stack(each).sum(0))
    torch.testing.assert_close(q.log_ratio(code, eps), q.log_prior(code) - q.log_q(code), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(q.mean(), torch.cat([part.mean() for part in parts], -1))
    axes = q.along(torch.eye(one.n_axes, dtype=torch.float64))
    np.testing.assert_allclose(axes.sd, q.sd(), rtol=1e-6)
    assert not q.detached().log_q(code).requires_grad


@pytest.mark.parametrize("axis", range(10))
def test_a_step_stays_within_its_block(axis: int) -> None:
    one = blocks()
    raw = torch.randn(4, one.n_parameters, generator=torch.Generator().manual_seed(0))
    q = one.posterior(raw, 1.0)
    z = q.mean().detach()
    block = next(k for k, at in enumerate(one.axes) if axis < at.stop)
    others = np.ones(one.n_axes, dtype=bool)
    others[one.axes[block]] = False
    for moved in (one.moved(z, axis, 0.3), one.placed(z, axis, 0.3), torch.from_numpy(one.moved(z.numpy(), axis, 0.3))):
        assert torch.equal(moved[:, others], z[:, others])
        assert not torch.equal(moved, z)
        torch.testing.assert_close(one.axes_at(one.code_at(moved)), moved)
    code = q.sample(torch.zeros(2, 4, one.n_noise))
    stepped = q.moved(code, axis, 0.3)
    assert torch.equal(stepped[..., others], code[..., others])


@pytest.fixture(scope="module")
def world():  # type: ignore[no-untyped-def]
    small = {"n_hidden": 32, "epochs": 150, "refit": False}
    models = {
        "amounts": small | {"latent": {"lognormal": 2, "gaussian": 3}},
        "states": small | {"latent": {"gaussian": 2, "states": 3}},
    }
    settings = DatasetSettings.model_validate({"name": "t", "file": "t.yaml", "counts": "-", "models": models})
    prepared = sl.pp.prepare(sl.data.simulate(250, 150, median_library=20_000, seed=1), **settings.parts(sl.pp.prepare))
    return prepared, sl.tl.cycle(prepared, **settings.parts(sl.tl.cycle)), settings


@pytest.mark.parametrize("model", ["amounts", "states"])
def test_through_the_stages(world, model: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    prepared, cycle, settings = world
    sl.tl.train(prepared, model=settings.models[model]).save(tmp_path)
    trained = TrainedModel.load(tmp_path)
    assert isinstance(trained.vae.latent, Blocks)
    latent = sl.tl.embed(prepared, trained)
    assert latent.shape == (prepared.n_obs, 5)
    assert np.isfinite(latent.varm["loadings"]).all()
    rotation = trained.vae.rotation.numpy()
    (turned,) = trained.vae.latent.turning()
    inside = np.zeros((5, 5), dtype=bool)
    inside[turned, turned] = True
    assert not np.allclose(rotation[inside], np.eye(5)[inside])  # the Gaussian block is turned
    np.testing.assert_array_equal(rotation[~inside], np.eye(5)[~inside])  # and nothing else
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(5), atol=1e-5)
    drawn = trained.vae.draws(sl.tl.inputs(prepared, trained.card), np.arange(5), 4000)
    np.testing.assert_allclose(drawn.mean(0), latent.X[:5], atol=0.15)
    metrics = sl.tl.evaluate(prepared, trained, latent=latent, samples=20, refine=5 if model == "amounts" else 0)
    assert metrics["test"]["elbo"] <= metrics["test"]["marginal"] < 0
    assert all(kl is not None for kl in metrics["kl_per_axis"])
    paths = sl.tl.traverse(prepared, cycle, latent, trained, **settings.parts(sl.tl.traverse))
    assert np.isfinite(paths.X).all()
    assert np.isfinite(sl.tl.query(prepared, trained).X).all()
    if model == "amounts":
        assert metrics["refined"]["gain"] > 0
        assert (latent.X[:, :2] > 0).all()
        assert np.isfinite(sl.tl.refine(prepared, trained, steps=3).X).all()
    else:
        assert list(latent.obs["state"].cat.categories) == ["axis_3", "axis_4", "axis_5"]
        np.testing.assert_array_equal(latent.obsm["state_probability"], latent.X[:, 2:])
        with pytest.raises(ValueError, match=r"refine: latent: \{gaussian: 2, states: 3\} has no posterior"):
            sl.tl.refine(prepared, trained)
