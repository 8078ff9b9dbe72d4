"""Which cells and genes pass, and the counts of those that did."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data import slots
from sclatent.data.blocks import row_blocks, subset
from sclatent.data.expected import where_counts_are
from sclatent.data.modalities import RNA, counts_of, further, measured, slot
from sclatent.data.normalise import cell_sums
from sclatent.io._numbers import to_counts
from sclatent.io._rounding import tell_multiples
from sclatent.pp._quality import Filters, filter_cells, score_doublets
from sclatent.pp._split import check_number
from sclatent.settings import CellsSettings, InputError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix


def whole_counts(counts: AnnData, file: str) -> csr_matrix:
    """Return the counts as whole numbers, or stop where they are none."""
    other = functools.partial(where_counts_are, counts)
    matrix = to_counts(counts.X, file, counts.obs_names, counts.var_names, other=other)
    if slots.UNS_READ not in counts.uns.get(slots.UNS, {}):
        tell_multiples(matrix, file, "X")  # what was read from files was looked at there, one by one
    return matrix


def pass_cells(
    matrix: csr_matrix,
    obs: pd.DataFrame,
    metrics: pd.DataFrame,
    cells: CellsSettings,
    batch: Sequence[str],
    seed: int,
    filters: Filters,
    has_mito: bool,
    exempt: np.ndarray,
) -> np.ndarray:
    """Return which cells pass, those `exempt` whatever their RNA; doublet scores, if asked for, go to `metrics`."""
    from anndata import AnnData

    passed = filter_cells(metrics, cells, matrix.shape[1], filters, has_mito=has_mito, exempt=exempt)
    if cells.doublets:
        every = np.ones(matrix.shape[1], dtype=bool)
        scored = passed & ~exempt
        score, called = score_doublets(AnnData(subset(matrix, scored, every)), _groups(obs[scored], batch), seed)
        metrics[slots.DOUBLET_SCORE] = _spread(score, scored, np.nan)
        metrics[slots.PREDICTED_DOUBLET] = _spread(called, scored, False)
        filters.add("cells.doublets", np.nan, "cells", ~called, "called doublets by scrublet")
        passed[np.flatnonzero(scored)[called]] = False
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
    for rows, block in row_blocks(matrix):
        seen += np.bincount(block[passed[rows]].indices, minlength=len(names))
    min_cells = max(1, min_cells)
    genes = (seen >= min_cells) | (kept & (seen > 0))
    filters.add("genes.min_cells", min_cells, "genes", genes, f"seen in fewer than {min_cells} of the cells left")
    unseen = [str(name) for name in names[kept & ~genes]]
    if unseen:
        raise InputError(
            f"{filters.file}: genes.keep: '{unseen[0]}' has no count in the cells that passed: remove it from the list"
        )
    return genes


def part_of(counts: AnnData, matrix: csr_matrix, cells: np.ndarray, genes: np.ndarray) -> AnnData:
    """Return some cells and genes, and of these cells what else was measured; `matrix` holds the counts."""
    from anndata import AnnData

    out = AnnData(subset(matrix, cells, genes), obs=counts.obs[cells].copy(), var=counts.var[genes].copy())
    for name in further(counts):
        out.obsm[name] = counts_of(counts, name)[cells]
    read = counts.uns.get(slots.UNS, {}).get(slots.UNS_READ, {})
    out.uns[slots.UNS] = {slots.UNS_READ: read, **slot(further(counts))}
    return out


def silent(prepared: AnnData, genes: np.ndarray) -> np.ndarray:
    """Return which cells have no count in `genes`, of those that were measured for RNA."""
    return (cell_sums(prepared.X, genes) == 0) & measured(prepared, RNA)


def drop_silent(prepared: AnnData, filters: Filters, genes: np.ndarray, key: str, why: str, passed: np.ndarray) -> None:
    """Take cells without a count in `genes` out of `prepared` and `passed`, both in place."""
    without = silent(prepared, genes)
    if not without.any():
        return
    filters.add(key, 1, "cells", ~without, why)
    passed[np.flatnonzero(passed)[without]] = False
    left = subset(prepared.X, ~without, np.ones(prepared.n_vars, dtype=bool))
    prepared.X = None  # anndata would hold all that is left in memory
    prepared._inplace_subset_obs(~without)
    prepared.X = left


def _groups(obs: pd.DataFrame, batch: Sequence[str]) -> np.ndarray | None:
    """Return what doublets form within: the sample, else the batch, else nothing."""
    if slots.SAMPLE in obs:
        return obs[slots.SAMPLE].astype(str).to_numpy()
    return obs[batch[0]].astype(str).to_numpy() if batch else None


def _spread(values: np.ndarray, passed: np.ndarray, empty: float | bool) -> np.ndarray:
    out = np.full(len(passed), empty, dtype=values.dtype)
    out[passed] = values
    return out
