"""Compiled CPU kernels: one pass over a row of logits gives its log-likelihood and all gradients.

Each function works on the rows ``first`` to ``last`` so that threads can share a batch; rows never depend on one
another, so the bytes do not depend on the number of threads. Only the function that sums may reorder arithmetic.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sclatent.model._vector_math import OPTIONS, exp32, log1p32, log32

SMALL_COUNT = 32
"""Up to this count Γ(x+θ)/Γ(θ) is the product of x factors; above it Stirling's series."""
FEW = 4
"""Up to this count the non-zeros of a cell are evaluated together in float32."""
DEEP = 1e4
"""Cells with more counts than this get exp and log in float64: rounding of the rate is multiplied by the counts."""
_f = np.float32
TINIEST, HUGE, NOT_A_NUMBER = _f(1e-30), _f(1e30), _f(np.nan)
NONE, ONE = _f(0.0), _f(1.0)
SERIES, S2, S3, S4 = _f(0.02), _f(0.5), _f(2.0 / 3.0), _f(0.75)


@njit(**{**OPTIONS, "fastmath": {"reassoc", "nsz", "contract"}})
def _sum(values):  # type: ignore[no-untyped-def]
    total = 0.0
    for g in range(values.shape[0]):
        total += values[g]
    return total


@njit(**{**OPTIONS, "fastmath": {"nnan", "nsz"}})
def _largest(values):  # type: ignore[no-untyped-def]
    """Largest value; any number where one of them is none, which `_exponentials` then keeps."""
    top = values[0]
    for g in range(values.shape[0]):
        top = values[g] if values[g] > top else top
    return top


@njit(**OPTIONS)
def _exponentials(logits, deep):  # type: ignore[no-untyped-def]
    """Turn logits into multiples of softmax(logits); return the factor to it and log Σ exp(logits) in float64."""
    top = _largest(logits)
    total = 0.0
    if deep:
        for g in range(logits.shape[0]):
            total += math.exp(np.float64(logits[g]) - np.float64(top))
    for g in range(logits.shape[0]):
        logits[g] = exp32(logits[g] - top)
    if not deep:
        total = _sum(logits)
    return 1.0 / total, np.float64(top) + math.log(total)


@njit(**OPTIONS)
def poisson_rows(first, last, n_genes, logits, library, offsets, columns, values, totals, log_prob, weight):  # type: ignore[no-untyped-def]
    """Poisson log p without Σ log x! (rows,); `logits` (rows × logits) become `weight` times its gradient to them."""
    n_out = logits.shape[1]
    for b in range(first, last):
        row = logits[b]
        total = 0.0
        weighted = 0.0
        for i in range(offsets[b], offsets[b + 1]):
            total += values[i]
            weighted += np.float64(values[i]) * np.float64(row[columns[i]])
        scale, lse = _exponentials(row, totals[b] > DEEP)
        in_genes = np.float64(library[b])
        if n_out > n_genes:
            in_genes *= 1.0 - np.float64(row[n_genes]) * scale
        log_library = math.log(max(np.float64(library[b]), 1e-30))
        log_prob[b] = weighted + total * (log_library - lse) - in_genes
        score = total - in_genes
        at_genes = _f(-(np.float64(library[b]) + score) * scale * weight)
        for g in range(n_genes):
            row[g] *= at_genes
        for g in range(n_genes, n_out):
            row[g] *= _f(-score * scale * weight)
        for i in range(offsets[b], offsets[b + 1]):
            row[columns[i]] += values[i] * weight


@njit(inline="always", **OPTIONS)
def _stirling(z):  # type: ignore[no-untyped-def]
    """Rest of Stirling's series: log Γ(z) − [(z − ½) log z − z + ½ log 2π] for z ≥ 32."""
    inverse = 1.0 / z
    return inverse * (1.0 / 12.0 - inverse * inverse * (1.0 / 360.0 - inverse * inverse / 1260.0))


