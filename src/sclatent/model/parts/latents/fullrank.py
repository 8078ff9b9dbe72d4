"""A Gaussian posterior of full covariance: directions of a cell that are uncertain together."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sclatent.model.parts.latent import LATENTS, LatentSettings
from sclatent.model.parts.latents.gaussian import SD_OFFSET, SMALLEST_SD, Gaussian, log_normal
from sclatent.model.parts.latents.point import ANYWHERE
from sclatent.model.parts.latents.supports import Parametric
from sclatent.model.parts.posterior import Axes
from sclatent.settings.kinds.latents import FullRankSettings


class FullRankPosterior(Parametric):
    """N(mean, L Lᵀ), L lower triangular, under the prior N(0, I)."""

    support = ANYWHERE

    def __init__(self, mean: Tensor, factor: Tensor) -> None:
        super().__init__(mean, factor)
        self._mean, self._factor = mean, factor

    def _log_diagonal(self) -> Tensor:
        return self._factor.diagonal(dim1=-2, dim2=-1).log()

    def sample(self, noise: Tensor) -> Tensor:
        """Return mean + L ε."""
        return self._mean + (self._factor @ noise[..., None])[..., 0]

    def log_q(self, code: Tensor) -> Tensor:
        """Log density."""
        away = (code - self._mean)[..., None]
        eps = torch.linalg.solve_triangular(self._factor.expand(*away.shape[:-2], -1, -1), away, upper=False)[..., 0]
        return log_normal(eps) - self._log_diagonal().sum(-1)

    def log_prior(self, code: Tensor) -> Tensor:
        """Log N(code; 0, I)."""
        return log_normal(code)

    def log_ratio(self, code: Tensor, noise: Tensor) -> Tensor:
        """Log p − log q; ε is known, not computed back."""
        return (-0.5 * code * code + 0.5 * noise * noise + self._log_diagonal()).sum(-1)

    def kl(self) -> Tensor:
        """KL of each axis given those before it, which add up to the KL of all."""
        return _kl(self._mean, self._factor)

    def mean(self) -> Tensor:
        """Return the means."""
        return self._mean

    def sd(self) -> Tensor:
        """Return the SDs."""
        return self._factor.square().sum(-1).sqrt()

    def along(self, rotation: Tensor) -> Axes:
        """Return mean and SD along the turned axes, and the KL of each given those before it."""
        turned = rotation @ self._factor
        mean, factor = self._mean @ rotation.T, torch.linalg.cholesky((turned @ turned.mT).double()).float()
        parts = (mean, factor.square().sum(-1).sqrt(), _kl(mean, factor))
        return Axes(*(part.detach().cpu().numpy() for part in parts))


def _kl(mean: Tensor, factor: Tensor) -> Tensor:
    variance = factor.square().sum(-1)
    return 0.5 * (variance + mean * mean - 1.0) - factor.diagonal(dim1=-2, dim2=-1).log()


@LATENTS.register
class FullRank(Gaussian):
    """Axes with a standard normal prior, and a normal posterior of full covariance."""

    settings = FullRankSettings

    def __init__(self, settings: LatentSettings, n_axes: int) -> None:
        super().__init__(settings, n_axes)
        self.n_parameters = 2 * n_axes + n_axes * (n_axes - 1) // 2

    def posterior(self, raw: Tensor, progress: float = 1.0) -> FullRankPosterior:  # type: ignore[override]
        """Return the posterior: means, diagonal of L, and what is below it."""
        n = self.n_axes
        mean, spread, below = raw.split([n, n, self.n_parameters - 2 * n], -1)
        rows, columns = torch.tril_indices(n, n, -1, device=raw.device)
        factor = torch.diag_embed(nn.functional.softplus(spread + SD_OFFSET) + SMALLEST_SD)
        whole = torch.zeros_like(factor)
        whole[..., rows, columns] = below / math.sqrt(n)
        return FullRankPosterior(mean, factor + whole)
