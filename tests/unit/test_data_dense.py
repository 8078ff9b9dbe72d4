"""Arrays in scratch files: the same numbers as in memory, in every function and stage that works on them."""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import stage_results
from test_tl_map import latents

import sclatent as sl
from sclatent import bridge
from sclatent.data import blocks
from sclatent.data.blocks import dense
from sclatent.io import _stored
from sclatent.tl._map import clusters
from sclatent.tl._map.neighbors import NeighborSearch

MODEL = {"nb": {"n_latent": 4, "n_hidden": 16, "epochs": 3}}


@pytest.fixture
def in_files(monkeypatch):
    """Every array with rows lies in a scratch file, and is worked on 50 rows at a time."""
    monkeypatch.setattr(dense, "IN_MEMORY", 0)
    monkeypatch.setattr(dense, "ROWS", 50)
    monkeypatch.setattr(_stored, "SHARED", 10)
    monkeypatch.setattr(_stored, "COLUMN", 0)


def filed(array: np.ndarray) -> np.ndarray:
    out = dense.by_rows(len(array), lambda rows: array[rows])
    assert dense.in_file(out)
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_return_what_numpy_returns(in_files, dtype):
    x = np.random.default_rng(0).normal(3, 2, (333, 5)).astype(dtype)
    y = filed(x)
    np.testing.assert_array_equal(y, x)
    assert y.dtype == dtype
    assert not y.flags.writeable
    np.testing.assert_array_equal(dense.column_of(y, 3), x[:, 3])
    cells = np.random.default_rng(1).permutation(333)[:200]
    np.testing.assert_array_equal(dense.rows_at(y, cells), x[cells])
    assert dense.rows_at(y, cells, np.float64).dtype == np.float64
    for some in (None, cells):
        mean, variance = dense.mean_and_variance(y, some)
        z = x if some is None else x[some]
        np.testing.assert_array_equal(mean, z.mean(axis=0, dtype=np.float64))
        np.testing.assert_array_equal(variance, z.var(axis=0, dtype=np.float64))


def test_arrays_without_columns_or_rows_keep_their_shape():
    for shape in ((0, 4), (120, 0), (1, 1)):
        x = np.zeros(shape, np.float32)
        made = dense.by_rows(len(x), lambda rows, x=x: x[rows])
        assert made.shape == shape
        assert made.dtype == np.float32


def cells(n: int = 120) -> ad.AnnData:
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {"a": rng.normal(size=n), "kind": pd.Categorical(["x", "y", None] * (n // 3)), "b": np.arange(n)},
        index=pd.Index([f"cell{i}" for i in range(n)], name="barcode"),
    )
    obs["twin"] = obs.index.to_numpy(dtype=object)  # text that is no index
    out = ad.AnnData(rng.normal(size=(n, 6)).astype(np.float32), obs=obs, obsm={"m": rng.normal(size=(n, 3))})
    out.layers["sd"] = out.X + 1
    return out


def test_a_file_is_read_as_anndata_reads_it_and_written_with_the_same_content(in_files, tmp_path):
    sl.io.write_h5ad(cells(), tmp_path / "a.h5ad")
    read, peer = sl.io.read_h5ad(tmp_path / "a.h5ad"), ad.read_h5ad(tmp_path / "a.h5ad")
    assert all(dense.in_file(x) for x in (read.X, read.layers["sd"], read.obsm["m"]))
    sl.io.write_h5ad(read, tmp_path / "b.h5ad")
    for found in (read, ad.read_h5ad(tmp_path / "b.h5ad")):
        pd.testing.assert_frame_equal(found.obs, peer.obs)
        assert found.obs_names.name == "barcode"
        for key in ("X", "layers/sd", "obsm/m"):
            ours, theirs = (_part(x, key) for x in (found, peer))
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype


def _part(adata: ad.AnnData, key: str) -> np.ndarray:
    slot, _, name = key.partition("/")
    return np.asarray(getattr(adata, slot)[name] if name else getattr(adata, slot))


def test_files_of_the_same_cells_share_their_names_and_nothing_else(in_files, tmp_path):
    for name, made in {"a": cells(), "b": cells(), "other": cells()[::-1].copy(), "fewer": cells()[:60].copy()}.items():
        sl.io.write_h5ad(made, tmp_path / f"{name}.h5ad")
    first = sl.io.read_h5ad(tmp_path / "a.h5ad")
    second = sl.io.read_h5ad(tmp_path / "b.h5ad")
    if first.obs_names.dtype == object:  # pandas 3 keeps texts in one piece, which takes less memory than sharing saves
        assert first.obs_names.values is second.obs_names.values
    second.obs_names.name = "renamed"
    second.obs.loc["cell0", "a"] = 7.0
    assert first.obs_names.name == "barcode"
    assert first.obs["a"].iloc[0] != 7
    for name in ("other", "fewer", "a"):
        found, peer = sl.io.read_h5ad(tmp_path / f"{name}.h5ad"), ad.read_h5ad(tmp_path / f"{name}.h5ad")
        pd.testing.assert_frame_equal(found.obs, peer.obs)


def test_parts_are_left_out_on_request(tmp_path):
    sl.io.write_h5ad(cells(), tmp_path / "a.h5ad")
    found = sl.io.read_h5ad(tmp_path / "a.h5ad", without=("layers", "obsm"))
    assert not found.layers
    assert not found.obsm
    assert found.X is not None


def run(tmp_path) -> dict:
    """Every stage that holds something of all cells, over files as in the pipeline."""
    parts = {"batch": "batch", "labels": "cell_type"}
    sl.io.write_h5ad(
        sl.pp.prepare(sl.simulate(240, 110, seed=4), batch="batch", genes={"n_top": 90}), tmp_path / "p.h5ad"
    )
    prepared = bridge.read_h5ad(tmp_path / "p.h5ad")
    settings = sl.settings.ModelSettings(**MODEL["nb"])
    trained = sl.tl.train(prepared, model=settings, batch="batch")
    out = {"cycle": sl.tl.cycle(prepared, batch="batch"), "latent": sl.tl.embed(prepared, trained)}
    for name, made in out.items():
        sl.io.write_h5ad(made, tmp_path / f"{name}.h5ad")
        out[name] = bridge.read_h5ad(tmp_path / f"{name}.h5ad")
    cycle, latent = out["cycle"], out["latent"]
    out["axes"] = sl.tl.annotate(prepared, cycle, latent, **parts)
    out["metrics"] = sl.tl.evaluate(prepared, trained, latent=latent, samples=3)["n_active"]
    out["steps"] = sl.tl.traverse(prepared, cycle, latent, trained, traverse={"steps": 5})
    out["map"] = sl.tl.map(latent)
    sl.io.write_h5ad(out["map"], tmp_path / "map.h5ad")
    mapped = bridge.read_h5ad(tmp_path / "map.h5ad")
    atlas = sl.atlas.build(prepared, cycle, latent, mapped, out["axes"], **parts, card=trained.card)
    sl.io.write_h5ad(atlas, tmp_path / "atlas.h5ad")
    out["atlas"] = ad.read_h5ad(tmp_path / "atlas.h5ad")
    return out


def told(result: Any) -> dict[str, Any]:
    return dict(stage_results.tell(result))


def test_all_stages_return_the_same_from_memory_and_from_files(tmp_path, request):
    (tmp_path / "memory").mkdir()
    (tmp_path / "files").mkdir()
    memory = run(tmp_path / "memory")
    request.getfixturevalue("in_files")
    files = run(tmp_path / "files")
    assert stage_results.differences(told(files), told(memory)) == []
    np.testing.assert_array_equal(memory["map"].obsm["X_umap"], files["map"].obsm["X_umap"])
    np.testing.assert_array_equal(memory["latent"].X, files["latent"].X)


@pytest.mark.parametrize("stage", ["knob", "traverse", "select", "compare", "plot_model"])
def test_stages_of_a_known_world_return_the_same_from_files(in_files, stage):
    function = stage_results.STAGES[stage]
    here, known = stage_results.arrays(), stage_results.world()
    there = {name: value for name, value in here.items() if name != "latent"} | {"latent": _moved(here["latent"])}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "IN_MEMORY", 1 << 26)
        patch.setattr(dense, "ROWS", 1 << 16)
        expected = told(function())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_results, "arrays", lambda: there)
        world = type(known)(known.prepared, _moved(known.latent), known.model)
        patch.setattr(stage_results, "world", lambda: world)
        found = told(function())
    assert stage_results.differences(found, expected) == []


