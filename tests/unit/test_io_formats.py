"""Real files of every format are read with the shape and the total that their distributors state."""

import logging

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sclatent.io import read_counts
from sclatent.settings import InputError

REAL = [
    ("10x_mtx_v3", {}, (1107, 507), 41549),
    ("10x_mtx_v2", {}, (80, 240), 23110),
    ("10x_mtx_v2/matrix.mtx", {}, (80, 240), 23110),
    ("10x_h5/v3_filtered_feature_bc_matrix.h5", {}, (1107, 507), 41549),
    ("10x_h5/v2_filtered_gene_bc_matrices_h5.h5", {}, (12, 343), 12),
    ("10x_h5/v2_multiple_genomes.h5", {"genome": "hg19_chr21"}, (12, 343), 12),
    ("10x_h5/v2_multiple_genomes.h5", {"genome": "another_genome"}, (12, 343), 13),
    ("dense_text/pbmc_genes_by_cells_noindexname.txt", {}, (80, 230), 19633),
    ("dense_text/breast_spots_by_genes.tsv", {}, (8, 14789), 19003),
    ("dense_text/dropseq_genes_by_cells_R_quoted.csv.gz", {}, (225, 15127), 5830998),
    ("loom/dentategyrus_velocyto_style.loom", {}, (100, 2000), 218196),
    ("loom/mpfc_starmap.loom", {}, (3704, 158), None),
    ("h5ad/dentategyrus_spliced_unspliced_layers.h5ad", {}, (100, 13913), 288220),
    ("h5ad/pbmc_dense_float64_with_protein.h5ad", {}, (100, 12735), 668943),
]


@pytest.mark.parametrize(("name", "options", "shape", "total"), REAL, ids=[f"{r[0]}-{i}" for i, r in enumerate(REAL)])
def test_real_files(shared_data, name, options, shape, total):
    adata = read_counts(shared_data / "formats" / name, **options)
    assert adata.shape == shape
    assert isinstance(adata.X, sparse.csr_matrix)
    assert adata.X.dtype == np.float32
    assert adata.X.has_canonical_format
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique
    if total is not None:
        assert adata.X.sum(dtype=np.float64) == total
    assert adata.uns["sclatent"]["read"]["n_cells"] == shape[0]


def test_the_two_10x_forms_of_the_same_cells_agree(shared_data):
    folder = read_counts(shared_data / "formats/10x_mtx_v3")
    h5 = read_counts(shared_data / "formats/10x_h5/v3_filtered_feature_bc_matrix.h5")
    assert (folder.X != h5.X).nnz == 0
    assert folder.obs_names.equals(h5.obs_names)
    assert list(folder.var["gene_ids"]) == list(h5.var["gene_ids"])


def test_10x_as_scanpy_reads_it(shared_data):
    import scanpy as sc

    path = shared_data / "formats/10x_h5/v3_filtered_feature_bc_matrix.h5"
    theirs, ours = sc.read_10x_h5(path), read_counts(path)
    assert np.array_equal(theirs.X.toarray(), ours.X.toarray())
    assert list(theirs.var_names) == list(ours.var_names)


def test_dense_text_as_pandas_reads_it(shared_data):
    path = shared_data / "formats/dense_text/dropseq_genes_by_cells_R_quoted.csv.gz"
    table, ours = pd.read_csv(path, index_col=0).T, read_counts(path)
    assert np.array_equal(table.to_numpy(), ours.X.toarray())
    assert list(table.index) == list(ours.obs_names)
    assert list(table.columns) == list(ours.var_names)


def test_loom_layers_agree_with_the_h5ad_of_the_same_cells(shared_data):
    loom = read_counts(shared_data / "formats/loom/dentategyrus_velocyto_style.loom", layer="unspliced")
    h5ad = read_counts(shared_data / "formats/h5ad/dentategyrus_spliced_unspliced_layers.h5ad", layer="unspliced")
    genes = list(loom.var_names.intersection(h5ad.var_names))
    assert len(genes) > 1000
    cells = list(loom.obs_names.intersection(h5ad.obs_names))
    assert len(cells) == 100
    assert np.array_equal(loom[cells, genes].X.toarray(), h5ad[cells, genes].X.toarray())


def test_the_old_loom_file_keeps_its_columns(shared_data, caplog):
    adata = read_counts(shared_data / "formats/loom/mpfc_starmap.loom")
    assert {"BatchID", "Clusters", "Spatial_coordinates_1", "Spatial_coordinates_2"} == set(adata.obs)
    assert "no cell names" in caplog.text
    assert list(adata.var_names[:2]) == ["acss1", "adcyap1"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pbmc_genes_by_cells_noindexname.txt", "genes_by_cells"),
        ("breast_spots_by_genes.tsv", "cells_by_genes"),
        ("dropseq_genes_by_cells_R_quoted.csv.gz", "genes_by_cells"),
    ],
)
def test_the_way_round_is_said_and_can_be_overruled(shared_data, caplog, name, expected):
    path = shared_data / "formats/dense_text" / name
    with caplog.at_level(logging.INFO):
        adata = read_counts(path)
    assert adata.uns["sclatent"]["read"]["orientation"] == expected
    assert f"read as {expected.replace('_', ' ')}" in caplog.text
    other = {"genes_by_cells": "cells_by_genes", "cells_by_genes": "genes_by_cells"}[expected]
    assert read_counts(path, orientation=other).shape == adata.shape[::-1]


def test_all_development_data_is_read(shared_data):
    for path in sorted(shared_data.glob("*.h5ad")):
        ours, theirs = read_counts(path), anndata.read_h5ad(path)
        assert ours.shape == theirs.shape
        assert np.array_equal(ours.X.data, sparse.csr_matrix(theirs.X).data)
        assert list(ours.obs) == list(theirs.obs)


def test_two_genomes_need_a_choice(shared_data):
    path = shared_data / "formats/10x_h5/v2_multiple_genomes.h5"
    with pytest.raises(InputError, match=r"2 genomes: set `genome` to one of another_genome, hg19_chr21"):
        read_counts(path)
    with pytest.raises(
        InputError,
        match=r"no genome 'hg19' .*did you mean 'hg19_chr21'|no genome 'hg19': available: another_genome, hg19_chr21",
    ):
        read_counts(path, genome="hg19")


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
@pytest.mark.parametrize(
    "name",
    [
        "10x_h5/v3_filtered_feature_bc_matrix.h5",
        "h5ad/pbmc_dense_float64_with_protein.h5ad",
        "loom/mpfc_starmap.loom",
        "dense_text/dropseq_genes_by_cells_R_quoted.csv.gz",
        "10x_mtx_v3/matrix.mtx.gz",
    ],
)
def test_a_real_file_cut_short_gets_one_line(shared_data, tmp_path, name, keep):
    source = shared_data / "formats" / name
    for beside in source.parent.glob("*.tsv.gz"):
        (tmp_path / beside.name).write_bytes(beside.read_bytes())
    content = source.read_bytes()
    path = tmp_path / source.name
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(InputError, match=str(tmp_path)) as error:
        read_counts(path)
    assert "\n" not in str(error.value)
