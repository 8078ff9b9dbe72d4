"""Paths that only large or wide data take: 64-bit indices (from 2³¹ non-zeros on), a hundred levels, many points."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

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


@pytest.fixture(scope="module")
def crowded(make_settings):
    """A finished analysis of cells with 120 labels and 40 batches."""
    counts = sl.simulate(1500, 120, seed=2)
    counts.obs["label"] = [f"cell type number {i % 120}" for i in range(1500)]
    counts.obs["plate"] = [f"plate {i % 40}" for i in range(1500)]
    settings = make_settings(batch="plate", labels=["label"], models=MODEL, traverse={"steps": 5})
    prepared = sl.pp.prepare(counts, **settings.parts(sl.pp.prepare))
    cycle = sl.tl.cycle(prepared, **settings.parts(sl.tl.cycle))
    trained = sl.tl.train(prepared, model=settings.models["nb"], seed=0, **settings.parts(sl.tl.train))
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
    return settings, prepared, latent, axes, latent_map, steps, report, atlas


def test_a_hundred_levels_have_colours_and_measures(crowded):
    settings, prepared, latent, axes, _, _, _, atlas = crowded
    assert len(atlas.obs["label"].cat.categories) == 120
    assert len(set(atlas.uns["label_colors"])) == 120
    assert "eta2_label" in axes
    assert "eta2_plate" in axes
    measures = sl.tl.mixing(latent, prepared, **settings.parts(sl.tl.mixing))
    assert all(np.isfinite(value) for value in measures.values())


def test_figures_and_page_of_a_hundred_levels_stay_of_a_size(crowded, tmp_path):
    _, _, latent, axes, latent_map, steps, report, atlas = crowded
    figures = sl.pl.axes(latent, axes, map=latent_map, traversals=steps)
    sl.pl.save(figures, tmp_path / "axes")
    for path in (tmp_path / "axes").glob("*.png"):
        assert path.stat().st_size < 3_000_000
    for figure in figures.values():
        assert max(figure.get_size_inches()) < 40
    sl.pl.page(atlas, steps, report, tmp_path / "knob.html")
    assert (tmp_path / "knob.html").stat().st_size < 10_000_000
