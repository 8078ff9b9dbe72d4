"""The neighbour search: true neighbours at any size, and a form that scanpy takes whatever the versions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse
from scipy.spatial import cKDTree

from sclatent.tl._map import neighbors as _neighbors
from sclatent.tl._map.neighbors import NeighborSearch


def cells(n: int, axes: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, axes)) + 4 * np.eye(axes)[np.arange(n) % 3]).astype(np.float32)


@pytest.mark.parametrize("axes", [3, 20])  # scikit-learn searches a tree with few axes, by brute force with many
def test_exact_search_finds_what_a_tree_of_scipy_finds(axes):
    x = cells(400, axes)
    found = NeighborSearch(11).fit_transform(x)
    assert type(found) is sparse.csr_matrix  # a sparse array has no `getnnz`, which scanpy asks for
    distance, near = cKDTree(x.astype(np.float64)).query(x, k=11)
    assert (np.diff(found.indptr) == 10).all()
    np.testing.assert_allclose(found.data.reshape(400, 10), distance[:, 1:], rtol=1e-4, atol=1e-5)
    assert np.mean(found.indices.reshape(400, 10) == near[:, 1:]) > 0.99


def test_approximate_search_finds_nearly_all_of_them():
    x = cells(1500)
    exact = NeighborSearch(15).fit_transform(x)
    found = NeighborSearch(15, exact_cells=0).fit_transform(x)
    assert type(found) is sparse.csr_matrix
    assert found.diagonal().sum() == 0
    assert (np.diff(found.indptr) == 14).all()
    shared = (found.astype(bool).multiply(exact.astype(bool))).sum() / exact.nnz
    assert shared > 0.95
    again = NeighborSearch(15, exact_cells=0).fit_transform(x)
    assert (again.indices == found.indices).all()


@pytest.mark.parametrize("exact_cells", [0, 10_000])
def test_identical_cells_are_neighbours_but_no_cell_is_its_own(exact_cells):
    x = np.repeat(cells(40), 8, axis=0)
    found = NeighborSearch(8, exact_cells=exact_cells).fit_transform(x)
    near = found.indices.reshape(320, 7)
    assert (near != np.arange(320)[:, None]).all()
    assert (near >= 0).all()
    assert np.mean(near // 8 == np.arange(320)[:, None] // 8) > 0.99


def test_cells_that_the_approximate_search_loses_are_searched_exactly(monkeypatch):
    import pynndescent

    x = cells(300)

    class Losing(pynndescent.NNDescent):
        @property
        def neighbor_graph(self):
            indices, distances = (a.copy() for a in super().neighbor_graph)
            indices[[5, 17], 3:] = -1
            distances[[5, 17], 3:] = np.inf
            return indices, distances

    monkeypatch.setattr(pynndescent, "NNDescent", Losing)
    found = _neighbors.NeighborSearch(10, exact_cells=0).fit_transform(x)
    exact = NeighborSearch(10).fit_transform(x)
    for row in (5, 17):
        assert set(found[row].indices) == set(exact[row].indices)
        np.testing.assert_allclose(np.sort(found[row].data), np.sort(exact[row].data), rtol=1e-4)


@pytest.mark.parametrize("exact_cells", [0, 100_000])
def test_scanpy_takes_it_beyond_the_size_at_which_it_changes_its_own_search(exact_cells):
    x = cells(9000, 4)
    adata = AnnData(obs=pd.DataFrame(index=[f"c{i}" for i in range(9000)]), obsm={"X_x": x})
    sc.pp.neighbors(adata, n_neighbors=10, use_rep="X_x", transformer=NeighborSearch(10, exact_cells=exact_cells))
    assert adata.obsp["connectivities"].shape == (9000, 9000)
    assert (adata.obsp["connectivities"].sum(axis=1) > 0).all()
