"""The logistic-normal: shares of topics, a softmax of normal numbers."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn

from sclatent.model.noise import standard_normal
from sclatent.model.parts.latent import LATENTS, LatentSettings
from sclatent.model.parts.latents.gaussian import SD_OFFSET, SMALLEST_SD, kl_divergence, log_normal
from sclatent.model.parts.latents.supports import SIMPLEX, TINY, Bounded, Parametric
from sclatent.settings.kinds.latents import LogisticNormalSettings

POINTS = 64
"""Fixed draws behind the mean and SD of shares, which have no closed form."""


@cache
def contrasts(n: int) -> Tensor:
    """Return n × (n − 1) orthonormal contrasts, which add up to 0 over the n topics (Egozcue et al. 2003)."""
    out = torch.zeros(n, n - 1, dtype=torch.float64)
    for k in range(1, n):
        out[:k, k - 1], out[k, k - 1] = 1 / k, -1.0
        out[:, k - 1] *= math.sqrt(k / (k + 1))
    return out


@cache
def fixed_noise(n: int) -> Tensor:
    """Return the fixed draws (points × 1 × n)."""
    return standard_normal("sobol", (POINTS, 1, n), torch.Generator().manual_seed(0))


class LogisticNormalPosterior(Parametric):
    """softmax(H y), y ~ N(m, σ²) with K − 1 entries, under the prior y ~ N(0, 1)."""

    support = SIMPLEX

    def __init__(self, mean: Tensor, sd: Tensor, basis: Tensor) -> None:
        super().__init__(mean, sd, basis)
        self._m, self._s, self.basis = mean, sd, basis

    def sample(self, noise: Tensor) -> Tensor:
        """Return shares."""
        return torch.softmax((self._m + self._s * noise) @ self.basis.T, -1)

    def _log(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return y of shares, and the log of how much y changes with the shares."""
        logged, scale = code.clip(TINY).log(), self.basis.square().sum(0)
        n = len(self.basis)
        # the columns of the basis are orthogonal, of length `spread`
        bend = -logged.sum(-1) - 0.5 * scale.log().sum() - 0.5 * math.log(n)
        return logged @ self.basis / scale, bend

    def log_q(self, code: Tensor) -> Tensor:
        """Log density of the first K − 1 shares."""
        y, bend = self._log(code)
        return log_normal(y, self._m, self._s) + bend

    def log_prior(self, code: Tensor) -> Tensor:
        """Log density of the prior."""
        y, bend = self._log(code)
        return log_normal(y) + bend

    def log_ratio(self, code: Tensor, noise: Tensor) -> Tensor:
        """Log p − log q: that of the normal numbers, which are known."""
        y = self._m + self._s * noise
        return (-0.5 * y * y + 0.5 * noise * noise + self._s.log()).sum(-1)

    def kl(self) -> Tensor:
        """KL of all shares together, dealt out evenly to the axes."""
        n = len(self.basis)
        return (kl_divergence(self._m, self._s).sum(-1, keepdim=True) / n).expand(*self._m.shape[:-1], n)

    def _points(self) -> Tensor:
        return self.sample(fixed_noise(self._m.shape[-1]).to(self._m))

    def mean(self) -> Tensor:
        """Return the mean shares, over fixed draws."""
        return self._points().mean(0)

    def sd(self) -> Tensor:
        """Return the SDs of the shares, over fixed draws."""
        return self._points().std(0)


@LATENTS.register
class LogisticNormal(Bounded):
    """Shares of topics with a logistic-normal prior, the same for every topic."""

    settings = LogisticNormalSettings
    support = SIMPLEX

    def __init__(self, settings: LatentSettings, n_axes: int) -> None:
        super().__init__(settings, n_axes)
        self.n_noise = n_axes - 1
        self.n_parameters = 2 * self.n_noise

    def posterior(self, raw: Tensor, progress: float = 1.0) -> LogisticNormalPosterior:
        """Return the posterior of the shares."""
        mean, spread = raw.chunk(2, -1)
        return LogisticNormalPosterior(mean, nn.functional.softplus(spread + SD_OFFSET) + SMALLEST_SD, self._basis(raw))

    def unseen(self, n: int, like: Tensor, generator: torch.Generator) -> LogisticNormalPosterior:
        """Every y from N(0, 1)."""
        size = (n, self.n_noise)
        return LogisticNormalPosterior(like.new_zeros(size), like.new_ones(size), self._basis(like))

    def _basis(self, like: Tensor) -> Tensor:
        assert isinstance(self.given, LogisticNormalSettings)
        return (self.given.spread * contrasts(self.n_axes)).to(like)
