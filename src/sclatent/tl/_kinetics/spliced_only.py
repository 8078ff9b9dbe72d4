"""What spliced counts alone say: degradation has a lower bound, and no more."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm

from sclatent.tl._kinetics.counts import Binned
from sclatent.tl._kinetics.mechanism import BINS, GRID, Array, waves
from sclatent.tl._kinetics.posterior import climb

HARMONICS = 3
LEVEL = 0.05
"""Probability with which the bound may be above the truth."""


def lower_bound(binned: Binned, names: pd.Index, unit: float) -> pd.DataFrame:
    """Return the lower bound of the degradation of each gene.

    What is spliced in, ds/dθ + γ s, is never below 0, so γ is at least −d log s/dθ wherever spliced counts fall. The
    bound is the largest value over the turn of what that slope exceeds with probability 0.95, the many places that are
    looked at allowed for (Bonferroni, with as many as the curve has free parameters).
    """
    log_s = np.log(np.maximum(binned.counts[0].mean(0), 1e-3))
    n = 1 + 2 * HARMONICS
    mean, sd = np.zeros((len(names), n)), np.empty(n)
    mean[:, 0] = log_s
    sd[0], sd[1:] = 2.0, np.repeat(1 / np.arange(1, HARMONICS + 1), 2)
    sd = np.broadcast_to(sd, mean.shape)
    design = np.vstack([np.ones(BINS), waves(HARMONICS)])

    def curve(parameters: Array) -> Array:
        return parameters @ design

    at, _ = climb(curve, binned, mean, mean, sd)
    binned = binned.with_dispersion(curve(at))
    at, curvature = climb(curve, binned, at, mean, sd)
    k = np.repeat(np.arange(1, HARMONICS + 1), 2)[:, None]
    # d/dθ of cos kθ and sin kθ
    turned = np.stack([-np.sin(k[::2] * GRID), np.cos(k[::2] * GRID)], 1).reshape(2 * HARMONICS, BINS) * k
    fall = -(at[:, 1:] @ turned)
    covariance = np.linalg.inv(curvature)[:, 1:, 1:]
    error = np.sqrt(np.einsum("pb,gpq,qb->gb", turned, covariance, turned, optimize=True))
    bound = np.maximum((fall - norm.ppf(1 - LEVEL / (2 * HARMONICS)) * error).max(1), 0.0)
    table = pd.DataFrame(np.nan, index=names, columns=["degradation", "degradation_low", "degradation_high"])
    table["degradation_low"], table["degradation_high"] = bound * unit, np.inf
    table["spliced_mean"] = binned.counts[0].mean(0)
    return table
