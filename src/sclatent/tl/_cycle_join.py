"""Further genes that follow the angle."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from sclatent.tl._cycle_states import BINS, Array, basis


def explained(y: sp.csr_matrix, q: Array, harmonics: int = 1) -> tuple[Array, Array]:
    """Return how well the angle explains every gene among the cycling cells.

    Parameters
    ----------
    y
        (cells, genes) log-normalised counts.
    q
        (cells, states) probabilities. Resting cells count for nothing here: a gene that only tells resting from
        cycling cells does not follow the angle.

    Returns
    -------
    r2
        (genes,) share of the variance explained by the periodic mean. Without relation about 2H / (number of cells).
    amplitude
        (genes,) half the range of the periodic mean.
    """
    design = basis(harmonics)
    bins = q[:, :BINS]
    mass, weight = bins.sum(axis=0), bins.sum(axis=1)
    total = weight.sum()
    sums = np.asarray(y.T @ bins, dtype=np.float64)
    mean = sums.sum(axis=1) / total
    second = np.asarray(y.multiply(y).T @ weight).ravel() / total
    variance = np.maximum(second - mean**2, 1e-12)
    coef = np.linalg.solve(design.T @ (mass[:, None] * design), design.T @ sums.T)
    values = design @ coef
    r2 = (mass @ values**2 / total - (mass @ values / total) ** 2) / variance
    return np.clip(r2, 0, 1), (values.max(axis=0) - values.min(axis=0)) / 2
