"""Draws of Gamma(α, 1) and Beta(a, b) by their inverse distribution functions, with their derivatives by the shapes.

The root is looked for in y = log z, or the logit of z. In it the density is log-concave, hence so are both tails, and
Newton's method for the logarithm of the tail that the draw lies in cannot overshoot twice. Halley's term makes it two
or three steps. A draw further out than `FURTHEST` is not made here: one minus a series is no good for so small a tail.
"""

from __future__ import annotations

import math

from numba import njit

from sclatent.model.kernels.special import beta_series, gamma_series, log_gamma, log_tail
from sclatent.model.kernels.vector_math import OPTIONS

FURTHEST = 4.5
"""Noise beyond this is left to others: seven of a million draws."""
LOST = 1e-13
"""So small a tail has no digits left."""
STEPS = 30
CLOSE = 1e-4
"""A step as short as this is the last: with Halley's term it leaves the cube of it."""


@njit(**OPTIONS)
def _step(miss, hazard, bend):  # type: ignore[no-untyped-def]
    """Halley's step: `miss` is how much log tail is too much, `hazard` its slope, `bend` the log density's slope."""
    newton = miss / hazard
    # log tail'' / log tail' = bend − hazard
    correction = 1.0 - 0.5 * newton * (bend - hazard)
    return -newton / min(max(correction, 0.5), 2.0)


@njit(**OPTIONS)
def _gamma_start(shape, eps, wanted, log_factor):  # type: ignore[no-untyped-def]
    """Where to begin, log z: Wilson and Hilferty's cube, or the first term of the series where z is small."""
    root = 1.0 - 1.0 / (9.0 * shape) + eps / (3.0 * math.sqrt(shape))
    if root > 0.4:
        return math.log(shape) + 3.0 * math.log(root)
    lower = wanted if eps < 0.0 else math.log1p(-math.exp(wanted))
    y = (lower + log_factor) / shape
    z = math.exp(min(y, 0.0))
    return min(y + z / (shape + 1.0), math.log(shape + 1.0))


@njit(**OPTIONS)
def _gamma(shape, eps):  # type: ignore[no-untyped-def]
    """Log z and ∂ log z / ∂ α."""
    factor, digamma = log_gamma(shape + 1.0)
    wanted = log_tail(eps)
    y = _gamma_start(shape, eps, wanted, factor)
    step = 2.0 if eps > 0.0 else -2.0
    for _ in range(STEPS):
        z = math.exp(y)
        series, by_shape = gamma_series(shape, z)
        first = math.exp(shape * y - z - factor)  # density of y = α · first
        below = first * series
        density = shape * first
        change = below * (y - digamma + by_shape / series)  # ∂P/∂α at this z
        tail = below if eps < 0.0 else 1.0 - below
        if not (tail > LOST and density > 0.0):  # too far out: half the way back
            step *= 0.5
            y -= step
            continue
        hazard = density / tail if eps < 0.0 else -density / tail
        step = _step(math.log(tail) - wanted, hazard, shape - z)
        y += step
        if abs(step) < CLOSE:
            # ∂P/∂α and the density where the step leads, from their derivatives
            # and ψ(α) = ψ(α+1) − 1/α
            log_slope = y - 0.5 * step - digamma + 1.0 / shape
            bend = shape - z
            moved = density * (step + 0.5 * bend * step * step)
            return y, -(change + moved * log_slope) / (
                density * (1.0 + step * bend + 0.5 * step * step * (bend * bend - z))
            )
    return math.nan, math.nan


@njit(**OPTIONS)
def _beta_start(a, b, eps, wanted):  # type: ignore[no-untyped-def]
    """Where to begin, logit of z.

    Abramowitz & Stegun 26.5.22; for a small shape beside a large one a gamma draw over the large one, for two small
    ones the first terms of both series.
    """
    if min(a, b) > 1.0 and max(a, b) < 10.0 * min(a, b):
        left, right = 1.0 / (2.0 * a - 1.0), 1.0 / (2.0 * b - 1.0)
        h, lam = 2.0 / (left + right), (eps * eps - 3.0) / 6.0
        w = eps * math.sqrt(max(h + lam, 0.0)) / h - (right - left) * (lam + 5.0 / 6.0 - 2.0 / (3.0 * h))
        return math.log(a / b) + 2.0 * w
    if max(a, b) > 4.0:
        small, large, side = (a, b, 1.0) if a < b else (b, a, -1.0)
        y = _gamma_start(small, side * eps, wanted, log_gamma(small + 1.0)[0]) - math.log(large + 0.5 * (small - 1.0))
        return side * min(y, 3.0)
    tail = math.exp(wanted)
    below = tail if eps < 0.0 else 1.0 - tail
    t = math.exp(a * math.log(a / (a + b))) / a
    u = math.exp(b * math.log(b / (a + b))) / b
    if below * (t + u) < t:
        log_below = wanted if eps < 0.0 else math.log(below)
        y = (log_below + math.log(a * (t + u))) / a
        return y - math.log1p(-min(math.exp(y), 0.9))
    log_above = wanted if eps >= 0.0 else math.log1p(-tail)
    y = (log_above + math.log(b * (t + u))) / b
    return math.log1p(-min(math.exp(y), 0.9)) - y


