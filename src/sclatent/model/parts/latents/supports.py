"""Where codes can be: between two bounds, or on the simplex; and what the latents there have in common."""

from __future__ import annotations

import math
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from sclatent.model.parts.latent import Latent
from sclatent.model.parts.posterior import Posterior

A = TypeVar("A", Tensor, np.ndarray)

TINY = 1e-30
"""Amounts below this are this: float32 holds no smaller ones, and a logarithm is taken."""


class Support:
    """Codes whose entries lie between two bounds, each on its own."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def project(self, z: A) -> A:
        """Return the nearest codes in the support."""
        return z.clip(self.low, self.high)

    def placed(self, z: A, axis: int, value: Any) -> A:
        """Return codes whose entry `axis` is `value`, or as near as can be."""
        out = z.copy() if isinstance(z, np.ndarray) else z.clone()
        out[..., axis] = value
        return self.project(out)

    def moved(self, z: A, axis: int, step: float) -> A:
        """Return codes a step along an axis."""
        return self.placed(z, axis, z[..., axis] + step)


class Simplex(Support):
    """Shares, which add up to 1: what one of them gains, the others lose in proportion."""

    def __init__(self) -> None:
        super().__init__(TINY, 1.0)

    def project(self, z: A) -> A:
        """Return shares in proportion to what is above 0."""
        kept = z.clip(self.low, None)
        return kept / kept.sum(-1)[..., None]

    def placed(self, z: A, axis: int, value: Any) -> A:
        """Return shares of which one is `value` and the others keep their proportions."""
        out = self.project(z)
        share = (0.0 * out[..., axis] + value).clip(0.0, 1.0)
        out[..., axis] = 0.0
        out = out * ((1.0 - share) / out.sum(-1))[..., None]
        out[..., axis] = share
        return self.project(out)


POSITIVE, UNIT, SIMPLEX = Support(TINY, float("inf")), Support(1e-6, 1 - 1e-6), Simplex()


class Parametric(Posterior):
    """A posterior that is its parameters, on a support."""

    support: ClassVar[Support]

    def __init__(self, *parameters: Tensor) -> None:
        self.parameters = parameters

    def moved(self, code: Tensor, axis: int, step: float) -> Tensor:
        """Return the code a step along an axis, in the support."""
        return self.support.moved(code, axis, step)

    def detached(self) -> Posterior:
        """Return the same, without gradient."""
        return type(self)(*(one.detach() for one in self.parameters))


class Bounded(Latent):
    """A latent whose axes are the entries of its code, on a support."""

    support: ClassVar[Support]

    def moved(self, z: A, axis: int, step: float) -> A:
        """Return positions a step along an axis, in the support."""
        return self.support.moved(z, axis, step)

    def placed(self, z: A, axis: int, value: Any) -> A:
        """Return positions put at `value` along an axis, in the support."""
        return self.support.placed(z, axis, value)

    def nearest(self, z: A) -> A:
        """Return the nearest positions in the support."""
        return self.support.project(z)

    def spread(self) -> Tensor:
        """Return the SD of the prior where the axes have two ends: of 32 shares none varies as a normal number does."""
        if not math.isfinite(self.support.high):
            return super().spread()
        prior = self.unseen(1, torch.zeros(1), torch.Generator())
        assert prior is not None
        return prior.sd()[0]

    def code_at(self, z: Tensor) -> Tensor:
        """Return the nearest codes in the support."""
        return self.support.project(z)
