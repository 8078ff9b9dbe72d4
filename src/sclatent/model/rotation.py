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

from sclatent.model.batch import RNA
from sclatent.model.rotation_criteria import independent, normalise_rows, one_sided, varimax
from sclatent.settings.kinds.registry import unknown_kind

if TYPE_CHECKING:
    from sclatent.model.data import CountData
    from sclatent.model.vae import CountVAE

Array = npt.NDArray[np.float64]

MAX_CELLS, LOCAL_CELLS = 2000, 100
"""Cells at which the decoder is asked for slopes across the cloud of cells, and for those at each cell."""
WIDTH = 4096
"""Features whose rates are float64 at a time."""
STEP = 0.25
"""Half the distance over which the slope at a cell is taken (latent units)."""
RIDGE = 0.003
"""Ridge of the regression on the axes, per cell: a direction in which cells hardly vary gets small slopes."""
ACTIVE_VARIANCE = 0.01
"""An axis is active when the variance of its posterior mean over cells exceeds this (Burda et al. 2016)."""
MIN_VARIANCE = ACTIVE_VARIANCE / 50
"""Directions in which the posterior mean varies less are left where they are. So little suffices because the bend of a
curved cloud of cells is a direction of its own, in which cells vary little: without it four types of cells, which span
three directions, share three axes."""
REPEATED = 0.9
"""Two active axes along which the posterior means correlate more than this are one thing split in two: a weak direction
let it happen, and is left out."""
METHODS = ("programs", "varimax", "ica", "none")


def rotate_axes(vae: CountVAE, data: CountData, cells: np.ndarray, method: str) -> None:
    """Choose the orientation of the axes of a trained model and store it in ``vae.rotation``.

    Directions in which cells hardly vary take part too, since the bend of a curved cloud can be what a group of cells
    needs for an axis of its own, but for those that would split an axis in two. Axes are ordered by how much they
    change the log rates, and each points to where its larger loadings are.

    Parameters
    ----------
    vae
        A trained model.
    data
        Counts and covariates.
    cells
        (n,) positions of the cells to look at: the training cells.
    method
        ``programs``: each gene on few axes, and up along them (`one_sided` of the decoder's `slopes`); ``varimax``:
        each gene on few axes, genes weighted alike (`varimax` of the `slopes`: Kaiser 1958); ``ica``: posterior means
        as independent as an orthogonal map makes them (`independent`); ``none``.
    """
    if method not in METHODS:
        raise unknown_kind("rotate", method, METHODS)
    turning = vae.latent.turning()
    if method == "none" or not turning:
        return
    rotation = torch.eye(vae.settings.n_axes)
    with torch.no_grad():
        vae.rotation.copy_(rotation)
    mean, _ = vae.posterior(data, cells)
    for block in turning:
        rotation[block, block] = _turned(vae, data, np.asarray(cells), mean, block, method)
    with torch.no_grad():
        vae.rotation.copy_(rotation)


def _turned(
    vae: CountVAE, data: CountData, cells: np.ndarray, mean: np.ndarray, block: slice, method: str
) -> torch.Tensor:
    """Return the rotation of a block of axes (its axes × its axes), given the posterior means along all axes."""
    n_axes, inside = block.stop - block.start, mean[:, block]
    # the directions in which cells vary, not the axes: which axes the network put them on is chance
    variance, basis = np.linalg.eigh(np.cov(inside, rowvar=False, dtype=np.float64).reshape(n_axes, n_axes))
    variance, basis = variance[::-1], basis[:, ::-1]
    # ica looks at all directions alike, however little cells vary along them
    n = int((variance > (ACTIVE_VARIANCE if method == "ica" else MIN_VARIANCE)).sum())
    if not n:
        return torch.eye(n_axes)
    picked = np.unique(np.linspace(0, len(cells) - 1, min(len(cells), MAX_CELLS)).astype(np.int64))
    directions = basis[:, :n]
    if n_axes < mean.shape[1]:
        directions = np.zeros((mean.shape[1], n))
        directions[block] = basis[:, :n]
    slope = all_slopes(vae, data.subset(cells[picked]), mean[picked], directions)

    def orient(n: int) -> Array:
        """Return the rotation within the first n directions."""
        if method == "programs":
            return one_sided(slope[:n].T)
        if method == "varimax":
            return varimax(normalise_rows(slope[:n].T))
        return independent(inside @ basis[:, :n])

    turn = orient(n)
    while variance[n - 1] <= ACTIVE_VARIANCE and largest_correlation(turn, variance[:n]) > REPEATED:
        n -= 1
        turn = orient(n)
    turned = slope[:n].T @ turn
    axes = basis[:, :n] @ turn * np.where((turned**3).sum(axis=0) < 0, -1.0, 1.0)
    strength = np.sqrt((turned**2).sum(axis=0)) * (inside @ axes).std(axis=0)
    axes = np.hstack([axes[:, np.argsort(-strength, kind="stable")], basis[:, n:]])
    return torch.from_numpy(axes.T.copy()).float()