@njit(**OPTIONS)
def _beta(a, b, eps):  # type: ignore[no-untyped-def]
    """Logit of z, and its derivatives by a and b."""
    of_a, psi_a = log_gamma(a)
    of_b, psi_b = log_gamma(b)
    of_both, psi_both = log_gamma(a + b)
    log_beta, psi_a, psi_b = of_a + of_b - of_both, psi_a - psi_both, psi_b - psi_both
    wanted = log_tail(eps)
    y = _beta_start(a, b, eps, wanted)
    step = 2.0 if eps > 0.0 else -2.0
    for _ in range(STEPS):
        if y < 0.0:
            odds = math.exp(y)
            x, z = odds / (1.0 + odds), odds / (1.0 + odds)
            log_z = y - math.log1p(odds)
            log_rest = log_z - y
        else:
            odds = math.exp(-y)
            x, z = odds / (1.0 + odds), 1.0 / (1.0 + odds)
            log_rest = -y - math.log1p(odds)
            log_z = log_rest + y
        density = math.exp(a * log_z + b * log_rest - log_beta)  # of y
        if y < 0.0:
            series, own, other = beta_series(a, b, x)
            part = density / a * series
            below, above = part, 1.0 - part
            by_a = part * (log_z - 1.0 / a - psi_a + own / series)
            by_b = part * (log_rest - psi_b + other / series)
        else:
            series, own, other = beta_series(b, a, x)
            part = density / b * series
            below, above = 1.0 - part, part
            by_b = -part * (log_rest - 1.0 / b - psi_b + own / series)
            by_a = -part * (log_z - psi_a + other / series)
        tail = below if eps < 0.0 else above
        if not (tail > LOST and density > 0.0):  # too far out: half the way back
            step *= 0.5
            y -= step
            continue
        bend = a - (a + b) * z
        hazard = density / tail if eps < 0.0 else -density / tail
        step = _step(math.log(tail) - wanted, hazard, bend)
        y += step
        if abs(step) < CLOSE:
            curve = (a + b) * z * (1.0 - z)
            moved = density * (step + 0.5 * bend * step * step)
            there = density * (1.0 + step * bend + 0.5 * step * step * (bend * bend - curve))
            by_a += moved * (log_z + 0.5 * step * (1.0 - z) - psi_a)
            by_b += moved * (log_rest - 0.5 * step * z - psi_b)
            return y, -by_a / there, -by_b / there
    return math.nan, math.nan, math.nan


@njit(**OPTIONS)
def gamma_draws(first, last, shape, noise, log_z, slope):  # type: ignore[no-untyped-def]
    """Fill log z and ∂ log z / ∂ α (draws × n) of the entries first..last; what is not found is no number."""
    for d in range(noise.shape[0]):
        for i in range(first, last):
            eps = noise[d, i]
            if abs(eps) <= FURTHEST:
                log_z[d, i], slope[d, i] = _gamma(shape[i], eps)
            else:
                log_z[d, i], slope[d, i] = math.nan, math.nan


@njit(**OPTIONS)
def beta_draws(first, last, a, b, noise, logit, by_a, by_b):  # type: ignore[no-untyped-def]
    """Fill the logit of z and its derivatives by a and b (draws × n) likewise."""
    for d in range(noise.shape[0]):
        for i in range(first, last):
            eps = noise[d, i]
            if abs(eps) <= FURTHEST:
                logit[d, i], by_a[d, i], by_b[d, i] = _beta(a[i], b[i], eps)
            else:
                logit[d, i], by_a[d, i], by_b[d, i] = math.nan, math.nan, math.nan
