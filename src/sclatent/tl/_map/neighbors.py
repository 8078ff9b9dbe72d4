"""Nearest neighbours of cells in the latent space, in the form that scanpy takes from any search."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin

from sclatent.data.blocks import CountStore
from sclatent.data.blocks.dense import IN_MEMORY, stretches
from sclatent.tl._map.inverted_file import STRETCH, InvertedFile

EXACT_CELLS = 100_000
"""Up to here the search is exact: it takes at most some 15 s on two cores."""


class NeighborSearch(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The nearest other cells of every cell, by Euclidean distance.

    The search is exact up to `EXACT_CELLS` cells, and goes by an inverted file above.

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
        if len(X) <= self.exact_cells:
            return _exact(self._coordinates(X), self.n_neighbors - 1)
        return self._approximate(X, self.n_neighbors - 1)

    def nearest(self, among: npt.NDArray[np.float32], X: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
        """Return (n_cells,) which of the cells `among` is nearest to each cell of `X`."""
        index = InvertedFile(self._coordinates(among), self.seed)
        stretch = stretches(len(X), X, rows=STRETCH)
        return np.concatenate([index.nearest(self._coordinates(X[rows]), 1)[0][:, 0] for rows in stretch])

    def _approximate(self, X: npt.NDArray[np.float32], others: int) -> sparse.csr_matrix:
        x = np.empty((len(X), self._coordinates(X[:1]).shape[1]), dtype=np.float32)
        for rows in stretches(len(X), X):
            x[rows] = self._coordinates(X[rows])
        index, store = InvertedFile(x, self.seed), CountStore(len(X), IN_MEMORY)
        del x
        for rows in stretches(len(X), X, rows=STRETCH):
            cells, distances = index.nearest(self._coordinates(X[rows]), others + 1)
            # a cell is its own nearest neighbour, but not always the first among identical cells; where it is missing,
            # the farthest of the others is dropped
            itself = cells == np.arange(rows.start, rows.stop)[:, None]
            itself[~itself.any(axis=1), -1] = True
            store.append(_rows_of(cells[~itself].reshape(-1, others), distances[~itself].reshape(-1, others), len(X)))
        return store.matrix()

    def _coordinates(self, X: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        used = np.ones(X.shape[1], dtype=bool) if self.axes is None else self.axes
        if self.angles is None or not self.angles.any():
            return np.ascontiguousarray(X[:, used])
        turning = X[:, used & self.angles]
        return np.hstack([X[:, used & ~self.angles], np.cos(turning), np.sin(turning)])


def _exact(x: npt.NDArray[np.float32], others: int) -> sparse.csr_matrix:
    from sklearn.neighbors import NearestNeighbors

    distances, cells = NearestNeighbors(n_neighbors=others).fit(x).kneighbors()
    return _rows_of(cells, distances, len(x))


def _rows_of(cells: np.ndarray, distances: np.ndarray, n_cells: int) -> sparse.csr_matrix:
    """Return rows of neighbours as a matrix of their distances."""
    indptr = np.arange(0, cells.size + 1, cells.shape[1])
    return sparse.csr_matrix((distances.ravel(), cells.ravel(), indptr), shape=(len(cells), n_cells))
