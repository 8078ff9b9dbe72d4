"""Where the training of a circle starts: at curves and angles that are known, not at chance.

A circle that starts at random seldom finds a faint cycle: any direction in which cells differ is as good to it. A first
guess of the angle of the training cells fixes that. The decoder starts at the curves that follow it (a Poisson
regression of each gene on the harmonics), the encoder at the linear map of its random hidden units that tells it best.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from sclatent.model.data import Batches
from sclatent.model.parts.latents.blocks import blocks_of
from sclatent.model.parts.latents.circle import Circle, code_of

if TYPE_CHECKING:
    from sclatent.model.data import CountData
    from sclatent.model.vae import CountVAE

Array = npt.NDArray[np.float64]

CELLS = 4000
"""Most cells that curves are learned from."""
FEWEST = 20
"""Cells with an angle, below which there is no first guess."""
STEPS, PRIOR_SD = 8, 0.3
"""Newton steps of the regression, and the SD of the prior of its coefficients (log rate per harmonic of unit SD)."""
LENGTH = 2.0
"""Length of the vector that the encoder is to give for a cell of known angle: an SD of 0.55 radians."""
RIDGE = 0.01
"""Ridge on the standardised hidden units, per cell."""


def start_on_circle(vae: CountVAE, data: CountData, train: np.ndarray, angle: np.ndarray) -> bool:
    """Start the first circle of a model at a first guess of the angle; return whether there was one to start.

    Parameters
    ----------
    vae
        The model, its biases at the log mean fractions.
    data
        Counts of all cells.
    train
        Positions of the training cells.
    angle
        (cells, 2) cosine and sine of the angle of every cell of `data`, times how sure it is (0 to 1); NaN: not known.
        Only those of the training cells are looked at.
    """
    found = next(((one, heads, codes) for one, heads, codes in blocks_of(vae.latent) if isinstance(one, Circle)), None)
    known = train[np.isfinite(angle[train]).all(1)]
    if found is None or len(known) < FEWEST:
        return False
    known = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), CELLS)).astype(np.int64))]
    circle, heads, codes = found
    harmonics, at = circle.harmonics, np.asarray(angle[known], dtype=np.float64)
    phi = torch.from_numpy(np.arctan2(at[:, 1], at[:, 0]))[:, None]
    waves, sure = code_of(phi, harmonics).numpy(), np.hypot(at[:, 0], at[:, 1])
    curves = poisson_curves(vae, data, known, waves, sure)
    # the first axis of the block
    vae.decoder.start_linear(range(codes.start, codes.start + 2 * harmonics), torch.from_numpy(curves).float())
    n = circle.n_axes
    _start_encoder(vae, data, known, LENGTH * at, [heads.start, heads.start + n])
    return True


def poisson_curves(vae: CountVAE, data: CountData, cells: np.ndarray, waves: Array, weight: Array) -> Array:
    """Return how the log rate of each gene follows `waves` (cells × waves): (waves × genes), by Newton's method.

    Poisson regression with a normal prior on the coefficients, each cell's counts `weight`ed (0 to 1).
    """
    from scipy.sparse import csr_matrix

    rows = data.source.rows(cells)
    n_genes = vae.n_genes
    counts = csr_matrix((rows.values, rows.columns, rows.offsets), shape=(len(cells), n_genes)).astype(np.float64)
    library = np.asarray(data.library, dtype=np.float64)[cells] * weight
    design = np.hstack([np.ones((len(cells), 1)), waves])
    coef = np.zeros((design.shape[1], n_genes))
    coef[0] = np.log((np.asarray(counts.T @ weight).ravel() + 0.5) / library.sum())
    seen = np.asarray(counts.T @ (design * weight[:, None])).T
    products = (design[:, :, None] * design[:, None, :]).reshape(len(cells), -1)
    ridge = np.diag([0.0] + [PRIOR_SD**-2] * waves.shape[1])
    k = design.shape[1]
    for _ in range(STEPS):
        mu = library[:, None] * np.exp(np.clip(design @ coef, -30, 5))
        slope = seen - design.T @ mu - ridge @ coef
        curvature = (products.T @ mu).reshape(k, k, n_genes).transpose(2, 0, 1) + ridge + 1e-6 * np.eye(k)
        step = np.linalg.solve(curvature, slope.T[:, :, None])[:, :, 0].T
        coef += np.clip(step, -1.0, 1.0)
    return coef[1:]


@torch.no_grad()
def _start_encoder(vae: CountVAE, data: CountData, cells: np.ndarray, target: Array, outputs: list[int]) -> None:
    """Set the encoder's head for two outputs to the ridge regression of `target` (cells × 2) on the hidden units."""
    parts = [vae.encoder.hidden(batch, None).double().cpu().numpy() for batch in Batches(data).stream(cells, 512)]
    hidden = np.concatenate(parts)
    centre, spread = hidden.mean(0), np.maximum(hidden.std(0), 1e-6)
    x = (hidden - centre) / spread
    solved = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ (target - target.mean(0)))
    weight = solved / spread[:, None]
    vae.encoder.head.weight[outputs] = torch.from_numpy(weight.T).float()
    vae.encoder.head.bias[outputs] = torch.from_numpy(target.mean(0) - centre @ weight).float()