@njit(**OPTIONS)
def _nb_large(x, log_mu, theta):  # type: ignore[no-untyped-def]
    """NB log p without −log x!, its derivative to θ and to log μ, for counts above SMALL_COUNT, in float64."""
    mu = math.exp(log_mu)
    both = x + theta
    # shift a small θ up to where Stirling's series holds: log Γ(θ) = log Γ(θ + n) − Σ log(θ + j)
    shifted = theta
    log_shift = 0.0
    digamma_shift = 0.0
    while shifted < 32.0:
        log_shift += math.log(shifted)
        digamma_shift += 1.0 / shifted
        shifted += 1.0
    if shifted == theta:
        log_p = both * math.log1p((x - mu) / (theta + mu)) - 0.5 * math.log1p(x / theta) - x + x * log_mu
        log_p += _stirling(both) - _stirling(theta)
        ratio = math.log1p((x - mu) / (theta + mu))
    else:
        gamma = (both - 0.5) * math.log(both) - (shifted - 0.5) * math.log(shifted) - both + shifted
        gamma += _stirling(both) - _stirling(shifted) + log_shift
        log_p = gamma + x * (log_mu - math.log(theta + mu)) - theta * math.log1p(mu / theta)
        ratio = math.log(both) - math.log(shifted) - math.log1p(mu / theta) + digamma_shift
    # ψ(z) = log z − 1/(2z) − 1/(12z²) + 1/(120z⁴)
    u, v = 1.0 / both, 1.0 / shifted
    by_theta = ratio - 0.5 * (u - v) - (u * u - v * v) / 12.0 + (u**4 - v**4) / 120.0
    by_theta += (mu - x) / (theta + mu)
    return log_p, by_theta, (x - mu) / (1.0 + mu / theta)


@njit(**OPTIONS)
def _small_counts(columns, values, row, rate, theta, inverse_theta, zero, log_p, score, by_theta):  # type: ignore[no-untyped-def]
    """NB log p and its derivatives to log μ and θ at the non-zeros of a cell, right for counts up to FEW; float32.

    log Π_{j<x} (θ + j) μ/(θ + μ) − θ log1p(μ/θ): nothing in it cancels, whatever θ.
    """
    for i in range(columns.shape[0]):
        g = columns[i]
        x = values[i]
        th = theta[g]
        mu = row[g] * rate
        share = mu / (th + mu)
        product = th * share
        digamma = ONE / th
        for j in range(1, FEW):
            more = x > j
            factor = th + _f(j)
            product *= factor * share if more else ONE
            digamma += ONE / factor if more else NONE
        loss = zero[g]
        # outside this range float32 is close to its ends: not a number sends the entry to the careful loop
        log_p[i] = log32(product) - loss if (product > TINIEST) & (product < HUGE) else NOT_A_NUMBER
        score[i] = (x - mu) * (ONE - share)
        by_theta[i] = digamma + (share - x * (ONE - share) * inverse_theta[g]) - loss * inverse_theta[g]


