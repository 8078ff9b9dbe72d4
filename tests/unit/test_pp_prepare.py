"""The stage `prepare`: what stays, what is recorded, what the model sees; against scanpy and plain numpy."""

import logging

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sclatent.data import cycle_genes
from sclatent.data.blocks import subset
from sclatent.io import read_h5ad, write_h5ad
from sclatent.pp import (
    auto_min_genes,
    highly_variable,
    is_mitochondrial,
    is_ribosomal,
    prepare,
    qc_metrics,
    random_split,
    score_doublets,
)
from sclatent.settings import SplitSettings


@pytest.fixture
def counts(simulated):
    simulated.var_names = ["MT-CO1", "RPS6", "RPS6KA1", *simulated.var_names[3:]]
    return simulated


def test_what_comes_out(counts, make_settings, tmp_path):
    counts.obs["day"] = [1, 2, 3] * 100
    prepared = prepare(
        counts, **make_settings(batch=["batch", "day"], labels="cell_type", genes={"n_top": 50}).parts(prepare)
    )
    assert isinstance(prepared.X, sparse.csr_matrix)
    assert prepared.X.dtype == np.float32
    assert list(prepared.obs["split"].cat.categories) == ["train", "validation", "test"]
    assert prepared.obs["split"].value_counts().to_dict() == {"train": 240, "validation": 30, "test": 30}
    assert list(prepared.obs["day"].cat.categories) == ["1", "2", "3"]
    assert set(counts.obs) <= set(prepared.obs)
    model = prepared[:, prepared.var["in_model"]]
    np.testing.assert_array_equal(prepared.obs["library_size"], np.asarray(model.X.sum(axis=1)).ravel())
    assert prepared.obs["library_size"].dtype == np.float32
    assert prepared.var["highly_variable"].sum() == 50
    listed = prepared.var_names.isin(cycle_genes("human")["gene"])
    assert np.array_equal(prepared.var["in_model"], prepared.var["highly_variable"] | listed)
    write_h5ad(prepared, tmp_path / "p.h5ad")
    again = read_h5ad(tmp_path / "p.h5ad")
    pd.testing.assert_frame_equal(
        again.uns["sclatent"]["filters"],
        prepared.uns["sclatent"]["filters"],
        check_dtype=False,
        check_categorical=False,
    )
    assert again.uns["sclatent"]["qc"].shape[0] == 300


def test_same_settings_same_result(counts, make_settings):
    keys = make_settings(batch="batch", genes={"n_top": 40}, cells={"doublets": True})
    first, second = prepare(counts.copy(), **keys.parts(prepare)), prepare(counts.copy(), **keys.parts(prepare))
    pd.testing.assert_frame_equal(first.obs, second.obs)
    pd.testing.assert_frame_equal(first.var, second.var)


def test_the_input_is_left_as_it_was(counts):
    before = counts.copy()
    prepare(counts, batch="batch", cells={"min_genes": 100})
    assert (before.X != counts.X).nnz == 0
    pd.testing.assert_frame_equal(before.obs, counts.obs)
    pd.testing.assert_frame_equal(before.var, counts.var)


