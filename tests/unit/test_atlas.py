"""The atlas keeps its contract, and scanpy opens it with nothing to add."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from paths_world import make_world, true_cycle
from scipy import sparse

from sclatent import atlas, tl
from sclatent.atlas._plain import plain, table
from sclatent.data import slots
from sclatent.io import write_h5ad
from sclatent.settings import InputError, load_dataset, section_json
from sclatent.settings.load import from_section_json
from sclatent.tl._paths.knob_file import write_path


def _from(settings):
    """Return what `atlas.build` is told of a dataset file."""
    return {"name": settings.name, "config": section_json(settings), **settings.parts(atlas.build)}


@pytest.fixture(scope="module")
def stage(make_settings):
    """All stage files of one small dataset; a third of the genes is not in the model, two columns clash with ours."""
    world = make_world(200, 150)
    prepared, latent = world.prepared, world.latent
    seen = np.arange(150) % 3 > 0
    prepared.var[slots.IN_MODEL] = seen
    latent.uns["genes"] = np.array(prepared.var_names[seen], dtype=object)
    latent.varm["loadings"] = latent.varm["loadings"][:, seen]
    prepared.obs["leiden"] = pd.Categorical(["mine"] * 200)
    prepared.obs["S_score"] = 7.0
    prepared.obs["donor"] = pd.Categorical(np.where(np.arange(200) % 5 == 0, None, "d1"))
    prepared.uns[slots.UNS] = {
        slots.UNS_FILTERS: pd.DataFrame({"filter": ["cells.min_genes"], "cutoff": ["50"], "taken": [3], "left": [200]}),
        slots.UNS_READ: {
            "samples": {"s1": {"repeated_names": ["TBCE"], "round": {"how": "stochastic", "n_changed": 7}}}
        },
    }
    axes = pd.DataFrame(
        {
            "axis": latent.var_names,
            "name": ["cell cycle: S", "cell cycle: G2M", "unnamed", np.nan],
            "effect": [0.5, 0.4, np.nan, np.nan],
            "active": [True, True, True, False],
        }
    )
    stability = pd.DataFrame(
        {
            "axis": latent.var_names,
            "name": "x",
            "n_seeds": 2,
            "stable": pd.Series([True, False, True, np.nan], dtype=object),
            "correlation": [0.9, 0.3, 0.8, np.nan],
        }
    )
    cycle = true_cycle(prepared)
    neutral = np.asarray(latent.X) * 0.5
    from sclatent.tl._paths import closed_path

    on = cycle.obs[slots.CYCLING].to_numpy()
    path = closed_path.fit_path(latent.X, cycle.obs[slots.CYCLE_ANGLE], cycle.obs[slots.CYCLE_SD], on)
    return {
        "prepared": prepared,
        "cycle": cycle,
        "latent": latent,
        "map": tl.map(latent),
        "axes": axes,
        **_from(make_settings(batch="batch", labels=["cell_type", "donor"])),
        "card": world.model.card,
        "metrics": {"test": {"elbo": -1.5, "marginal": None}, "epochs": 3, "pit": [1.0, 2.0], "genes": ["a", "b"]},
        "knob": write_path(cycle, path, verdict="cell-cycle knob", reason="why", phases={"G1": 0.1}, neutral=neutral),
        "stability": stability,
    }


@pytest.fixture(scope="module")
def back(stage, tmp_path_factory):
    path = tmp_path_factory.mktemp("atlas") / "atlas.h5ad"
    write_h5ad(atlas.build(**stage), path)
    return ad.read_h5ad(path)


def test_expression_is_scanpy_s_and_counts_are_whole(stage, back):
    want = ad.AnnData(stage["prepared"].X.copy())
    sc.pp.normalize_total(want, target_sum=1e4)
    sc.pp.log1p(want)
    np.testing.assert_allclose(back.X.toarray(), want.X.toarray(), rtol=1e-5, atol=1e-6)
    counts = back.layers["counts"]
    assert sparse.issparse(back.X)
    assert (back.X.format, counts.format, back.X.dtype, counts.dtype) == ("csr", "csr", np.float32, np.float32)
    assert (counts != stage["prepared"].X).nnz == 0
    assert (counts.data == np.round(counts.data)).all()


def test_every_column_comes_through(stage, back):
    assert set(stage["prepared"].obs) <= set(back.obs)
    # names the pipeline writes are the pipeline's; what came in is kept beside
    assert set(back.obs["leiden_input"]) == {"mine"}
    assert (back.obs["S_score_input"] == 7).all()
    np.testing.assert_allclose(back.obs["S_score"], stage["cycle"].obs["S_score"])
    assert back.obs["donor"].isna().sum() == 40
    phase = back.obs["phase"]
    assert phase.cat.ordered
    assert list(phase.cat.categories) == ["G1", "S", "G2M"]
    assert (phase.isna() == ~stage["prepared"].obs[slots.TRUE_CYCLING].to_numpy(dtype=bool)).all()
    angle = back.obs["cycle_angle"].dropna()
    assert ((angle >= 0) & (angle < 2 * np.pi)).all()
    assert back.obs["cycling"].dtype == bool
    assert list(back.obs["leiden"]) == list(stage["map"].obs["leiden"])


def test_latent_slots(stage, back):
    np.testing.assert_array_equal(back.obsm["X_sclatent"], stage["latent"].X)
    np.testing.assert_array_equal(back.obsm["X_sclatent_sd"], stage["latent"].layers["sd"])
    np.testing.assert_array_equal(back.obsm["X_sclatent_neutral"], stage["knob"].obsm["X_sclatent_neutral"])
    loadings = back.varm["sclatent_loadings"]
    inside = back.var["in_model"].to_numpy()
    assert np.isnan(loadings[~inside]).all()
    np.testing.assert_array_equal(loadings[inside], stage["latent"].varm["loadings"].T)
    assert back.uns["neighbors"]["params"]["use_rep"] == "X_sclatent"
    assert (back.obsp["connectivities"] != stage["map"].obsp["connectivities"]).nnz == 0


def test_about(stage, back):
    about = back.uns["sclatent"]
    assert from_section_json(about["config"]).labels == ["cell_type", "donor"]
    assert json.loads(about["config"])["batch"] == ["batch"]
    assert (about["seed"], about["threads"], about["versions"]["torch"]) == (0, 1, "0")
    assert about["metrics"]["test"] == {"elbo": -1.5}
    assert about["read"]["samples"]["s1"]["round"] == {"how": "stochastic", "n_changed": 7}
    assert about["metrics"]["pit"].tolist() == [1, 2]
    axes = about["axes"]
    assert list(axes.index) == ["axis_1", "axis_2", "axis_3", "axis_4"]
    assert list(axes["name"]) == ["cell cycle: S", "cell cycle: G2M", "unnamed", ""]
    assert axes["stable"].tolist()[:3] == [True, False, True]
    assert axes["stable"].isna().tolist() == [False, False, False, True]
    assert about["knob"] == {"verdict": "cell-cycle knob", "reason": "why"}
    assert about["filters"].loc[0 if 0 in about["filters"].index else "0", "taken"] == 3


def test_scanpy_opens_it_with_nothing_to_add(back, tmp_path):
    import matplotlib as mpl

    mpl.use("Agg")
    adata = back.copy()
    gene = str(adata.var_names[0])
    for color in ("phase", "leiden", gene, "batch", "cell_type", "cycle_angle"):
        sc.pl.umap(adata, color=color, show=False)
    sc.pl.embedding(adata, basis="X_sclatent", color="leiden", show=False)
    sc.pl.embedding(adata, basis="X_sclatent_neutral", color="phase", show=False)
    sc.tl.rank_genes_groups(adata, "cell_type", method="wilcoxon", use_raw=False)
    found = sc.get.rank_genes_groups_df(adata, group="type1")
    assert np.isfinite(found["logfoldchanges"]).all()
    sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)
    sc.tl.paga(adata, groups="leiden")
    sc.pp.highly_variable_genes(adata, n_top_genes=20)
    assert len(adata.uns["phase_colors"]) == 3
    assert all(color.startswith("#") for color in adata.uns["cell_type_colors"])
    adata.write_h5ad(tmp_path / "again.h5ad")


def test_same_stages_same_bytes(stage, tmp_path):
    for name in ("a.h5ad", "b.h5ad"):
        write_h5ad(atlas.build(**stage), tmp_path / name)
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()


def test_building_changes_no_stage_file(stage):
    before = stage["prepared"].obs.copy(), stage["prepared"].X.copy()
    atlas.build(**stage)
    pd.testing.assert_frame_equal(stage["prepared"].obs, before[0])
    assert (before[1] != stage["prepared"].X).nnz == 0


def test_without_knob_seeds_and_scores(stage):
    cycle = stage["cycle"].copy()
    for column in ("S_score", "G2M_score", "cycle_angle", "cycle_sd", "cycling_probability"):
        cycle.obs[column] = np.nan
    cycle.obs["cycling"] = False
    cycle.obs["phase"] = pd.Categorical([None] * 200, categories=list(slots.PHASES), ordered=True)
    cycle.uns["sclatent"]["cycle"] = {"verdict": "no cycle", "reason": "too few genes"}
    without = write_path(cycle, None, verdict="no cell-cycle knob", reason="too few genes")
    single = stage["stability"].assign(n_seeds=0)
    out = atlas.build(**{**stage, "cycle": cycle, "knob": without, "stability": single})
    assert "X_sclatent_neutral" not in out.obsm
    assert out.obs["phase"].isna().all()
    assert list(out.obs["phase"].cat.categories) == ["G1", "S", "G2M"]
    assert "stable" not in out.uns["sclatent"]["axes"]
    assert out.uns["sclatent"]["knob"]["reason"] == "too few genes"


def test_part_of_a_cycle_comes_through(stage, tmp_path):
    cycle = stage["cycle"].copy()
    part = {
        "verdict": "part of a cycle",
        "reason": "only the G2/M genes",
        "phases": ["G2M"],
        "g2m_start": 4.0,
        "g2m_end": 0.2,
    }
    cycle.uns["sclatent"]["cycle"] = part
    probability = np.full((200, 3), np.nan)
    probability[:, 2] = np.linspace(0, 1, 200)
    cycle.obsm["phase_probability"] = probability
    write_h5ad(atlas.build(**{**stage, "cycle": cycle}), tmp_path / "atlas.h5ad")
    out = ad.read_h5ad(tmp_path / "atlas.h5ad")
    about = out.uns["sclatent"]["cycle"]
    assert {**about, "phases": list(about["phases"])} == part
    np.testing.assert_allclose(out.obsm["phase_probability"], probability, rtol=1e-6)


def test_files_of_different_datasets_are_refused(stage):
    with pytest.raises(InputError, match=r"map\.h5ad holds other cells than prepared\.h5ad"):
        atlas.build(**{**stage, "map": stage["map"][::-1].copy()})
    latent = stage["latent"].copy()
    latent.uns["genes"] = np.array([*latent.uns["genes"][:-1], "NOGENE"], dtype=object)
    with pytest.raises(InputError, match="the gene 'NOGENE' is in"):
        atlas.build(**{**stage, "latent": latent})


def test_an_empty_cell_stays_finite(stage):
    prepared = stage["prepared"].copy()
    prepared.X = sparse.csr_matrix(sparse.diags((np.arange(200) > 0).astype(np.float32)) @ prepared.X)
    out = atlas.build(**{**stage, "prepared": prepared})
    assert np.isfinite(out.X.data).all()
    assert out.X[0].nnz == 0


def test_plain_values_survive_the_file(tmp_path):
    value = plain(
        {
            "a/b": 1,
            "none": None,
            "list": [1, None, 3],
            "text": ["x", "y"],
            "mixed": [{"k": 1}],
            "empty": [],
            "n": np.int64(3),
        }
    )
    adata = ad.AnnData(np.zeros((1, 1), np.float32), uns={"sclatent": value})
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad").uns["sclatent"]
    assert back["a_b"] == 1
    assert "none" not in back
    np.testing.assert_array_equal(back["list"], [1, np.nan, 3])
    assert list(back["text"]) == ["x", "y"]
    assert json.loads(back["mixed"]) == [{"k": 1}]
    frame = table(pd.DataFrame({"axis": ["a", "b"], "x/y": [1.0, np.nan], "words": ["w", np.nan]}), index="axis")
    assert list(frame.columns) == ["x_y", "words"]
    assert list(frame["words"]) == ["w", ""]


def test_config_is_read_back_as_the_dataset_file(tmp_path, stage):
    file = tmp_path / "mine.yaml"
    file.write_text("counts: x.h5ad\nseeds: [0, 1]\nmodels: {small: {n_latent: 3}}\n")
    out = atlas.build(**stage | _from(load_dataset(file)))
    again = from_section_json(out.uns["sclatent"]["config"])
    assert again.models["small"].n_latent == 3
    assert again.seeds == [0, 1]
    assert out.uns["sclatent"]["dataset"] == "mine"
