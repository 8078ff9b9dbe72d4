"""Leiden clusters of a neighbour graph: the same as scanpy's with igraph, in less memory.

scanpy hands igraph the edges as a list of pairs of Python integers: of a million cells 4 GB. An array of all edges
takes 160 bytes for each until igraph has them, and 40 from then on.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sclatent.data.blocks import row_blocks

EDGES = 500_000
"""Edges that igraph is handed at a time: 80 MB while it takes them in."""
PASSES, SETTLED = 10, 1e-3
"""How often cells may move after their groups were clustered; and the share of them that no further pass is for."""
TOGETHER = 1 << 17
"""Edges of the cells that move at once."""


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
    return _communities(
        _linked(graph),
        seed,
        objective_function="modularity",
        weights=graph.data,
        resolution=resolution,
        n_iterations=iterations,
    )


def leiden_of_groups(
    graph: sparse.csr_matrix, group: npt.NDArray[np.int32], resolution: float, *, iterations: int, seed: int
) -> npt.NDArray[np.int64]:
    """Return the cluster of each cell (n_cells,), from 0 on: groups are clustered, then cells move one by one.

    The groups are as one vertex each of what the Leiden algorithm itself makes of a partition, so the modularity is
    that of all cells and all edges (V. A. Traag, L. Waltman and N. J. van Eck, Sci. Rep. 9, 5233, 2019). Then a cell
    whose group lies across a border goes to that side to which it adds most, as in the algorithm's local moves.

    Parameters
    ----------
    graph
        (n_cells, n_cells) symmetric weights.
    group
        (n_cells,) which group each cell is in, from 0 on.
    resolution
        Of the modularity: the larger, the more clusters.
    iterations
        Of the Leiden algorithm.
    seed
        Of its random order.
    """
    n = int(group.max()) + 1
    linked = sparse.csr_matrix((n, n), dtype=np.float64)
    for rows, block in row_blocks(graph):
        ends = np.repeat(group[rows], np.diff(block.indptr)), group[block.indices]
        linked += sparse.csr_matrix((block.data.astype(np.float64), ends), shape=(n, n))
    strength = np.asarray(linked.sum(axis=1)).ravel()
    once = sparse.triu(linked, k=1, format="csr")
    found = _communities(
        _linked(once),
        seed,
        objective_function="CPM",
        weights=once.data,
        node_weights=strength,
        resolution=resolution / strength.sum(),
        n_iterations=iterations,
    )
    return _moved(graph, found[group], resolution)


def _moved(graph: sparse.csr_matrix, cluster: npt.NDArray[np.int64], resolution: float) -> npt.NDArray[np.int64]:
    """Return clusters to each of which cells add as much modularity as to any other, or nearly."""
    strength = np.concatenate([np.asarray(block.sum(axis=1), np.float64).ravel() for _, block in row_blocks(graph)])
    whole, rate = np.bincount(cluster, strength), resolution / strength.sum()
    member = sparse.csr_matrix(
        (np.ones(len(cluster), np.float32), cluster.astype(np.int32), np.arange(len(cluster) + 1))
    )
    for _ in range(PASSES):
        n_moved = 0
        for rows, block in row_blocks(graph, TOGETHER):
            here, k = member.indices[rows], strength[rows]
            to = sparse.csr_matrix(block @ member)
            row = np.repeat(np.arange(len(here)), np.diff(to.indptr))
            own = to.indices == here[row]
            adds = to.data - rate * k[row] * (whole[to.indices] - own * k[row])
            stays = rate * k * (k - whole[here])  # without an edge to its cluster
            stays[row[own]] = adds[own]
            order = np.lexsort((-adds, row))
            best = order[np.flatnonzero(np.diff(row[order], prepend=-1))]
            best = best[adds[best] > stays[row[best]] + 1e-9]
            moves, target = row[best], to.indices[best]
            np.subtract.at(whole, here[moves], k[moves])
            np.add.at(whole, target, k[moves])
            here[moves] = target
            n_moved += len(moves)
        if n_moved <= SETTLED * len(cluster):
            break
    return np.unique(member.indices, return_inverse=True)[1]


def _linked(graph: sparse.csr_matrix) -> Any:
    """Return an edge of igraph for every entry."""
    import igraph

    ends = np.repeat(np.arange(graph.shape[0], dtype=np.int32), np.diff(graph.indptr))
    linked = igraph.Graph(graph.shape[0])
    for start in range(0, graph.nnz, EDGES):
        part = slice(start, start + EDGES)
        linked.add_edges(np.stack([ends[part], graph.indices[part]], axis=1))
    return linked


def _communities(linked: Any, seed: int, **options: Any) -> npt.NDArray[np.int64]:
    """Return what the Leiden algorithm of igraph finds with random numbers of our own."""
    import igraph

    igraph.set_random_number_generator(_Generator(seed))
    try:
        return np.asarray(linked.community_leiden(**options).membership, dtype=np.int64)
    finally:
        igraph.set_random_number_generator(random)


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
