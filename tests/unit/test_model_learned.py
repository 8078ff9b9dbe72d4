"""Latents with weights of their own: a mixture of states as the prior, an affine flow on the posterior."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.metrics import adjusted_rand_score
from torch import distributions as d

import sclatent as sl
from sclatent.model import LATENTS, CountData, Latent, train_vae
from sclatent.model.parts.latents.blocks import make_latent
from sclatent.settings import DatasetSettings, ModelSettings
from sclatent.settings.kinds import parts as kinds
from sclatent.tl._model.train import TrainedModel


def latent(kind: str, n_axes: int = 3, **options: int) -> Latent:
    one = LATENTS[kind](kinds.LATENTS[kind](**options), n_axes)
    one.fill(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in one.parameters():  # away from where training starts
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator))
    return one.double()


def posterior(one: Latent, cells: int = 2, seed: int = 0):  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(seed)
    return one.posterior(0.7 * torch.randn(cells, one.n_parameters, generator=generator, dtype=torch.float64))


def noise(draws: int, n_axes: int = 3, cells: int = 2) -> torch.Tensor:
    return torch.randn(draws, cells, n_axes, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_mixture_is_that_of_pytorch() -> None:
    one = latent("mixture", states=4)
    q, code = posterior(one), 2 * noise(50)
    prior = one.prior
    parts = d.Independent(d.Normal(prior.centres, prior.log_sd.clamp(-3, 1).exp()), 1)
    theirs = d.MixtureSameFamily(d.Categorical(logits=prior.logits), parts)
    torch.testing.assert_close(q.log_prior(code), theirs.log_prob(code))
    torch.testing.assert_close(q.log_q(code), d.Independent(d.Normal(q.mean(), q.sd()), 1).log_prob(code))
    share = d.Categorical(logits=prior.logits).probs * parts.log_prob(code[0][:, None]).exp()
    torch.testing.assert_close(one.states(code[0]), share / share.sum(1, keepdim=True))
    assert q.kl() is None


@pytest.mark.parametrize(("layers", "n_axes"), [(1, 2), (2, 3), (5, 4)])
def test_the_flow_is_a_density(layers: int, n_axes: int) -> None:
    one = latent("flow", n_axes, layers=layers)
    q, eps = posterior(one), noise(40, n_axes)
    code = q.sample(eps)
    back, grown = one.layers.inverse(code)
    torch.testing.assert_close(back, q._m + q._s * eps)
    torch.testing.assert_close(q.log_ratio(code, eps), q.log_prior(code) - q.log_q(code))
    y = back[0, 0].detach()
    jacobian = torch.autograd.functional.jacobian(lambda at: one.layers(at)[0], y)
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], grown[0, 0])
    # the change of variables, written once more
    base = d.Independent(d.Normal(q._m, q._s), 1).log_prob(back)
    torch.testing.assert_close(q.log_q(code), base - grown)


def test_the_density_of_a_flow_integrates_to_one() -> None:
    q = posterior(latent("flow", 2, layers=3), 1)
    at = torch.linspace(-8, 8, 801, dtype=torch.float64)
    code = torch.stack(torch.meshgrid(at, at, indexing="ij"), -1).reshape(-1, 1, 2)
    total = float(q.log_q(code).detach().exp().sum()) * float(at[1] - at[0]) ** 2
    assert abs(total - 1) < 1e-3


def test_a_flow_begins_as_the_gaussian_and_its_moments_are_those_of_its_draws() -> None:
    fresh = LATENTS["flow"](kinds.LATENTS["flow"](), 3)
    fresh.fill(torch.Generator().manual_seed(0))
    raw, eps = torch.randn(2, 6, generator=torch.Generator().manual_seed(2)), noise(9).float()
    torch.testing.assert_close(
        fresh.posterior(raw).sample(eps), LATENTS["gaussian"](kinds.LATENTS["gaussian"](), 3).posterior(raw).sample(eps)
    )
    q = posterior(latent("flow"))
    drawn = q.sample(noise(40_000)).detach()
    turn = torch.from_numpy(np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0])
    axes = q.along(turn)
    np.testing.assert_allclose(axes.mean, (drawn @ turn.T).mean(0), atol=0.12)
    np.testing.assert_allclose(axes.sd, (drawn @ turn.T).std(0), rtol=0.15)
    assert np.isnan(axes.kl).all()


@pytest.mark.parametrize("kind", ["mixture", "flow"])
def test_what_is_held_still_gets_no_gradient(kind: str) -> None:
    one = latent(kind)
    raw = torch.randn(2, one.n_parameters, dtype=torch.float64, requires_grad=True)
    q = one.posterior(raw)
    code = q.sample(noise(5))
    log_q = q.detached().log_q(code.detach())
    assert not log_q.requires_grad
    assert q.log_q(code).requires_grad
    through = q.detached().log_q(code.detach().requires_grad_())
    assert through.requires_grad  # the code's own gradient goes through
    assert all(parameter.requires_grad for parameter in one.parameters())


def test_blocks_learn_what_their_parts_learn() -> None:
    settings = ModelSettings(latent={"gaussian": 2, "mixture": {"axes": 3, "states": 4}, "flow": 2})
    one = make_latent(settings.latent, settings.n_axes)
    assert len(list(one.parameters())) == 3 + 2 * 4
    assert one.turning() == [slice(0, 2), slice(5, 7)]
    assert one.states(torch.zeros(5, 7)).shape == (5, 4)


def test_the_mixture_finds_groups() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(3, size=240)
    rate = np.exp(rng.normal(0, 1, 60) + rng.normal(0, 0.6, (3, 60))[group] + 0.3 * rng.normal(size=(240, 60)))
    counts = csr_matrix(rng.poisson(400 * rate / rate.sum(1, keepdims=True)).astype(np.float32))
    data = CountData(counts, np.asarray(counts.sum(1)).ravel())
    settings = ModelSettings(latent={"kind": "mixture", "states": 6}, n_latent=4, n_hidden=32, epochs=80)
    vae, _ = train_vae(data, np.arange(200), np.arange(200, 240), settings)
    mean = torch.from_numpy(vae.posterior(data)[0])
    with torch.no_grad():
        state = vae.latent.states(mean).argmax(1)
    assert adjusted_rand_score(group, state) > 0.75
    assert len(state.unique()) < 6 or adjusted_rand_score(group, state) > 0.9


@pytest.fixture(scope="module")
def world():  # type: ignore[no-untyped-def]
    prepared = sl.pp.prepare(sl.data.simulate(250, 150, median_library=20_000, seed=1))
    return prepared, sl.tl.cycle(prepared)


@pytest.mark.parametrize("kind", ["mixture", "flow"])
def test_through_the_stages(world, kind: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    prepared, cycle = world
    model = {"latent": kind, "n_latent": 4, "n_hidden": 32, "epochs": 60, "refit": False}
    settings = DatasetSettings.model_validate({"name": "t", "file": "t.yaml", "counts": "-", "models": {kind: model}})
    first = sl.tl.train(prepared, model=settings.models[kind])
    second = sl.tl.train(prepared, model=settings.models[kind])
    state = first.vae.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in second.vae.state_dict().items())
    learned = [name for name in state if name.startswith("latent.")]
    assert learned
    first.save(tmp_path)
    trained = TrainedModel.load(tmp_path)
    assert all(torch.equal(trained.vae.state_dict()[name], state[name]) for name in learned)
    latent = sl.tl.embed(prepared, trained)
    assert np.isfinite(latent.X).all()
    assert latent.var["kl"].isna().all()
    metrics = sl.tl.evaluate(prepared, trained, latent=latent, samples=20, refine=5)
    assert metrics["test"]["elbo"] <= metrics["test"]["marginal"] < 0
    assert metrics["refined"]["gain"] > -1
    axes = sl.tl.annotate(prepared, cycle, latent, **settings.parts(sl.tl.annotate))
    assert len(axes) == 4
    assert np.isfinite(sl.tl.traverse(prepared, cycle, latent, trained, **settings.parts(sl.tl.traverse)).X).all()
    if kind == "mixture":
        assert latent.obsm["state_probability"].shape == (250, 10)
        np.testing.assert_allclose(latent.obsm["state_probability"].sum(1), 1, rtol=1e-5)
    else:
        assert "state" not in latent.obs
