"""Gamma, Beta and Dirichlet: amounts, shares of one, shares of a whole."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sclatent.model.parts.latent import LATENTS, LatentSettings
from sclatent.model.parts.latents.gaussian import SD_OFFSET
from sclatent.model.parts.latents.implicit import LARGEST_SHAPE, SMALLEST_SHAPE, beta_draw, gamma_draw
from sclatent.model.parts.latents.positive import LARGEST_LOG_RATE, bounded
from sclatent.model.parts.latents.supports import POSITIVE, SIMPLEX, TINY, UNIT, Bounded, Parametric
from sclatent.settings.kinds.latents import BetaSettings, DirichletSettings, GammaSettings


def shape_of(raw: Tensor) -> Tensor:
    """Return shape parameters, near 1 at the start."""
    return (nn.functional.softplus(raw + SD_OFFSET) + SMALLEST_SHAPE).clamp(max=LARGEST_SHAPE)


class GammaPosterior(Parametric):
    """Gamma(shape α, rate β) along each axis, under the prior Gamma(1, 1)."""

    support = POSITIVE

    def __init__(self, shape: Tensor, log_rate: Tensor) -> None:
        super().__init__(shape, log_rate)
        self.shape, self.log_rate = shape, log_rate

    def sample(self, noise: Tensor) -> Tensor:
        """Return draws by the inverse distribution function."""
        return (gamma_draw(self.shape, noise, TINY) * (-self.log_rate).exp()).clip(TINY)

    def log_q(self, code: Tensor) -> Tensor:
        """Log density."""
        a, logged = self.shape, code.clip(TINY).log()
        return (a * self.log_rate + (a - 1) * logged - self.log_rate.exp() * code - torch.lgamma(a)).sum(-1)

    def log_prior(self, code: Tensor) -> Tensor:
        """Log density of the prior."""
        return -code.sum(-1)

    def kl(self) -> Tensor:
        """KL per axis."""
        a = self.shape
        return (a - 1) * torch.digamma(a) - torch.lgamma(a) + self.log_rate + a * torch.expm1(-self.log_rate)

    def mean(self) -> Tensor:
        """Return α/β."""
        return self.shape * (-self.log_rate).exp()

    def sd(self) -> Tensor:
        """Return √α/β."""
        return self.shape.sqrt() * (-self.log_rate).exp()


@LATENTS.register
class Gamma(Bounded):
    """Amounts with a gamma posterior."""

    settings = GammaSettings
    support = POSITIVE

    def posterior(self, raw: Tensor, progress: float = 1.0) -> GammaPosterior:
        """Return the posterior; shape from 0.1 to 1,000, log rate bounded."""
        shape, rate = raw.chunk(2, -1)
        return GammaPosterior(shape_of(shape), bounded(rate, LARGEST_LOG_RATE))

    def unseen(self, n: int, like: Tensor, generator: torch.Generator) -> GammaPosterior:
        """Gamma(1, 1) along each axis."""
        return GammaPosterior(like.new_ones(n, self.n_axes), like.new_zeros(n, self.n_axes))


class BetaPosterior(Parametric):
    """Beta(a, b) along each axis, under the uniform prior."""

    support = UNIT

    def __init__(self, a: Tensor, b: Tensor) -> None:
        super().__init__(a, b)
        self.a, self.b = a, b

    def _log_beta(self) -> Tensor:
        return torch.lgamma(self.a) + torch.lgamma(self.b) - torch.lgamma(self.a + self.b)

    def sample(self, noise: Tensor) -> Tensor:
        """Return draws by the inverse distribution function."""
        return beta_draw(self.a, self.b, noise, UNIT.low)

    def log_q(self, code: Tensor) -> Tensor:
        """Log density."""
        return ((self.a - 1) * code.log() + (self.b - 1) * torch.log1p(-code) - self._log_beta()).sum(-1)

    def log_prior(self, code: Tensor) -> Tensor:
        """Return 0: the prior is uniform."""
        return code.new_zeros(code.shape[:-1])

    def kl(self) -> Tensor:
        """KL per axis."""
        a, b = self.a, self.b
        mixed = (2 - a - b) * torch.digamma(a + b)
        return (a - 1) * torch.digamma(a) + (b - 1) * torch.digamma(b) + mixed - self._log_beta()

    def mean(self) -> Tensor:
        """Return a/(a + b)."""
        return self.a / (self.a + self.b)

    def sd(self) -> Tensor:
        """Return the SDs."""
        mean = self.mean()
        return (mean * (1 - mean) / (self.a + self.b + 1)).sqrt()


@LATENTS.register
class Beta(Bounded):
    """How far something is on, from 0 to 1."""

    settings = BetaSettings
    support = UNIT

    def posterior(self, raw: Tensor, progress: float = 1.0) -> BetaPosterior:
        """Return the posterior; both shapes from 0.1 to 1,000."""
        return BetaPosterior(*shape_of(raw).chunk(2, -1))

    def unseen(self, n: int, like: Tensor, generator: torch.Generator) -> BetaPosterior:
        """Uniform along each axis."""
        return BetaPosterior(*like.new_ones(2, n, self.n_axes))


class DirichletPosterior(Parametric):
    """Dirichlet(α), under the prior Dirichlet(c, …, c)."""

    support = SIMPLEX

    def __init__(self, alpha: Tensor, prior: Tensor) -> None:
        super().__init__(alpha, prior)
        self.alpha, self.prior = alpha, prior

    def sample(self, noise: Tensor) -> Tensor:
        """Return gamma draws, each over the sum of all."""
        return SIMPLEX.project(gamma_draw(self.alpha, noise, TINY))

    def log_q(self, code: Tensor) -> Tensor:
        """Log density of the first K − 1 shares."""
        return _log_dirichlet(code, self.alpha)

    def log_prior(self, code: Tensor) -> Tensor:
        """Log density of the prior."""
        return _log_dirichlet(code, self.prior)

    def kl(self) -> Tensor:
        """Return the KL of each axis; the part that is of all axes is shared out evenly."""
        a, c = self.alpha, self.prior
        total, n = a.sum(-1, keepdim=True), a.shape[-1]
        each = torch.lgamma(c) - torch.lgamma(a) + (a - c) * (torch.digamma(a) - torch.digamma(total))
        return each + (torch.lgamma(total) - torch.lgamma(c.sum())) / n

    def mean(self) -> Tensor:
        """Return the mean shares."""
        return self.alpha / self.alpha.sum(-1, keepdim=True)

    def sd(self) -> Tensor:
        """Return the SDs of the shares."""
        mean = self.mean()
        return (mean * (1 - mean) / (self.alpha.sum(-1, keepdim=True) + 1)).sqrt()


def _log_dirichlet(code: Tensor, alpha: Tensor) -> Tensor:
    kernel = ((alpha - 1) * code.clip(TINY).log()).sum(-1)
    return kernel + torch.lgamma(alpha.sum(-1)) - torch.lgamma(alpha).sum(-1)


@LATENTS.register
class Dirichlet(Bounded):
    """Shares of topics that add up to 1."""

    settings = DirichletSettings
    support = SIMPLEX

    def __init__(self, settings: LatentSettings, n_axes: int) -> None:
        super().__init__(settings, n_axes)
        self.n_parameters = n_axes

    def posterior(self, raw: Tensor, progress: float = 1.0) -> DirichletPosterior:
        """Return the posterior; each α from 0.1 to 1,000."""
        return DirichletPosterior(shape_of(raw), self._concentration(raw))

    def unseen(self, n: int, like: Tensor, generator: torch.Generator) -> DirichletPosterior:
        """Dirichlet(c, …, c)."""
        same = self._concentration(like)
        return DirichletPosterior(same.expand(n, -1), same)

    def _concentration(self, like: Tensor) -> Tensor:
        assert isinstance(self.given, DirichletSettings)
        return like.new_full((self.n_axes,), self.given.concentration)
