"""Compiled passes over CSR rows: gathering, sums, and the product with a dense matrix."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sclatent.model._vector_math import OPTIONS


@njit(**OPTIONS)
def sparse_product(first, last, offsets, columns, values, weight, bias, out):  # type: ignore[no-untyped-def]
    """out[b] = bias + Σ_i values[i] · weight[columns[i]] for the rows first..last."""
    for b in range(first, last):
        row = out[b]
        row[:] = bias
        for i in range(offsets[b], offsets[b + 1]):
            v = values[i]
            w = weight[columns[i]]
            for h in range(row.shape[0]):
                row[h] += v * w[h]


@njit(**OPTIONS)
def by_column(offsets, columns, starts, rows, order):  # type: ignore[no-untyped-def]
    """Sort the non-zeros of a batch by column: the row and the place of each, and where each column starts."""
    for i in range(columns.shape[0]):
        starts[columns[i] + 1] += 1
    for g in range(starts.shape[0] - 1):
        starts[g + 1] += starts[g]
    place = starts[:-1].copy()
    for b in range(offsets.shape[0] - 1):
        for i in range(offsets[b], offsets[b + 1]):
            at = place[columns[i]]
            rows[at], order[at] = b, i
            place[columns[i]] = at + 1


def columns_of(offsets, columns, n_columns):  # type: ignore[no-untyped-def]
    """Return what `by_column` writes: starts (n_columns + 1,), rows and order (non-zeros,)."""
    starts, rows, order = np.zeros(n_columns + 1, np.int64), np.empty_like(columns), np.empty_like(columns)
    by_column(offsets, columns, starts, rows, order)
    return starts, rows, order


@njit(**OPTIONS)
def sparse_product_gradient(first, last, starts, rows, order, values, upstream, gradient):  # type: ignore[no-untyped-def]
    """gradient[g] = Σ values[i] · upstream[row of i] over the non-zeros i of column g, for the columns first..last."""
    for g in range(first, last):
        row = gradient[g]
        row[:] = 0.0
        for i in range(starts[g], starts[g + 1]):
            v = values[order[i]]
            up = upstream[rows[i]]
            for h in range(row.shape[0]):
                row[h] += v * up[h]


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
