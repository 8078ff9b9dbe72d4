"""The graph of neighbouring cells as UMAP weighs it, by blocks of rows: the same as scanpy's, in less memory."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from sclatent.data.blocks import change_rows, release, transposed
from sclatent.data.blocks.dense import IN_MEMORY
from sclatent.tl._map.umap_import import import_umap


def connectivities(distances: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the symmetric graph, A + Aᵀ − A∘Aᵀ of the weights A.

    L. McInnes, J. Healy and J. Melville, arXiv:1802.03426, algorithm 2; the formula of ρ and σ is umap-learn's.

    Parameters
    ----------
    distances
        (n_cells, n_cells) as many neighbours in each row, the nearest first, without the cell itself.
    """
    umap, k = import_umap(), int(distances.indptr[1])

    def weighed(rows: slice, block: sparse.csr_matrix) -> sparse.csr_matrix:
        itself = np.arange(rows.start, rows.stop, dtype=np.int32)[:, None]
        cells = np.hstack([itself, block.indices.reshape(-1, k)])
        far = np.hstack([np.zeros_like(itself, dtype=np.float32), block.data.reshape(-1, k).astype(np.float32)])
        sigma, rho = umap.smooth_knn_dist(far, float(k + 1))
        # the rows of a block have other numbers than its columns, as those of two sets of cells
        strength = umap.compute_membership_strengths(cells, far, sigma, rho, bipartite=True)[2]
        values = strength.reshape(cells.shape)[:, 1:].ravel()
        found = sparse.csr_matrix((values, block.indices.copy(), block.indptr.copy()), block.shape)
        found.eliminate_zeros()
        found.sort_indices()
        return found

    one_way = change_rows(distances, weighed, in_memory=IN_MEMORY)
    other = transposed(one_way, IN_MEMORY)

    def both(rows: slice, block: sparse.csr_matrix) -> sparse.csr_matrix:
        back = other[rows]
        release(other)
        return block + back - block.multiply(back)

    return change_rows(one_way, both, in_memory=IN_MEMORY)
