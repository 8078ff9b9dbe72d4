"""Normal axes of diagonal covariance, the default, and what other kinds of latent make of the normal distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sclatent.model.parts.latent import LATENTS, A, Latent, LatentSettings
from sclatent.model.parts.posterior import Axes, Posterior
from sclatent.settings.kinds.parts import GaussianSettings

SD_OFFSET, SMALLEST_SD = 0.5413, 1e-4
"""The SD of the posterior is softplus(raw + offset) + smallest: 1 at the start, never 0, no overflow."""


class _Draw(torch.autograd.Function):
    """Draws z = mean + sd · ε (draws × cells × axes) and KL(N(mean, sd²) || N(0, 1)) (cells × axes), with gradients."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, sd: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(mean, sd, eps)
        return torch.addcmul(mean, sd, eps), kl_divergence(mean, sd)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        mean, sd, eps = ctx.saved_tensors
        to_z, to_kl = grads
        to_sd = to_z * eps
        to_z, to_sd = (part.squeeze(0) if len(part) == 1 else part.sum(0) for part in (to_z, to_sd))
        return torch.addcmul(to_z, to_kl, mean), to_sd + to_kl * (sd - sd.reciprocal()), None


def kl_divergence(mean: Tensor, sd: Tensor) -> Tensor:
    """KL(N(mean, sd²) || N(0, 1)), per cell and axis."""
    return 0.5 * (mean * mean + sd * sd - 1.0) - sd.log()


def log_normal(z: Tensor, mean: Tensor | float = 0.0, sd: Tensor | None = None) -> Tensor:
    """Log density of independent normal axes, summed over the last of them."""
    scaled = (z - mean) if sd is None else (z - mean) / sd
    each = -0.5 * (scaled * scaled + math.log(2 * math.pi))
    return (each if sd is None else each - sd.log()).sum(-1)


class GaussianPosterior(Posterior):
    """N(mean, sd²) along each axis, under the prior N(0, 1)."""

    def __init__(self, mean: Tensor, sd: Tensor) -> None:
        self._mean, self._sd = mean, sd

    def sample(self, noise: Tensor) -> Tensor:
        """Return mean + sd · ε (draws × cells × axes)."""
        return self._mean + self._sd * noise

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return draws (draws × cells × axes) and KL (cells × axes)."""
        return _Draw.apply(self._mean, self._sd, noise)

    def log_q(self, code: Tensor) -> Tensor:
        """Log N(code; mean, sd²) (draws × cells)."""
        return log_normal(code, self._mean, self._sd)

    def log_prior(self, code: Tensor) -> Tensor:
        """Log N(code; 0, 1) (draws × cells)."""
        return log_normal(code)

    def log_ratio(self, code: Tensor, noise: Tensor) -> Tensor:
        """Log p − log q (draws × cells); the 2π terms cancel, and ε is known, not computed back."""
        return (-0.5 * code * code + 0.5 * noise * noise + self._sd.log()).sum(-1)

    def kl(self) -> Tensor | None:
        """KL per cell and axis."""
        return kl_divergence(self._mean, self._sd)

    def mean(self) -> Tensor:
        """Return the means."""
        return self._mean

    def sd(self) -> Tensor:
        """Return the SDs."""
        return self._sd

    def moved(self, code: Tensor, axis: int, step: float) -> Tensor:
        """Add the step."""
        return _added(code, axis, step)

    def detached(self) -> GaussianPosterior:
        """Return the same, without gradient."""
        return GaussianPosterior(self._mean.detach(), self._sd.detach())

    def along(self, rotation: Tensor) -> Axes:
        """Return mean and SD along the turned axes, and the KL of each of these marginals."""
        # the diagonal of R Σ Rᵀ; Σ is diagonal in the network's coordinates
        variance = (self._sd * self._sd) @ (rotation * rotation).T
        mean, sd = (part.detach().cpu().numpy() for part in (self._mean @ rotation.T, variance.sqrt()))
        return Axes(mean, sd, 0.5 * (mean * mean + sd * sd - 1.0) - np.log(sd))


@LATENTS.register
class Gaussian(Latent):
    """Axes with a standard normal prior, and a normal posterior of diagonal covariance."""

    settings: ClassVar[type[LatentSettings]] = GaussianSettings
    rotates = unbounded = True

    def posterior(self, raw: Tensor, progress: float = 1.0) -> GaussianPosterior:
        """Return the posterior: the head's first half is the mean, the second gives the SD."""
        return GaussianPosterior(*_mean_and_sd(raw))

    def product(
        self, heads: Sequence[tuple[Tensor, Tensor]], place: Tensor, progress: float = 1.0
    ) -> GaussianPosterior:
        """Return N(0, 1) · Π N(mean, sd²), normalised: an expert that is absent leaves the others and the prior."""
        weighted, precision = place.new_zeros(len(place), self.n_axes), place.new_ones(len(place), self.n_axes)
        for raw, cells in heads:
            mean, sd = _mean_and_sd(raw)
            sharp = 1.0 / (sd * sd)
            weighted = weighted.index_add(0, cells, sharp * mean)
            precision = precision.index_add(0, cells, sharp)
        return GaussianPosterior(weighted / precision, precision.rsqrt())

    def head(self, posterior: Posterior) -> Tensor:
        """Return means, and of the SDs what `_mean_and_sd` turns into them."""
        softplus = (posterior.sd() - SMALLEST_SD).clamp(min=SMALLEST_SD)
        return torch.cat([posterior.mean(), torch.log(torch.expm1(softplus)) - SD_OFFSET], 1)

    def unseen(self, n: int, like: Tensor, generator: torch.Generator) -> Posterior:
        """N(0, 1) along each axis."""
        return GaussianPosterior(like.new_zeros(n, self.n_axes), like.new_ones(n, self.n_axes))

    def moved(self, z: A, axis: int, step: float) -> A:
        """Add the step."""
        return _added(z, axis, step)


def _mean_and_sd(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and SD from the encoder's head."""
    mean, spread = raw.chunk(2, dim=-1)
    return mean, nn.functional.softplus(spread + SD_OFFSET) + SMALLEST_SD


def _added(z: A, axis: int, step: float) -> A:
    """Return a copy of `z` with `step` added to one of the last dimension's entries."""
    out = z.copy() if isinstance(z, np.ndarray) else z.clone()
    out[..., axis] += step
    return out
