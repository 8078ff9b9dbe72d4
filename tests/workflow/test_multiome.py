"""The whole way with RNA and open chromatin of partly the same cells."""

from __future__ import annotations

import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sclatent as sl
from sclatent.bridge import read_json

from .conftest import ROOT, Study, said

sys.path.insert(0, str(ROOT / "tests" / "unit"))
from multiome import multiome

BOTH = {
    "modalities": {
        "rna": {"counts": "data/rna.h5ad", "likelihood": "nb"},
        "atac": {"counts": "data/atac.h5ad", "likelihood": "bernoulli", "n_top": 150},
    },
    "batch": "batch",
    "labels": ["cell_type"],
    "genes": {"n_top": 100},
    "models": {"m": {"n_latent": 4, "n_hidden": 16, "epochs": 25}},
    "traverse": {"steps": 5},
    "split": {"test": 0.2},
    "sample": {"n": 60, "given": {"batch": "batch1"}, "library": {"atac": 20}},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Study:
    study = Study(tmp_path_factory.mktemp("multiome") / "study")
    (study / "data").mkdir()
    rna, atac = multiome()
    sl.io.write_h5ad(rna[:260].copy(), study / "data/rna.h5ad")
    sl.io.write_h5ad(atac[60:].copy(), study / "data/atac.h5ad")
    study.dataset("both", **BOTH)
    study.select("both")
    study.ok("--cores", 2)
    return study


def test_every_result_is_there(finished):
    mudata = pytest.importorskip("mudata")
    folder = finished / "results/both/m"
    atlas, whole = ad.read_h5ad(folder / "atlas.h5ad"), mudata.read_h5mu(folder / "atlas.h5mu")
    assert (atlas.n_obs, whole.n_obs) == (260, 300)
    assert {name: part.n_obs for name, part in whole.mod.items()} == {"rna": 260, "atac": 240}
    assert whole.obs["measured"].value_counts().to_dict() == {"rna+atac": 200, "rna": 60, "atac": 40}
    assert np.isfinite(whole.obsm["X_sclatent"]).all()
    rows = whole.obs_names.get_indexer(atlas.obs_names)
    assert np.array_equal(whole.obsm["X_sclatent"][rows], atlas.obsm["X_sclatent"])
    assert np.array_equal(whole["rna"].X.toarray(), atlas.X.toarray())
    assert {"chrom", "start", "end", "in_model"} <= set(whole["atac"].var)
    assert np.isfinite(whole["atac"].varm["sclatent_loadings"][whole["atac"].var["in_model"].to_numpy(bool)]).all()
    for name in ("rna", "atac"):
        assert np.isfinite(whole[name].obsm[f"X_sclatent_{name}"]).all()


def test_tables_and_the_page_tell_of_peaks(finished):
    folder = finished / "results/both"
    axes = pd.read_csv(folder / "m/seed-0/axes.tsv", sep="\t")
    assert axes["peaks_up"].str.match(r"chr\d:\d+-\d+").any()
    models = pd.read_csv(folder / "models.tsv", sep="\t")
    assert {"test_rna_marginal", "test_atac_marginal", "test_both_marginal", "test_atac_from_rna_marginal"} <= set(
        models
    )
    page = (folder / "m/knob.html").read_text()
    if axes["active"].any():
        assert "Opening peaks" in page
    assert read_json(folder / "m/seed-0/metrics.json")["test"]["both"]["n_cells"] > 10


def test_cells_are_drawn_with_both(finished):
    mudata = pytest.importorskip("mudata")
    folder = finished / "results/both/m"
    cells, whole = ad.read_h5ad(folder / "samples.h5ad"), mudata.read_h5mu(folder / "samples.h5mu")
    assert cells.n_obs == 60
    assert cells.obsm["atac"].shape == (60, 150)
    assert {name: part.n_obs for name, part in whole.mod.items()} == {"rna": 60, "atac": 60}
    assert np.array_equal(whole["atac"].X.toarray(), cells.obsm["atac"].toarray())
    assert set(whole.obs["batch"]) == {"batch1"}
    assert (whole["atac"].obs["library_size"] == 20).all()
    trained = sl.tl.TrainedModel.load(folder / "seed-0")
    density = sl.tl.Density.load(folder / "density.npz")
    again = sl.tl.sample(trained, 60, density=density, given={"batch": "batch1"}, library={"atac": 20})
    assert np.array_equal(again.obsm["atac"].toarray(), cells.obsm["atac"].toarray())
    table = pd.read_csv(folder / "samples.tsv", sep="\t")
    assert set(table["modality"]) == {"rna", "atac", "both"}
    assert {path.name for path in (folder / "figures/samples").glob("*.png")} == {"samples.png", "samples_atac.png"}


def test_nothing_is_left_to_do_and_a_new_file_of_peaks_is_noticed(finished):
    assert finished.planned() == {}
    sl.io.write_h5ad(multiome()[1][50:].copy(), finished / "data/atac.h5ad")
    assert finished.planned()["read"] == 1


def test_a_mistake_ends_the_run_with_one_line(finished, tmp_path):
    study = Study(tmp_path / "wrong")
    (study / "data").symlink_to(finished / "data")
    swapped = {"rna": {"counts": "data/atac.h5ad"}, "atac": {"counts": "data/rna.h5ad"}}
    study.dataset("both", **{**BOTH, "modalities": swapped})
    study.select("both")
    done = study.run("--cores", 1, "--until", "read")
    assert done.returncode != 0
    assert "both.yaml: modalities.rna: the counts are of peaks ('chr" in done.stdout
    study.dataset("both", **{**BOTH, "modalities": {"rna": {"counts": "data/rna.h5ad"}}})
    parsed = study.run("--dry-run")
    assert parsed.returncode != 0
    assert said(parsed)[-1].startswith("config/both.yaml: modalities.atac: missing")
