"""The Gaussian posterior against `torch.distributions`: densities, KL, draws with their gradients, the turned axes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from sclatent.model import LATENTS
from sclatent.model.parts.latents.gaussian import GaussianPosterior
from sclatent.settings.kinds.parts import GaussianSettings

CELLS, AXES = 5, 3


@pytest.fixture
def posterior() -> GaussianPosterior:
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(CELLS, 2 * AXES, generator=generator, dtype=torch.float64, requires_grad=True)
    return LATENTS["gaussian"](GaussianSettings(), AXES).posterior(raw)


def noise(draws: int) -> torch.Tensor:
    return torch.randn(draws, CELLS, AXES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_densities_and_kl(posterior: GaussianPosterior) -> None:
    q, prior = Normal(posterior.mean(), posterior.sd()), Normal(0.0, 1.0)
    code = posterior.sample(noise(4))
    assert code.shape == (4, CELLS, AXES)
    torch.testing.assert_close(posterior.log_q(code), q.log_prob(code).sum(2))
    torch.testing.assert_close(posterior.log_prior(code), prior.log_prob(code).sum(2))
    torch.testing.assert_close(posterior.log_ratio(code, noise(4)), posterior.log_prior(code) - posterior.log_q(code))
    torch.testing.assert_close(posterior.kl(), kl_divergence(q, Normal(torch.zeros(()), torch.ones(()))))


@pytest.mark.parametrize("draws", [1, 4])
def test_a_draw_and_the_gradient_through_it(posterior: GaussianPosterior, draws: int) -> None:
    """The two in one pass are what autograd makes of them apart."""
    found = []
    for code, kl in (posterior.draw(noise(draws)), (posterior.sample(noise(draws)), posterior.kl())):
        loss = torch.sin(code).sum() + 0.3 * (kl * torch.arange(1.0, AXES + 1)).sum()
        found.append([code, kl, *torch.autograd.grad(loss, (posterior.mean(), posterior.sd()), retain_graph=True)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_detached_lets_no_gradient_through(posterior: GaussianPosterior) -> None:
    assert posterior.log_q(torch.zeros(1, CELLS, AXES)).requires_grad
    apart = posterior.detached()
    assert not apart.log_q(torch.zeros(1, CELLS, AXES)).requires_grad
    assert torch.equal(apart.mean(), posterior.mean())


def test_a_step_along_an_axis(posterior: GaussianPosterior) -> None:
    z = np.zeros((2, AXES), np.float32)
    moved = LATENTS["gaussian"](GaussianSettings(), AXES).moved(z, 1, -0.5)
    assert moved.tolist() == [[0, -0.5, 0]] * 2
    assert not z.any()
    assert posterior.moved(torch.zeros(1, AXES), 2, 2.0).tolist() == [[0, 0, 2]]


def test_turned_axes_have_the_marginals_of_the_turned_normal(posterior: GaussianPosterior) -> None:
    turn, _ = torch.linalg.qr(torch.randn(AXES, AXES, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    mean, sd, kl = posterior.along(turn)
    whole = MultivariateNormal(posterior.mean() @ turn.T, turn @ torch.diag_embed(posterior.sd() ** 2) @ turn.T)
    np.testing.assert_allclose(mean, whole.mean.detach())
    np.testing.assert_allclose(sd, whole.stddev.detach())
    exact = kl_divergence(Normal(whole.mean, whole.stddev), Normal(torch.zeros(()), torch.ones(())))
    np.testing.assert_allclose(kl, exact.detach())


def test_starts_at_the_prior() -> None:
    posterior = LATENTS["gaussian"](GaussianSettings(), 1).posterior(torch.zeros(1, 2))
    assert posterior.mean().item() == 0
    assert math.isclose(posterior.sd().item(), 1, abs_tol=2e-4)
