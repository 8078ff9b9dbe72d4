"""Amounts above 0 that are a function of a normal or a uniform number: log-normal and exponential."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sclatent.model.parts.latent import LATENTS, LatentSettings
from sclatent.model.parts.latents.gaussian import SD_OFFSET, SMALLEST_SD, kl_divergence, log_normal
from sclatent.model.parts.latents.supports import POSITIVE, TINY, Bounded, Parametric
from sclatent.settings.kinds.latents import ExponentialSettings, LogNormalSettings

LARGEST_MU, LARGEST_SIGMA = 2.0, 1.0
"""Bounds of |μ| and σ of a log-normal: the middle of a posterior is at most e² = 7.4."""
START = -1.0
"""Moves the raw σ, which begins at a quarter: a wide draw of a decoder that knows nothing costs hundreds of nats."""
LARGEST_LOG_RATE = 4.0
"""Bound of |log λ| of an exponential."""


def bounded(raw: Tensor, most: float) -> Tensor:
    """Return what is `raw` near 0 and stays within ± `most`."""
    return most * torch.tanh(raw / most)


class LogNormalPosterior(Parametric):
    """exp(N(μ, σ²)) along each axis, under the prior exp(N(0, 1))."""

    support = POSITIVE

    def __init__(self, mu: Tensor, sigma: Tensor) -> None:
        super().__init__(mu, sigma)
        self.mu, self.sigma = mu, sigma

    def sample(self, noise: Tensor) -> Tensor:
        """Return exp(μ + σ ε)."""
        return (self.mu + self.sigma * noise).exp()

    def log_q(self, code: Tensor) -> Tensor:
        """Log density."""
        logged = code.clip(TINY).log()
        return log_normal(logged, self.mu, self.sigma) - logged.sum(-1)

    def log_prior(self, code: Tensor) -> Tensor:
        """Log density of exp(N(0, 1))."""
        logged = code.clip(TINY).log()
        return log_normal(logged) - logged.sum(-1)

    def kl(self) -> Tensor:
        """KL per axis: that of the logarithms."""
        return kl_divergence(self.mu, self.sigma)

    def mean(self) -> Tensor:
        """Return exp(μ + σ²/2)."""
        return (self.mu + 0.5 * self.sigma.square()).exp()

    def sd(self) -> Tensor:
        """Return the SDs."""
        return self.mean() * torch.expm1(self.sigma.square()).sqrt()


@LATENTS.register
class LogNormal(Bounded):
    """Amounts with a log-normal prior and posterior."""

    settings = LogNormalSettings
    support = POSITIVE

    def posterior(self, raw: Tensor, progress: float = 1.0) -> LogNormalPosterior:
        """Return the posterior; μ and σ are bounded, since the gradient grows as exp(μ)."""
        assert isinstance(self.given, LogNormalSettings)
        mu, spread = raw.chunk(2, -1)
        if not self.given.bounded:
            return LogNormalPosterior(mu, nn.functional.softplus(spread + SD_OFFSET) + SMALLEST_SD)
        return LogNormalPosterior(bounded(mu, LARGEST_MU), LARGEST_SIGMA * torch.sigmoid(spread + START) + SMALLEST_SD)

    def unseen(self, n: int, like: Tensor, generator: torch.Generator) -> LogNormalPosterior:
        """exp(N(0, 1)) along each axis."""
        return LogNormalPosterior(like.new_zeros(n, self.n_axes), like.new_ones(n, self.n_axes))


class ExponentialPosterior(Parametric):
    """Exponential of rate λ along each axis, under the prior of rate 1."""

    support = POSITIVE

    def __init__(self, log_rate: Tensor) -> None:
        super().__init__(log_rate)
        self.log_rate = log_rate

    def sample(self, noise: Tensor) -> Tensor:
        """Return −log(u) / λ, u uniform: the probability of a normal number above that of the noise."""
        return (-torch.special.log_ndtr(-noise) * (-self.log_rate).exp()).clip(TINY)

    def log_q(self, code: Tensor) -> Tensor:
        """Log density."""
        return (self.log_rate - code * self.log_rate.exp()).sum(-1)

    def log_prior(self, code: Tensor) -> Tensor:
        """Log density of rate 1."""
        return -code.sum(-1)

    def kl(self) -> Tensor:
        """KL per axis: log λ + 1/λ − 1."""
        return self.log_rate + torch.expm1(-self.log_rate)

    def mean(self) -> Tensor:
        """Return 1/λ."""
        return (-self.log_rate).exp()

    def sd(self) -> Tensor:
        """Return 1/λ."""
        return self.mean()


@LATENTS.register
class Exponential(Bounded):
    """Amounts with an exponential prior and posterior: most are small."""

    settings = ExponentialSettings
    support = POSITIVE

    def __init__(self, settings: LatentSettings, n_axes: int) -> None:
        super().__init__(settings, n_axes)
        self.n_parameters = n_axes

    def posterior(self, raw: Tensor, progress: float = 1.0) -> ExponentialPosterior:
        """Return the posterior; log λ is bounded."""
        return ExponentialPosterior(bounded(raw, LARGEST_LOG_RATE))

    def unseen(self, n: int, like: Tensor, generator: torch.Generator) -> ExponentialPosterior:
        """Rate 1 along each axis."""
        return ExponentialPosterior(like.new_zeros(n, self.n_axes))
