"""Paths that only large or wide data take: 64-bit indices (from 2³¹ non-zeros on), a hundred levels, many points."""

from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import sclatent as sl

MODEL = {"nb": {"n_latent": 4, "n_hidden": 16, "epochs": 3}}


def wide(adata):
    """The same counts with 64-bit indices, as scipy gives them where there are 2³¹ non-zeros."""
    adata = adata.copy()
    adata.X.indices, adata.X.indptr = adata.X.indices.astype(np.int64), adata.X.indptr.astype(np.int64)
    return adata


def test_counts_with_64_bit_indices_give_the_same(simulated, make_settings, tmp_path):
    settings = make_settings(batch="batch", models=MODEL)
    found = []
    for counts in (simulated, wide(simulated)):
        prepared = sl.pp.prepare(counts, **settings.parts(sl.pp.prepare))
        if counts is not simulated:
            prepared = wide(prepared)
        cycle = sl.tl.cycle(prepared, **settings.parts(sl.tl.cycle))
        trained = sl.tl.train(prepared, model=settings.models["nb"], seed=0, **settings.parts(sl.tl.train))
        latent = sl.tl.embed(prepared, trained)
        metrics = sl.tl.evaluate(prepared, trained, samples=5)
        steps = sl.tl.traverse(prepared, cycle, latent, trained, **settings.parts(sl.tl.traverse))
        found.append((prepared.var["highly_variable"], cycle.obs, latent.X, metrics["test"], steps.X))
    for first, second in zip(*found, strict=True):
        if isinstance(first, dict):
            assert first == second
        elif isinstance(first, pd.DataFrame):
            pd.testing.assert_frame_equal(first, second)
        else:
            np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def analyse(counts, settings) -> SimpleNamespace:
    """Run every stage, as the rules do; `metrics` and `page` are made by the tests that look at them."""
    (model,) = settings.models.values()
    prepared = sl.pp.prepare(counts, **settings.parts(sl.pp.prepare))
    cycle = sl.tl.cycle(prepared, **settings.parts(sl.tl.cycle))
    trained = sl.tl.train(prepared, model=model, seed=0, **settings.parts(sl.tl.train))
    latent = sl.tl.embed(prepared, trained)
    axes = sl.tl.annotate(prepared, cycle, latent, **settings.parts(sl.tl.annotate))
    latent_map = sl.tl.map(latent)
    report, knob = sl.tl.knob(prepared, cycle, latent, trained, **settings.parts(sl.tl.knob))
    steps = sl.tl.traverse(prepared, cycle, latent, trained, knob=knob, **settings.parts(sl.tl.traverse))
    atlas = sl.atlas.build(
        prepared,
        cycle,
        latent,
        latent_map,
        axes,
        knob=knob,
        name=settings.name,
        config=sl.settings.section_json(settings),
        **settings.parts(sl.atlas.build),
    )
    return SimpleNamespace(**locals())


@pytest.fixture(scope="module")
def crowded(make_settings):
    """A finished analysis of cells with 120 labels and 40 batches."""
    counts = sl.simulate(720, 120, seed=2)
    counts.obs["label"] = [f"cell type number {i % 120}" for i in range(720)]
    counts.obs["plate"] = [f"plate {i % 40}" for i in range(720)]
    return analyse(counts, make_settings(batch="plate", labels=["label"], models=MODEL, traverse={"steps": 5}))


def test_a_hundred_levels_have_colours_and_measures(crowded):
    assert len(crowded.atlas.obs["label"].cat.categories) == 120
    assert len(set(crowded.atlas.uns["label_colors"])) == 120
    assert "eta2_label" in crowded.axes
    assert "eta2_plate" in crowded.axes
    measures = sl.tl.mixing(crowded.latent, crowded.prepared, **crowded.settings.parts(sl.tl.mixing))
    assert all(np.isfinite(value) for value in measures.values())


def test_figures_and_page_of_a_hundred_levels_stay_of_a_size(crowded, tmp_path):
    figures = sl.pl.axes(crowded.latent, crowded.axes, map=crowded.latent_map, traversals=crowded.steps)
    sl.pl.save(figures, tmp_path / "axes")
    for path in (tmp_path / "axes").glob("*.png"):
        assert path.stat().st_size < 3_000_000
    for figure in figures.values():
        assert max(figure.get_size_inches()) < 40
    sl.pl.page(crowded.atlas, crowded.steps, crowded.report, tmp_path / "knob.html")
    assert (tmp_path / "knob.html").stat().st_size < 10_000_000


def test_more_cells_than_the_small_data_paths_of_libraries_take_go_through_to_the_page(make_settings, tmp_path):
    """Left to itself, scanpy changes its search at 8,192 cells."""
    n = 8200
    models = {"nb": {"n_latent": 6, "n_hidden": 32, "epochs": 4}}
    keys = {"labels": ["cell_type"], "genes": {"n_top": 120}, "traverse": {"steps": 7}}
    counts = sl.simulate(n, 200, median_library=600.0, seed=5)
    done = analyse(counts, make_settings(batch="batch", models=models, **keys))
    sl.io.write_h5ad(done.atlas, tmp_path / "atlas.h5ad")
    adata = ad.read_h5ad(tmp_path / "atlas.h5ad")
    assert adata.n_obs == n
    assert np.isfinite(adata.obsm["X_umap"]).all()
    assert adata.obsp["connectivities"].nnz >= n * 5
    assert adata.uns["neighbors"]["params"]["n_neighbors"] == 15
    sc.tl.leiden(adata, flavor="igraph", n_iterations=1, directed=False, key_added="again")  # the graph is scanpy's
    assert adata.obs["again"].nunique() > 1
    assert done.report["verdict"]
    assert done.report["reason"]
    figures = {**sl.pl.qc(done.prepared), **sl.pl.cycle(done.prepared, done.cycle)}
    figures |= sl.pl.axes(done.latent, done.axes, map=done.latent_map, traversals=done.steps)
    assert len(sl.pl.save(figures, tmp_path / "figures")) == 2 * len(figures) > 0
    page = sl.pl.page(done.atlas, done.steps, done.report, tmp_path / "knob.html")
    assert 50_000 < page.stat().st_size < 20_000_000
    metrics = sl.tl.evaluate(done.prepared, done.trained, latent=done.latent)
    assert metrics["test"]["n_cells"] == n // 10
