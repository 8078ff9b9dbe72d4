"""An inverted file: cells in lists around centers, of which a search looks through the nearest few.

H. Jégou, M. Douze and C. Schmid, IEEE TPAMI 33, 2011, without their codes. Every step is scikit-learn's. It holds the
coordinates twice and a stretch of the answer, where pynndescent's search holds trees and a graph of all cells.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sclatent.data.blocks.dense import ROWS
from sclatent.tl._model.subset import evenly

LIST = 1000
"""Cells of a list, on average."""
PROBED = 32
"""Lists that are looked through: they hold .994 of the true neighbours of a million cells on 6 axes, .999 on 16."""
STRETCH = 4 * ROWS
"""Cells whose neighbours are well searched at once: few for each list take more time."""
_SAMPLED = 40
"""Cells for each center, from which the centers are found."""


class InvertedFile:
    """Cells, in lists around centers.

    Parameters
    ----------
    x
        (n_cells, n_axes) coordinates, one cell at least.
    seed
        Of the centers' start.
    """

    def __init__(self, x: npt.NDArray[np.float32], seed: int) -> None:
        from sklearn.cluster import MiniBatchKMeans

        n = max(1, len(x) // LIST)
        some = x[evenly(np.arange(len(x)), _SAMPLED * n)]
        # as many steps whatever the number of threads, which changes the last digits of what would end them
        steps = {"max_iter": 5, "batch_size": 1 << 14, "max_no_improvement": None}
        found = MiniBatchKMeans(n, init="random", n_init=1, random_state=seed, **steps).fit(some)
        self.centers = found.cluster_centers_.astype(np.float32)
        order, self.ends = self._sorted(x)
        self.cells, self.x = order.astype(np.int32), x[order]
        self.near = _brute(self.centers, self.centers, min(n, PROBED))[0]

    def nearest(self, x: npt.NDArray[np.float32], k: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return the nearest `k` cells of a stretch of others, and how far they are, the nearest first.

        Parameters
        ----------
        x
            (n, n_axes) coordinates of those others, or of some of the same cells.
        k
            How many to find; there are as many, at least.

        Returns
        -------
        cells, distances
            (n, k) each.
        """
        cells, distances = np.empty((len(x), k), np.int32), np.empty((len(x), k), np.float32)
        order, ends = self._sorted(x)
        for i in map(int, np.flatnonzero(np.diff(ends))):
            here = order[ends[i] : ends[i + 1]]
            cells[here], distances[here] = self._in_lists(x[here], i, k)
        return cells, distances

    def _in_lists(self, x: np.ndarray, i: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest `k` cells of the lists around center `i`."""
        near, sizes = self.near[i], np.diff(self.ends)
        if sizes[near].sum() < k:  # more lists, if these hold few cells
            near = _brute(self.centers, self.centers[[i]], len(self.centers))[0][0]
            near = near[: int(np.searchsorted(np.cumsum(sizes[near]), k)) + 1]
        parts = [slice(self.ends[j], self.ends[j + 1]) for j in near]
        found, distances = _brute(np.concatenate([self.x[part] for part in parts]), x, k)
        return np.concatenate([self.cells[part] for part in parts])[found], distances

    def _sorted(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows in the order of their nearest centers, and where those of each center end."""
        from sklearn.metrics import pairwise_distances_argmin

        center = pairwise_distances_argmin(x, self.centers)
        ends = np.concatenate([[0], np.cumsum(np.bincount(center, minlength=len(self.centers)))])
        return np.argsort(center, kind="stable"), ends


def _brute(among: np.ndarray, x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows of `among` are the nearest `k`, and how far they are."""
    from sklearn.neighbors import NearestNeighbors

    distances, found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(among).kneighbors(x)
    return found, distances
