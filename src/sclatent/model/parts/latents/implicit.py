"""Inverse distribution functions forward, implicit gradients backward.

A draw z solves F(z; θ) = u for a uniform u. With u held still, ∂z/∂θ = −(∂F/∂θ) / q(z), q the density (Figurnov,
Mohamed & Mnih 2018). A compiled pass finds both in float64. The few draws that it does not find, far out in a tail,
come from scipy, and their ∂F/∂θ from central differences; in the upper half of the distribution 1 − F is
differentiated, which is small there and keeps its digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

from sclatent.model.kernels import inverse_cdf
from sclatent.model.kernels.threads import share

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


def _filled(kernel: Any, noise: Array, shapes: tuple[Array, ...]) -> list[Array]:
    """Return what a compiled pass finds of draws: one array, and one for each shape parameter, all like `noise`."""
    found = [np.empty((len(noise), shapes[0].size)) for _ in range(len(shapes) + 1)]
    given = [*(one.reshape(-1) for one in shapes), noise.reshape(found[0].shape)]
    arrays = [*map(np.ascontiguousarray, given), *found]
    share(shapes[0].size, lambda first, last: kernel(first, last, *arrays))
    return [one.reshape(noise.shape) for one in found]


def gamma_with_slope(shape: Array, noise: Array) -> tuple[Array, Array]:
    """Return draws of Gamma(shape, 1) and ∂z/∂shape, both of the shape of `noise` (draws × …), float64."""
    log_z, slope = _filled(inverse_cdf.gamma_draws, noise, (shape,))
    z = np.exp(log_z)
    slope *= z
    rest = np.isnan(log_z)
    if rest.any():
        alpha, eps = np.broadcast_to(shape, noise.shape)[rest], noise[rest]
        # the smaller of the two tails is the one that is known well
        lower, upper = special.gammaincinv(alpha, special.ndtr(eps)), special.gammainccinv(alpha, special.ndtr(-eps))
        z[rest] = np.where(eps < 0, lower, upper)
        slope[rest] = slope_of_gamma(alpha, z[rest])
    return z, slope


def beta_with_slopes(a: Array, b: Array, noise: Array) -> tuple[Array, Array, Array]:
    """Return draws of Beta(a, b), ∂z/∂a and ∂z/∂b, all of the shape of `noise` (draws × …), float64."""
    logit, by_a, by_b = _filled(inverse_cdf.beta_draws, noise, (a, b))
    z = special.expit(logit)
    inner = z * special.expit(-logit)
    by_a *= inner
    by_b *= inner
    rest = np.isnan(logit)
    if rest.any():
        one, other, eps = (np.broadcast_to(x, noise.shape)[rest] for x in (a, b, noise))
        lower, upper = (
            special.betaincinv(one, other, special.ndtr(eps)),
            special.betaincinv(other, one, special.ndtr(-eps)),
        )
        z[rest] = np.where(eps < 0, lower, 1 - upper)
        by_a[rest], by_b[rest] = slope_of_beta(one, other, z[rest]), -slope_of_beta(other, one, 1 - z[rest])
    return z, by_a, by_b


class _GammaDraw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shape: Tensor, noise: Tensor, smallest: float) -> Tensor:
        z, slope = gamma_with_slope(*_float64(shape, noise))
        ctx.slope = np.where(z >= smallest, slope, 0.0)
        return torch.from_numpy(np.maximum(z, smallest)).to(shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return (grads[0] * torch.from_numpy(ctx.slope).to(grads[0])).sum(0), None, None


class _BetaDraw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, noise: Tensor, edge: float) -> Tensor:
        z, *slopes = beta_with_slopes(*_float64(a, b, noise))
        inside = (z >= edge) & (z <= 1 - edge)
        ctx.slopes = [np.where(inside, slope, 0.0) for slope in slopes]
        return torch.from_numpy(z.clip(edge, 1 - edge)).to(a)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        to_a, to_b = ((grads[0] * torch.from_numpy(slope).to(grads[0])).sum(0) for slope in ctx.slopes)
        return to_a, to_b, None, None
