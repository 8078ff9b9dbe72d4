"""Library sizes and numeric covariates as normal scores, so that their own distributions come back when drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sclatent.data.modalities import RNA
from sclatent.settings import InputError

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
        By modality, (combinations of levels + 1 × grid) quantiles of the log library size of the cells of each
        combination, and of all cells last.
    values
        (numeric covariates × grid) quantiles of the standardised covariates.
    """

    library: dict[str, Array]
    values: Array

    def libraries(self, scores: Array, combination: Index, *, of: str = RNA) -> Array:
        """Return library sizes (n,) of normal scores (n,) in combinations of levels (n,); −1: one never seen."""
        from scipy.special import ndtr

        out = np.empty(len(scores))
        for code in np.unique(combination):
            rows = combination == code
            out[rows] = np.interp(ndtr(scores[rows]), GRID, self.library[of][code])
        return np.exp(out)

    def covariates(self, scores: Array) -> Array:
        """Return standardised covariates (n × columns) of normal scores."""
        from scipy.special import ndtr

        columns = [np.interp(ndtr(score), GRID, kept) for score, kept in zip(scores.T, self.values, strict=True)]
        return np.stack(columns, 1) if columns else np.empty((len(scores), 0))


def fit_scores(library: Mapping[str, Array], combination: Index, values: Array) -> tuple[Scores, Array]:
    """Return the quantiles, and the normal scores of each library size and covariate (cells × columns).

    A library size is ranked among the cells of the same combination of levels: what is left is what it says of the
    cell, and a cell that is drawn for another batch gets a library size of that batch.

    Parameters
    ----------
    library
        By modality, (cells,) library sizes; NaN, as are its scores then, in cells that were not measured for it.
    combination
        (cells,) codes from 0 on.
    values
        (cells × columns) standardised covariates.

    Raises
    ------
    InputError
        If no cell was measured for a modality.
    """
    kept, columns = {}, []
    for name, sizes in library.items():
        if not np.isfinite(sizes).any():
            raise InputError(f"density: no cell was measured for {name}: give the cells that the model was trained on")
        kept[name], score = _of_sizes(np.asarray(sizes, np.float64), combination)
        columns.append(score)
    of_values = [np.quantile(column, GRID, method="hazen") for column in values.T]
    columns += [normal_scores(column) for column in values.T]
    return Scores(kept, np.array(of_values).reshape(len(of_values), len(GRID))), np.column_stack(columns)


def _of_sizes(sizes: Array, combination: Index) -> tuple[Array, Array]:
    """Return the quantiles of log library sizes (combinations + 1 × grid), and their scores (cells,)."""
    there = np.isfinite(sizes)
    logged = np.log(np.maximum(sizes, 1.0))
    everyone = np.quantile(logged[there], GRID, method="hazen")
    kept, score = [], np.full(len(logged), np.nan)
    for code in range(int(combination.max()) + 1):
        rows = (combination == code) & there
        score[rows] = normal_scores(logged[rows])
        kept.append(np.quantile(logged[rows], GRID, method="hazen") if rows.sum() >= FEWEST else everyone)
    return np.array([*kept, everyone]), score


def filled(draws: Array, beside: Array, seed: int) -> Array:
    """Return the scores beside every draw (draws × cells × columns), also of what a cell was not measured for.

    The missing library size of a cell is drawn from what those of cells with all modalities say, given where the cell
    lies and its other scores (Bayesian ridge regression); so cells with one modality say where cells lie, and those
    with all how library sizes go together.

    Parameters
    ----------
    draws
        (draws × cells × axes) from the posteriors.
    beside
        (cells × columns) scores; NaN where there is none.
    seed
        Of the draws.
    """
    from sklearn.linear_model import BayesianRidge

    out = np.broadcast_to(beside, (*draws.shape[:2], beside.shape[1]))
    missing = np.isnan(beside)
    if not missing.any():
        return out
    out, rng, whole = out.copy(), np.random.default_rng(seed), ~missing.any(axis=1)
    for column in np.flatnonzero(missing.any(axis=0)):
        rows = missing[:, column]
        noise = rng.standard_normal((len(draws), int(rows.sum())))
        if whole.sum() < FEWEST:
            out[:, rows, column] = noise
            continue
        known = [k for k in range(beside.shape[1]) if k != column and not missing[rows, k].any()]
        shown = np.concatenate([draws, out[:, :, known]], axis=2)
        model = BayesianRidge().fit(shown[0, whole], beside[whole, column])
        for k, at in enumerate(shown[:, rows]):
            mean, sd = model.predict(at, return_std=True)
            out[k, rows, column] = mean + sd * noise[k]
    return out


def normal_scores(values: Array) -> Array:
    """Return the normal quantile of each value's rank; equal values share one."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    return ndtri((rankdata(values) - 0.5) / len(values))
