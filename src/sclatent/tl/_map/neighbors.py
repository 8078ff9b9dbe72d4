"""Nearest neighbours of cells in the latent space, in the form that scanpy takes from any search."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin

from sclatent.data.blocks import give_back
from sclatent.data.blocks.dense import stretches

EXACT_CELLS = 100_000
"""Up to here the search is exact: it takes at most some 15 s on two cores, about what pynndescent takes to compile."""


class NeighborSearch(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The nearest other cells of every cell, by Euclidean distance: exact up to `EXACT_CELLS` cells, then pynndescent.

    It is handed to `scanpy.pp.neighbors` as its ``transformer``. Left to itself, scanpy changes algorithm at 8,192,
    and what the libraries hand to each other there depends on their versions (a sparse array where scanpy takes a
    matrix); here one code serves every size and version.

    Parameters
    ----------
    n_neighbors
        As scanpy counts them: the cell itself is one of them.
    seed
        Of the approximate search.
    axes
        (n_axes,) bool: the columns that count; ``None`` for all.
    exact_cells
        Number of cells up to which the search is exact.
    angles
        (n_axes,) bool: columns that are angles, of which the distance is a chord of the unit circle; ``None``: none is.
    """

    def __init__(
        self,
        n_neighbors: int = 15,
        seed: int = 0,
        axes: npt.NDArray[np.bool_] | None = None,
        exact_cells: int = EXACT_CELLS,
        angles: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.seed = seed
        self.axes = axes
        self.exact_cells = exact_cells
        self.angles = angles

    def fit_transform(self, X: npt.NDArray[np.float32], y: None = None) -> sparse.csr_matrix:
        """Return the distances (n_cells × n_cells), ``n_neighbors − 1`` other cells in each row, the nearest first."""
        others = self.n_neighbors - 1
        whole, X = X, self._coordinates(X)
        give_back(whole)
        search = _exact if len(X) <= self.exact_cells else _approximate
        indices, distances = search(X, others, self.seed)
        indptr = np.arange(0, others * len(X) + 1, others)
        return sparse.csr_matrix((distances.ravel(), indices.ravel(), indptr), shape=(len(X), len(X)))

    def nearest(self, among: npt.NDArray[np.float32], X: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
        """Return (n_cells,) which of the cells `among` is nearest to each cell of `X`."""
        from sklearn.neighbors import NearestNeighbors

        tree = NearestNeighbors(n_neighbors=1).fit(self._coordinates(among))
        parts = [
            tree.kneighbors(self._coordinates(X[rows]), return_distance=False)[:, 0] for rows in stretches(len(X), X)
        ]
        return np.concatenate(parts)

    def _coordinates(self, X: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        used = np.ones(X.shape[1], dtype=bool) if self.axes is None else self.axes
        if self.angles is None or not self.angles.any():
            return np.ascontiguousarray(X[:, used])
        turning = X[:, used & self.angles]
        return np.hstack([X[:, used & ~self.angles], np.cos(turning), np.sin(turning)])


def _exact(x: npt.NDArray[np.float32], others: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.neighbors import NearestNeighbors

    distances, indices = NearestNeighbors(n_neighbors=others).fit(x).kneighbors()
    return indices, distances


def _approximate(x: npt.NDArray[np.float32], others: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from pynndescent import NNDescent
    from sklearn.neighbors import NearestNeighbors

    # the settings that UMAP and scanpy use for many cells
    trees = min(64, 5 + round(len(x) ** 0.5 / 20))
    rounds = max(5, round(np.log2(len(x))))
    found = NNDescent(x, n_neighbors=others + 1, n_trees=trees, n_iters=rounds, random_state=seed).neighbor_graph
    indices, distances = found
    # a cell is its own nearest neighbour, but not always the first among identical cells; where it is missing, the
    # farthest of the others is dropped
    itself = indices == np.arange(len(x))[:, None]
    itself[~itself.any(axis=1), -1] = True
    indices, distances = indices[~itself].reshape(len(x), others), distances[~itself].reshape(len(x), others)
    lost = np.flatnonzero((indices < 0).any(axis=1))
    if len(lost):  # cells for which the search found too few neighbours
        near = NearestNeighbors(n_neighbors=others + 1).fit(x).kneighbors(x[lost], return_distance=False)
        for row, cells in zip(lost, near, strict=True):
            indices[row] = cells[cells != row][:others]
            distances[row] = np.linalg.norm(x[indices[row]] - x[row], axis=1)
    return indices, distances
