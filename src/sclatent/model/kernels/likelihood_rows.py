"""Compiled CPU kernels: one pass over a row of logits gives its log-likelihood and all gradients.

Each function works on the rows ``first`` to ``last`` so that threads can share a batch; rows never depend on one
another, so the bytes do not depend on the number of threads. Only the function that sums may reorder arithmetic.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sclatent.model.kernels.nb_terms import count_terms
from sclatent.model.kernels.vector_math import OPTIONS, exp32, log1p32, log32

FEW = 4
"""Up to this count the non-zeros of a cell are evaluated in float32, above it in float64."""
DEEP = 1e4
"""Cells with more counts than this get exp and log in float64: rounding of the rate is multiplied by the counts."""
_f = np.float32
TINIEST, HUGE, NOT_A_NUMBER = _f(1e-30), _f(1e30), _f(np.nan)
NONE, ONE = _f(0.0), _f(1.0)
SERIES, S2, S3, S4 = _f(0.02), _f(0.5), _f(2.0 / 3.0), _f(0.75)


@njit(forceinline=True, **{**OPTIONS, "fastmath": {"reassoc", "nsz", "contract"}})
def _sum(values):  # type: ignore[no-untyped-def]
    total = 0.0
    for g in range(values.shape[0]):
        total += values[g]
    return total


@njit(forceinline=True, **{**OPTIONS, "fastmath": {"nnan", "nsz"}})
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


@njit(**OPTIONS)
def bernoulli_rows(first, last, n_genes, logits, library, offsets, columns, values, totals, log_prob, weight):  # type: ignore[no-untyped-def]
    """Log p of presence (rows,); `logits` (rows × logits) become `weight` times its gradient to them.

    Σ_{x>0} log(e^μ − 1) − Σ_g μ_g: beside the softmax itself only the non-zeros cost anything. `values` and `totals`
    are those of presence: 1 for each non-zero, and how many there are.
    """
    n_out = logits.shape[1]
    pull = np.empty(n_genes)
    for b in range(first, last):
        row = logits[b]
        n = offsets[b + 1] - offsets[b]
        for i in range(n):
            pull[i] = row[columns[offsets[b] + i]]
        scale, lse = _exponentials(row, totals[b] > DEEP)
        in_genes = np.float64(library[b])
        if n_out > n_genes:
            in_genes *= 1.0 - np.float64(row[n_genes]) * scale
        log_shift = math.log(max(np.float64(library[b]), 1e-30)) - lse
        present = 0.0
        total = 0.0
        for i in range(n):
            log_mu = pull[i] + log_shift
            mu = math.exp(min(log_mu, 700.0))
            if mu < 1e-6:
                present += log_mu + 0.5 * mu
                pull[i] = 1.0 + 0.5 * mu
            else:
                absent = math.exp(-mu)
                present += mu + math.log1p(-absent)
                pull[i] = mu / (1.0 - absent)
            total += pull[i]
        log_prob[b] = present - in_genes
        score = total - in_genes
        at_genes = _f(-(np.float64(library[b]) + score) * scale * weight)
        for g in range(n_genes):
            row[g] *= at_genes
        for g in range(n_genes, n_out):
            row[g] *= _f(-score * scale * weight)
        for i in range(n):
            row[columns[offsets[b] + i]] += _f(pull[i] * weight)


@njit(**OPTIONS)
def _small_counts(columns, values, row, rate, theta, inverse_theta, zero, log_p, score, by_theta):  # type: ignore[no-untyped-def]
    """NB log p and its derivatives to log μ and θ at the non-zeros of a cell; float32.

    Not a number where it takes float64: above FEW, and at the ends of float32.
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
        # outside this range float32 is close to its ends
        right = (product > TINIEST) & (product < HUGE) & (x <= FEW)
        log_p[i] = log32(product) - loss if right else NOT_A_NUMBER
        score[i] = (x - mu) * (ONE - share)
        by_theta[i] = digamma + (share - x * (ONE - share) * inverse_theta[g]) - loss * inverse_theta[g]