def test_metrics_by_hand(counts):
    obs, var = qc_metrics(counts, list(counts.var_names))
    dense = counts.X.toarray()
    np.testing.assert_array_equal(obs["n_genes_by_counts"], (dense > 0).sum(axis=1))
    np.testing.assert_allclose(obs["total_counts"], dense.sum(axis=1))
    np.testing.assert_allclose(obs["pct_counts_mt"], 100 * dense[:, 0] / dense.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(obs["pct_counts_ribo"], 100 * dense[:, 1] / dense.sum(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(var["n_cells_by_counts"], (dense > 0).sum(axis=0))


def test_the_model_does_not_see_spike_ins(counts, caplog):
    without = prepare(counts)
    assert "spike-ins" not in caplog.text
    assert "pct_counts_spike_in" not in without.obs
    by_hand = 100 * counts.X[:, :2].sum(axis=1).A1 / counts.X.sum(axis=1).A1
    names = ["ERCC-00002", "ERCC-00171", "ERCC1", *counts.var_names[3:]]
    counts.var_names = names
    with caplog.at_level(logging.INFO):
        prepared = prepare(counts, genes={"n_top": counts.n_vars})
    assert "2 spike-ins (ERCC-00002, …)" in caplog.text
    assert list(prepared.var["spike_in"]) == [True, True, *[False] * (prepared.n_vars - 2)]
    assert not prepared.var["in_model"].iloc[:2].any()
    assert prepared.var["in_model"].iloc[2:].any()
    kept_cells = counts.obs_names.get_indexer(prepared.obs_names)
    np.testing.assert_allclose(prepared.obs["pct_counts_spike_in"], by_hand[kept_cells], rtol=1e-5)
    asked = prepare(counts, genes={"n_top": counts.n_vars, "keep": ["ERCC-00171"]})
    assert list(asked.var["in_model"].iloc[:2]) == [False, True]


def test_all_genes_that_vary(counts):
    counts.var_names = ["ERCC-00002", *counts.var_names[1:]]
    counts.X = sparse.csr_matrix(counts.X.toarray() * (np.arange(counts.n_vars) != 5) + (np.arange(counts.n_vars) == 5))
    prepared = prepare(counts, genes={"n_top": "all"})
    same = prepare(counts, genes={"n_top": counts.n_vars})
    assert list(prepared.var["in_model"]) == list(same.var["in_model"])
    assert not prepared.var["in_model"][["ERCC-00002", counts.var_names[5]]].any()
    assert prepared.var["in_model"].sum() == prepared.n_vars - 2
    assert prepared.uns["sclatent"]["genes"]["n_top"] == "all"
    assert prepared.uns["sclatent"]["genes"]["flavor"] == ""


def test_filters_say_what_they_took(counts, caplog):
    dense = counts.X.toarray()
    genes, total = (dense > 0).sum(axis=1), dense.sum(axis=1)
    mito = 100 * dense[:, 0] / total
    cells = {"min_genes": 95, "min_counts": 900, "max_counts": 4000, "max_percent_mito": float(np.quantile(mito, 0.9))}
    with caplog.at_level(logging.INFO):
        prepared = prepare(counts, cells=cells, genes={"min_cells": 40})
    steps = [genes >= 95, total >= 900, total <= 4000, mito <= cells["max_percent_mito"]]
    passed = np.ones(300, dtype=bool)
    table = prepared.uns["sclatent"]["filters"].set_index("filter")
    for key, keep in zip(list(cells), steps, strict=True):
        taken = int((passed & ~keep).sum())
        passed &= keep
        assert table.loc[f"cells.{key}", "taken"] == taken
        assert table.loc[f"cells.{key}", "left"] == passed.sum()
        assert f"cells.{key}: removed {taken} of {passed.sum() + taken} cells" in caplog.text
    assert list(prepared.obs_names) == list(counts.obs_names[passed])
    seen = (dense[passed] > 0).sum(axis=0) >= 40
    assert list(prepared.var_names) == list(counts.var_names[seen])
    assert table.loc["genes.min_cells", "taken"] == (~seen).sum()
    qc = prepared.uns["sclatent"]["qc"]
    assert np.array_equal(qc["passed"], passed)
    np.testing.assert_array_equal(qc["n_genes_by_counts"], genes)


@pytest.mark.parametrize(("n_genes", "expected"), [(30000, 200), (4000, 200), (3999, 199), (101, 5), (20, 1), (3, 1)])
def test_auto_min_genes(n_genes, expected):
    assert auto_min_genes(n_genes) == expected


def test_gene_families():
    names = ["MT-ND1", "mt-Nd1", "MT.CO1", "GRCh38_MT-CYB", "MTOR", "MT1X", "RPL36AL", "Rpl13a", "RPS27L", "RPLP0"]
    names += ["RPSA", "RPS6KA1", "RPL7P1", "MRPL3", "RPS4Y1", "RPL22L1"]
    assert [n for n, m in zip(names, is_mitochondrial(names), strict=True) if m] == names[:4]
    ribosomal = [n for n, m in zip(names, is_ribosomal(names), strict=True) if m]
    assert ribosomal == ["RPL36AL", "Rpl13a", "RPS27L", "RPLP0", "RPSA", "RPS4Y1", "RPL22L1"]


IDS_OF_MT = {
    "human": ["ENSG00000198888", "ENSG00000198804", "ENSG00000198899", "ENSG00000198727"],
    "mouse": ["ENSMUSG00000064341", "ENSMUSG00000064351", "ENSMUSG00000064357", "ENSMUSG00000064370"],
}
IDS_OF_RIBO = {"human": ["ENSG00000137154", "ENSG00000089157"], "mouse": ["ENSMUSG00000028495"]}


@pytest.mark.parametrize("version", ["", ".12"])
@pytest.mark.parametrize("place", ["names", "gene_ids", "Accession"])
@pytest.mark.parametrize("organism", ["human", "mouse"])
def test_gene_families_by_id(simulated, organism, place, version):
    mito, ribo = IDS_OF_MT[organism], IDS_OF_RIBO[organism]
    prefix = "ENSG" if organism == "human" else "ENSMUSG"
    others = [f"{prefix}{900_000 + i:011d}" for i in range(simulated.n_vars - len(mito) - len(ribo) - 1)]
    ids = ["ERCC-00002", *(gene + version for gene in (*mito, *ribo, *others))]
    simulated.var = pd.DataFrame(index=ids if place == "names" else [f"gene{i}" for i in range(simulated.n_vars)])
    if place != "names":
        simulated.var[place] = ids
    prepared = prepare(simulated, organism=organism, genes={"keep": [mito[0]]})
    for column, n, start in (("spike_in", 1, 0), ("mt", len(mito), 1), ("ribo", len(ribo), 1 + len(mito))):
        marked = np.flatnonzero(prepared.var[column])
        assert list(prepared.var_names[marked]) == list(simulated.var_names[start : start + n])
    by_hand = 100 * simulated.X[:, 1 : 1 + len(mito)].sum(axis=1).A1 / simulated.X.sum(axis=1).A1
    kept = simulated.obs_names.get_indexer(prepared.obs_names)
    np.testing.assert_allclose(prepared.obs["pct_counts_mt"], by_hand[kept], rtol=1e-5)
    assert prepared.var["kept"].iloc[1]


def test_cycle_genes_by_id_in_a_column(simulated):
    listed = cycle_genes("human")
    simulated.var = pd.DataFrame({"gene_ids": ""}, index=[f"gene{i}" for i in range(simulated.n_vars)])
    simulated.var["gene_ids"] = [*(f"{gene}.3" for gene in listed["ensembl"]), *[""] * (simulated.n_vars - len(listed))]
    assert prepare(simulated).var["cycle_gene"].sum() == len(listed)


def test_no_known_family_among_thousands_of_genes_is_said(caplog):
    matrix = sparse.csr_matrix(np.random.default_rng(0).poisson(1.0, (60, 2000)).astype(np.float32))
    counts = anndata.AnnData(matrix, var=pd.DataFrame(index=[f"locus{i}" for i in range(2000)]))
    counts.obs_names = [f"c{i}" for i in range(60)]
    prepared = prepare(counts.copy())
    for kind in ("mitochondrial", "ribosomal"):
        assert f"none of the 2000 genes is recognised as {kind}" in caplog.text
        assert prepared.uns["sclatent"]["genes"][f"n_{kind}"] == 0
    caplog.clear()
    counts.var_names = ["MT-ND1", "RPS6", *counts.var_names[2:]]
    prepare(counts.copy())
    prepare(counts[:, 2:].copy())
    assert "is recognised as" not in caplog.text


def test_genes_are_chosen_on_training_cells_only(counts, make_settings):
    keys = make_settings(genes={"n_top": 40})
    first = prepare(counts.copy(), **keys.parts(prepare))
    held_out = np.flatnonzero(first.obs["split"] != "train")
    dense = counts.X.toarray()
    rng = np.random.default_rng(0)
    dense[held_out] = rng.permuted(dense[held_out], axis=1)  # other genes vary now, in the held-out cells
    changed = counts.copy()
    changed.X = sparse.csr_matrix(dense)
    second = prepare(changed, **keys.parts(prepare))
    assert list(first.var_names[first.var["highly_variable"]]) == list(second.var_names[second.var["highly_variable"]])


def test_highly_variable_genes_are_scanpys(simulated):
    batch = simulated.obs["batch"].to_numpy()
    for keys, key in (({}, None), ({"batch": batch}, "batch")):
        ours = highly_variable(simulated.X, 60, **keys)
        work = anndata.AnnData(simulated.X.copy(), simulated.obs[["batch"]].copy(), simulated.var[[]].copy())
        sc.experimental.pp.highly_variable_genes(work, flavor="pearson_residuals", n_top_genes=60, batch_key=key)
        assert np.array_equal(ours, work.var["highly_variable"].to_numpy())


def test_chosen_among_some_cells_and_genes_as_if_there_were_no_others(simulated):
    rng = np.random.default_rng(0)
    cells, genes = np.flatnonzero(rng.random(simulated.n_obs) < 0.7), rng.random(simulated.n_vars) < 0.6
    batch = simulated.obs["batch"].to_numpy()
    ours = highly_variable(simulated.X, 40, batch, cells=cells, genes=genes)
    alone = highly_variable(simulated.X[cells][:, genes], 40, batch[cells])
    assert np.array_equal(ours[genes], alone)
    assert not ours[~genes].any()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_subset_of_counts_is_scipys(seed):
    rng = np.random.default_rng(seed)
    matrix = sparse.random(rng.integers(1, 12), rng.integers(1, 9), density=0.4, format="csr", random_state=rng)
    cells, genes = rng.random(matrix.shape[0]) < 0.6, rng.random(matrix.shape[1]) < 0.6
    found = subset(matrix, cells, genes)
    np.testing.assert_array_equal(found.toarray(), matrix[cells][:, genes].toarray())
    assert found.has_canonical_format


def test_genes_to_keep_by_name_or_symbol_each_once(counts):
    a, b = counts.var_names[:2]
    counts.var["label"] = [f"sym_{name}" for name in counts.var_names]
    keep = [a, f"sym_{a}", f"sym_{b}", a]
    prepared = prepare(counts, genes={"keep": keep, "symbols": "label", "min_cells": 0})
    assert set(prepared.var_names[prepared.var["kept"]]) == {a, b}


def test_markers_are_found_and_batch_effects_are_not():
    rng = np.random.default_rng(0)
    mean = np.ones((400, 200))
    mean[:200, :10] *= 6  # 20 markers of two types that are there in equal parts in either batch
    mean[200:, 10:20] *= 6
    mean[::2, 20:40] *= 12  # 40 genes that differ between the batches only, and more so
    mean[1::2, 40:60] *= 12
    counts = sparse.csr_matrix(rng.poisson(mean).astype(np.float32))
    batch = np.where(np.arange(400) % 2 == 0, "a", "b")
    assert set(np.flatnonzero(highly_variable(counts, 20, batch))) == set(range(20))
    assert set(np.flatnonzero(highly_variable(counts, 20))) <= set(range(20, 60))


def test_a_small_batch_has_no_vote():
    rng = np.random.default_rng(0)
    mean = np.ones((230, 50))
    mean[:100, :5] *= 8
    counts = sparse.csr_matrix(rng.poisson(mean).astype(np.float32))
    batch = np.array(["a", "b"] * 100 + ["c"] * 10 + ["d"] * 20)
    with_small = highly_variable(counts, 5, batch)
    without = highly_variable(counts[:200], 5, batch[:200])
    assert np.array_equal(with_small, without)


@pytest.mark.parametrize(("n_cells", "n_genes", "n_top"), [(5, 8, 3), (40, 3, 2), (6, 300, 10), (50, 20, 100)])
def test_tiny_and_constant_input(n_cells, n_genes, n_top):
    rng = np.random.default_rng(1)
    dense = rng.poisson(0.5, (n_cells, n_genes)).astype(np.float32)
    dense[:, 0] = 0
    dense[:, 1] = 2
    chosen = highly_variable(sparse.csr_matrix(dense), n_top, np.array(["a", "b"] * n_cells)[:n_cells])
    assert not chosen[:2].any()
    assert chosen.sum() == min(n_top, (dense.max(axis=0) > dense.min(axis=0)).sum())


def test_keep_and_symbols(counts):
    counts.var["name"] = [f"sym{i}" for i in range(counts.n_vars)]
    counts.X = sparse.csr_matrix(counts.X.toarray())
    dense = counts.X.toarray()
    dense[1:, 7] = 0
    dense[0, 7] = 1  # seen in one cell only, but asked for
    counts.X = sparse.csr_matrix(dense)
    prepared = prepare(counts, genes={"n_top": 10, "keep": ["MT-CO1", "sym7"], "symbols": "name"})
    assert prepared.var.loc[["MT-CO1", counts.var_names[7]], ["kept", "in_model"]].all(axis=None)
    assert prepared.var["kept"].sum() == 2
    assert list(prepared.var["symbol"][:3]) == ["sym0", "sym1", "sym2"]
    assert prepared.uns["sclatent"]["genes"]["symbols"] == "name"


def test_library_size_of_a_column(counts):
    total = np.asarray(counts.X.sum(axis=1)).ravel()
    counts.obs["all"] = total * 3
    prepared = prepare(counts, library_size="all", genes={"n_top": 20})
    np.testing.assert_allclose(prepared.obs["library_size"], total * 3)
    assert prepared.uns["sclatent"]["prepared"]["rest"]


def test_a_library_is_never_rounded_below_its_counts(counts):
    dense = counts.X.toarray()
    dense[:, 3] = 2**24 - 5
    dense[0, 3] = 2**24 - 7
    counts.X = sparse.csr_matrix(dense)
    counts.obs["size"] = dense.sum(axis=1, dtype=np.float64)
    assert (counts.obs["size"].astype(np.float32) < counts.obs["size"]).any()
    prepared = prepare(counts, library_size="size", genes={"n_top": 1000})
    total = prepared.X[:, prepared.var["in_model"].to_numpy()].toarray().sum(axis=1, dtype=np.float64)
    assert prepared.obs["library_size"].dtype == np.float32
    assert (prepared.obs["library_size"] >= total).all()


def test_a_column_named_like_a_metric(counts, caplog):
    total = np.asarray(counts.X.sum(axis=1)).ravel()
    counts.obs["total_counts"] = total * 2  # over more genes than the file holds
    counts.obs["n_genes_by_counts"] = (counts.X.toarray() > 0).sum(axis=1)
    counts.obs["split"] = "mine"
    with caplog.at_level(logging.INFO):
        prepared = prepare(counts, library_size="total_counts")
    np.testing.assert_allclose(prepared.obs["library_size"], total * 2)
    np.testing.assert_allclose(prepared.obs["total_counts"], total)
    np.testing.assert_allclose(prepared.obs["total_counts_input"], total * 2)
    assert list(prepared.obs["split_input"].unique()) == ["mine"]
    assert "n_genes_by_counts_input" not in prepared.obs
    assert "kept as 'total_counts_input'" in caplog.text


@given(st.integers(4, 500), st.floats(0.01, 0.49), st.floats(0.01, 0.49), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_random_splits(n, validation, test, seed):
    keys = SplitSettings(validation=validation, test=test, seed=seed)
    split = random_split(n, keys)
    for part, fraction in (("validation", validation), ("test", test)):
        assert (split == part).sum() == max(1, int(fraction * n + 1e-9))
    assert (split == "train").sum() >= 1
    assert np.array_equal(split, random_split(n, keys))


def test_the_default_test_cells_are_the_first_tenth_of_a_permutation():
    for n in (200, 499, 2000):
        expected = np.random.default_rng(0).permutation(n)[: n // 10]
        assert set(np.flatnonzero(random_split(n, SplitSettings()) == "test")) == set(expected)


def test_split_from_a_column(counts):
    counts.obs["mine"] = ["train"] * 200 + ["validation"] * 50 + ["test"] * 50
    prepared = prepare(counts, split={"column": "mine"})
    assert list(prepared.obs["split"].astype(str)) == list(counts.obs["mine"])
    counts.obs["split"] = counts.obs["mine"]
    again = prepare(counts, split={"column": "split"})
    pd.testing.assert_series_equal(again.obs["split"], prepared.obs["split"])
    assert "split_input" not in again.obs


def test_zeros_and_ones_in_place_of_counts_are_told(counts, caplog):
    prepare(counts)
    assert "are 1: this says whether" not in caplog.text
    counts.X.data[:] = 1
    prepare(counts)
    assert f"all of the {counts.X.nnz} entries that are not 0 are 1: this says whether a gene was seen" in caplog.text
    caplog.clear()
    prepare(counts[:60])  # of few entries it may be chance
    assert "are 1: this says whether" not in caplog.text


def test_levels_that_no_training_cell_has_are_told(counts, caplog):
    donor = np.where(np.arange(counts.n_obs) % 3 == 2, "d3", "d1")
    counts.obs["donor"] = pd.Categorical(donor, categories=["d1", "d3", "never"])
    counts.obs["mine"] = np.where(donor == "d3", "test", np.where(np.arange(counts.n_obs) % 3, "train", "validation"))
    for key in ("batch", "condition"):
        caplog.clear()
        prepared = prepare(counts, split={"column": "mine"}, **{key: "donor"})
        n = int((prepared.obs["donor"] == "d3").sum())
        assert f"no training cell has 'd3' in column 'donor': in the {n} cells that do, the model" in caplog.text
        assert "never" not in caplog.text
        caplog.clear()
        prepare(counts, **{key: "donor"})
        assert "no training cell" not in caplog.text


def test_cells_without_a_model_count_go_and_it_is_said():
    rng = np.random.default_rng(0)
    dense = rng.poisson(0.8, (60, 30)).astype(np.float32)
    dense[:, 10:] = 1.0  # constant: never highly variable
    dense[5, :10] = 0
    adata = anndata.AnnData(sparse.csr_matrix(dense), pd.DataFrame(index=[f"c{i}" for i in range(60)]))
    adata.var_names = [f"g{i}" for i in range(30)]
    prepared = prepare(adata, genes={"n_top": 10})
    assert prepared.n_obs == 59
    assert "c5" not in prepared.obs_names
    table = prepared.uns["sclatent"]["filters"].set_index("filter")
    assert table.loc["cells.no_model_counts", "taken"] == 1
    assert (prepared.obs["library_size"] > 0).all()
    assert prepared.uns["sclatent"]["qc"]["passed"].sum() == 59


def test_doublets_score_higher(caplog):
    from sklearn.metrics import roc_auc_score

    from sclatent.data import simulate

    adata = simulate(400, 300, n_batches=1, n_types=2, median_library=5000, theta=50, seed=5)
    first, second = (adata[adata.obs["cell_type"] == name].X[:30] for name in ("type1", "type2"))
    mixed = anndata.AnnData(sparse.vstack([adata.X, first + second], format="csr"))
    score, _ = score_doublets(mixed, None, 0)
    assert roc_auc_score(np.arange(430) >= 400, score) > 0.75
    few, called = score_doublets(mixed[:20], None, 0)
    assert np.isnan(few).all()
    assert not called.any()
    assert "too few to simulate doublets" in caplog.text


def test_columns_of_text_become_categories(counts):
    labels = counts.obs["cell_type"].astype(object)
    labels.iloc[:10] = None
    counts.obs["cell_type"] = labels
    prepared = prepare(counts)
    assert isinstance(prepared.obs["cell_type"].dtype, pd.CategoricalDtype)
    assert prepared.obs["cell_type"].isna().sum() == 10


def test_real_data_goes_through(shared_data, make_settings):
    from sclatent.io import read_counts

    cases = {
        "mls_sorted_ensembl": ({"labels": "phase_sorted"}, 90),
        "ipsc_fucci": ({"library_size": "n_molecules_all_genes", "batch": "individual"}, 33),
        "mesc_media_two_batches": ({"organism": "mouse", "batch": "batch", "labels": "medium"}, 20),
        "lung3cl_celseq2_dropseq": ({"batch": "batch", "labels": "cell_line"}, 95),
        "pbmc_ifnb_two_batches": ({"batch": "condition", "cells": {"min_genes": 0}}, 30),
    }
    for name, (keys, n_cycle) in cases.items():
        adata = read_counts(shared_data / f"{name}.h5ad")
        prepared = prepare(adata, **make_settings(**keys).parts(prepare))
        assert prepared.n_obs == adata.n_obs, name
        assert prepared.var["cycle_gene"].sum() >= n_cycle, name
        assert np.isfinite(prepared.obs["library_size"]).all()
        assert not [c for c in prepared.obs if c.endswith("_input")], name


def test_cycle_genes_are_found_by_id_where_there_are_no_symbols(shared_data):
    from sclatent.io import read_counts

    adata = read_counts(shared_data / "mls_sorted_ensembl.h5ad")
    by_symbol = prepare(adata)
    del adata.var["gene_symbol"]
    by_id = prepare(adata)
    assert by_id.uns["sclatent"]["genes"]["symbols"] == "names"
    assert by_id.var["cycle_gene"].sum() >= 0.9 * by_symbol.var["cycle_gene"].sum()


def test_nothing_large_is_made_dense(monkeypatch, tmp_path):
    from sclatent.data import simulate
    from sclatent.io import read_counts

    adata = simulate(400, 500, seed=2)
    adata.write_h5ad(tmp_path / "a.h5ad")
    for kind in (sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix):
        for name in ("toarray", "todense"):
            original = getattr(kind, name)

            def guarded(self, *args, original=original, **keys):
                assert self.shape[0] * self.shape[1] < 10_000, f"{self.shape} was made dense"
                return original(self, *args, **keys)

            monkeypatch.setattr(kind, name, guarded)
    prepare(read_counts(tmp_path / "a.h5ad"), batch="batch", genes={"n_top": 50})
