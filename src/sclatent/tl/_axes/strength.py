"""Which active axes carry something: how well the counts tell a cell's place on an axis, and what moves along it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sclatent.data.blocks.dense import mean_and_variance

STRONG, WEAK, INACTIVE = "strong", "weak", "inactive"

STRONG_INFORMATION = 0.1
"""Nats per cell: the counts take a tenth (1 − exp(−0.1)) off the spread of a cell's place on the axis."""
STRONG_FOLD = 2.0
"""A gene follows an axis when its decoded rate at least doubles from one end to the other."""
REACH = 2.0
"""The ends: SDs of the posterior means on either side of a cell's own place; normal cells lie within them in 95 %."""


def information(
    mean: npt.NDArray, sd: npt.NDArray, cells: npt.NDArray[np.intp] | None = None
) -> npt.NDArray[np.float64]:
    """Return what the counts tell of a cell's place on each axis, in nats per cell.

    Half the log of 1 + signal over noise, the capacity of a Gaussian channel (Cover & Thomas 2006, chapter 9). Unlike
    the KL it is nothing where all cells have the same mean, however narrow their posteriors are.

    Parameters
    ----------
    mean, sd
        (cells, axes) of the posteriors: the signal is the variance of the means, the noise the mean of sd².
    cells
        Positions of the cells to look at; ``None``: all.
    """
    signal = mean_and_variance(np.asarray(mean), cells)[1]
    average, spread = mean_and_variance(np.asarray(sd), cells)
    return 0.5 * np.log1p(signal / np.maximum(average**2 + spread, 1e-12))


def largest_fold(loadings: npt.NDArray) -> npt.NDArray[np.float64]:
    """Return by what factor the gene that moves most changes from 2 SD below a cell's own place to 2 SD above it.

    Parameters
    ----------
    loadings
        (axes, genes) change of the log rate per SD of the posterior means, as in ``varm["loadings"]`` of
        `sclatent.tl.embed`. The factor is exp(4 · max |loading|): the slope at the cells, drawn out straight.
    """
    return np.exp(2 * REACH * np.abs(np.nan_to_num(np.asarray(loadings, np.float64))).max(axis=1))


def strength(told: npt.NDArray, active: npt.NDArray, fold: npt.NDArray) -> npt.NDArray[np.str_]:
    """Return ``strong``, ``weak`` or ``inactive`` for each axis.

    An active axis is strong if the counts tell at least 0.1 nats about it *or* some gene doubles along it. Either will
    do: an axis that only a rare kind of cell leaves has little variance over all cells, and where counts are deep a
    change of less than twofold is told well. An axis with neither is weak, whatever it correlates with.

    Parameters
    ----------
    told
        (axes,) nats, from `information`.
    active
        (axes,) whether the posterior means vary at all (`sclatent.tl.embed`).
    fold
        (axes,) from `largest_fold`.
    """
    strong = (np.asarray(told, np.float64) >= STRONG_INFORMATION) | (np.asarray(fold, np.float64) >= STRONG_FOLD)
    return np.where(~np.asarray(active, bool), INACTIVE, np.where(strong, STRONG, WEAK))