@njit(forceinline=True, **OPTIONS)
def _as_if_zero(row, rate, theta, inverse_theta, zero, score, by_theta):  # type: ignore[no-untyped-def]
    """Write −log p of a count of 0 at every gene, and the derivatives of log p to log μ and θ; float32."""
    for g in range(zero.shape[0]):
        mu = row[g] * rate
        r = mu * inverse_theta[g]
        u = ONE + r
        inverse = ONE / u
        log1p = log1p32(r, u, inverse)
        zero[g] = theta[g] * log1p
        score[g] = -mu * inverse
        series = -r * r * (S2 - r * (S3 - r * S4))
        by_theta[g] = series if r < SERIES else r * inverse - log1p


@njit(forceinline=True, **OPTIONS)
def _replace_small(columns, at_p, at_score, at_theta, zero, score, by_theta, careful):  # type: ignore[no-untyped-def]
    """Put the terms of the non-zeros in place of those of a 0; return their Σ log p and how many need float64.

    The places of the latter go to `careful`. Without branches: which count is large cannot be foretold.
    """
    nonzero = 0.0
    m = 0
    for i in range(columns.shape[0]):
        g = columns[i]
        careful[m] = i
        m += at_p[i] != at_p[i]
        nonzero += np.float64(at_p[i]) if at_p[i] == at_p[i] else 0.0
        zero[g] = NONE
        score[g] = at_score[i]
        by_theta[g] = at_theta[i]
    return nonzero, m


@njit(forceinline=True, **OPTIONS)
def _add_cell(of_cell, summed, first):  # type: ignore[no-untyped-def]
    """Add the derivatives of a cell to the sum of its group, which the first cell of the group begins."""
    if first:
        for g in range(of_cell.shape[0]):
            summed[g] = of_cell[g]
    else:
        for g in range(of_cell.shape[0]):
            summed[g] += of_cell[g]


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
    f, d, careful = np.empty((7, n_genes), np.float32), np.empty((6, n_genes)), np.empty(n_genes, np.int64)
    zero, score, by_b, at_logit, at_p, at_score, at_theta = f[0], f[1], f[2], f[3], f[4], f[5], f[6]
    x, theta64, log_mu, p64, score64, by_theta64 = d[0], d[1], d[2], d[3], d[4], d[5]
    for b in range(first, last):
        row, g_of, x_of = logits[b], columns[offsets[b] : offsets[b + 1]], values[offsets[b] : offsets[b + 1]]
        n, deep = g_of.shape[0], totals[b] > DEEP
        for i in range(n):
            at_logit[i] = row[g_of[i]]
        scale, lse = _exponentials(row, deep)
        rate = _f(np.float64(library[b]) * scale)
        log_shift = math.log(max(np.float64(library[b]), 1e-30)) - lse
        t = b if theta.shape[0] > 1 else 0
        _as_if_zero(row, rate, theta[t], inverse_theta[t], zero, score, by_b)
        at_p[:n] = NOT_A_NUMBER
        if not deep:
            at = (at_p[:n], at_score[:n], at_theta[:n])
            _small_counts(g_of, x_of, row, rate, theta[t], inverse_theta[t], zero, *at)
        nonzero, m = _replace_small(g_of, at_p, at_score, at_theta, zero, score, by_b, careful)
        for j in range(m):
            i = careful[j]
            x[j], theta64[j], log_mu[j] = x_of[i], theta[t, g_of[i]], np.float64(at_logit[i]) + log_shift
        count_terms(x[:m], theta64[:m], log_mu[:m], p64, score64, by_theta64)
        for j in range(m):
            g = g_of[careful[j]]
            nonzero += p64[j]
            score[g] = score64[j]
            by_b[g] = by_theta64[j]
        log_prob[b] = nonzero - _sum(zero)
        total = _f(_sum(score) * scale)
        for g in range(n_genes):
            row[g] = (score[g] - row[g] * total) * weight
        for g in range(n_genes, logits.shape[1]):
            row[g] *= -total * weight
        _add_cell(by_b, by_theta[b // per], b % per == 0)
