"""Which axes come back when training starts from another seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from sclatent.data import slots
from sclatent.data.blocks.dense import by_rows, column_of, mean_and_variance, rows_at, stretches
from sclatent.settings import InputError, checks_arguments
from sclatent.tl._axes import circular
from sclatent.tl._axes.association import standard

if TYPE_CHECKING:
    import anndata as ad

RETURNED = 0.7
"""An axis came back when its match has |correlation| of at least this, of posterior means and of loadings alike."""


def correlation(
    a: np.ndarray,
    b: np.ndarray,
    angles: np.ndarray | None = None,
    other_angles: np.ndarray | None = None,
    cells: np.ndarray | None = None,
) -> np.ndarray:
    """Return Pearson's correlation of every column of `a` with every column of `b`; 0 where a column is constant.

    `angles` and `other_angles` say which columns are angles: there it is `circular.with_angles`, never below 0. `cells`
    are the positions of the rows to look at; ``None``: all.
    """
    cells = np.arange(len(a)) if cells is None else cells
    centres, spreads = zip(*(mean_and_variance(x, cells) for x in (a, b)), strict=True)
    out = np.zeros((a.shape[1], b.shape[1]))
    for part in stretches(len(cells)):
        ours, theirs = (rows_at(x, cells[part], np.float64) - c for x, c in zip((a, b), centres, strict=True))
        out += ours.T @ theirs
    for lengths, shape in zip(spreads, ((-1, 1), (1, -1)), strict=True):
        length = np.sqrt(lengths).reshape(shape)
        # a column that differs from a constant by rounding only is a constant
        out = np.where(length <= 1e-12, 0.0, out / np.where(length <= 1e-12, 1.0, length))
    out /= len(cells)
    turning = np.zeros(a.shape[1], bool) if angles is None else angles
    others = np.zeros(b.shape[1], bool) if other_angles is None else other_angles
    for j, k in np.argwhere(turning[:, None] | others):
        mine, yours = column_of(a, j)[cells], column_of(b, k)[cells]
        mine = circular.basis(mine) if turning[j] else standard(mine[:, None])
        yours = circular.basis(yours) if others[k] else standard(yours[:, None])
        out[j, k] = circular.with_angles(mine, yours)
    return out


def match_axes(
    means: np.ndarray,
    other_means: np.ndarray,
    loadings: np.ndarray,
    other_loadings: np.ndarray,
    angles: np.ndarray | None = None,
    other_angles: np.ndarray | None = None,
    cells: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match the axes of one model to those of another, one to one.

    Optimal assignment (`scipy.optimize.linear_sum_assignment`) on the mean of the absolute correlation of the posterior
    means over cells and of that of the loadings over genes.

    Parameters
    ----------
    means, other_means
        (cells, axes), the same cells.
    loadings, other_loadings
        (axes, genes), the same genes.
    angles, other_angles
        (axes,) which axes are angles; None: none.
    cells
        Positions of the cells to look at; None: all.

    Returns
    -------
    For each axis of the first model its match in the other (−1: none is left), and both signed correlations (0 without
    a match).
    """
    of_means = correlation(means, other_means, angles, other_angles, cells)
    of_loadings = correlation(loadings.T, other_loadings.T)
    rows, columns = linear_sum_assignment(-(np.abs(of_means) + np.abs(of_loadings)))
    match = np.full(of_means.shape[0], -1)
    match[rows] = columns
    found = match >= 0
    out = np.zeros((2, len(match)))
    out[0, found] = of_means[found, match[found]]
    out[1, found] = of_loadings[found, match[found]]
    return match, out[0], out[1]


def _columns(means: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return some of the axes of posterior means (cells × axes)."""
    return means if len(axes) == means.shape[1] else by_rows(len(means), lambda rows: means[rows][:, axes], means)


@checks_arguments
def stability(
    latents: Mapping[int, ad.AnnData], seed: int, names: Mapping[int, pd.Series] | None = None
) -> pd.DataFrame:
    """Say of every axis of one seed how often, and how well, it comes back in the others.

    Only active axes take part; test cells are left out where ``obs["split"]`` tells them.

    Parameters
    ----------
    latents
        What `sclatent.tl.embed` returned, by seed.
    seed
        The seed whose axes are judged.
    names
        The names the axes earned, by seed (index: axis).

    Returns
    -------
    DataFrame
        One row per axis: ``axis``; ``n_seeds``, the number of other seeds; ``n_returned``, in how many of them its
        match has abs(ρ) ≥ 0.7 of posterior means and of loadings; ``correlation`` and ``loading_correlation``,
        the means of both absolute values over the other seeds, ``worst_correlation`` the smallest of the posterior
        means; ``stable``: came back in more than half of the others (missing with a single seed, or for an inactive
        axis); ``same_name``: share of the other seeds where the match earned the same name (with `names`).

    Raises
    ------
    InputError
        If the seeds were not trained on the same cells and genes.
    """
    own = latents[seed]
    active = np.flatnonzero(own.var["active"].to_numpy(bool))
    others = [s for s in latents if s != seed]
    cells = np.arange(own.n_obs)
    if slots.SPLIT in own.obs:
        cells = np.flatnonzero((own.obs[slots.SPLIT] != slots.TEST).to_numpy())
    means = np.zeros((len(others), own.n_vars))
    weights, same = np.zeros_like(means), np.zeros_like(means)
    for i, s in enumerate(others):
        other = latents[s]
        if not other.obs_names.equals(own.obs_names) or list(other.uns["genes"]) != list(own.uns["genes"]):
            raise InputError(f"seeds {seed} and {s} were not trained on the same cells and genes: train them again")
        theirs = np.flatnonzero(other.var["active"].to_numpy(bool))
        if not theirs.size or not active.size:
            continue
        match, means[i, active], weights[i, active] = match_axes(
            _columns(own.X, active),
            _columns(other.X, theirs),
            np.asarray(own.varm["loadings"])[active],
            np.asarray(other.varm["loadings"])[theirs],
            circular.angle_axes(own)[active],
            circular.angle_axes(other)[theirs],
            cells,
        )
        if names is not None:
            found = match >= 0
            ours = names[seed].loc[own.var_names[active[found]]].to_numpy()
            matched = names[s].loc[other.var_names[theirs[match[found]]]].to_numpy()
            same[i, active[found]] = ours == matched
    table = pd.DataFrame({"axis": own.var_names, "n_seeds": len(others)})
    is_active = np.isin(np.arange(own.n_vars), active)
    returned = ((np.abs(means) >= RETURNED) & (np.abs(weights) >= RETURNED)).sum(axis=0)
    table["n_returned"] = returned
    table["stable"] = pd.Series(2 * returned > len(others), dtype="boolean").mask(~is_active | (not others))
    columns = {"correlation": np.abs(means), "loading_correlation": np.abs(weights)}
    if names is not None:
        columns["same_name"] = same
    for column, values in columns.items():
        table[column] = np.where(is_active, values.mean(axis=0), np.nan) if others else np.nan
    table["worst_correlation"] = np.where(is_active, np.abs(means).min(axis=0), np.nan) if others else np.nan
    return table
