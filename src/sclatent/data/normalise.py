"""Sums and logarithms of large sparse counts, a few thousand cells at a time: scipy would copy all of them first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_ROWS = 8192


def log_scaled(counts: csr_matrix, factor: np.ndarray) -> csr_matrix:
    """Return log(1 + count · factor of its cell), CSR float32, sharing the indices of `counts`.

    Parameters
    ----------
    counts
        (n_cells, n_genes).
    factor
        (n_cells,), in whose precision the arithmetic is done, a few thousand cells at a time.
    """
    from scipy.sparse import csr_matrix

    data = np.empty(counts.nnz, dtype=np.float32)
    for start in range(0, counts.shape[0], _ROWS):
        ends = counts.indptr[start : start + _ROWS + 1]
        part = slice(ends[0], ends[-1])
        data[part] = np.log1p(counts.data[part] * np.repeat(factor[start : start + _ROWS], np.diff(ends)))
    return csr_matrix((data, counts.indices, counts.indptr), shape=counts.shape)


def cell_sums(counts: csr_matrix) -> np.ndarray:
    """Return the sum of each cell (n_cells,), float64."""
    out = np.empty(counts.shape[0])
    for start in range(0, counts.shape[0], _ROWS):
        part = slice(start, start + _ROWS)
        out[part] = np.asarray(counts[part].sum(axis=1, dtype=np.float64)).ravel()
    return out
