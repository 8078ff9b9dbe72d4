"""Leiden clusters of a neighbour graph: the same as scanpy's with igraph, in less memory.

scanpy hands igraph the edges as a list of pairs of Python integers: of a million cells 4 GB. An array of all edges
takes 160 bytes for each until igraph has them, and 40 from then on.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy import sparse

EDGES = 2_000_000
"""Edges that igraph is handed at a time: 0.3 GB while it takes them in."""


def leiden(graph: sparse.csr_matrix, resolution: float, *, iterations: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the cluster of each cell (n_cells,), from 0 on.

    Parameters
    ----------
    graph
        (n_cells, n_cells) symmetric weights.
    resolution
        Of the modularity: the larger, the more clusters.
    iterations
        Of the Leiden algorithm.
    seed
        Of its random order.
    """
    import igraph

    n = graph.shape[0]
    ends = np.repeat(np.arange(n, dtype=np.int32), np.diff(graph.indptr))
    linked = igraph.Graph(n)
    for start in range(0, graph.nnz, EDGES):
        part = slice(start, start + EDGES)
        linked.add_edges(np.stack([ends[part], graph.indices[part]], axis=1))
    del ends
    igraph.set_random_number_generator(_Generator(seed))
    try:
        found = linked.community_leiden(
            objective_function="modularity", weights=graph.data, resolution=resolution, n_iterations=iterations
        )
    finally:
        igraph.set_random_number_generator(random)
    return np.asarray(found.membership, dtype=np.int64)


class _Generator:
    """Random numbers for igraph, the same ones as scanpy hands it."""

    def __init__(self, seed: int) -> None:
        self._numbers = np.random.RandomState(seed)

    def getrandbits(self, k: int) -> int:
        return int(self._numbers.tomaxint()) & ((1 << k) - 1)

    def randint(self, a: int, b: int) -> int:
        return int(self._numbers.randint(a, b + 1))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._numbers, "normal" if name == "gauss" else name)
