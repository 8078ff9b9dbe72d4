"""Which genes vary: analytic Pearson residuals of counts, cell by cell, without a copy of the counts.

scanpy's function of the same purpose holds four copies of the counts (10 GB at 100,000 cells × 20,000 genes); this one
gives the same genes, which a test holds against it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numba
import numpy as np

from sclatent.data.blocks import row_blocks

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

log = logging.getLogger(__name__)

FLAVOR = "pearson_residuals"
"""Analytic Pearson residuals of the counts (Lause, Berens and Kobak 2021, Genome Biology 22:258), as in scanpy."""
THETA = 100.0
FEWEST_PER_BATCH = 30
"""Training cells below which a batch has no vote on which genes vary."""


def highly_variable(
    counts: csr_matrix,
    n_top: int | Literal["all"],
    batch: np.ndarray | None = None,
    *,
    cells: np.ndarray | None = None,
    genes: np.ndarray | None = None,
) -> np.ndarray:
    """Return (n_genes,) bool: the `n_top` genes whose Pearson residuals vary most.

    The residuals are those of counts against a negative binomial with one mean per gene and depth per cell (θ = 100),
    clipped at the root of the number of cells (of the first batch, as in scanpy). With batches, genes are ranked within
    each one, and those that are among the top in most batches come first, ties broken by the median rank.

    Parameters
    ----------
    counts
        (n_cells, n_genes).
    n_top
        How many; all genes that vary at all if there are no more, or for ``"all"``.
    batch
        (n_cells,) the batch of each cell. Batches of fewer than 30 cells have no vote, unless none is larger: then all
        cells vote as one.
    cells
        (n,) positions of the cells to choose on; ``None`` for all.
    genes
        (n_genes,) bool, genes that may be chosen; ``None`` for all. Counts of the others are not looked at.

    Returns
    -------
    ndarray
        (n_genes,) bool, True for the chosen genes.

    References
    ----------
    Lause, Berens & Kobak 2021, Genome Biology 22:258.
    """
    cells = np.arange(counts.shape[0]) if cells is None else np.sort(cells)
    allowed = np.ones(counts.shape[1], dtype=bool) if genes is None else np.asarray(genes, dtype=bool)
    chosen = np.zeros(counts.shape[1], dtype=bool)
    varies = _varies(counts, cells) & allowed
    if n_top == "all" or varies.sum() <= n_top:
        return varies
    total = _sums(counts, cells, np.zeros(len(cells), np.int64), varies)[1]
    votes = _votes(cells[total > 0], None if batch is None else np.asarray(batch, dtype=str))
    variances = _residual_variances(counts, votes, varies)[:, varies]
    chosen[np.flatnonzero(varies)[_best(variances, n_top)]] = True
    return chosen


def _votes(cells: np.ndarray, batch: np.ndarray | None) -> list[np.ndarray]:
    """Return the cells of each batch that has a vote, or all cells as one."""
    if batch is None:
        return [cells]
    names, codes, sizes = np.unique(batch[cells], return_inverse=True, return_counts=True)
    large = sizes >= FEWEST_PER_BATCH
    if not large.all():
        log.info(
            "highly variable genes: %d batch(es) with fewer than %d training cells have no vote of their own",
            (~large).sum(),
            FEWEST_PER_BATCH,
        )
    if large.sum() <= 1:
        return [cells]
    return [cells[codes == code] for code in range(len(names)) if large[code]]


def _best(variances: np.ndarray, n_top: int) -> np.ndarray:
    """Return the positions of the `n_top` genes, from residual variances (batches × genes), ranked as scanpy does."""
    ranks = np.argsort(np.argsort(-variances, axis=1), axis=1).astype(float)
    among = ranks < n_top
    median = np.ma.median(np.ma.array(ranks, mask=~among), axis=0).filled(np.inf)
    return np.lexsort((median, -among.sum(axis=0)))[:n_top]


def _blocks(counts: csr_matrix, cells: np.ndarray) -> Iterator[tuple[csr_matrix, slice, np.ndarray]]:
    """Yield blocks of rows, which of the `cells` (sorted) are in each, and their places in it."""
    for rows, block in row_blocks(counts):
        some = slice(*np.searchsorted(cells, (rows.start, rows.stop)))
        if some.stop > some.start:
            yield block, some, cells[some] - rows.start


def _varies(counts: csr_matrix, cells: np.ndarray) -> np.ndarray:
    """Return which genes are not the same in all of `cells`."""
    low = np.full(counts.shape[1], np.inf, dtype=np.float32)
    high = np.full(counts.shape[1], -np.inf, dtype=np.float32)
    seen = np.zeros(counts.shape[1], dtype=np.int64)
    for block, _, at in _blocks(counts, cells):
        _range(block.indptr, block.indices, block.data, at, low, high, seen)
    low[seen < len(cells)] = np.minimum(low[seen < len(cells)], 0)
    high[seen < len(cells)] = np.maximum(high[seen < len(cells)], 0)
    return high > low


def _sums(counts: csr_matrix, cells: np.ndarray, group: np.ndarray, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of the counts of `genes` in `cells`, by group and gene (0 for other genes) and by cell."""
    by_gene, by_cell = np.zeros((group.max() + 1, counts.shape[1])), np.zeros(len(cells))
    for block, some, at in _blocks(counts, cells):
        _add(block.indptr, block.indices, block.data, at, group[some], genes, by_gene, by_cell[some])
    return by_gene, by_cell


