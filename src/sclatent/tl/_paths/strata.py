"""Strata of cells: a batch, and a cluster of the cells in all directions but those of a path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

Array = npt.NDArray[Any]

CELLS_PER_GROUP = 50
MAX_GROUPS = 8
"""Few and wide clusters: the narrower they are, the more of the cycle they take up before path and clusters agree."""


def permutation(strata: Array, cells: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return positions (of all cells) with those of `cells` exchanged at random within each stratum."""
    source = np.arange(len(strata))
    # random order and own order, both sorted by stratum: the n-th of one takes the place of the n-th of the other
    shuffled = rng.permutation(cells)
    source[cells[np.argsort(strata[cells], kind="stable")]] = shuffled[np.argsort(strata[shuffled], kind="stable")]
    return source


def clusters(x: Array, seed: int) -> KMeans | None:
    """Cluster the cells (k-means), with so few clusters that each has enough cells; None: they are all one."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    k = int(np.clip(len(x) // CELLS_PER_GROUP, 1, MAX_GROUPS))
    if k == 1 or np.ptp(x, axis=0).max() < 1e-9 * max(1.0, np.abs(x).max()):
        return None
    with threadpool_limits(1):  # sums in one order, whatever the number of cores
        return KMeans(k, n_init=1, random_state=seed).fit(x)


def codes_of(groups: KMeans | None, x: Array) -> npt.NDArray[np.int64]:
    """Return the cluster of each cell."""
    return np.zeros(len(x), dtype=np.int64) if groups is None else groups.predict(x).astype(np.int64)


def merged(codes: npt.NDArray[np.int64], cells: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Let levels that fewer than 5 of `cells` have share that of the largest; codes without gaps."""
    count = np.bincount(codes[cells], minlength=codes.max() + 1)
    merged = np.where(count >= 5, np.arange(len(count)), count.argmax())
    return np.unique(merged[codes], return_inverse=True)[1].astype(np.int64)


def indicators(code: npt.NDArray[np.int64], lots: npt.NDArray[np.int64], shape: tuple[int, int]) -> Array:
    """Indicator columns of clusters, and of batches but the first; `shape` says how many there are of either."""
    return np.hstack([np.eye(shape[0])[code], np.eye(shape[1])[lots][:, 1:]])