def _moved(latent: ad.AnnData) -> ad.AnnData:
    """Return the same with its arrays in scratch files."""
    out = latent.copy()
    out.X = filed(np.asarray(latent.X))
    for key, array in latent.layers.items():
        out.layers[key] = filed(np.asarray(array))
    return out


@pytest.mark.parametrize("edges_at_a_time", [clusters.EDGES, 1000])
def test_clusters_are_those_of_scanpy(monkeypatch, edges_at_a_time):
    import scanpy as sc

    monkeypatch.setattr(clusters, "EDGES", edges_at_a_time)

    made = sl.tl.map(latents(500, groups=4)[0])
    for resolution in (0.3, 1.0, 2.0):
        params = {"flavor": "igraph", "directed": False, "n_iterations": 2, "random_state": 0}
        sc.tl.leiden(made, resolution=resolution, key_added="peer", **params)
        ours = sl.tl.map(latents(500, groups=4)[0], {"resolution": resolution})
        pd.testing.assert_series_equal(ours.obs["leiden"], made.obs["peer"], check_names=False)
        assert ours.uns["leiden"]["params"] == made.uns["peer"]["params"]


def modularity(graph, cluster, resolution):
    strength = np.asarray(graph.sum(axis=1)).ravel() / graph.sum()
    coo = graph.tocoo()
    inside = coo.data[cluster[coo.row] == cluster[coo.col]].sum() / graph.sum()
    return inside - resolution * (np.bincount(cluster, strength) ** 2).sum()


def test_clusters_of_groups_are_as_good_as_those_of_cells(monkeypatch):
    made = sl.tl.map(latents(2500, groups=4)[0])
    graph, alone = made.obsp["connectivities"], np.arange(2500, dtype=np.int32)
    near = NeighborSearch().nearest(made.obsm["X_sclatent"][::5], made.obsm["X_sclatent"])
    for resolution in (0.3, 1.0):
        options = {"resolution": resolution, "iterations": 2}
        best = [modularity(graph, clusters.leiden(graph, seed=s, **options), resolution) for s in range(4)]
        each = clusters.leiden_of_groups(graph, alone, seed=0, **options)
        assert modularity(graph, each, resolution) > min(best) - 0.005
        monkeypatch.setattr(blocks, "BLOCK", 500)
        monkeypatch.setattr(clusters, "TOGETHER", 700)
        grouped = clusters.leiden_of_groups(graph, near, seed=0, **options)
        assert modularity(graph, grouped, resolution) > min(best) - 0.02  # there is no structure below the four groups
        monkeypatch.setattr(clusters, "PASSES", 0)
        together = clusters.leiden_of_groups(graph, near, seed=0, **options)
        assert all(len(set(together[near == g])) == 1 for g in set(near))
        assert modularity(graph, together, resolution) <= modularity(graph, grouped, resolution)
        assert set(grouped) == set(range(grouped.max() + 1))
        monkeypatch.undo()
