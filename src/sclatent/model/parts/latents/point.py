"""A point per cell instead of a distribution: a plain autoencoder, for comparison."""

from __future__ import annotations

import torch
from torch import Tensor

from sclatent.model.parts.latent import LATENTS, Latent, LatentSettings
from sclatent.model.parts.latents.supports import A, Support
from sclatent.model.parts.posterior import Posterior
from sclatent.settings.kinds.latents import PointSettings

ANYWHERE = Support(-float("inf"), float("inf"))


class PointPosterior(Posterior):
    """All of the probability in one place. It has no density, and no prior is asked."""

    def __init__(self, place: Tensor) -> None:
        self.place = place

    def sample(self, noise: Tensor) -> Tensor:
        """Return the place, once for each draw."""
        return self.place.expand(len(noise), *self.place.shape)

    def log_q(self, code: Tensor) -> Tensor:
        """Not there."""
        raise TypeError("a point has no density: this objective does not go with it")

    def log_prior(self, code: Tensor) -> Tensor:
        """Not there."""
        raise TypeError("a point has no prior: this objective does not go with it")

    def log_ratio(self, code: Tensor, noise: Tensor) -> Tensor:
        """Nothing is paid for where a point lies (draws × cells)."""
        return code.new_zeros(code.shape[:-1])

    def kl(self) -> Tensor:
        """Nothing is paid for where a point lies."""
        return torch.zeros_like(self.place)

    def mean(self) -> Tensor:
        """Return the place."""
        return self.place

    def sd(self) -> Tensor:
        """Return 0."""
        return torch.zeros_like(self.place)

    def moved(self, code: Tensor, axis: int, step: float) -> Tensor:
        """Add the step."""
        return ANYWHERE.moved(code, axis, step)

    def detached(self) -> PointPosterior:
        """Return the same, without gradient."""
        return PointPosterior(self.place.detach())


@LATENTS.register
class Point(Latent):
    """The encoder's output itself; no noise, no prior."""

    settings = PointSettings
    unbounded = True

    def __init__(self, settings: LatentSettings, n_axes: int) -> None:
        super().__init__(settings, n_axes)
        self.n_parameters, self.n_noise = n_axes, 0

    def posterior(self, raw: Tensor, progress: float = 1.0) -> PointPosterior:
        """Return the place."""
        return PointPosterior(raw)

    def moved(self, z: A, axis: int, step: float) -> A:
        """Add the step."""
        return ANYWHERE.moved(z, axis, step)
