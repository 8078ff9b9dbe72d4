"""Inverse distribution functions forward, implicit gradients backward.

A draw z solves F(z; θ) = u for a uniform u. With u held still, ∂z/∂θ = −(∂F/∂θ) / q(z), q the density (Figurnov,
Mohamed & Mnih 2018). F, and its derivative by central differences, come from scipy in float64; in the upper half of the
distribution 1 − F is differentiated, which is small there and keeps its digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

STEP = 1e-5
"""Relative step of the central differences."""
SMALLEST_SHAPE, LARGEST_SHAPE = 0.1, 1e3
"""Range of shape parameters. Below it, draws are too small for float32 to hold."""

Array = np.ndarray


def gamma_draw(shape: Tensor, noise: Tensor, smallest: float) -> Tensor:
    """Return draws of Gamma(shape, 1) from standard normal noise (draws × cells × axes); none is below `smallest`."""
    return _GammaDraw.apply(shape, noise, smallest)


def beta_draw(a: Tensor, b: Tensor, noise: Tensor, edge: float) -> Tensor:
    """Return draws of Beta(a, b) from standard normal noise (draws × cells × axes), within `edge` and 1 − `edge`."""
    return _BetaDraw.apply(a, b, noise, edge)


def _float64(*tensors: Tensor) -> list[Array]:
    return [one.detach().double().cpu().numpy() for one in tensors]


def slope_of_gamma(shape: Array, z: Array) -> Array:
    """∂z/∂shape of a draw of Gamma(shape, 1), u held still."""
    h = STEP * shape
    below = special.gammainc(shape + h, z) - special.gammainc(shape - h, z)
    above = special.gammaincc(shape - h, z) - special.gammaincc(shape + h, z)
    change = np.where(z < shape, below, above) / (2 * h)
    return -change * np.exp(z - special.xlogy(shape - 1, z) + special.gammaln(shape))


def slope_of_beta(a: Array, b: Array, z: Array) -> Array:
    """∂z/∂a of a draw of Beta(a, b), u held still; ∂z/∂b is minus that of 1 − z under Beta(b, a)."""
    h = STEP * a
    below = special.betainc(a + h, b, z) - special.betainc(a - h, b, z)
    above = special.betainc(b, a - h, 1 - z) - special.betainc(b, a + h, 1 - z)
    change = np.where(z * (a + b) < a, below, above) / (2 * h)
    return -change * np.exp(special.betaln(a, b) - special.xlogy(a - 1, z) - special.xlog1py(b - 1, -z))


class _GammaDraw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shape: Tensor, noise: Tensor, smallest: float) -> Tensor:
        alpha, eps = _float64(shape, noise)
        # the smaller of the two tails is the one that is known well
        exact = np.where(
            eps < 0,
            special.gammaincinv(alpha, special.ndtr(eps)),
            special.gammainccinv(alpha, special.ndtr(-eps)),
        )
        z = np.maximum(exact, smallest)
        ctx.kept = alpha, z, exact >= smallest
        return torch.from_numpy(z).to(shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        alpha, z, inside = ctx.kept
        slope = np.where(inside, slope_of_gamma(np.broadcast_to(alpha, z.shape), z), 0.0)
        return (grads[0] * torch.from_numpy(slope).to(grads[0])).sum(0), None, None


class _BetaDraw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, noise: Tensor, edge: float) -> Tensor:
        one, other, eps = _float64(a, b, noise)
        exact = np.where(
            eps < 0,
            special.betaincinv(one, other, special.ndtr(eps)),
            1 - special.betaincinv(other, one, special.ndtr(-eps)),
        )
        z = exact.clip(edge, 1 - edge)
        ctx.kept = one, other, z, z == exact
        return torch.from_numpy(z).to(a)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        a, b, z, inside = ctx.kept
        a, b = np.broadcast_to(a, z.shape), np.broadcast_to(b, z.shape)
        slopes = (slope_of_beta(a, b, z), -slope_of_beta(b, a, 1 - z))
        to_a, to_b = (
            (grads[0] * torch.from_numpy(np.where(inside, slope, 0.0)).to(grads[0])).sum(0) for slope in slopes
        )
        return to_a, to_b, None, None
