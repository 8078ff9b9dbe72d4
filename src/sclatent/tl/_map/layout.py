"""UMAP's layout of a graph too large for its samples of edges to be in memory: epoch by epoch, block by block."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sclatent.data.blocks import row_blocks
from sclatent.tl._map.umap_import import import_umap


def settle(
    graph: sparse.csr_matrix, start: npt.NDArray[np.float32], *, min_dist: float, epochs: int, seed: int
) -> npt.NDArray[np.float32]:
    """Return the places of cells (n_cells, 2) after some epochs of UMAP, from a start near to where they belong.

    umap-learn takes an edge of weight w every w_max / w epochs, for which it holds five numbers of each. Here the edges
    of an epoch are drawn, each with probability w / w_max (L. McInnes, J. Healy and J. Melville, arXiv:1802.03426,
    algorithm 5). The steps are umap-learn's.

    Parameters
    ----------
    graph
        (n_cells, n_cells) symmetric weights.
    start
        (n_cells, 2), in the scale of a finished UMAP.
    min_dist
        As UMAP has it.
    epochs
        How often every cell is visited.
    seed
        Of the draws.
    """
    a, b = import_umap().find_ab_params(1.0, min_dist)
    from umap.layouts import optimize_layout_euclidean

    rng = np.random.default_rng(seed)
    places, n = np.array(start, dtype=np.float32, order="C"), len(start)
    largest = max(float(block.data.max(initial=0)) for _, block in row_blocks(graph))
    for epoch in range(epochs):
        for rows, block in row_blocks(graph):
            drawn = np.flatnonzero(rng.random(block.nnz, dtype=np.float32) * largest < block.data)
            head = np.repeat(np.arange(rows.start, rows.stop, dtype=np.int32), np.diff(block.indptr))[drawn]
            # of two epochs umap-learn's first is idle, and its second takes every edge, at the full rate
            optimize_layout_euclidean(
                places,
                places,
                head,
                block.indices[drawn],
                2,
                n,
                np.ones(len(drawn)),
                a,
                b,
                rng.integers(-(2**31), 2**31, 3),
                initial_alpha=1 - epoch / epochs,
                move_other=True,
            )
    return places
