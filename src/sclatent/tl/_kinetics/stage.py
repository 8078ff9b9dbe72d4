"""`sclatent.tl.kinetics`: from unspliced and spliced counts along an angle to rates of every gene."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from sclatent.data import slots
from sclatent.settings import InputError, checks_arguments, did_you_mean
from sclatent.tl._kinetics.counts import Binned
from sclatent.tl._kinetics.mechanism import DEGRADATION, LEVEL, RATIO, SHAPE, Array, log_means, prior, starts, waves
from sclatent.tl._kinetics.posterior import Posterior, climb, explore, quantiles
from sclatent.tl._kinetics.spliced_only import lower_bound

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger("sclatent")

HARMONICS = 2
FEWEST_CELLS = 50
INTERVAL = (0.5, 0.05, 0.95)
AT_ONCE = 5_000_000
"""Entries (cells × genes) of a layer that are worked on together."""
TURN = 2 * np.pi


@checks_arguments
def kinetics(
    cells: AnnData,
    *,
    unspliced: str | None = "unspliced",
    spliced: str = "spliced",
    angle: str = slots.CYCLE_ANGLE,
    library: str | None = None,
    genes: Sequence[str] | None = None,
    period: float | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Find how fast the transcripts of each gene are made, spliced and degraded, from where cells are on a circle.

    A gene's synthesis is a periodic function of the angle; unspliced transcripts are spliced at a rate β, spliced ones
    degraded at a rate γ. The periodic solution of these equations has a closed form. Counts are negative binomial about
    it. The posterior of each gene's parameters is found from several starts, with a full covariance, and corrected by
    importance weights (Cornuet et al. 2012).

    Parameters
    ----------
    cells
        Counts as layers (cells × genes), and the angle of each cell; cells without one (NaN) are left out.
    unspliced, spliced
        Names of the layers; ``unspliced=None``: there are only spliced counts, which bound the degradation from below.
    angle
        The obs column with the angle (radians).
    library
        The obs column with the library size; None: the sum over all layers that are looked at.
    genes
        Which genes; None: all.
    period
        Hours of one turn. Without it rates are per radian: in units of the cycle's speed.
    seed
        Of the draws.

    Returns
    -------
    DataFrame
        One row per gene. ``synthesis`` (transcripts of a mean library, the mean over the turn), ``splicing``,
        ``degradation``: posterior medians, each with ``_low`` and ``_high``, the 90 % interval. ``correlation`` of log
        splicing and log degradation; ``peak`` (radians) of synthesis, and the Fourier coefficients ``a1, b1, …`` of its
        logarithm; ``unspliced_mean``, ``spliced_mean``: counts per cell; ``ess``: how many independent draws the
        weighted ones are worth (below 100 the intervals are rough). With spliced counts alone ``degradation_low`` is a
        lower bound (95 %), ``degradation_high`` is infinite, and what cannot be known is NaN. ``attrs``: ``unit``
        (``per radian`` or ``per hour``), ``period``, ``cells``.

    Raises
    ------
    InputError
        A layer, column or gene is missing; counts that are no counts; fewer than 50 cells with an angle; a period that
        is not above 0.
    """
    if period is not None and not (np.isfinite(period) and period > 0):
        raise InputError(f"kinetics: period: {period} hours is not a period: give a number above 0, or leave it out")
    place = _column(cells, angle, "angle")
    layers = [spliced] if unspliced is None else [unspliced, spliced]
    matrices = [_layer(cells, name) for name in layers]
    sizes = _sizes(cells, library, matrices)
    used = np.isfinite(place) & (sizes > 0)
    if used.sum() < FEWEST_CELLS:
        raise InputError(
            f"kinetics: {int(used.sum())} cells have an angle in obs column '{angle}' and counts, "
            f"{FEWEST_CELLS} is the minimum: give more cells that cycle"
        )
    columns = _positions(cells, genes)
    relative, unit = sizes[used] / sizes[used].mean(), 1.0 if period is None else TURN / period
    parts = []
    for some in np.array_split(columns, -(-len(columns) * int(used.sum()) // AT_ONCE) or 1):
        counts = np.stack([_dense(matrix, used, some) for matrix in matrices])
        binned, names = Binned.of(counts, relative, place[used]), cells.var_names[some]
        parts.append(lower_bound(binned, names, unit) if unspliced is None else _rates(binned, names, unit, seed))
    table = pd.concat(parts)
    table.attrs = {"unit": "per radian" if period is None else "per hour", "period": period, "cells": int(used.sum())}
    log.info("kinetics: %d genes of %d cells, rates %s", len(table), used.sum(), table.attrs["unit"])
    return table


def _rates(binned: Binned, names: pd.Index, unit: float, seed: int) -> pd.DataFrame:
    mean_counts = binned.counts.mean(1)
    seen = (mean_counts > 0).all(0)
    level, spliced = np.log(np.maximum(mean_counts, 1e-3))
    ratio = spliced - level
    mean, sd = prior(level, HARMONICS)

    def curve(parameters: Array) -> Array:
        return log_means(parameters, HARMONICS)

    shape = np.zeros((len(names), 2 * HARMONICS))
    first, _ = climb(curve, binned, starts(level, ratio, shape)[1], mean, sd)
    binned = binned.with_dispersion(curve(first))
    tries = [*starts(first[:, LEVEL], first[:, RATIO], first[:, SHAPE:]), first]
    modes = [climb(curve, binned, one, mean, sd) for one in tries]
    found = explore(curve, binned, modes, mean, sd, [[seed, crc32(name.encode())] for name in names.astype(str)])
    table = _table(found, names, unit)
    table[["unspliced_mean", "spliced_mean"]] = mean_counts.T
    numbers = [name for name in table.columns if not name.endswith("_mean")]
    table.loc[~seen, numbers] = np.nan  # a gene that is never seen spliced, or unspliced, tells nothing
    return table


def _table(found: Posterior, names: pd.Index, unit: float) -> pd.DataFrame:
    draws, weight = found.draws, found.weight
    gamma, ratio = draws[:, :, DEGRADATION], draws[:, :, RATIO]
    beta = gamma + ratio
    rates = {"synthesis": beta + draws[:, :, LEVEL], "splicing": beta, "degradation": gamma}
    out: dict[str, Array] = {}
    for name, values in rates.items():
        middle, low, high = (np.exp(quantiles(values, weight, INTERVAL)) * unit).T
        out |= {name: middle, f"{name}_low": low, f"{name}_high": high}
    out["correlation"] = _correlation(beta, gamma, weight)
    shape = np.einsum("gd,gdp->gp", weight, draws[:, :, SHAPE:])
    log_shape = shape @ waves(HARMONICS)
    out["peak"] = TURN * log_shape.argmax(1) / log_shape.shape[1]
    for k in range(HARMONICS):
        out[f"a{k + 1}"], out[f"b{k + 1}"] = shape[:, 2 * k], shape[:, 2 * k + 1]
    out["ess"] = found.ess
    return pd.DataFrame(out, index=names)


def _correlation(x: Array, y: Array, weight: Array) -> Array:
    x, y = (one - (weight * one).sum(1, keepdims=True) for one in (x, y))
    return (weight * x * y).sum(1) / np.sqrt((weight * x * x).sum(1) * (weight * y * y).sum(1))


def _layer(cells: AnnData, name: str):  # type: ignore[no-untyped-def]
    if name not in cells.layers:
        known = [layer for layer in cells.layers if layer is not None]  # what anndata 0.13 calls X
        raise InputError(
            f"kinetics: no layer '{name}'{did_you_mean(name, known)}: name the layers of unspliced and spliced "
            "counts, or `unspliced=None` where there are none"
        )
    matrix = cells.layers[name]
    values = matrix.data if issparse(matrix) else np.asarray(matrix)
    if not np.isfinite(values).all() or (values < 0).any() or (values != np.rint(values)).any():
        raise InputError(f"kinetics: layer '{name}' holds values that are not counts: give whole numbers, 0 or more")
    return matrix


def _column(cells: AnnData, name: str, key: str) -> Array:
    if name not in cells.obs:
        raise InputError(f"kinetics: {key}: obs has no column '{name}'{did_you_mean(name, cells.obs.columns)}")
    try:
        return cells.obs[name].to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"kinetics: {key}: column '{name}' holds no numbers") from None


def _sizes(cells: AnnData, library: str | None, matrices: list) -> Array:  # type: ignore[type-arg]
    if library is not None:
        sizes = _column(cells, library, "library")
        return np.where(np.isfinite(sizes), sizes, 0.0)
    return np.sum([np.asarray(matrix.sum(1), dtype=np.float64).ravel() for matrix in matrices], axis=0)


def _positions(cells: AnnData, genes: Sequence[str] | None) -> np.ndarray:
    if genes is None:
        return np.arange(cells.n_vars)
    if not len(genes):
        raise InputError("kinetics: genes: none is named: name one, or leave it out for all")
    at = cells.var_names.get_indexer(pd.Index(list(genes)))
    if (at < 0).any():
        missing = [gene for gene, place in zip(genes, at, strict=True) if place < 0]
        raise InputError(f"kinetics: no gene '{missing[0]}'{did_you_mean(missing[0], cells.var_names)}")
    return at


def _dense(matrix, rows: np.ndarray, columns: np.ndarray) -> Array:  # type: ignore[no-untyped-def]
    part = matrix[np.flatnonzero(rows)][:, columns]
    return np.asarray(part.toarray() if issparse(part) else part, dtype=np.float64)