@njit(**OPTIONS)
def nb_rows(  # type: ignore[no-untyped-def]
    first,
    last,
    n_genes,
    logits,
    library,
    offsets,
    columns,
    values,
    totals,
    log_prob,
    weight,
    theta,
    inverse_theta,
    per,
    by_theta,
):
    """NB log p without Σ log x! (rows,); `logits` (rows × logits) become `weight` times its gradient to them.

    ``theta`` and its inverse are (1 | rows) × genes. The gradient to θ is summed over `per` rows at a time, which lie
    all or none between `first` and `last`: ⌈rows / per⌉ × genes.
    """
    n_out = logits.shape[1]
    zero = np.empty(n_genes, np.float32)
    score = np.empty(n_genes, np.float32)
    by_b, at_logit = np.empty(n_genes, np.float32), np.empty(n_genes, np.float32)
    at_p, at_score = np.empty(n_genes, np.float32), np.empty(n_genes, np.float32)
    at_theta, done = np.empty(n_genes, np.float32), np.empty(n_genes, np.bool_)
    for b in range(first, last):
        row = logits[b]
        deep = totals[b] > DEEP
        for i in range(offsets[b], offsets[b + 1]):
            at_logit[i - offsets[b]] = row[columns[i]]
        scale, lse = _exponentials(row, deep)
        rate = _f(np.float64(library[b]) * scale)
        log_shift = math.log(max(np.float64(library[b]), 1e-30)) - lse
        t = b if theta.shape[0] > 1 else 0
        theta_b, inverse_b = theta[t], inverse_theta[t]
        for g in range(n_genes):
            mu = row[g] * rate
            r = mu * inverse_b[g]
            u = ONE + r
            inverse = ONE / u
            log1p = log1p32(r, u, inverse)
            zero[g] = theta_b[g] * log1p
            score[g] = -mu * inverse
            series = -r * r * (S2 - r * (S3 - r * S4))
            by_b[g] = series if r < SERIES else r * inverse - log1p
        nonzero = 0.0
        if not deep:
            n = offsets[b + 1] - offsets[b]
            _small_counts(
                columns[offsets[b] : offsets[b + 1]],
                values[offsets[b] : offsets[b + 1]],
                row,
                rate,
                theta_b,
                inverse_b,
                zero,
                at_p[:n],
                at_score[:n],
                at_theta[:n],
            )
            for i in range(n):
                done[i] = (values[offsets[b] + i] <= FEW) & (at_p[i] == at_p[i])
                if done[i]:
                    g = columns[offsets[b] + i]
                    nonzero += at_p[i]
                    zero[g] = 0.0
                    score[g] = at_score[i]
                    by_b[g] = at_theta[i]
        for i in range(offsets[b], offsets[b + 1]):
            if not deep and done[i - offsets[b]]:
                continue
            g = columns[i]
            x, th = np.float64(values[i]), np.float64(theta_b[g])
            log_mu = np.float64(at_logit[i - offsets[b]]) + log_shift
            if x > SMALL_COUNT:
                log_p, by, s = _nb_large(x, log_mu, th)
            else:
                if deep:
                    mu64 = math.exp(log_mu)
                    log1p64 = math.log1p(mu64 / th)
                else:
                    mu64 = np.float64(row[g]) * np.float64(rate)
                    log1p64 = np.float64(zero[g] * inverse_b[g])
                inverse64 = 1.0 / (th + mu64)
                log_p, by = _rising(int(x), th, mu64 * inverse64)
                log_p -= th * log1p64
                by += (mu64 - x) * inverse64 - log1p64
                s = (x - mu64) * th * inverse64
            nonzero += log_p
            zero[g] = 0.0
            score[g] = _f(s)
            by_b[g] = _f(by)
        log_prob[b] = nonzero - _sum(zero)
        total = _f(_sum(score) * scale)
        for g in range(n_genes):
            row[g] = (score[g] - row[g] * total) * weight
        for g in range(n_genes, n_out):
            row[g] *= -total * weight
        summed = by_theta[b // per]
        if b % per:
            for g in range(n_genes):
                summed[g] += by_b[g]
        else:
            summed[:] = by_b


@njit(inline="always", **OPTIONS)
def _rising(x, theta, share):  # type: ignore[no-untyped-def]
    """Return log Π_{j<x} (θ + j) μ/(θ + μ) and Σ_{j<x} 1/(θ + j), with one logarithm per eight counts.

    ``share`` is μ/(θ + μ). Each factor lies between 1e-38 and 1e9, so eight of them stay inside float64.
    """
    log_p = 0.0
    product = 1.0
    numerator, denominator = 0.0, 1.0
    digamma = 0.0
    for j in range(x):
        factor = theta + j
        product *= factor * share
        numerator = numerator * factor + denominator
        denominator *= factor
        if j & 7 == 7:
            log_p += math.log(product)
            digamma += numerator / denominator
            product, numerator, denominator = 1.0, 0.0, 1.0
    if x & 7:
        log_p += math.log(product)
        digamma += numerator / denominator
    return log_p, digamma
