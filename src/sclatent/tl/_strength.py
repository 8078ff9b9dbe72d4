"""Which active axes carry something: how well the counts tell a cell's place on an axis, and what moves along it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

STRONG, WEAK, INACTIVE = "strong", "weak", "inactive"

STRONG_KL = 0.1
"""Nats per cell. Where the posteriors of all cells together fill the prior, the KL is the mean of −log(SD of a cell's
posterior): 0.1 nats leave nine tenths (exp(−0.1)) of the prior's spread, so the counts hardly tell a cell's place."""
STRONG_FOLD = 2.0
"""A gene follows an axis when its decoded rate at least doubles from one end to the other."""
REACH = 2.0
"""The ends: SDs of the posterior means on either side of a cell's own place; normal cells lie within them in 95 %."""


def largest_fold(loadings: npt.NDArray) -> npt.NDArray[np.float64]:
    """Return by what factor the gene that moves most changes from 2 SD below a cell's own place to 2 SD above it.

    Parameters
    ----------
    loadings
        (axes, genes) change of the log rate per SD of the posterior means, as in ``varm["loadings"]`` of
        `sclatent.tl.embed`. The factor is exp(4 · max |loading|): the slope at the cells, drawn out straight.
    """
    return np.exp(2 * REACH * np.abs(np.nan_to_num(np.asarray(loadings, np.float64))).max(axis=1))


def strength(kl: npt.NDArray, active: npt.NDArray, fold: npt.NDArray) -> npt.NDArray[np.str_]:
    """Return ``strong``, ``weak`` or ``inactive`` for each axis.

    An active axis is strong if its KL is at least 0.1 nats per cell *or* some gene doubles along it. Either will do:
    the KL of an axis that only a rare kind of cell leaves is small, since it is a mean over all cells, and where counts
    are deep a change of less than twofold is told well. An axis with neither is weak, whatever it correlates with.

    Parameters
    ----------
    kl
        (axes,) mean over cells, nats.
    active
        (axes,) whether the posterior means vary at all (`sclatent.tl.embed`).
    fold
        (axes,) from `largest_fold`.
    """
    strong = (np.asarray(kl, np.float64) >= STRONG_KL) | (np.asarray(fold, np.float64) >= STRONG_FOLD)
    return np.where(~np.asarray(active, bool), INACTIVE, np.where(strong, STRONG, WEAK))
