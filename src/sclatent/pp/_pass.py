"""Which cells and genes pass, and the counts of those that did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data import slots
from sclatent.pp._quality import Filters, filter_cells, score_doublets
from sclatent.pp._split import check_number
from sclatent.settings import CellsSettings, InputError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

_ROWS = 8192
"""Cells that are worked on at once where a step would copy the counts."""


def pass_cells(
    matrix: csr_matrix,
    obs: pd.DataFrame,
    metrics: pd.DataFrame,
    cells: CellsSettings,
    batch: Sequence[str],
    seed: int,
    filters: Filters,
    has_mito: bool,
) -> np.ndarray:
    """Return which cells pass; doublet scores, if asked for, are added to `metrics`."""
    from anndata import AnnData

    passed = filter_cells(metrics, cells, matrix.shape[1], filters, has_mito=has_mito)
    if cells.doublets:
        score, called = score_doublets(AnnData(matrix[passed]), _groups(obs[passed], batch), seed)
        metrics[slots.DOUBLET_SCORE] = _spread(score, passed, np.nan)
        metrics[slots.PREDICTED_DOUBLET] = _spread(called, passed, False)
        filters.add("cells.doublets", np.nan, "cells", ~called, "called doublets by scrublet")
        passed[np.flatnonzero(passed)[called]] = False
    check_number(int(passed.sum()), filters.file)
    return passed


def pass_genes(
    matrix: csr_matrix,
    passed: np.ndarray,
    names: pd.Index,
    kept: np.ndarray,
    min_cells: int,
    filters: Filters,
) -> np.ndarray:
    """Return which genes are seen in enough of the cells that passed, or are to be kept."""
    seen = np.zeros(len(names), dtype=np.int64)
    for rows in range(0, matrix.shape[0], _ROWS):  # numpy counts in a copy, twice as large as the indices
        block = matrix[rows : rows + _ROWS][passed[rows : rows + _ROWS]]
        seen += np.bincount(block.indices, minlength=len(names))
    min_cells = max(1, min_cells)
    genes = (seen >= min_cells) | (kept & (seen > 0))
    filters.add("genes.min_cells", min_cells, "genes", genes, f"seen in fewer than {min_cells} of the cells left")
    unseen = [str(name) for name in names[kept & ~genes]]
    if unseen:
        raise InputError(
            f"{filters.file}: genes.keep: '{unseen[0]}' has no count in the cells that passed: remove it from the list"
        )
    return genes


def subset(matrix: csr_matrix, cells: np.ndarray, genes: np.ndarray) -> csr_matrix:
    """Return the rows and columns asked for, with no copy of all columns in between; `matrix` itself if it is all."""
    from scipy.sparse import csr_matrix

    if genes.all():
        return matrix if cells.all() else matrix[cells]
    stays = genes[matrix.indices]
    stays &= np.repeat(cells, np.diff(matrix.indptr))
    full = np.diff(matrix.indptr) > 0
    left = np.zeros(matrix.shape[0], dtype=matrix.indptr.dtype)
    left[full] = np.add.reduceat(stays, matrix.indptr[:-1][full], dtype=left.dtype)
    indices = matrix.indices[stays]
    np.take(np.cumsum(genes, dtype=indices.dtype) - 1, indices, out=indices, mode="clip")  # in place: no third copy
    indptr = np.concatenate([[0], np.cumsum(left[cells])])
    return csr_matrix((matrix.data[stays], indices, indptr), shape=(int(cells.sum()), int(genes.sum())))


def silent(prepared: AnnData, genes: np.ndarray) -> np.ndarray:
    """Return which cells have no count in `genes`."""
    return np.asarray(prepared.X[:, np.flatnonzero(genes)].sum(axis=1)).ravel() == 0


def drop_silent(prepared: AnnData, filters: Filters, genes: np.ndarray, key: str, why: str, passed: np.ndarray) -> None:
    """Take cells without a count in `genes` out of `prepared` and `passed`, both in place."""
    without = silent(prepared, genes)
    if not without.any():
        return
    filters.add(key, 1, "cells", ~without, why)
    passed[np.flatnonzero(passed)[without]] = False
    prepared._inplace_subset_obs(~without)


def _groups(obs: pd.DataFrame, batch: Sequence[str]) -> np.ndarray | None:
    """Return what doublets form within: the sample, else the batch, else nothing."""
    if slots.SAMPLE in obs:
        return obs[slots.SAMPLE].astype(str).to_numpy()
    return obs[batch[0]].astype(str).to_numpy() if batch else None


def _spread(values: np.ndarray, passed: np.ndarray, empty: float | bool) -> np.ndarray:
    out = np.full(len(passed), empty, dtype=values.dtype)
    out[passed] = values
    return out