def largest_correlation(rotation: Array, variance: npt.NDArray) -> float:
    """Return the largest |correlation| of two active axes (0 with fewer than two).

    Parameters
    ----------
    rotation
        (directions, axes), orthogonal, of directions that do not correlate.
    variance
        (directions,) of the posterior means along them.
    """
    covariance = rotation.T @ (np.asarray(variance)[:, None] * rotation)
    active = np.diag(covariance) > ACTIVE_VARIANCE
    sd = np.sqrt(np.diag(covariance)[active])
    correlation = covariance[np.ix_(active, active)] / np.outer(sd, sd)
    return float(np.abs(np.triu(correlation, 1)).max(initial=0.0))


def all_slopes(vae: CountVAE, data: CountData, mean: np.ndarray, directions: Array) -> Array:
    """Return the `slopes` of the genes, and of as many features of each further modality as there are genes.

    Those that move most: tens of thousands of peaks of which few move would else outvote the genes.
    """
    parts = [slopes(vae, data, mean, directions)]
    for name in vae.others:
        found = slopes(vae, data, mean, directions, of=name)
        largest = np.argsort(-(found**2).sum(axis=0), kind="stable")[: vae.n_genes]
        parts.append(found[:, np.sort(largest)])
    return parts[0] if len(parts) == 1 else np.hstack(parts)


def slopes(vae: CountVAE, data: CountData, mean: np.ndarray, directions: Array, *, of: str = RNA) -> Array:
    """Return how the decoded log rate of each gene changes along each direction: at the cells, and across them all.

    The average of two slopes, which are the same for a linear decoder (but for the ridge). The one at each cell sees
    programs that every type of cell has, such as the cell cycle; the ridge regression of the decoded log rates on the
    posterior means sees what differs between types, where a curved decoder can be flat inside each. Centred over
    the genes, since the softmax normaliser moves all genes alike.

    Parameters
    ----------
    vae
        A trained model.
    data
        The cells' covariates.
    mean
        (cells, all axes) their positions, in the coordinates of ``vae.posterior``.
    directions
        (all axes, directions) orthonormal.
    of
        The modality whose features are meant.

    Returns
    -------
    (directions, genes), nats per unit.
    """

    def log_fraction(rows: slice, shift: npt.NDArray | float = 0.0) -> np.ndarray:
        categorical = None if data.categorical is None else data.categorical[rows]
        continuous = None if data.continuous is None else data.continuous[rows]
        return vae.log_fraction(mean[rows] + shift, categorical, continuous, of=of)

    z = mean.astype(np.float64) @ directions
    z -= z.mean(axis=0)
    product = np.zeros((directions.shape[1], vae.modalities[of].n_genes))
    for start in range(0, len(mean), 256):
        rows = slice(start, start + 256)
        rate = log_fraction(rows)
        for first in range(0, rate.shape[1], WIDTH):  # a product of z and all of it would be of a copy in float64
            columns = slice(first, first + WIDTH)
            product[:, columns] += z[rows].T @ rate[:, columns]
    across = np.linalg.solve(z.T @ z + RIDGE * len(z) * np.eye(z.shape[1]), product)
    some = slice(None, None, -(-len(mean) // LOCAL_CELLS))
    steps = STEP * directions.T.astype(np.float32)
    within = np.stack([(log_fraction(some, s) - log_fraction(some, -s)).mean(axis=0) / (2 * STEP) for s in steps])
    found = (across + within) / 2
    return found - found.mean(axis=1, keepdims=True)
