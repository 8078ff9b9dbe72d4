"""Which cells and genes stay: metrics, and filters that each say what they removed."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data import slots
from sclatent.data.blocks import row_blocks
from sclatent.pp._families import qc_genes
from sclatent.settings import CellsSettings, InputError, checks_arguments

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

MANY = 10_000
"""Entries, of which some are above 1 in every matrix of counts."""


def auto_min_genes(n_genes: int) -> int:
    """Return the default of ``cells.min_genes``: the smaller of 200 and 5 % of the genes (rounded down, at least 1).

    Parameters
    ----------
    n_genes
        Number of genes of the dataset.

    Returns
    -------
    int
        Least number of detected genes that a cell needs to stay.
    """
    return max(1, min(200, math.floor(0.05 * n_genes)))


@dataclass
class Filters:
    """What each filter removed, in the order of the filters."""

    file: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, key: str, cutoff: float, unit: str, keep: np.ndarray, why: str) -> None:
        """Record and log one filter.

        Raises
        ------
        InputError
            If nothing is left; the line names every filter of that unit and what it took.
        """
        taken, left = int((~keep).sum()), int(keep.sum())
        self.rows.append({"filter": key, "cutoff": float(cutoff), "unit": unit, "taken": taken, "left": left})
        log.info("%s: removed %d of %d %s (%s), %d left", key, taken, keep.size, unit, why, left)
        if left == 0:
            told = "; ".join(
                f"{r['filter']} ({_number(r['cutoff'])}) removed {r['taken']} of {r['taken'] + r['left']}"
                for r in self.rows
                if r["unit"] == unit
            )
            raise InputError(f"{self.file}: no {unit} left: {told}: loosen the filter that removed most")

    def table(self) -> pd.DataFrame:
        """Return one row per filter: ``filter``, ``cutoff``, ``unit``, ``taken``, ``left``."""
        import pandas as pd

        columns = ["filter", "cutoff", "unit", "taken", "left"]
        return pd.DataFrame(self.rows, columns=columns, index=pd.Index([str(i) for i in range(len(self.rows))]))


@checks_arguments
def qc_metrics(adata: AnnData, symbols: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compute scanpy's quality metrics.

    Parameters
    ----------
    adata
        Counts; ``var`` with a column of gene ids where there is one.
    symbols
        (n_genes,) symbols.

    Returns
    -------
    obs
        One row per cell: ``n_genes_by_counts``, ``total_counts``, ``pct_counts_mt``, ``pct_counts_ribo`` and, where
        there are any, ``pct_counts_spike_in`` (percent; 0 where a cell is empty).
    var
        One row per gene: ``mt``, ``ribo``, ``spike_in``, ``n_cells_by_counts``, ``total_counts``.
    """
    import pandas as pd
    import scanpy as sc
    from anndata import AnnData as New

    kinds = qc_genes(adata.var, symbols)
    about = kinds.reset_index(drop=True).rename(index=str)
    metrics = [slots.N_GENES, slots.TOTAL_COUNTS, slots.PCT_MITO, slots.PCT_RIBO]
    metrics += [slots.PCT_SPIKE_IN] if about[slots.SPIKE_IN].any() else []
    tables, sums = [], pd.DataFrame(0.0, index=about.index, columns=[slots.N_CELLS, slots.TOTAL_COUNTS])
    for _, block in row_blocks(adata.X):
        work = New(block, var=about)
        obs, var = sc.pp.calculate_qc_metrics(work, qc_vars=list(kinds), percent_top=None, log1p=False)
        tables.append(obs[metrics].fillna(0.0))
        sums += var[list(sums)]
    sums = sums.astype({name: var[name].dtype for name in sums})
    return pd.concat(tables).set_axis(adata.obs_names), about.join(sums).set_axis(adata.var_names)


def tell_binary(metrics: pd.DataFrame) -> None:
    """Say that no gene was counted twice in any cell: that is no matrix of counts, if there are many entries."""
    total = float(metrics[slots.TOTAL_COUNTS].sum())
    if total >= MANY and bool((metrics[slots.TOTAL_COUNTS] == metrics[slots.N_GENES]).all()):
        log.warning(
            "all of the %d entries that are not 0 are 1: this says whether a gene was seen in a cell, not how often: "
            "give the counts themselves, or use `likelihood: bernoulli`",
            total,
        )


