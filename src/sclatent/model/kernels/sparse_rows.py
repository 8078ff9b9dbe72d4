"""Compiled passes over CSR rows: gathering, sums, and the product with a dense matrix."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sclatent.model.kernels.vector_math import ONE, OPTIONS, log1p32


@njit(**OPTIONS)
def sparse_product(first, last, offsets, columns, values, dense, start, out):  # type: ignore[no-untyped-def]
    """out[b] = start + Σ_i values[i] · dense[columns[i]] for the rows first..last."""
    for b in range(first, last):
        row = out[b]
        for h in range(row.shape[0]):
            row[h] = start[h]
        fours = offsets[b + 1] - (offsets[b + 1] - offsets[b]) % 4
        for i in range(offsets[b], fours, 4):  # the row is read and written once for four non-zeros
            v, w = values[i : i + 4], columns[i : i + 4]
            w0, w1, w2, w3 = dense[w[0]], dense[w[1]], dense[w[2]], dense[w[3]]
            for h in range(row.shape[0]):
                row[h] += v[0] * w0[h] + v[1] * w1[h] + v[2] * w2[h] + v[3] * w3[h]
        for i in range(fours, offsets[b + 1]):
            v0, w0 = values[i], dense[columns[i]]
            for h in range(row.shape[0]):
                row[h] += v0 * w0[h]


def by_column(offsets, columns, values, n_columns):  # type: ignore[no-untyped-def]
    """Return the non-zeros by column: where each column starts (n_columns + 1,), their rows and values."""
    starts, rows, moved = np.zeros(n_columns + 1, np.int64), np.empty_like(columns), np.empty_like(values)
    _by_column(offsets, columns, values, starts, rows, moved)
    return starts, rows, moved


@njit(**OPTIONS)
def _by_column(offsets, columns, values, starts, rows, moved):  # type: ignore[no-untyped-def]
    for i in range(columns.shape[0]):
        starts[columns[i] + 1] += 1
    for g in range(starts.shape[0] - 1):
        starts[g + 1] += starts[g]
    place = starts[:-1].copy()
    for b in range(offsets.shape[0] - 1):
        for i in range(offsets[b], offsets[b + 1]):
            at = place[columns[i]]
            rows[at], moved[at] = b, values[i]
            place[columns[i]] = at + 1


@njit(**OPTIONS)
def write_dense(offsets, columns, values, out):  # type: ignore[no-untyped-def]
    """Write the rows to `out`, zeros included."""
    for b in range(out.shape[0]):
        row = out[b]
        row[:] = 0.0
        for i in range(offsets[b], offsets[b + 1]):
            row[columns[i]] = values[i]


@njit(**OPTIONS)
def gather_rows(  # type: ignore[no-untyped-def]
    index,
    source_offsets,
    source_columns,
    source_values,
    offsets,
    rows,
    columns,
    values,
):
    """Copy the CSR rows `index` to the arrays of a batch, whose `offsets` are known."""
    for b in range(index.shape[0]):
        start = source_offsets[index[b]]
        for i in range(offsets[b], offsets[b + 1]):
            at = start + i - offsets[b]
            rows[i] = b
            columns[i] = source_columns[at]
            values[i] = source_values[at]


@njit(**OPTIONS)
def take_rows(index, source_offsets, source_columns, source_values, n_columns):  # type: ignore[no-untyped-def]
    """Return offsets, columns, values and log(1 + values) of the CSR rows `index`, and the logs as `by_column` does."""
    offsets = np.zeros(len(index) + 1, np.int64)
    for b in range(len(index)):
        offsets[b + 1] = offsets[b] + source_offsets[index[b] + 1] - source_offsets[index[b]]
    n = offsets[-1]
    rows, columns, values = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.float32)
    gather_rows(index, source_offsets, source_columns, source_values, offsets, rows, columns, values)
    logs, moved, starts = np.empty(n, np.float32), np.empty(n, np.float32), np.zeros(n_columns + 1, np.int64)
    for i in range(n):
        u = ONE + values[i]
        logs[i] = log1p32(values[i], u, ONE / u)
    _by_column(offsets, columns, logs, starts, rows, moved)
    return offsets, columns, values, logs, (starts, rows, moved)


@njit(**OPTIONS)
def row_sums(offsets, values, total, log_factorial):  # type: ignore[no-untyped-def]
    """Σ x and Σ log x! of every row, in float64."""
    table = np.zeros(256)
    for x in range(2, 256):
        table[x] = table[x - 1] + math.log(x)
    for b in range(total.shape[0]):
        for i in range(offsets[b], offsets[b + 1]):
            x = values[i]
            total[b] += x
            if x < 256 and x == math.floor(x):
                log_factorial[b] += table[int(x)]
            else:
                log_factorial[b] += math.lgamma(np.float64(x) + 1.0)


@njit(**OPTIONS)
def gene_sums(index, offsets, columns, values, total):  # type: ignore[no-untyped-def]
    """Add the counts of the rows `index` to the total of each gene, in float64."""
    for b in index:
        for i in range(offsets[b], offsets[b + 1]):
            total[columns[i]] += values[i]
