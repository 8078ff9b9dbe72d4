"""Drawn expression against that of real cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.data.modalities import RNA, measured
from sclatent.settings import InputError
from sclatent.tl._model.subset import evenly
from sclatent.tl._samples.apart import (
    COMPONENTS,
    FOLDS,
    Shown,
    agreement,
    nearest,
    rms,
    standard,
    told_apart,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

Array = npt.NDArray[Any]

CELLS = 2000
"""Cells of each kind that are compared, at most."""
CORRELATED = 200
"""Most variable genes whose correlations are compared."""
FEWEST = 2 * FOLDS
"""Cells of each kind that a comparison takes at least."""


@dataclass(frozen=True)
class Look:
    """What is compared of some cells: their counts (cells × genes), totals, log-normalised expression."""

    counts: Array
    total: Array
    logged: Array

    @property
    def zero(self) -> Array:
        """Share of cells without a count, by gene."""
        return (self.counts == 0).mean(axis=0)


def looked_at(there: Array, what: str) -> Array:
    """Return the positions of at most 2,000 of the cells that are `there`, evenly spaced."""
    rows = np.flatnonzero(there)
    if len(rows) < FEWEST:
        raise InputError(f"check_samples: {len(rows)} {what}: a comparison needs {FEWEST} or more")
    return evenly(rows, CELLS)


def positions(names: pd.Index, wanted: pd.Index, what: str, kind: str) -> Array:
    """Return where the features that were drawn are among those of other cells."""
    place = names.get_indexer(wanted)
    if (place < 0).any():
        missing = wanted[place < 0]
        raise InputError(
            f"check_samples: the {what} cells lack {len(missing)} of the drawn {kind} ('{missing[0]}', …): "
            "pass the counts that the model was trained on"
        )
    return place


def look(cells: AnnData, genes: pd.Index, what: str, rows: Array | None = None) -> Look:
    """Return the counts of at most 2,000 cells with RNA, evenly spaced, and log(1 + 10,000 · counts / total).

    Parameters
    ----------
    cells
        Cells × genes.
    genes
        The genes that are looked at.
    what
        What the cells are, for the one line.
    rows
        Positions of the cells to take instead.
    """
    from scipy.sparse import issparse

    place = positions(cells.var_names, genes, what, "genes")
    if rows is None:
        rows = looked_at(measured(cells, RNA), f"{what} cells")
    taken = cells.X[rows]
    counts = np.asarray((taken.toarray() if issparse(taken) else taken), np.float64)[:, place]
    total = counts.sum(axis=1)
    return Look(counts, total, np.log1p(1e4 * counts / np.maximum(total, 1.0)[:, None]))


def of_genes(real: Look, other: Look, seed: int) -> dict[str, float]:
    """Return every measure of `other` against `real`, and the interval of the AUROC as ``low`` and ``high``."""
    from scipy.stats import ks_2samp

    auroc, low, high = told_apart([principal(real, other)], len(real.total), len(other.total), seed)
    zero = other.zero - real.zero
    scale = float(np.median(real.total))
    first, second = (x.counts / np.maximum(x.total, 1.0)[:, None] * scale for x in (real, other))
    seen = (first.mean(axis=0) > 0.05) & (second.mean(axis=0) > 0)  # a ratio of rarer genes is chance
    alike, strength = agreement(*(of_pairs(x, correlated_genes(real)) for x in (real, other)))
    return {
        "auroc": auroc,
        "low": low,
        "high": high,
        "zero_fraction_difference": float(zero.mean()),
        "zero_fraction_error": rms(zero),
        "mean_error": rms(np.log2(second.mean(axis=0)[seen] / first.mean(axis=0)[seen])),
        "variance_error": rms(np.log2(_variance(second[:, seen]) / _variance(first[:, seen]))),
        "library_size_distance": float(ks_2samp(real.total, other.total).statistic),
        "correlation_agreement": alike,
        "correlation_strength": strength,
        "neighbour_distance": _neighbours(real, other, seed),
    }


def principal(real: Look, other: Look) -> Shown:
    """Return what a classifier is shown of expression: principal components, and the log total."""
    from sklearn.decomposition import PCA

    logged = np.vstack([real.logged, other.logged])
    total = np.log1p(np.concatenate([real.total, other.total]))[:, None]

    def shown(fit: Array, judge: Array) -> tuple[Array, Array]:
        size = min(COMPONENTS, len(fit) // 4, logged.shape[1] - 1)
        pca = PCA(max(1, size), svd_solver="randomized", random_state=0).fit(logged[fit])
        seen, new = (np.hstack([pca.transform(logged[rows]), total[rows]]) for rows in (fit, judge))
        return seen, new

    return shown


def _variance(x: Array) -> Array:
    return np.maximum(x.var(axis=0), 1e-12)


def correlated_genes(real: Look) -> Array:
    """Return the positions of the genes whose correlations are compared."""
    return np.argsort(-real.logged.var(axis=0), kind="stable")[:CORRELATED]


def of_pairs(cells: Look, genes: Array) -> Array:
    """Return the correlation of every pair of genes (log-normalised); 0 where a gene does not vary."""
    x = standard(cells.logged[:, genes])
    return (x.T @ x)[np.triu_indices(len(genes), 1)]


def _neighbours(real: Look, other: Look, seed: int) -> float:
    from sklearn.decomposition import PCA

    pca = PCA(min(COMPONENTS, len(real.total) // 2 - 1, real.logged.shape[1]), random_state=0).fit(real.logged)
    return nearest(pca.transform(real.logged), pca.transform(other.logged), seed)