def filter_cells(
    metrics: pd.DataFrame,
    settings: CellsSettings,
    n_genes: int,
    filters: Filters,
    *,
    has_mito: bool,
    exempt: np.ndarray | None = None,
) -> np.ndarray:
    """Return which cells pass the filters on counts; each filter sees what the one before it left.

    Parameters
    ----------
    metrics
        The ``obs`` table of `qc_metrics`, for all cells.
    n_genes
        Number of genes of the matrix, for ``min_genes: auto``.
    filters
        Where to record what was taken.
    has_mito
        Whether any gene is known to be mitochondrial.
    exempt
        (n_cells,) cells without RNA, which pass; None: there is no such cell.
    """
    passed = np.ones(len(metrics), dtype=bool)
    genes, total = metrics[slots.N_GENES].to_numpy(), metrics[slots.TOTAL_COUNTS].to_numpy()
    auto = settings.min_genes == "auto"
    min_genes = auto_min_genes(n_genes) if settings.min_genes == "auto" else settings.min_genes
    steps: list[tuple[str, float, np.ndarray, str]] = [
        (
            "cells.min_genes",
            min_genes,
            genes >= min_genes,
            f"fewer than {min_genes} genes seen{', the automatic cut-off' if auto else ''}",
        )
    ]
    if settings.min_counts is not None:
        steps.append(
            (
                "cells.min_counts",
                settings.min_counts,
                total >= settings.min_counts,
                f"fewer than {settings.min_counts} counts",
            )
        )
    if settings.max_counts is not None:
        steps.append(
            (
                "cells.max_counts",
                settings.max_counts,
                total <= settings.max_counts,
                f"more than {settings.max_counts} counts",
            )
        )
    if settings.max_percent_mito is not None:
        steps.append(_mito_step(metrics, settings.max_percent_mito, has_mito, filters.file))
    for key, cutoff, enough, why in steps:
        keep = enough if exempt is None else enough | exempt
        filters.add(key, cutoff, "cells", keep[passed], why)
        passed &= keep
    return passed


def _mito_step(metrics: pd.DataFrame, limit: float, has_mito: bool, file: str) -> tuple[str, float, np.ndarray, str]:
    """Return the filter on mitochondrial counts, or stop where there are none, or the limit was meant as a fraction."""
    key = "cells.max_percent_mito"
    if not has_mito:
        raise InputError(
            f"{file}: {key}: no gene is called MT-… or mt-…, or has the Ensembl id of one, so there is nothing to "
            "filter on: remove the key, or name the var column with symbols in `genes.symbols`"
        )
    keep = metrics[slots.PCT_MITO].to_numpy() <= limit
    if 0 < limit < 1 and keep.mean() < 0.5:
        raise InputError(
            f"{file}: {key}: {limit:g} is {limit:g} %, which {(~keep).sum()} of {keep.size} cells exceed: for "
            f"{100 * limit:g} % write {100 * limit:g}"
        )
    return key, limit, keep, f"more than {limit:g} % mitochondrial counts"


@checks_arguments
def score_doublets(adata: AnnData, groups: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Score doublets with scrublet, within each group (doublets form within a sample).

    Parameters
    ----------
    adata
        Whole-number counts in ``X``, cells × genes.
    groups
        (n_cells,) the sample or batch of each cell; None: all are of one.
    seed
        Seed of the simulated doublets.

    Returns
    -------
    score, called
        (n_cells,) float and bool; a group of fewer than 50 cells is not scored (NaN, not called), with a line in the
        log.

    References
    ----------
    Wolock, Lopez & Klein 2019, Cell Systems 8:281.
    """
    import scanpy as sc
    from anndata import AnnData as New

    names = np.zeros(adata.n_obs, dtype=object) if groups is None else np.asarray(groups, dtype=object)
    score, called = np.full(adata.n_obs, np.nan), np.zeros(adata.n_obs, dtype=bool)
    for name in sorted(set(names), key=str):
        cells = np.flatnonzero(names == name)
        where = "" if groups is None else f" of '{name}'"
        if len(cells) < 50:
            log.warning("doublets: %d cells%s are too few to simulate doublets from: not scored", len(cells), where)
            continue
        work = New(adata.X[cells].copy())
        seen = np.asarray((work.X > 0).sum(axis=0)).ravel() >= 3
        work = work[:, seen].copy()
        components = min(30, len(cells) - 2, work.n_vars - 1)
        try:
            sc.pp.scrublet(work, n_prin_comps=components, random_state=seed, verbose=False)
        except ValueError as error:
            log.warning("doublets: scrublet cannot score the %d cells%s (%s): not scored", len(cells), where, error)
            continue
        score[cells] = work.obs[slots.DOUBLET_SCORE].to_numpy()
        if slots.PREDICTED_DOUBLET not in work.obs or work.obs[slots.PREDICTED_DOUBLET].isna().any():
            log.warning("doublets: scrublet found no threshold%s: scored, none called", where)
        else:
            called[cells] = work.obs[slots.PREDICTED_DOUBLET].to_numpy(dtype=bool)
    return score, called


def _number(value: float) -> str:
    return f"{value:.10g}"
