"""The neighbour search: true neighbours at any size, and a form that scanpy takes whatever the versions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse
from scipy.spatial import cKDTree
from threadpoolctl import threadpool_limits

from sclatent.data import blocks
from sclatent.tl._map import graph, inverted_file
from sclatent.tl._map.graph import connectivities
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


@pytest.mark.parametrize("axes", [4, 24])
def test_approximate_search_finds_nearly_all_of_them(axes, monkeypatch):
    monkeypatch.setattr(inverted_file, "LIST", 25)  # 160 lists, of which a search looks through 32
    monkeypatch.setattr(inverted_file, "STRETCH", 1500)
    x = cells(4000, axes)
    exact = NeighborSearch(15).fit_transform(x)
    found = NeighborSearch(15, exact_cells=0).fit_transform(x)
    assert type(found) is sparse.csr_matrix
    assert found.diagonal().sum() == 0
    assert (np.diff(found.indptr) == 14).all()
    assert (np.diff(found.data.reshape(-1, 14)) >= 0).all()  # the nearest first
    rows = np.repeat(np.arange(4000), 14)
    true = np.linalg.norm(x[rows].astype(np.float64) - x[found.indices], axis=1)
    np.testing.assert_allclose(found.data, true, rtol=1e-4, atol=1e-4)
    shared = (found.astype(bool).multiply(exact.astype(bool))).sum() / exact.nnz
    assert shared > (0.97 if axes == 4 else 0.85)  # of one cloud in 24 axes, which no latent space is
    with threadpool_limits(1):
        again = NeighborSearch(15, exact_cells=0).fit_transform(x)
    np.testing.assert_array_equal(again.indices, found.indices)
    np.testing.assert_array_equal(again.data, found.data)


def test_lists_of_fewer_cells_than_are_asked_for(monkeypatch):
    monkeypatch.setattr(inverted_file, "LIST", 3)
    x = cells(300)
    found = NeighborSearch(150, exact_cells=0).fit_transform(x)
    exact = NeighborSearch(150).fit_transform(x)
    assert (np.diff(found.indptr) == 149).all()
    near = found.indices.reshape(300, 149)
    assert all(len(set(row)) == 149 for row in near)
    assert (found.astype(bool).multiply(exact.astype(bool))).sum() / exact.nnz > 0.9


def test_the_nearest_of_other_cells(monkeypatch):
    monkeypatch.setattr(inverted_file, "LIST", 20)
    x, few = cells(900), cells(200, seed=1)
    found = NeighborSearch().nearest(few, x)
    assert found.shape == (900,)
    assert np.mean(found == cKDTree(few).query(x)[1]) > 0.98


@pytest.mark.parametrize("k", [4, 15])
def test_the_graph_by_blocks_is_that_of_scanpy(k, monkeypatch):
    x = np.concatenate([cells(700), cells(20)[np.arange(60) % 20]])  # some cells are the same
    adata = AnnData(obs=pd.DataFrame(index=[f"c{i}" for i in range(len(x))]), obsm={"X_x": x})
    search = NeighborSearch(k)
    sc.pp.neighbors(adata, n_neighbors=k, use_rep="X_x", transformer=search)
    monkeypatch.setattr(blocks, "BLOCK", 1000)
    distances = search.fit_transform(x)
    found = connectivities(distances)
    assert (distances != search.fit_transform(x)).nnz == 0
    assert found.dtype == np.float32
    assert (found.diagonal() == 0).all()
    np.testing.assert_allclose(found.toarray(), adata.obsp["connectivities"].toarray(), atol=1e-6)
    monkeypatch.setattr(graph, "IN_MEMORY", 0)
    np.testing.assert_array_equal(connectivities(search.fit_transform(x)).toarray(), found.toarray())


@pytest.mark.parametrize("exact_cells", [0, 10_000])
def test_identical_cells_are_neighbours_but_no_cell_is_its_own(exact_cells):
    x = np.repeat(cells(40), 8, axis=0)
    found = NeighborSearch(8, exact_cells=exact_cells).fit_transform(x)
    near = found.indices.reshape(320, 7)
    assert (near != np.arange(320)[:, None]).all()
    assert (near >= 0).all()
    assert np.mean(near // 8 == np.arange(320)[:, None] // 8) > 0.99


@pytest.mark.parametrize("exact_cells", [0, 100_000])
def test_scanpy_takes_it_beyond_the_size_at_which_it_changes_its_own_search(exact_cells):
    x = cells(9000, 4)
    adata = AnnData(obs=pd.DataFrame(index=[f"c{i}" for i in range(9000)]), obsm={"X_x": x})
    sc.pp.neighbors(adata, n_neighbors=10, use_rep="X_x", transformer=NeighborSearch(10, exact_cells=exact_cells))
    assert adata.obsp["connectivities"].shape == (9000, 9000)
    assert (adata.obsp["connectivities"].sum(axis=1) > 0).all()
