"""Angles: a wrapped normal posterior under the uniform prior on the circle."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from sclatent.model.parts.latent import LATENTS, Latent, LatentSettings
from sclatent.model.parts.posterior import Posterior
from sclatent.settings.kinds.latents import CircleSettings

A = TypeVar("A", Tensor, np.ndarray)

TURN = 2 * math.pi
SHORTEST = 0.05
"""Least length of the vector that gives an angle: its SD is then 2.4 radians, all but uniform."""
WIDEST = 5.0
"""The SD of the prior."""
NARROW, TERMS = 0.5, 12
"""Below this SD no density is lost to wrapping (1e-9); above it the entropy is a series of so many terms (1e-9)."""
WIDE, WINDINGS, WAVES = 1.5, 1, 4
"""Up to this SD the density is a sum of normal densities, so many times round to each side; above it, of so many
cosines; what is left out is 1e-7 of the density where they meet, the most there is."""


def wrapped(angle: Any) -> Any:
    """Return angles within ± π."""
    return (angle + math.pi) % TURN - math.pi


def log_wrapped_normal(away: Tensor, sd: Tensor) -> Tensor:
    """Log density of a wrapped normal, `away` radians from its mean."""
    away, sd = torch.broadcast_tensors(wrapped(away), sd)
    # either sum is only taken where it is short; elsewhere its SD is that of the border, so that its gradient is finite
    narrow, wide = sd.clamp(max=WIDE), sd.clamp(min=WIDE)
    windings = TURN * torch.arange(-WINDINGS, WINDINGS + 1, device=away.device, dtype=away.dtype)
    scaled = (away[..., None] + windings) / narrow[..., None]
    turns = torch.logsumexp(-0.5 * scaled * scaled, -1) - narrow.log() - 0.5 * math.log(TURN)
    k = torch.arange(1, WAVES + 1, device=away.device, dtype=away.dtype)
    waves = (torch.exp(-0.5 * (k * wide[..., None]) ** 2) * torch.cos(k * away[..., None])).sum(-1)
    return torch.where(sd < WIDE, turns, torch.log1p(2 * waves) - math.log(TURN))


def circle_kl(sd: Tensor) -> Tensor:
    """KL of a wrapped normal from the uniform distribution: log 2π less the entropy.

    With x = exp(−σ²) it is log Π (1 − xᵏ) + 2 Σ (−1)ᵏ⁺¹ exp(−(k² + k) σ²/2) / (k (1 − xᵏ)), k from 1 on: the product
    of Jacobi for the density makes its logarithm a series of cosines, whose means are known.
    """
    narrow = 0.5 * math.log(TURN) - 0.5 - sd.log()
    wide = sd.clamp(min=NARROW)
    t = wide * wide
    k = torch.arange(1, TERMS + 1, device=sd.device, dtype=sd.dtype)
    signs = torch.where(k % 2 == 1, 2.0, -2.0) / k
    series = (torch.exp(t[..., None] * (-0.5 * (k * k + k))) / torch.expm1(-t[..., None] * k) * -signs).sum(-1)
    # the product is that of exp(−4π²/σ²) as well, up to a factor (Dedekind's eta): the smaller one needs two terms
    dual = TURN * TURN / t
    small = torch.exp(-torch.maximum(t, dual))
    factor = 0.5 * (math.log(TURN) - t.log()) + (t - dual) / 24
    product = torch.log1p(-small - small * small) + torch.where(t < TURN, factor, torch.zeros_like(t))
    return torch.where(sd < NARROW, narrow, product + series)


class CirclePosterior(Posterior):
    """Wrapped normals of mean angle and SD (cells × axes), under the uniform prior.

    The code of an angle φ is √2 (cos φ, sin φ, cos 2φ, sin 2φ, …), so a linear decoder has periodic curves; each entry
    has mean 0 and variance 1 under the prior. Densities are of the angle.
    """

    def __init__(self, angle: Tensor, sd: Tensor, harmonics: int) -> None:
        self.angle, self._sd, self.harmonics = angle, sd, harmonics

    def sample(self, noise: Tensor) -> Tensor:
        """Return codes of μ + σ ε."""
        return code_of(self.angle + self._sd * noise, self.harmonics)

    def log_q(self, code: Tensor) -> Tensor:
        """Log density."""
        return log_wrapped_normal(angle_of(code, self.harmonics) - self.angle, self._sd).sum(-1)

    def log_prior(self, code: Tensor) -> Tensor:
        """−log 2π for each axis."""
        angle = angle_of(code, self.harmonics)
        return (0.0 * angle - math.log(TURN)).sum(-1)

    def log_ratio(self, code: Tensor, noise: Tensor) -> Tensor:
        """Log p − log q; how far an angle is from the mean is known."""
        return -(math.log(TURN) + log_wrapped_normal(self._sd * noise, self._sd)).sum(-1)

    def kl(self) -> Tensor:
        """KL of each axis."""
        return circle_kl(self._sd)

    def mean(self) -> Tensor:
        """Return the mean angles, within ± π."""
        return wrapped(self.angle)

    def sd(self) -> Tensor:
        """Return the circular SDs."""
        return self._sd

    def moved(self, code: Tensor, axis: int, step: float) -> Tensor:
        """Return codes a step round the circle."""
        angle = angle_of(code, self.harmonics)
        angle[..., axis] += step
        return code_of(angle, self.harmonics)

    def detached(self) -> CirclePosterior:
        """Return the same, without gradient."""
        return CirclePosterior(self.angle.detach(), self._sd.detach(), self.harmonics)


def code_of(angle: Tensor, harmonics: int) -> Tensor:
    """Return the codes (… × axes · 2 harmonics) of angles (… × axes)."""
    times = angle[..., None] * torch.arange(1, harmonics + 1, device=angle.device, dtype=angle.dtype)
    return math.sqrt(2) * torch.stack([times.cos(), times.sin()], -1).flatten(-3)


def angle_of(code: Tensor, harmonics: int) -> Tensor:
    """Return the angles (… × axes) of codes."""
    first = code.unflatten(-1, (-1, harmonics, 2))[..., 0, :]
    return torch.atan2(first[..., 1], first[..., 0])


@LATENTS.register
class Circle(Latent):
    """Angles with a uniform prior; an axis is an angle within ± π."""

    settings = CircleSettings

    def __init__(self, settings: LatentSettings, n_axes: int) -> None:
        super().__init__(settings, n_axes)
        assert isinstance(settings, CircleSettings)
        self.harmonics = settings.harmonics
        self.n_code = 2 * settings.harmonics * n_axes

    def posterior(self, raw: Tensor, progress: float = 1.0) -> CirclePosterior:
        """Return the posterior: the head gives a vector for each axis, whose direction is the mean.

        The longer the vector, of length r, the surer: the mean of exp(iφ) has length κ / (1 + κ), κ = r + r².
        """
        x, y = raw.chunk(2, -1)
        length = (x * x + y * y + SHORTEST**2).sqrt()
        sure = length + length * length
        # atan2 has no gradient at 0, and one without bounds beside it
        angle = torch.atan2(y, torch.where((x == 0) & (y == 0), torch.full_like(x, SHORTEST), x))
        return CirclePosterior(angle, (2 * torch.log1p(1 / sure)).sqrt(), self.harmonics)

    def unseen(self, n: int, like: Tensor, generator: torch.Generator) -> CirclePosterior:
        """Every angle alike: a wrapped normal so wide that it is uniform to 1e-5."""
        return CirclePosterior(like.new_zeros(n, self.n_axes), like.new_full((n, self.n_axes), WIDEST), self.harmonics)

    def moved(self, z: A, axis: int, step: float) -> A:
        """Return angles a step round the circle."""
        return self.placed(z, axis, z[..., axis] + step)

    def placed(self, z: A, axis: int, value: Any) -> A:
        """Return angles of which one is `value`."""
        out = z.copy() if isinstance(z, np.ndarray) else z.clone()
        out[..., axis] = wrapped(value)
        return out

    def nearest(self, z: A) -> A:
        """Return the same angles, within ± π."""
        out: A = wrapped(z)
        return out

    def code_at(self, z: Tensor) -> Tensor:
        """Return the codes of angles."""
        return code_of(z, self.harmonics)

    def axes_at(self, code: Tensor) -> Tensor:
        """Return the angles of codes."""
        return angle_of(code, self.harmonics)