def _residual_variances(counts: csr_matrix, votes: list[np.ndarray], genes: np.ndarray) -> np.ndarray:
    """Return the variance of the residuals of every gene (0 where it is not among `genes`) over the cells of a vote."""
    cells = np.concatenate(votes)
    order = np.argsort(cells, kind="stable")
    cells, group = cells[order], np.repeat(np.arange(len(votes)), [len(vote) for vote in votes])[order]
    by_gene, by_cell = _sums(counts, cells, group, genes)
    total, clip = by_gene.sum(axis=1), float(np.sqrt(len(votes[0])))
    first, second = np.zeros_like(by_gene), np.zeros_like(by_gene)
    for block, some, at in _blocks(counts, cells):
        arrays = block.indptr, block.indices, block.data, at, group[some]
        _moments(*arrays, by_gene, by_cell[some], total, clip, THETA, first, second)
    n = np.array([[len(vote)] for vote in votes])
    return second / n - (first / n) ** 2


@numba.njit(cache=True)
def _range(indptr, indices, data, cells, low, high, seen):  # type: ignore[no-untyped-def]
    for cell in cells:
        for at in range(indptr[cell], indptr[cell + 1]):
            gene = indices[at]
            low[gene] = min(low[gene], data[at])
            high[gene] = max(high[gene], data[at])
            seen[gene] += 1


@numba.njit(cache=True)
def _add(indptr, indices, data, cells, group, genes, by_gene, by_cell):  # type: ignore[no-untyped-def]
    for row in range(len(cells)):
        sums = by_gene[group[row]]
        for at in range(indptr[cells[row]], indptr[cells[row] + 1]):
            if genes[indices[at]]:
                sums[indices[at]] += data[at]
                by_cell[row] += data[at]


@numba.njit(cache=True)
def _moments(  # type: ignore[no-untyped-def]
    indptr, indices, data, cells, group, by_gene, by_cell, total, clip, theta, first, second
):
    """Add up the clipped residuals and their squares: those of zeros for all genes, mended where there is a count."""
    for row in range(len(cells)):
        sums, one, two = by_gene[group[row]], first[group[row]], second[group[row]]
        share = by_cell[row] / total[group[row]]
        for gene in range(len(sums)):
            mu = sums[gene] * share
            zero = max(-np.sqrt(mu / (1.0 + mu / theta)), -clip)
            one[gene] += zero
            two[gene] += zero * zero
        for at in range(indptr[cells[row]], indptr[cells[row] + 1]):
            gene = indices[at]
            mu = sums[gene] * share
            if mu > 0:
                zero = max(-np.sqrt(mu / (1.0 + mu / theta)), -clip)
                residual = min(max((data[at] - mu) / np.sqrt(mu + mu * mu / theta), -clip), clip)
                one[gene] += residual - zero
                two[gene] += residual * residual - zero * zero
