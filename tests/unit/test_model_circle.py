"""The circle: an exact wrapped normal, periodic curves, and a start at angles that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate
from scipy.sparse import csr_matrix
from torch import distributions

from sclatent.model import LATENTS, CountData, CountVAE, train_vae
from sclatent.model.parts.latents.circle import angle_of, circle_kl, code_of, log_wrapped_normal
from sclatent.model.training.initialise import start_from_data
from sclatent.model.training.round import start_on_circle
from sclatent.settings import ModelSettings
from sclatent.settings.kinds import parts as kinds

SDS = (0.05, 0.3, 0.499, 0.501, 0.9, 1.5, 2.4)


def circle(n_axes: int = 2, **options: int):  # type: ignore[no-untyped-def]
    return LATENTS["circle"](kinds.LATENTS["circle"](**options), n_axes)


def posterior(cells: int = 3, n_axes: int = 2, seed: int = 0):  # type: ignore[no-untyped-def]
    raw = torch.randn(cells, 2 * n_axes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return circle(n_axes).posterior(raw.requires_grad_())


@pytest.mark.parametrize("sd", SDS)
def test_the_density_is_that_of_a_normal_number_taken_round_the_circle(sd: float) -> None:
    def density(x: float) -> float:
        return float(log_wrapped_normal(*torch.tensor([x, sd], dtype=torch.float64)).exp())

    total, _ = integrate.quad(density, -np.pi, np.pi, points=[0.0], limit=200, epsabs=1e-10)
    assert abs(total - 1) < 1e-8
    for k in (1, 2):  # moments of a wrapped normal: exp(−k² σ²/2)
        moment, _ = integrate.quad(
            lambda x, k=k: density(x) * np.cos(k * x), -np.pi, np.pi, points=[0.0], limit=200, epsabs=1e-10
        )
        assert abs(moment - np.exp(-0.5 * k**2 * sd**2)) < 1e-7
    entropy, _ = integrate.quad(
        lambda x: -density(x) * np.log(max(density(x), 1e-300)), -np.pi, np.pi, points=[0.0], limit=200
    )
    assert abs(float(circle_kl(torch.tensor(sd, dtype=torch.float64))) - (np.log(2 * np.pi) - entropy)) < 1e-6


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_kl_and_density_are_those_of_long_sums_on_either_side_of_where_series_meet(kind: torch.dtype) -> None:
    """Values and gradients, against plain sums over many windings and 4,096 points in float64."""
    sd = torch.linspace(0.1, 5.5, 300, dtype=torch.float64)
    grid = torch.linspace(-np.pi, np.pi, 4097, dtype=torch.float64)[:-1]

    def slow(away: torch.Tensor, sd: torch.Tensor) -> torch.Tensor:
        windings = 2 * np.pi * torch.arange(-12, 13, dtype=torch.float64)
        return distributions.Normal(0.0, sd[..., None]).log_prob(away[..., None] + windings).logsumexp(-1)

    def slow_kl(sd: torch.Tensor) -> torch.Tensor:
        log_p = slow(grid.expand(len(sd), -1), sd[:, None])
        return (log_p.exp() * (log_p + np.log(2 * np.pi))).sum(-1) * (2 * np.pi / len(grid))

    tolerance = {"rtol": 1e-6, "atol": 1e-7} if kind is torch.float64 else {"rtol": 1e-5, "atol": 1e-5}
    ours, theirs = sd.to(kind).requires_grad_(), sd.clone().requires_grad_()
    found, expected = circle_kl(ours), slow_kl(theirs)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-6 if kind is torch.float32 else 2e-9)
    slopes = (torch.autograd.grad(one.sum(), at)[0] for one, at in ((found, ours), (expected, theirs)))
    torch.testing.assert_close(*(one.double() for one in slopes), **tolerance)
    # float32 cannot tell the two sides of the antipode of a narrow density apart
    away = torch.linspace(-3.1, 3.1, 41, dtype=torch.float64)[:, None].expand(-1, len(sd))
    values = []
    for f, to in ((log_wrapped_normal, kind), (slow, torch.float64)):
        at = [away.to(to).requires_grad_(), sd.expand(len(away), -1).to(to).requires_grad_()]
        log_p = f(*at)
        values.append([log_p, *torch.autograd.grad(log_p.sum(), at)])
    for ours, theirs in zip(*values, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=tolerance["rtol"] * 10, atol=tolerance["atol"] * 10)


def test_the_kl_is_its_sampled_estimate_and_draws_have_the_moments() -> None:
    q = posterior().detached()
    eps = torch.randn(40_000, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    code = q.sample(eps)
    ratio = -q.log_ratio(code, eps)
    assert float(((ratio.mean(0) - q.kl().sum(1)).abs() / (ratio.std(0) / 200)).max()) < 4.5
    torch.testing.assert_close(q.log_ratio(code, eps), q.log_prior(code) - q.log_q(code), rtol=1e-7, atol=1e-7)
    angle = angle_of(code, 2).detach()
    resultant = torch.polar(torch.ones_like(angle), angle).mean(0)
    assert float(torch.cos(resultant.angle() - q.mean()).min()) > 0.999
    torch.testing.assert_close((-2 * resultant.abs().log()).sqrt(), q.sd(), rtol=0.03, atol=0.01)
    torch.testing.assert_close(code_of(angle, 2), code.detach())


def test_codes_have_mean_0_and_variance_1_under_the_prior() -> None:
    code = code_of(torch.linspace(-np.pi, np.pi, 1001)[:-1, None], 3)
    torch.testing.assert_close(code.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(code.T @ code / 1000, torch.eye(6), atol=1e-4, rtol=0)


def test_the_gradient_of_a_draw_is_how_the_draw_moves_and_finite_at_no_direction() -> None:
    one = circle()
    eps = torch.randn(20, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    raw = torch.randn(2, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weight = torch.randn(20, 2, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    still = one.posterior(raw).sample(eps)

    def value(at: torch.Tensor) -> torch.Tensor:
        q = one.posterior(at)
        code, kl = q.draw(eps)
        return (code * weight).sum() + kl.sum() + q.log_q(still).sum()

    (found,) = torch.autograd.grad(value(raw.requires_grad_()), raw)
    expected, h = torch.zeros_like(raw), 1e-6
    for index in np.ndindex(*raw.shape):
        step = torch.zeros_like(raw)
        step[index] = h
        expected[index] = float(value(raw.detach() + step) - value(raw.detach() - step)) / (2 * h)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    nothing = torch.zeros(2, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(one.posterior(nothing).sample(eps.float()).sum(), nothing)
    assert torch.isfinite(gradient).all()


def test_steps_go_round() -> None:
    one, z = circle(), np.array([[3.0, -1.0]], np.float32)
    np.testing.assert_allclose(one.moved(z, 0, 0.5), [[3.5 - 2 * np.pi, -1.0]], atol=1e-6)
    np.testing.assert_allclose(one.placed(z, 1, 7.0), [[3.0, 7.0 - 2 * np.pi]], atol=1e-6)
    q = posterior(1)
    code = q.sample(torch.zeros(1, 1, 2).double())
    moved = angle_of(q.moved(code, 1, 7.0), 2) - angle_of(code, 2)
    torch.testing.assert_close(torch.cos(moved), torch.tensor([[[1.0, np.cos(7.0)]]]).double())
    around = one.code_at(torch.tensor([[0.3, 0.1], [0.3 + 2 * np.pi, 0.1 - 2 * np.pi]]))
    torch.testing.assert_close(around[0], around[1], atol=1e-5, rtol=0)


# --- where training starts ---


def ring(n: int = 300, seed: int = 0) -> tuple[CountData, np.ndarray, np.ndarray]:
    """Counts of genes that follow an angle, faintly, beside a few types of cells; the angle, and the curves."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-np.pi, np.pi, n)
    waves = code_of(torch.from_numpy(angle)[:, None], 2).numpy()
    curves = rng.normal(0, [[0.3], [0.3], [0.1], [0.1]], (4, 60))
    types = rng.normal(0, 0.7, (4, 60))
    rate = np.exp(waves @ curves + types[rng.integers(4, size=n)])
    counts = csr_matrix(rng.poisson(600 * rate / rate.sum(1, keepdims=True)).astype(np.float32))
    return CountData(counts, np.asarray(counts.sum(1)).ravel()), angle, curves


