"""Sums and logarithms of large sparse counts, a few thousand cells at a time: scipy would copy all of them first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sclatent.data.blocks import change_values, row_blocks

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def log_scaled(counts: csr_matrix, factor: np.ndarray) -> csr_matrix:
    """Return log(1 + count · factor of its cell), CSR float32, sharing the indices of `counts`.

    Parameters
    ----------
    counts
        (n_cells, n_genes).
    factor
        (n_cells,), in whose precision the arithmetic is done, a few thousand cells at a time.
    """

    def scaled(rows: slice, block: csr_matrix) -> np.ndarray:
        return np.log1p(block.data * np.repeat(factor[rows], np.diff(block.indptr))).astype(np.float32)

    return change_values(counts, scaled)


def cell_sums(counts: csr_matrix, genes: np.ndarray | None = None) -> np.ndarray:
    """Return the sum of each cell (n_cells,), float64; over the `genes` of a mask, if there is one."""
    weight = np.ones(counts.shape[1]) if genes is None else genes.astype(np.float64)
    out = np.empty(counts.shape[0])
    for rows, block in row_blocks(counts):
        out[rows] = block @ weight
    return out


def gene_sums(counts: csr_matrix) -> np.ndarray:
    """Return the sum of each gene (n_genes,), float64."""
    out = np.zeros(counts.shape[1])
    for _, block in row_blocks(counts):
        out += np.bincount(block.indices, block.data, minlength=len(out))
    return out


def gene_moments(counts: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the unbiased variance of each gene's counts (n_genes,) each, float64."""
    from scipy.sparse import csr_matrix as csr

    counts, n = csr(counts), counts.shape[0]
    first, second = np.zeros(counts.shape[1]), np.zeros(counts.shape[1])
    for _, block in row_blocks(counts):
        values = block.data.astype(np.float64)
        first += np.bincount(block.indices, values, minlength=len(first))
        second += np.bincount(block.indices, values**2, minlength=len(first))
    mean = first / n
    return mean, np.maximum(second - n * mean**2, 0) / max(n - 1, 1)
