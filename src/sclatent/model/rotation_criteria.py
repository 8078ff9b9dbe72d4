"""Criteria by which axes are rotated: few and positive loadings per gene, varimax, independence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

START = 1e-4
"""How far varimax is taken where `one_sided` starts from it: to the end takes longer and is no better a start."""


def normalise_rows(loadings: npt.NDArray) -> Array:
    """Scale each row (a gene's loadings) to length one, so that every gene counts the same: Kaiser's normalisation."""
    loadings = np.asarray(loadings, np.float64)
    length = np.sqrt((loadings**2).sum(axis=1, keepdims=True))
    return np.divide(loadings, length, out=np.zeros_like(loadings), where=length > 0)


def one_sided(loadings: npt.NDArray, *, max_iter: int = 400, tolerance: float = 1e-7) -> Array:
    """Return the orthogonal matrix R that maximises Σ l⁴ + 2 l³ over the entries l of L R.

    The fourth power asks for few large loadings per gene (quartimax), the third for positive ones: an axis then is a
    program that is on or off, rather than a contrast of two. Each row of L counts by the square root of its length (up
    to the 99th percentile): weak programs of few genes are heard, genes with hardly any loadings are not.

    Each step takes the orthogonal matrix nearest to the gradient of Σ l⁴ + 2 l³ + 1.5 l². That is convex, so the sum
    never falls, and the last term is the same for every R.

    Parameters
    ----------
    loadings
        (genes, axes).

    Returns
    -------
    (axes, axes).
    """
    length = np.sqrt((np.asarray(loadings, np.float64) ** 2).sum(axis=1, keepdims=True))
    longest = max(float(np.quantile(length, 0.99)), 1e-12)
    rows = normalise_rows(loadings) * np.sqrt(np.minimum(length / longest, 1.0))
    n = rows.shape[1]
    rotation = varimax(rows, tolerance=START)
    rotation *= np.where(((rows @ rotation) ** 3).sum(axis=0) < 0, -1.0, 1.0)
    # beside it, since it may be a stationary point
    rotation = rotation @ nearest_orthogonal(np.eye(n) + 0.1 * np.random.default_rng(0).normal(size=(n, n)))
    before = -np.inf
    for _ in range(max_iter):
        turned = rows @ rotation
        square = turned * turned
        value = float((square * (square + 2 * turned + 1.5)).sum())
        if value <= before + tolerance * abs(before):
            break
        before = value
        rotation = nearest_orthogonal(rows.T @ (turned * (4 * square + 6 * turned + 3)))
    return rotation


def varimax(loadings: npt.NDArray, *, max_iter: int = 1000, tolerance: float = 1e-9) -> Array:
    """Return the orthogonal matrix R that maximises the variance of the squared loadings within each column of L R.

    Kaiser 1958, by the singular value iteration of Horst 1965. A column then has a few large loadings, the rest small.

    Parameters
    ----------
    loadings
        (genes, axes).

    Returns
    -------
    (axes, axes).
    """
    loadings = np.asarray(loadings, np.float64)
    rotation = np.eye(loadings.shape[1])
    before = 0.0
    for _ in range(max_iter):
        turned = loadings @ rotation
        gradient = loadings.T @ (turned**3 - turned * (turned**2).mean(axis=0))
        left, singular, right = np.linalg.svd(gradient)
        rotation = left @ right
        if singular.sum() <= before * (1 + tolerance):
            break
        before = singular.sum()
    return rotation


def independent(means: npt.NDArray, *, seed: int = 0) -> Array:
    """Return the orthogonal matrix nearest to the mixing matrix that FastICA finds.

    Parameters
    ----------
    means
        (cells, axes) posterior means.

    Returns
    -------
    (axes, axes); rotated means are ``means @ R``. No whitening: distances between cells stay.
    """
    import warnings

    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    ica = FastICA(whiten="unit-variance", random_state=seed, max_iter=1000, tol=1e-4)
    with warnings.catch_warnings():
        # with as many components as noise allows the last ones have no direction to converge to
        warnings.simplefilter("ignore", ConvergenceWarning)
        ica.fit(np.asarray(means, np.float64))
    return nearest_orthogonal(ica.mixing_)


def nearest_orthogonal(matrix: npt.NDArray) -> Array:
    """Return the orthogonal matrix nearest to a square one."""
    left, _, right = np.linalg.svd(matrix)
    return left @ right