def agreement(angle: np.ndarray, truth: np.ndarray) -> float:
    return float(max(abs(np.exp(1j * (angle - truth)).mean()), abs(np.exp(1j * (angle + truth)).mean())))


@pytest.mark.parametrize("decoder", ["mlp", "linear", {"kind": "additive", "sparsity": 0}])
def test_the_start_knows_the_curves_and_the_angles(decoder: object) -> None:
    data, angle, curves = ring()
    settings = ModelSettings(latent={"gaussian": 3, "circle": 2}, decoder=decoder, n_hidden=64)
    vae = CountVAE(60, settings)
    start_from_data(vae, data, np.arange(300))
    guess = np.stack([np.cos(angle), np.sin(angle)], 1)
    guess[:50] = np.nan
    assert start_on_circle(vae, data, np.arange(250), guess)
    mean, sd = vae.posterior(data)
    assert agreement(mean[50:250, 3], angle[50:250]) > 0.7
    assert agreement(mean[50:250, 4], angle[50:250]) < 0.4  # only the first axis starts there
    assert np.median(sd[:, 3]) < 0.9
    at = np.zeros((100, 5), np.float32)
    at[:, 3] = np.linspace(-np.pi, np.pi, 100, endpoint=False)
    decoded = vae.log_fraction(at)
    true = code_of(torch.from_numpy(at[:, 3:4]).double(), 2).numpy() @ curves
    away = [x - x.mean(0) - (x - x.mean(0)).mean(1, keepdims=True) for x in (decoded, true)]
    assert np.corrcoef(away[0].ravel(), away[1].ravel())[0, 1] > 0.85


def test_without_angles_there_is_no_start() -> None:
    data, angle, _ = ring()
    unknown = np.full((300, 2), np.nan)
    vae = CountVAE(60, ModelSettings(latent="circle", n_latent=1, n_hidden=16))
    assert not start_on_circle(vae, data, np.arange(250), unknown)
    known = np.stack([np.cos(angle), np.sin(angle)], 1)
    other = CountVAE(60, ModelSettings(n_latent=2, n_hidden=16))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    assert not start_on_circle(other, data, np.arange(250), known)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_a_training_keeps_the_cycle_that_it_starts_at() -> None:
    """Beside the start stands chance: the same training without it."""
    data, angle, _ = ring()
    settings = ModelSettings(latent={"gaussian": 3, "circle": 1}, n_hidden=32, epochs=40)
    vague = angle + np.random.default_rng(1).normal(0, 0.8, 300)
    guess = np.stack([np.cos(vague), np.sin(vague)], 1)
    found = []
    for start in (guess, None):
        vae, _ = train_vae(data, np.arange(220), np.arange(220, 260), settings, angle=start)
        found.append(agreement(vae.posterior(data)[0][260:, 3], angle[260:]))
    assert found[0] > 0.75
    assert found[0] > found[1] + 0.15
