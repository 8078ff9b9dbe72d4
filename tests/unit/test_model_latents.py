"""The latents against `torch.distributions`, quadrature and finite differences, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, special
from torch import Tensor, distributions

from sclatent.model import LATENTS, CountVAE, Latent, Posterior
from sclatent.model.parts.latents.implicit import (
    beta_draw,
    beta_with_slopes,
    gamma_draw,
    gamma_with_slope,
    slope_of_beta,
    slope_of_gamma,
)
from sclatent.settings import ModelSettings
from sclatent.settings.kinds import parts as kinds

ELSEWHERE = ("gaussian", "circle", "mixture", "flow")  # test_model_circle.py, test_model_learned.py
OTHERS = [kind for kind in LATENTS if kind not in ELSEWHERE]
RANDOM = [kind for kind in OTHERS if kind != "point"]
DENSE = [kind for kind in RANDOM if kind != "states"]
SHARES = ("dirichlet", "logistic-normal", "states")


def latent(kind: str, n_axes: int = 3) -> Latent:
    return LATENTS[kind](kinds.LATENTS[kind](), n_axes)


def posterior(kind: str, n_axes: int = 3, cells: int = 2, seed: int = 0) -> Posterior:
    one = latent(kind, n_axes)
    generator = torch.Generator().manual_seed(seed)
    raw = 0.7 * torch.randn(cells, one.n_parameters, generator=generator, dtype=torch.float64)
    return one.posterior(raw.requires_grad_())


def noise(kind: str, draws: int, n_axes: int = 3, cells: int = 2) -> Tensor:
    shape = (draws, cells, latent(kind, n_axes).n_noise)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def theirs(kind: str, q: Posterior) -> tuple[distributions.Distribution, distributions.Distribution] | None:
    """Return q and the prior as PyTorch has them."""
    d = distributions
    one, zero = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    match kind:
        case "fullrank":
            return d.MultivariateNormal(q._mean, scale_tril=q._factor), d.MultivariateNormal(
                zero, torch.eye(3).double()
            )
        case "lognormal":
            return d.LogNormal(q.mu, q.sigma), d.LogNormal(zero, one)
        case "exponential":
            return d.Exponential(q.log_rate.exp()), d.Exponential(one)
        case "gamma":
            return d.Gamma(q.shape, q.log_rate.exp()), d.Gamma(one, one)
        case "beta":
            return d.Beta(q.a, q.b), d.Beta(one, one)
        case "dirichlet":
            return d.Dirichlet(q.alpha), d.Dirichlet(one)
    return None


@pytest.mark.parametrize("kind", [k for k in DENSE if k != "logistic-normal"])
def test_densities_kl_and_moments_are_those_of_pytorch(kind: str) -> None:
    q = posterior(kind)
    known, prior = theirs(kind, q)
    code = q.sample(noise(kind, 6)).detach()
    for ours, other in ((q.log_q(code), known.log_prob(code)), (q.log_prior(code), prior.log_prob(code))):
        torch.testing.assert_close(ours, other if other.dim() == 2 else other.sum(-1), rtol=1e-6, atol=1e-6)
    kl = distributions.kl_divergence(known, prior)
    torch.testing.assert_close(q.kl().sum(1), kl if kl.dim() == 1 else kl.sum(1), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(q.mean(), known.mean)
    torch.testing.assert_close(q.sd(), known.variance.sqrt())


@pytest.mark.parametrize("kind", RANDOM)
def test_every_kl_is_its_sampled_estimate_and_draws_have_the_moments(kind: str) -> None:
    q, eps = posterior(kind), noise(kind, 60_000)
    code = q.sample(eps)
    ratio = -q.log_ratio(code, eps)
    error = ratio.std(0) / np.sqrt(len(eps))
    assert float(((ratio.mean(0) - q.kl().sum(1)).abs() / error).max()) < 4.5
    torch.testing.assert_close(q.log_ratio(code, eps), q.log_prior(code) - q.log_q(code), rtol=1e-5, atol=1e-4)
    tolerance = 0.08 if kind == "logistic-normal" else 0.02  # its moments are over 64 fixed draws
    torch.testing.assert_close(code.mean(0), q.mean(), rtol=tolerance, atol=0.01)
    torch.testing.assert_close(code.std(0), q.sd(), rtol=0.1, atol=0.01)
    assert (q.kl().sum(1) > 0).all()
    assert not q.detached().log_q(code.detach()).requires_grad


@pytest.mark.parametrize("kind", DENSE)
def test_every_log_q_integrates_to_one(kind: str) -> None:
    n = 2 if kind in SHARES else 1
    q = posterior(kind, n, cells=1)

    def density(x: float) -> float:
        code = torch.tensor([[[x, 1 - x]]] if n == 2 else [[[x]]], dtype=torch.float64)
        return float(q.log_q(code).exp().detach())

    low, high = {"fullrank": (-40.0, 40.0), "beta": (0, 1), "dirichlet": (0, 1), "logistic-normal": (0, 1)}.get(
        kind, (0.0, 200.0)
    )
    middle = [0.01, 0.1, 0.5, 1.0, 3.0] if high > 1 else [0.01, 0.2, 0.8, 0.99]
    total, _ = integrate.quad(density, low, high, points=middle, limit=400)
    assert abs(total - 1) < 1e-4


@pytest.mark.parametrize("kind", DENSE)
def test_the_gradient_of_a_draw_is_how_the_draw_moves(kind: str) -> None:
    """Finite differences of the inverse distribution function, the noise held still."""
    one, eps = latent(kind), noise(kind, 20)
    raw = torch.randn(2, one.n_parameters, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weight = torch.randn(20, 2, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def value(at: Tensor) -> Tensor:
        return (one.posterior(at).sample(eps) * weight).sum()

    (found,) = torch.autograd.grad(value(raw.requires_grad_()), raw)
    expected, h = torch.zeros_like(raw), 1e-5
    for index in np.ndindex(*raw.shape):
        step = torch.zeros_like(raw)
        step[index] = h
        expected[index] = float(value(raw.detach() + step) - value(raw.detach() - step)) / (2 * h)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [0.1, 0.3, 1.0, 7.0, 300.0])
def test_implicit_gradients(shape: float) -> None:
    """Those of gamma as PyTorch has them, both against finite differences of scipy's distribution functions."""
    u = np.linspace(0.02, 0.98, 25)
    z = special.gammaincinv(shape, u)
    h = 1e-4 * shape
    expected = (special.gammaincinv(shape + h, u) - special.gammaincinv(shape - h, u)) / (2 * h)
    np.testing.assert_allclose(slope_of_gamma(np.full_like(z, shape), z), expected, rtol=1e-3)
    known = torch._standard_gamma_grad(torch.full((25,), shape, dtype=torch.float64), torch.from_numpy(z))
    np.testing.assert_allclose(slope_of_gamma(np.full_like(z, shape), z), known, rtol=1e-3)
    for other in (0.2, 2.0):
        b = np.full_like(z, other)
        x = special.betaincinv(shape, other, u)
        inside = (x > 1e-12) & (x < 1 - 1e-6)
        expected = (special.betaincinv(shape + h, other, u) - special.betaincinv(shape - h, other, u)) / (2 * h)
        found = slope_of_beta(np.full_like(z, shape), b, x)
        np.testing.assert_allclose(found[inside], expected[inside], rtol=2e-3, atol=1e-9)


