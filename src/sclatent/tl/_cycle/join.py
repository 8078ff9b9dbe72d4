"""Further genes that follow the angle."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from sclatent.tl._cycle.states import BINS, GRID, Array, Ints, basis

AXES, VARIABLE = 5, 2000


def explained(y: sp.csr_matrix, q: Array, harmonics: int = 1) -> tuple[Array, Array]:
    """Return how well the angle explains every gene among the cycling cells.

    Parameters
    ----------
    y
        (cells, genes) log-normalised counts.
    q
        (cells, states) probabilities. Resting cells have no weight: a gene that only distinguishes resting from
        cycling cells does not follow the angle.

    Returns
    -------
    r2
        (genes,) share of the variance explained by the periodic mean. Without an association it is about 2H / (number
        of cells).
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


def certainty(bins: Array) -> float:
    r"""Return the factor by which uncertain angles reduce the R² that is expected by chance.

    If every angle were known, :math:`n R^2` of an unrelated gene would be χ² with two degrees of freedom (n cycling
    cells). With uncertain angles it is that times :math:`\sum_i |\sum_s q_{is} e^{i\varphi_s}|^2 / \sum_{is} q_{is}`.

    Parameters
    ----------
    bins
        (cells, bins) probabilities; 1 minus their sum is the probability to rest.
    """
    return float((np.abs(bins @ np.exp(1j * GRID)) ** 2).sum() / bins.sum())


def explained_beside(y: sp.csr_matrix, q: Array, columns: Ints) -> Array:
    """Return (columns,) the largest share of each gene's variance that one axis *beside* the angle explains.

    The axes are the first principal components of the most variable genes (each scaled to SD 1), after the posterior
    means of two harmonics and of resting were regressed out: cell types, culture, quality.

    Parameters
    ----------
    y
        (cells, genes) log-normalised counts.
    q
        (cells, states) probabilities.
    columns
        The genes asked for.
    """
    from sklearn.utils.extmath import randomized_svd

    mean = np.asarray(y.mean(axis=0), dtype=np.float64).ravel()
    variance = np.asarray(y.multiply(y).mean(axis=0), dtype=np.float64).ravel() - mean**2
    top = np.argsort(-variance, kind="stable")[:VARIABLE]
    z = (y[:, top].toarray() - mean[top]) / np.sqrt(np.maximum(variance[top], 1e-2))
    known = np.column_stack([q[:, :BINS] @ basis(2), q[:, BINS]])
    z -= known @ np.linalg.lstsq(known, z, rcond=None)[0]
    axes = randomized_svd(z, min(AXES, min(z.shape) - 1), random_state=0)[0]
    genes = y[:, columns].toarray() - mean[columns]
    return ((axes.T @ genes) ** 2).max(axis=0) / np.maximum((genes**2).sum(axis=0), 1e-12)
