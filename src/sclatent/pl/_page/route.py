"""The way of the dot on the map: where the cells of each step are, without jumping about."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

GRID = 36
"""Bins along each side of the map."""
STIFFNESS = 60.0
"""Cost of a move across the whole map, squared, against the log density of cells."""


def route(xy: npt.ArrayLike, weights: npt.ArrayLike, *, closed: bool = False) -> Array:
    """Return a point of the map for each step: on many cells of the step, and near the point of the step before.

    The mean of the cells of a step often lies where no cell is, since most maps have islands. Here each step chooses a
    bin of a grid; the choice of all steps together maximises the sum of the log densities of the step's cells minus a
    squared move (a shortest path, solved exactly by dynamic programming).

    Parameters
    ----------
    xy
        (n_cells, 2) the map.
    weights
        (n_steps, n_cells) how much of a cell belongs to a step.
    closed
        Whether the last step is followed by the first.

    Returns
    -------
    Array of shape (n_steps, 2).
    """
    from scipy.ndimage import gaussian_filter

    xy, weights = np.asarray(xy, dtype=float), np.asarray(weights, dtype=float)
    low, span = xy.min(axis=0), np.ptp(xy, axis=0).max() or 1.0
    cell = np.minimum(((xy - low) / span * GRID).astype(int), GRID - 1)
    node = cell[:, 0] * GRID + cell[:, 1]
    used = np.unique(node)
    density = np.empty((len(weights), len(used)))
    for step, weight in enumerate(weights):
        image = np.bincount(node, weight, minlength=GRID * GRID).reshape(GRID, GRID)
        smooth = gaussian_filter(image, 1.0, mode="constant").ravel()[used]
        density[step] = smooth / max(smooth.max(), 1e-12)
    gain = np.log(density + 1e-3)
    at = np.stack([used // GRID, used % GRID], axis=1) / GRID
    move = STIFFNESS * ((at[:, None] - at[None]) ** 2).sum(axis=2)
    steps = len(weights)
    # a closed route is found over three turns; the middle one does not depend on the ends
    turns = np.tile(np.arange(steps), 3) if closed else np.arange(steps)
    chosen = _best(gain[turns], move)
    if closed:
        chosen = chosen[steps : 2 * steps]
    return np.array(
        [
            _local_mean(xy, weights[s], (at[k] + 0.5 / GRID) * span + low, 0.75 * span / GRID)
            for s, k in enumerate(chosen)
        ]
    )


def _best(gain: Array, move: Array) -> npt.NDArray[np.intp]:
    """Return the sequence of nodes with the largest sum of gains minus moves (Viterbi)."""
    total = gain[0]
    back = np.zeros(gain.shape, dtype=np.intp)
    for step in range(1, len(gain)):
        score = total[:, None] - move
        back[step] = score.argmax(axis=0)
        total = score.max(axis=0) + gain[step]
    out = np.empty(len(gain), dtype=np.intp)
    out[-1] = int(total.argmax())
    for step in range(len(gain) - 1, 0, -1):
        out[step - 1] = back[step, out[step]]
    return out


def _local_mean(xy: Array, weight: Array, at: Array, radius: float) -> Array:
    """Return the mean of the cells around a node, so that the dot does not sit on a grid."""
    near = weight * np.exp(-0.5 * ((xy - at) ** 2).sum(axis=1) / radius**2)
    total = near.sum()
    return np.asarray(near @ xy / total if total > 1e-9 else at)


def near_steps(values: npt.ArrayLike, position: npt.ArrayLike, *, closed: bool = False) -> npt.NDArray[Any]:
    """Return (n_steps, n_cells) weights: a normal kernel of 1.5 steps around each position; 0 where missing."""
    values, position = np.asarray(values, dtype=float), np.asarray(position, dtype=float)
    step = 2 * np.pi / len(position) if closed else np.ptp(position) / max(len(position) - 1, 1)
    off = values[None, :] - position[:, None]
    if closed:
        off = np.angle(np.exp(1j * off))
    weight = np.exp(-0.5 * (off / (1.5 * (step or 1.0))) ** 2)
    return np.nan_to_num(weight)
