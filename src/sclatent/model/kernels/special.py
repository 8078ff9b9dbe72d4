"""Special functions that compiled passes call, in float64: of one number, to 13 digits."""

from __future__ import annotations

import math

from numba import njit

from sclatent.model.kernels.vector_math import OPTIONS

ROOT_HALF = math.sqrt(0.5)
HALF_LOG_TURN = 0.5 * math.log(2 * math.pi)


@njit(**OPTIONS)
def log_gamma(x):  # type: ignore[no-untyped-def]
    """Log Γ(x) and its derivative for x > 0: Stirling's series, after the recurrence has made x at least 8."""
    product, reciprocals = 1.0, 0.0
    while x < 8.0:
        product *= x
        reciprocals += 1.0 / x
        x += 1.0
    log_x, inverse = math.log(x), 1.0 / x
    s = inverse * inverse
    series = ((((-691 / 360360 * s + 1 / 1188) * s - 1 / 1680) * s + 1 / 1260) * s - 1 / 360) * s + 1 / 12
    slope = ((((-691 / 32760 * s + 1 / 132) * s - 1 / 240) * s + 1 / 252) * s - 1 / 120) * s + 1 / 12
    value = (x - 0.5) * log_x - x + HALF_LOG_TURN + series * inverse - math.log(product)
    return value, log_x - 0.5 * inverse - slope * s - reciprocals


@njit(**OPTIONS)
def log_tail(eps):  # type: ignore[no-untyped-def]
    """Log of the smaller of Φ(ε) and Φ(−ε)."""
    return math.log(0.5 * math.erfc(abs(eps) * ROOT_HALF))


@njit(**OPTIONS)
def gamma_series(shape, z):  # type: ignore[no-untyped-def]
    """Σ z^n / ((α+1) … (α+n)) and its derivative by α: P(α, z) over its first term."""
    term, total, slope, lost = 1.0, 1.0, 0.0, 0.0
    at = shape + 1.0
    while term > 1e-17 * total:
        inverse = 1.0 / at
        term *= z * inverse
        lost += inverse
        total += term
        slope -= term * lost
        at += 1.0
    return total, slope


@njit(**OPTIONS)
def beta_series(a, b, z):  # type: ignore[no-untyped-def]
    """Σ (a+b) … (a+b+n−1) / ((a+1) … (a+n)) zⁿ and its derivatives by a and b: I(z; a, b) over its first term."""
    term, total, by_a, by_b, gained, lost = 1.0, 1.0, 0.0, 0.0, 0.0, 0.0
    top, bottom = a + b, a + 1.0
    while term > 1e-17 * total or top * z > bottom:
        both = 1.0 / (top * bottom)
        term *= z * top * top * both
        gained += bottom * both
        lost += top * both
        total += term
        by_a += term * (gained - lost)
        by_b += term * gained
        top += 1.0
        bottom += 1.0
    return total, by_a, by_b
