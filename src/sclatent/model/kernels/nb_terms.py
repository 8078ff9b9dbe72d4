"""Negative binomial terms of single counts in float64, for any count and dispersion, in one loop without branches."""

from __future__ import annotations

from numba import njit

from sclatent.model.kernels.vector_math import OPTIONS, exp64, log64

UP = 8.0
"""Stirling's series is taken so far above θ and θ + x, where four of its terms are right to 1e-11."""


@njit(**OPTIONS)
def count_terms(x, theta, log_mu, log_p, by_log_mu, by_theta):  # type: ignore[no-untyped-def]
    """NB log p without −log x!, and its derivatives to log μ and θ; float64 (n,), results in the last three.

    log Γ(x+θ) − log Γ(θ) + x (log μ − log(θ+μ)) − θ log1p(μ/θ). With P(a) = Π_{j<8} (a + j), A = θ + 8 and B = A + x
    the first two are log P(θ)/P(θ+x) + (A − ½) log(B/A) + x log B − x + S(B) − S(A), where S is the rest of Stirling's
    series (Abramowitz and Stegun 6.1.40, its derivative 6.3.18): what cancels at large θ is of the size of x.
    """
    for i in range(x.shape[0]):
        low, high, mu = theta[i], theta[i] + x[i], exp64(log_mu[i])
        a, b = low + UP, high + UP
        inverse_a, inverse_b, inverse = 1.0 / a, 1.0 / b, 1.0 / (low + mu)
        product_a, slope_a = _eight(low)
        product_b, slope_b = _eight(high)
        ratio, per_theta = log64(b * inverse_a), log64(1.0 + mu / low)
        square_a, square_b = inverse_a * inverse_a, inverse_b * inverse_b
        value = log64(product_a / product_b) + (a - 0.5) * ratio - x[i]
        value += inverse_b * _series(square_b) - inverse_a * _series(square_a)
        log_p[i] = value + x[i] * (log_mu[i] + log64(b * inverse)) - low * per_theta
        by_log_mu[i] = (x[i] - mu) * (low * inverse)
        digamma = ratio - 0.5 * (inverse_b - inverse_a) - square_b * _slope(square_b) + square_a * _slope(square_a)
        by_theta[i] = digamma + (slope_a / product_a - slope_b / product_b) - per_theta + (mu - x[i]) * inverse


@njit(forceinline=True, **OPTIONS)
def _eight(a):  # type: ignore[no-untyped-def]
    """P(a) = Π_{j<8} (a + j) and its derivative, with t = a (a + 7) as t (t + 6) (t + 10) (t + 12)."""
    t = a * (a + 7.0)
    p, q = t * (t + 6.0), (t + 10.0) * (t + 12.0)
    return p * q, (2.0 * a + 7.0) * ((2.0 * t + 6.0) * q + p * (2.0 * t + 22.0))


@njit(forceinline=True, **OPTIONS)
def _series(square):  # type: ignore[no-untyped-def]
    """Return z S(z), given 1/z²."""
    return 1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))


@njit(forceinline=True, **OPTIONS)
def _slope(square):  # type: ignore[no-untyped-def]
    """Return −z² S′(z), given 1/z²."""
    return 1.0 / 12.0 - square * (1.0 / 120.0 - square * (1.0 / 252.0 - square / 240.0))
