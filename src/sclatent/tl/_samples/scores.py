"""Library sizes and numeric covariates as normal scores, so that their own distributions come back when drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Index = npt.NDArray[np.int64]

GRID = np.linspace(0.0, 1.0, 257)
"""Probabilities at which the quantiles are kept."""
FEWEST = 10
"""A combination of levels with fewer cells takes the library sizes of all cells."""


@dataclass(frozen=True)
class Scores:
    """Quantiles of what stands beside the axes.

    Attributes
    ----------
    library
        (combinations of levels + 1 × grid) quantiles of the log library size of the cells of each combination, and of
        all cells last.
    values
        (numeric covariates × grid) quantiles of the standardised covariates.
    """

    library: Array
    values: Array

    def libraries(self, scores: Array, combination: Index) -> Array:
        """Return library sizes (n,) of normal scores (n,) in combinations of levels (n,); −1: one never seen."""
        from scipy.special import ndtr

        out = np.empty(len(scores))
        for code in np.unique(combination):
            rows = combination == code
            out[rows] = np.interp(ndtr(scores[rows]), GRID, self.library[code])
        return np.exp(out)

    def covariates(self, scores: Array) -> Array:
        """Return standardised covariates (n × columns) of normal scores."""
        from scipy.special import ndtr

        columns = [np.interp(ndtr(score), GRID, kept) for score, kept in zip(scores.T, self.values, strict=True)]
        return np.stack(columns, 1) if columns else np.empty((len(scores), 0))


def fit_scores(library: Array, combination: Index, values: Array) -> tuple[Scores, Array]:
    """Return the quantiles, and the normal scores (cells × (1 + columns)): of library size, and of each covariate.

    The library size is ranked among the cells of the same combination of levels: what is left is what it says of the
    cell, and a cell that is drawn for another batch gets a library size of that batch.

    Parameters
    ----------
    library
        (cells,) library sizes.
    combination
        (cells,) codes from 0 on.
    values
        (cells × columns) standardised covariates.
    """
    logged = np.log(np.maximum(np.asarray(library, np.float64), 1.0))
    everyone = np.quantile(logged, GRID, method="hazen")
    kept, score = [], np.empty(len(logged))
    for code in range(int(combination.max()) + 1):
        rows = combination == code
        score[rows] = normal_scores(logged[rows])
        kept.append(np.quantile(logged[rows], GRID, method="hazen") if rows.sum() >= FEWEST else everyone)
    columns = [np.quantile(column, GRID, method="hazen") for column in values.T]
    scores = np.column_stack([score, *(normal_scores(column) for column in values.T)])
    return Scores(np.array([*kept, everyone]), np.array(columns).reshape(len(columns), len(GRID))), scores


def normal_scores(values: Array) -> Array:
    """Return the normal quantile of each value's rank; equal values share one."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    return ndtri((rankdata(values) - 0.5) / len(values))
