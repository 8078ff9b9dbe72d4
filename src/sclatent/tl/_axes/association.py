"""How strongly each latent axis goes with a variable: effect sizes, mutual information, permutation p-values.

Pure functions on arrays. Effect sizes come first; the p-values come from permutations inside strata (batches), since
cells of one batch are not independent draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import false_discovery_control, rankdata

from sclatent.data.blocks.dense import column_of
from sclatent.tl._axes import circular

Array = npt.NDArray[np.float64]

PERMUTATIONS = 999


@dataclass(frozen=True)
class Variable:
    """Something known of every cell.

    Parameters
    ----------
    name
        Column it came from.
    values
        (cells,) numbers, NaN where missing; of a categorical variable the codes, −1 where missing.
    levels
        Names of the categories; None for a number.
    role
        ``cycle``, ``depth``, ``quality``, ``batch``, ``covariate`` or ``label``.
    """

    name: str
    values: npt.NDArray
    levels: tuple[str, ...] | None
    role: str

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """(cells,) where the variable is not missing."""
        return self.values >= 0 if self.levels is not None else np.isfinite(self.values)

    def take(self, cells: npt.NDArray) -> Variable:
        """Return the variable of some cells."""
        return Variable(self.name, self.values[cells], self.levels, self.role)


def standard(values: npt.NDArray) -> Array:
    """Return columns centred and of length one; a constant column becomes zeros."""
    values = np.asarray(values, np.float64)
    values = values - values.mean(axis=0)
    length = np.sqrt((values**2).sum(axis=0))
    # a column that differs from a constant by rounding only is a constant
    small = length <= 1e-12 * np.sqrt(len(values))
    return np.where(small, 0.0, values / np.where(small, 1.0, length))


def spearman(
    latent: npt.NDArray, values: npt.NDArray | Sequence[npt.NDArray], angles: npt.NDArray[np.bool_] | None = None
) -> Array:
    """Return Spearman's rank correlation of each axis with numbers, over cells where they are known.

    The axes are ranked one at a time: the ranks of all would take many times the memory of the axes.

    Parameters
    ----------
    latent
        (cells, axes) posterior means.
    values
        (cells,) numbers, NaN where missing; or a list of several, missing in the same cells.
    angles
        (axes,) which axes are angles; None: none. Of an angle it is the multiple correlation of the number's ranks with
        its cosine and sine, never below 0.

    Returns
    -------
    (axes,) or (axes, numbers) correlations; 0 where either side is constant, NaN with fewer than three cells.
    """
    columns: list[npt.NDArray] = [values] if isinstance(values, np.ndarray) else list(values)
    known = np.isfinite(columns[0])
    out = np.full((latent.shape[1], len(columns)), np.nan)
    if known.sum() >= 3:
        ranks = np.empty((int(known.sum()), len(columns)))
        for j, column in enumerate(columns):
            ranks[:, j] = standard(rankdata(column[known]))
        for k in range(len(out)):
            axis = column_of(latent, k)[known]
            if angles is not None and angles[k]:
                out[k] = circular.with_numbers(circular.bases(axis[:, None]), ranks).reshape(-1)
            else:
                out[k] = standard(rankdata(axis)) @ ranks
    return out[:, 0] if isinstance(values, np.ndarray) else out


def eta_squared(latent: npt.NDArray, codes: npt.NDArray, angles: npt.NDArray[np.bool_] | None = None) -> Array:
    """Return η², the share of each axis' variance that lies between the categories.

    Parameters
    ----------
    latent
        (cells, axes) posterior means.
    codes
        (cells,) category of each cell, −1 where missing.
    angles
        (axes,) which axes are angles; None: none. Of an angle it is the mean over its cosine and sine.

    Returns
    -------
    (axes,) numbers in [0, 1]; NaN with fewer than two categories.
    """
    known = codes >= 0
    _, index, count = np.unique(codes[known], return_inverse=True, return_counts=True)
    if len(count) < 2:
        return np.full(latent.shape[1], np.nan)
    out = np.empty(latent.shape[1])
    for k in range(len(out)):
        axis = column_of(latent, k)[known]
        turning = angles is not None and bool(angles[k])
        parts = circular.basis(axis).T if turning else standard(axis)[None]
        out[k] = np.mean([(np.bincount(index, part) ** 2 / count).sum() for part in parts])
    return out


def adjusted_eta_squared(eta2: npt.NDArray, n_cells: int, n_levels: int) -> Array:
    """Take out of η² what chance alone gives (adjusted R²): with many small categories η² is large for any axis."""
    if n_cells <= n_levels:
        return np.zeros_like(eta2)
    return np.maximum(1 - (1 - eta2) * (n_cells - 1) / (n_cells - n_levels), 0.0)


def _indicators(codes: npt.NDArray) -> Array:
    """(cells, levels found) indicator columns, each of length one, so that squared products sum to η²."""
    found, index, count = np.unique(codes, return_inverse=True, return_counts=True)
    design = np.zeros((len(codes), len(found)))
    design[np.arange(len(codes)), index] = 1 / np.sqrt(count[index])
    return design


def mutual_information(latent: npt.NDArray, variable: Variable, *, seed: int = 0) -> Array:
    """Return the mutual information of each axis with a variable.

    The nearest-neighbour estimator of scikit-learn (3 neighbours; Kraskov et al. 2004, Ross 2014), with `seed` as its
    ``random_state``.

    Parameters
    ----------
    latent
        (cells, axes) posterior means.
    variable
        A number or categories, over the same cells.

    Returns
    -------
    (axes,) nats, never below 0; NaN where too few cells are known.
    """
    from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

    known = variable.known
    x, y = np.asarray(latent[known], np.float64), variable.values[known]
    if known.sum() < 10 or len(np.unique(y)) < 2:
        return np.full(latent.shape[1], np.nan)
    estimate = mutual_info_regression if variable.levels is None else mutual_info_classif
    return estimate(x, y, discrete_features=False, random_state=seed)


def permutation_p(
    latent: npt.NDArray,
    variables: Sequence[Variable],
    strata: npt.NDArray,
    *,
    angles: npt.NDArray[np.bool_] | None = None,
    n: int = PERMUTATIONS,
    seed: int = 0,
) -> Array:
    """Return how often a permutation of the cells inside their strata gives as large an effect.

    The effect is |Spearman| for numbers and η² for categories. One permutation moves all axes together, so their
    correlation is kept.

    Parameters
    ----------
    latent
        (cells, axes) posterior means.
    variables
        Over the same cells.
    strata
        (cells,) group inside which cells are exchangeable; one group for all: a plain permutation test.
    angles
        (axes,) which axes are angles; None: none. Their effects are those of `spearman` and `eta_squared`.
    n
        Number of permutations; the smallest p-value is 1 / (n + 1).
    seed
        Of the permutations.

    Returns
    -------
    (axes, variables) p-values: (1 + number at least as large) / (1 + n).
    """
    out = np.full((latent.shape[1], len(variables)), np.nan)
    turning = np.zeros(latent.shape[1], dtype=bool) if angles is None else angles
    masks: dict[bytes, list[int]] = {}
    for j, variable in enumerate(variables):
        masks.setdefault(variable.known.tobytes(), []).append(j)
    for mask, members in masks.items():
        known = np.frombuffer(mask, bool)
        if known.sum() >= 3:
            out[:, members] = _permutation_p(
                latent[known],
                [variables[j].take(known) for j in members],
                strata[known],
                turning,
                n,
                np.random.default_rng(seed),
            )
    return out


def _permutation_p(latent, variables, strata, angles, n, rng) -> Array:  # type: ignore[no-untyped-def]
    raw, ranks = standard(latent), standard(rankdata(latent, axis=0))
    turns = circular.bases(latent[:, angles]) if angles.any() else None
    numeric = [j for j, v in enumerate(variables) if v.levels is None]
    categorical = [j for j, v in enumerate(variables) if v.levels is not None]
    numbers = np.column_stack([standard(rankdata(variables[j].values)) for j in numeric]) if numeric else None
    groups = [_indicators(variables[j].values) for j in categorical]
    stacked = np.hstack(groups) if groups else None
    starts = np.cumsum([0, *(g.shape[1] for g in groups)])[:-1]
    members = [np.flatnonzero(strata == s) for s in np.unique(strata)]

    def effects(order: npt.NDArray) -> Array:
        out = np.empty((latent.shape[1], len(variables)))
        if numbers is not None:
            out[:, numeric] = np.abs(ranks[order].T @ numbers)
        if stacked is not None:
            out[:, categorical] = np.add.reduceat((raw[order].T @ stacked) ** 2, starts, axis=1)
        if turns is not None and numbers is not None:
            out[np.ix_(angles, numeric)] = circular.with_numbers(turns[:, order], numbers)
        if turns is not None and stacked is not None:
            out[np.ix_(angles, categorical)] = circular.with_groups(turns[:, order], stacked, starts)
        return out

    # ties of the discrete permutation distribution count as "as large", whatever the rounding
    observed = effects(np.arange(len(latent))) * (1 - 1e-9) - 1e-12
    larger = np.zeros_like(observed)
    order = np.arange(len(latent))
    for _ in range(n):
        for cells in members:
            order[cells] = rng.permutation(cells)
        larger += effects(order) >= observed
    return (1 + larger) / (1 + n)


def q_values(p: npt.NDArray) -> Array:
    """Return Benjamini-Hochberg q-values of an array of p-values of any shape; NaN stays NaN."""
    out = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    if known.any():
        out[known] = false_discovery_control(p[known])
    return out
