"""How well batches mix and labels keep apart among nearest neighbours in the latent space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data.blocks.dense import rows_at
from sclatent.data.columns import as_categories, is_measured, place_of
from sclatent.settings import takes_settings

if TYPE_CHECKING:
    import anndata as ad

NEIGHBORS = 30
PERPLEXITY = 30
MAX_CELLS = 10_000
"""Cells that are asked for their neighbours (drawn once, seed 0), and among which these are looked for."""


@takes_settings
def mixing(
    latent: ad.AnnData, prepared: ad.AnnData, batch: Sequence[str] = (), labels: Sequence[str] = ()
) -> dict[str, float]:
    """Measure the mixing of each batch column and the conservation of each categorical label column.

    iLISI and cLISI are of Korsunsky et al. 2019.

    On all cells that have a value, in the active axes. Batch columns: ``batch_entropy_{column}``
    (`neighbor_entropy`) and ``ilisi_{column}`` (median `lisi`, scaled to 0 for separate and 1 for perfect mixing).
    Labels: ``clisi_{column}`` (median `lisi`, scaled so that 1 is pure), and ``label_accuracy_{column}`` (share of
    cells whose label is the majority among its neighbours). Labels that are measured numbers are left out.

    Parameters
    ----------
    latent
        What `sclatent.tl.embed` returned.
    prepared
        Its ``obs`` holds the columns.
    batch, labels
        Keys of the dataset file: the columns.

    Returns
    -------
    dict
        The measures by name, each 0 to 1; empty without batch and label columns, or with too few cells.
    """
    batches, judged = (
        [place_of(prepared, name, key) for name in names] for key, names in (("batch", batch), ("labels", labels))
    )
    frame = prepared.obs if prepared.obs_names.equals(latent.obs_names) else prepared.obs.loc[latent.obs_names]
    cells = np.arange(latent.n_obs)
    if len(cells) > MAX_CELLS:
        cells = np.sort(np.random.default_rng(0).choice(cells, MAX_CELLS, replace=False))
    z = rows_at(latent.X, cells, np.float64)[:, latent.var["active"].to_numpy(bool)]
    out: dict[str, float] = {}
    if not z.shape[1] or len(cells) <= 3 * NEIGHBORS:
        return out
    of_all = neighbors(z, 3 * PERPLEXITY)
    for name in dict.fromkeys([*batches, *judged]):
        column = frame[name]
        if is_measured(column) and name not in batches:
            continue
        codes = as_categories(column).cat.codes.to_numpy()[cells]
        known = codes >= 0
        codes = codes[known]
        n_levels = len(np.unique(codes))
        if n_levels < 2 or len(codes) <= 3 * NEIGHBORS:
            continue
        index, distance = of_all if known.all() else neighbors(z[known], 3 * PERPLEXITY)
        effective = float(np.median(lisi(index, distance, codes)))
        if name in batches:
            out[f"batch_entropy_{name}"] = neighbor_entropy(index[:, :NEIGHBORS], codes)
            out[f"ilisi_{name}"] = (effective - 1) / (n_levels - 1)
        else:
            out[f"clisi_{name}"] = (n_levels - effective) / (n_levels - 1)
            out[f"label_accuracy_{name}"] = neighbor_accuracy(index[:, :NEIGHBORS], codes)
    return out


def neighbors(latent: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and Euclidean distances of the `n` nearest other cells, nearest first (cells × n each)."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(n, len(latent) - 1)).fit(latent)
    distance, index = search.kneighbors()
    return index, distance


def neighbor_entropy(index: np.ndarray, codes: np.ndarray) -> float:
    """Return the mean entropy of the categories among each cell's neighbours, over that of all cells.

    Parameters
    ----------
    index
        (cells, k) positions of the neighbours.
    codes
        (cells,) categories, from 0.

    Returns
    -------
    1 when neighbours are a fair sample of all cells (k neighbours: a little less), 0 when they are all of one category.
    """

    def entropy(p: np.ndarray) -> np.ndarray:
        return -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1)

    n_levels = int(codes.max()) + 1
    hot = np.eye(n_levels)[codes]
    return float(entropy(hot[index].mean(axis=1)).mean() / entropy(hot.mean(axis=0)))


def neighbor_accuracy(index: np.ndarray, codes: np.ndarray) -> float:
    """Return the share of cells whose category is the most frequent one among their neighbours (ties: the first)."""
    hot = np.eye(int(codes.max()) + 1)[codes]
    return float((hot[index].sum(axis=1).argmax(axis=1) == codes).mean())


def lisi(index: np.ndarray, distance: np.ndarray, codes: np.ndarray, *, perplexity: float = PERPLEXITY) -> np.ndarray:
    """Return the local inverse Simpson index of each cell: the effective number of categories around it.

    Korsunsky et al. 2019 (Nature Methods 16:1289): neighbours are weighted by a Gaussian kernel of the distance whose
    width gives each cell the wanted perplexity (at most a third of the neighbours given).

    Parameters
    ----------
    index, distance
        (cells, k) positions and distances of the neighbours.
    codes
        (cells,) categories, from 0.
    perplexity
        Effective number of neighbours.

    Returns
    -------
    (cells,) between 1 and the number of categories.
    """
    weights = _kernel(distance, min(perplexity, distance.shape[1] / 3))
    simpson = np.zeros(len(index))
    for level in np.unique(codes):
        simpson += (weights * (codes[index] == level)).sum(axis=1) ** 2
    return 1 / simpson


def _kernel(distance: np.ndarray, perplexity: float) -> np.ndarray:
    """Return weights ∝ exp(−β d), β by bisection so that every row's entropy is log(perplexity)."""
    shifted = distance - distance[:, :1]
    low, high = np.zeros(len(distance)), np.full(len(distance), np.inf)
    beta = 1 / np.maximum(shifted.mean(axis=1), 1e-12)
    for _ in range(60):
        weights = np.exp(-beta[:, None] * shifted)
        weights /= weights.sum(axis=1, keepdims=True)
        entropy = -np.sum(weights * np.log(np.maximum(weights, 1e-300)), axis=1)
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, beta, low), np.where(wide, high, beta)
        beta = np.where(np.isinf(high), 2 * beta, (low + np.where(np.isinf(high), low, high)) / 2)
    return weights
