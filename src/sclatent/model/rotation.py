"""An orthogonal rotation of the latent axes after training, which the decoder undoes.

The prior N(0, I) does not change under a rotation, so a VAE leaves the orientation of its axes to chance. Among all
orientations one can be chosen that is easy to read. Nothing else changes: not the likelihood, not the distances between
cells; the posterior N(m, Σ) becomes N(R m, R Σ Rᵀ), of which the SDs along the axes are reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from sclatent.model.batches import CountData
    from sclatent.model.vae import CountVAE

Array = npt.NDArray[np.float64]

MAX_CELLS = 2000
"""Cells at which the decoder is asked."""
RIDGE = 0.003
"""Ridge of the regression on the axes, per cell: an axis whose posterior mean hardly varies gets small slopes."""
ACTIVE_VARIANCE = 0.01
"""Axes whose posterior mean varies less are left where they are."""


def rotate_axes(vae: CountVAE, data: CountData, cells: np.ndarray, method: str) -> None:
    """Choose the orientation of the axes of a trained model and store it in ``vae.rotation``.

    Axes are ordered by how much they change the log rates, and each points to where its larger loadings are.

    Parameters
    ----------
    vae
        A trained model.
    data
        Counts and covariates.
    cells
        Positions of the cells to look at: the training cells.
    method
        ``varimax``: each gene on few axes (`varimax` of the decoder's `slopes`, genes weighted alike: Kaiser 1958);
        ``ica``: posterior means as independent as an orthogonal map makes them (`independent`); ``none``.
    """
    if method == "none":
        return
    n_axes = vae.settings.n_latent
    with torch.no_grad():
        vae.rotation.copy_(torch.eye(n_axes))
    mean, _ = vae.posterior(data, cells)
    active = np.flatnonzero(mean.var(axis=0, dtype=np.float64) > ACTIVE_VARIANCE)
    if not active.size:
        return
    picked = np.unique(np.linspace(0, len(cells) - 1, min(len(cells), MAX_CELLS)).astype(np.int64))
    slope = slopes(vae, data.subset(np.asarray(cells)[picked]), mean[picked], active)
    means = mean[:, active].astype(np.float64)
    turn = varimax(normalise_rows(slope.T)) if method == "varimax" else independent(means)
    spread = (means @ turn).std(axis=0)
    turned = slope.T @ turn
    strength = np.sqrt((turned**2).sum(axis=0)) * spread
    order = np.argsort(-strength, kind="stable")
    sign = np.where((turned**3).sum(axis=0) < 0, -1.0, 1.0)
    whole = np.eye(n_axes)
    whole[np.ix_(active, active)] = (turn * sign)[:, order].T
    with torch.no_grad():
        vae.rotation.copy_(torch.from_numpy(whole))


def slopes(vae: CountVAE, data: CountData, mean: np.ndarray, axes: np.ndarray) -> Array:
    """Return how the decoded log rate of each gene changes along each axis, by ridge regression over cells.

    Over the whole cloud of cells rather than at each cell: a curved decoder can be flat inside two groups of cells and
    yet differ between them. Centred over the genes, since the softmax normaliser moves all genes alike. Of a linear
    decoder these are the (centred) weights, but for the ridge.

    Parameters
    ----------
    vae
        A trained model.
    data
        The cells' covariates.
    mean
        (cells, all axes) their positions, in the coordinates of ``vae.posterior``.
    axes
        Which axes.

    Returns
    -------
    (axes, genes), nats per unit.
    """
    z = mean[:, axes].astype(np.float64)
    z -= z.mean(axis=0)
    product = np.zeros((len(axes), vae.n_genes))
    for start in range(0, len(mean), 256):
        rows = slice(start, start + 256)
        product += z[rows].T @ vae.log_fraction(
            mean[rows],
            None if data.categorical is None else data.categorical[rows],
            None if data.continuous is None else data.continuous[rows],
        )
    found = np.linalg.solve(z.T @ z + RIDGE * len(z) * np.eye(len(axes)), product)
    return found - found.mean(axis=1, keepdims=True)


def normalise_rows(loadings: npt.NDArray) -> Array:
    """Scale each row (a gene's loadings) to length one, so that every gene counts the same: Kaiser's normalisation."""
    loadings = np.asarray(loadings, np.float64)
    length = np.sqrt((loadings**2).sum(axis=1, keepdims=True))
    return np.divide(loadings, length, out=np.zeros_like(loadings), where=length > 0)


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
    left, _, right = np.linalg.svd(ica.mixing_)
    return left @ right