def shapes_and_noise(n: int = 6000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All shapes that there are, of either kind beside any of the other, and noise up to where float32 draws end."""
    rng = np.random.default_rng(0)
    a, b = np.exp(rng.uniform(np.log(0.1), np.log(1000), (2, n)))
    eps = np.stack([rng.normal(size=n), rng.uniform(-6.5, 6.5, n)])
    a[:4], b[:4] = (0.1, 1000, 0.1, 1000), (0.1, 1000, 1000, 0.1)
    return a, b, eps


def assert_alike(found: np.ndarray, expected: np.ndarray, rtol: float, where: np.ndarray) -> None:
    assert where.mean() > 0.5
    np.testing.assert_allclose(found[where], expected[where], rtol=rtol)


def test_gamma_draws_are_those_of_scipy_at_every_shape_and_in_the_tails() -> None:
    """To what float32 holds."""
    a, _, eps = shapes_and_noise()
    z, slope = gamma_with_slope(a, eps)
    lower, upper = special.gammaincinv(a, special.ndtr(eps)), special.gammainccinv(a, special.ndtr(-eps))
    expected = np.where(eps < 0, lower, upper)
    assert_alike(z, expected, 3e-7, expected > 1e-200)
    assert_alike(slope, slope_of_gamma(np.broadcast_to(a, z.shape), expected), 3e-6, expected > 1e-30)


def test_beta_draws_are_those_of_scipy_at_every_shape_and_in_the_tails() -> None:
    a, b, eps = shapes_and_noise()
    z, *slopes = beta_with_slopes(a, b, eps)
    lower, upper = special.betaincinv(a, b, special.ndtr(eps)), special.betaincinv(b, a, special.ndtr(-eps))
    expected = np.where(eps < 0, lower, 1 - upper)
    inside = (expected > 1e-6) & (expected < 1 - 1e-6)
    assert_alike(z, expected, 3e-7, inside)
    one, other = np.broadcast_to(a, z.shape), np.broadcast_to(b, z.shape)
    assert_alike(slopes[0], slope_of_beta(one, other, expected), 1e-5, inside)
    assert_alike(slopes[1], -slope_of_beta(other, one, 1 - expected), 1e-5, inside)


def test_nearly_all_draws_come_from_the_compiled_pass_and_those_it_has_not_from_scipy() -> None:
    from sclatent.model.kernels import inverse_cdf

    a, b, eps = shapes_and_noise()
    found = [np.empty_like(eps) for _ in range(5)]
    inverse_cdf.gamma_draws(0, len(a), a, eps, *found[:2])
    inverse_cdf.beta_draws(0, len(a), a, b, eps, *found[2:])
    near = abs(eps) <= inverse_cdf.FURTHEST
    for one in found:
        assert np.isnan(one[near]).mean() < 1e-3
        assert np.isnan(one[~near]).all()
    for one in (*gamma_with_slope(a, eps), *beta_with_slopes(a, b, eps)):
        assert not np.isnan(one).any()


def test_draws_at_the_smallest_shape_are_finite_in_float32() -> None:
    """Without a floor some would be 0, of which the logarithm is no number."""
    shape = torch.full((1, 2), 0.1, requires_grad=True)
    eps = torch.randn(20_000, 1, 2, generator=torch.Generator().manual_seed(0))
    z = gamma_draw(shape, eps, 1e-30)
    assert float(z.detach().min()) > 0
    (gradient,) = torch.autograd.grad(z.log().mean(), shape)
    assert torch.isfinite(gradient).all()
    assert (
        torch.from_numpy(special.gammaincinv(0.03, np.linspace(0, 1, 1000)[1:]).astype(np.float32)) == 0
    ).float().mean() > 0.02
    x = beta_draw(shape, shape, eps, 1e-6)
    assert torch.isfinite(x.log()).all()
    assert torch.isfinite(torch.log1p(-x)).all()


@pytest.mark.parametrize("kind", OTHERS)
def test_steps_and_places_stay_in_the_support(kind: str) -> None:
    one, q = latent(kind), posterior(kind)
    code = q.sample(noise(kind, 5)).detach()
    start = code[0].numpy()
    for step in (-3.0, 0.2, 50.0):
        for moved in (
            q.moved(code, 1, step),
            torch.from_numpy(one.moved(start, 1, step)),
            torch.from_numpy(one.placed(start, 1, step)),
        ):
            assert torch.isfinite(moved).all()
            if kind not in ("point", "fullrank"):
                assert (moved >= 0).all()
            if kind in SHARES:
                torch.testing.assert_close(moved.sum(-1), torch.ones_like(moved[..., 0]))
            if kind == "beta":
                assert (moved <= 1).all()
            back = one.code_at(moved)
            torch.testing.assert_close(back, moved)
    assert torch.equal(q.sample(noise(kind, 5)).detach(), code)
    share = one.placed(start, 0, 0.3)
    np.testing.assert_allclose(share[:, 0], 0.3, atol=1e-6)
    if kind in SHARES and kind != "states":
        np.testing.assert_allclose(share[:, 1] / share[:, 2], start[:, 1] / start[:, 2], rtol=1e-5)
    assert torch.isfinite(one.code_at(torch.tensor([[-1.0, 0.5, 7.0]]))).all()


def test_a_turned_full_covariance() -> None:
    q = posterior("fullrank")
    turn = torch.from_numpy(np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0])
    axes = q.along(turn)
    drawn = q.sample(noise("fullrank", 100_000)).detach() @ turn.T
    np.testing.assert_allclose(axes.mean, drawn.mean(0), atol=0.02)
    np.testing.assert_allclose(axes.sd, drawn.std(0), rtol=0.02)
    np.testing.assert_allclose(axes.kl.sum(1), q.kl().sum(1).detach(), rtol=1e-5)
    assert (axes.kl >= 0).all()


def test_topics_are_alike_under_the_prior() -> None:
    one = latent("logistic-normal", 4)
    q = one.posterior(torch.cat([torch.zeros(1, 3), torch.full((1, 3), 0.0)], 1))
    share = q.sample(torch.randn(40_000, 1, 3, generator=torch.Generator().manual_seed(0)))
    np.testing.assert_allclose(share.mean((0, 1)), 0.25, atol=0.005)
    np.testing.assert_allclose(share.std((0, 1)), share.std((0, 1)).mean(), rtol=0.02)


# --- states ---


def gradients_at(temperature: float, straight: bool = False) -> tuple[Tensor, Tensor]:
    """Bias and SD of the Gumbel-Softmax gradient of E f(state), against the exact sum."""
    from sclatent.model.parts.latents.states import StatesPosterior

    logits = torch.tensor([[0.4, -0.3, 0.1]], dtype=torch.float64, requires_grad=True)
    value = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)

    def f(code: Tensor) -> Tensor:
        return (code @ value) ** 2 + code[..., 0]

    exact = (torch.softmax(logits, -1) * f(torch.eye(3, dtype=torch.float64))).sum()
    (truth,) = torch.autograd.grad(exact, logits)
    eps = torch.randn(40_000, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    many = logits.detach().expand(40_000, 3).clone().requires_grad_()
    code = StatesPosterior(many, temperature, straight).sample(eps[:, 0][None])[0]
    (each,) = torch.autograd.grad(f(code).sum(), many)
    return (each.mean(0) - truth[0]).norm(), each.std(0).norm()


def test_bias_falls_and_noise_grows_with_the_temperature_of_gumbel_softmax() -> None:
    found = [gradients_at(t) for t in (2.0, 1.0, 0.5, 0.2)]
    bias, sd = (torch.stack(part) for part in zip(*found, strict=True))
    assert (bias[1:] < bias[:-1]).all()
    assert (sd[1:] > sd[:-1]).all()
    assert bias[-1] < 0.3 * bias[0]
    assert sd[-1] > 2 * sd[0]


def test_straight_through_is_biased_at_any_temperature() -> None:
    assert min(float(gradients_at(t, True)[0]) for t in (1.0, 0.5)) > 0.02


def test_states_are_states_at_the_end_and_relaxed_on_the_way() -> None:
    one = latent("states", 4)
    raw, eps = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), noise("states", 2000, 4, 3).float()
    warm, late, done = (one.posterior(raw, progress) for progress in (0.0, 0.9, 1.0))
    assert [q.temperature for q in (warm, late, done)] == [1.0, 0.3, 0.0]
    assert float(done.sample(eps).sum(-1).min()) == 1
    assert set(done.sample(eps).unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(done.sample(eps).mean(0), done.mean(), atol=0.04, rtol=0)
    assert float(warm.sample(eps).max(-1).values.mean()) < float(late.sample(eps).max(-1).values.mean()) < 1
    assert torch.equal(warm.exact().sample(eps), done.sample(eps))


def test_argmax_has_no_gradient() -> None:
    raw = torch.zeros(1, 4, requires_grad=True)
    assert not latent("states", 4).posterior(raw, 1.0).sample(noise("states", 1, 4, 1).float()).requires_grad


# --- amounts ---


def test_the_gradient_of_a_lognormal_grows_as_its_exponential_and_is_bounded() -> None:
    free = LATENTS["lognormal"](kinds.LATENTS["lognormal"](bounded=False), 1)
    norm = {}
    for name, one in (("free", free), ("bounded", latent("lognormal", 1))):
        for mu in (2.0, 5.0, 10.0, 100.0):
            raw = torch.tensor([[mu, 0.0]], requires_grad=True)
            (gradient,) = torch.autograd.grad(one.posterior(raw).sample(torch.zeros(1, 1, 1)).sum(), raw)
            norm[name, mu] = float(gradient[0, 0])
    assert abs(np.log(norm["free", 10.0] / norm["free", 5.0]) - 5) < 1e-3
    assert norm["free", 100.0] == float("inf")
    assert max(norm["bounded", mu] for mu in (2.0, 5.0, 10.0, 100.0)) < np.exp(2)


def test_the_spread_is_that_of_the_prior_where_axes_have_two_ends() -> None:
    one = torch.ones(32)
    torch.testing.assert_close(latent("dirichlet", 32).spread(), distributions.Dirichlet(one).stddev)
    torch.testing.assert_close(latent("beta", 32).spread(), distributions.Beta(one, one).stddev)
    torch.testing.assert_close(latent("states", 32).spread(), distributions.OneHotCategorical(one).stddev)
    for kind in ("gaussian", "gamma", "lognormal", "exponential", "circle", "fullrank", "point"):
        assert (latent(kind, 4).spread() == 1).all(), kind
    vae = CountVAE(9, ModelSettings.model_validate({"latent": {"gaussian": 2, "dirichlet": 5}}))
    torch.testing.assert_close(vae.latent.spread(), torch.cat([torch.ones(2), latent("dirichlet", 5).spread()]))


@pytest.mark.parametrize("kind", ["dirichlet", "logistic-normal"])
def test_of_many_shares_some_are_active(kind: str) -> None:
    import sclatent as sl

    counts = sl.simulate(300, 120, n_types=4, seed=0)
    prepared = sl.pp.prepare(counts)
    trained = sl.tl.train(prepared, model={"latent": kind, "n_latent": 24, "epochs": 300, "refit": False})
    latent = sl.tl.embed(prepared, trained)
    assert latent.var["active"].sum() >= 2
    # a model that says nothing of the cells has none
    nothing = sl.tl.train(prepared, model={"latent": kind, "n_latent": 24, "epochs": 1, "refit": False})
    with torch.no_grad():
        for parameter in nothing.vae.modalities["rna"].encoder.parameters():
            parameter.zero_()
    assert not sl.tl.embed(prepared, nothing).var["active"].any()
