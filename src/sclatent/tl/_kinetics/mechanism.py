r"""The mechanism: unspliced transcripts are made, spliced and degraded, round and round.

.. math::

    \frac{du}{d\theta} = \alpha(\theta) - \beta u, \qquad \frac{ds}{d\theta} = \beta u - \gamma s

With a synthesis of period 2π there is one periodic solution, and it has a closed form: the k-th Fourier coefficient of
u is that of α over β + ik, and that of s is β times that of u over γ + ik. Rates are per radian: in units of the
cycle's speed.

A gene's parameters are those that the counts tell best apart: the log mean of u, log β/γ (which is that of the means of
s and u), log γ, and the Fourier coefficients of the shape of log α.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 96
GRID: Array = 2 * np.pi * np.arange(BINS) / BINS
LEVEL, RATIO, DEGRADATION, SHAPE = 0, 1, 2, 3
"""Places of the parameters; the shape takes the rest: cos, sin, cos 2, sin 2, …"""
PRIOR_SD_RATIO, PRIOR_SD_RATE, PRIOR_SD_SHAPE = 2.0, 1.5, 1.0
"""SDs of the normal priors of log β/γ and log γ (about 0), and of the shape, which fall as 1/k."""
_FREQUENCY: Array = np.arange(BINS // 2 + 1, dtype=np.float64)
SMALLEST = 1e-12


def waves(harmonics: int) -> Array:
    """Return (2 harmonics, bins): cos θ, sin θ, cos 2θ, and so on."""
    k = np.arange(1, harmonics + 1)[:, None] * GRID
    return np.stack([np.cos(k), np.sin(k)], 1).reshape(2 * harmonics, BINS)


def solve(parameters: Array, harmonics: int) -> tuple[Array, Array, Array]:
    """Return α, u and s on the grid (… × bins each), of `parameters` (… × (3 + 2 harmonics))."""
    log_shape = parameters[..., SHAPE:] @ waves(harmonics)
    shape = np.exp(log_shape - log_shape.max(-1, keepdims=True))
    shape /= shape.mean(-1, keepdims=True)
    level = np.exp(parameters[..., LEVEL, None])
    gamma = np.exp(parameters[..., DEGRADATION, None])
    beta = gamma * np.exp(parameters[..., RATIO, None])
    alpha = beta * level * shape
    u = np.fft.rfft(alpha) / (beta + 1j * _FREQUENCY)
    s = beta * u / (gamma + 1j * _FREQUENCY)
    on_grid = [np.maximum(np.fft.irfft(one, BINS), SMALLEST) for one in (u, s)]
    return alpha, on_grid[0], on_grid[1]


def log_means(parameters: Array, harmonics: int) -> Array:
    """Return log u and log s side by side (… × 2 bins)."""
    _, u, s = solve(parameters, harmonics)
    return np.log(np.concatenate([u, s], -1))


def prior(level: Array, harmonics: int) -> tuple[Array, Array]:
    """Return mean and SD of the normal priors (genes × parameters); `level` (genes,) is the log mean of u."""
    n = 3 + 2 * harmonics
    mean, sd = np.zeros((len(level), n)), np.empty(n)
    mean[:, LEVEL] = level
    sd[[LEVEL, RATIO, DEGRADATION]] = 2.0, PRIOR_SD_RATIO, PRIOR_SD_RATE
    sd[SHAPE:] = np.repeat(PRIOR_SD_SHAPE / np.arange(1, harmonics + 1), 2)
    return mean, np.broadcast_to(sd, mean.shape)


def starts(level: Array, ratio: Array, shape: Array) -> list[Array]:
    """Return first parameters (genes × parameters): of slow, of middling and of fast degradation."""
    return [
        np.column_stack([level, ratio, np.full(len(level), log_gamma), shape]) for log_gamma in np.log([0.3, 1.0, 4.0])
    ]
