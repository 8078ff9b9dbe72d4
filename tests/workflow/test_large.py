"""The whole way with more cells than the small-data paths of libraries take: scanpy changes its search at 8,192."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import sclatent as sl

CELLS = 9000


@pytest.fixture
def atlas(study):
    sl.io.write_h5ad(sl.simulate(CELLS, 200, median_library=600.0, seed=5), study / "large.h5ad")
    study.dataset(
        "large",
        counts="large.h5ad",
        batch="batch",
        labels=["cell_type"],
        genes={"n_top": 120},
        models={"nb": {"n_latent": 6, "n_hidden": 32, "epochs": 4}},
        seeds=[0],
        traverse={"steps": 7},
    )
    study.select("large")
    study.ok("--cores", 2)
    return study / "results/large/nb/atlas.h5ad"


def test_nine_thousand_cells_go_through_to_the_page(study, atlas):
    adata = ad.read_h5ad(atlas)
    assert adata.n_obs == CELLS
    assert np.isfinite(adata.obsm["X_umap"]).all()
    assert adata.obsp["connectivities"].nnz >= CELLS * 5
    assert adata.uns["neighbors"]["params"]["n_neighbors"] == 15
    sc.tl.leiden(adata, flavor="igraph", n_iterations=1, directed=False, key_added="again")  # the graph is scanpy's
    assert adata.obs["again"].nunique() > 1
    verdict = json.loads((atlas.parent / "knob.json").read_text())
    assert verdict["verdict"]
    assert verdict["reason"]
    page = atlas.parent / "knob.html"
    assert 50_000 < page.stat().st_size < 20_000_000
    metrics = json.loads((atlas.parent / "seed-0/metrics.json").read_text())
    assert metrics["test"]["n_cells"] == CELLS // 10
