"""Proteins, guides, hashtags and peaks that lie beside genes in one matrix are not read as genes."""

import logging

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sclatent import InputError
from sclatent.io import read_counts

COUNTS = np.random.default_rng(0).poisson(2, (30, 8)) + np.eye(30, 8, dtype=int)
GENES = ["CD3D", "CD4", "MS4A1", "LYZ", "NKG7"]
OTHERS = ["prot-CD3", "prot-CD4", "prot-CD19"]


def write(path, types, *, column="feature_types", names=None, raw=False):
    var = pd.DataFrame({column: types}, index=names or [*GENES, *OTHERS])
    adata = anndata.AnnData(sparse.csr_matrix(COUNTS), obs=pd.DataFrame(index=[f"c{i}" for i in range(30)]), var=var)
    if raw:
        adata.raw = adata
        adata.X = np.log1p(adata.X.toarray())
    if path.suffix == ".zarr":
        adata.write_zarr(path)
    elif path.suffix == ".loom":
        with h5py.File(path, "w") as file:
            file["matrix"] = COUNTS.T
            for name, values in (("row_attrs/Gene", var.index), (f"row_attrs/{column}", types)):
                file[name] = np.array(list(values), dtype=h5py.string_dtype())
            file["col_attrs/CellID"] = np.array(list(adata.obs_names), dtype=h5py.string_dtype())
    else:
        adata.write_h5ad(path)
    return path


CITE = ["Gene Expression"] * 5 + ["Antibody Capture"] * 3


@pytest.mark.parametrize("ending", ["h5ad", "zarr", "loom"])
@pytest.mark.parametrize(
    ("types", "column"),
    [
        (CITE, "feature_types"),
        (["Gene Expression"] * 5 + ["CRISPR Guide Capture", "Custom", "Peaks"], "feature_types"),
        (["gene"] * 5 + ["protein"] * 3, "feature_type"),
        (["rna"] * 5 + ["adt"] * 3, "modality"),
    ],
)
def test_only_genes_are_read(tmp_path, caplog, ending, types, column):
    path = write(tmp_path / f"a.{ending}", types, column=column)
    with caplog.at_level(logging.INFO):
        adata = read_counts(path)
    assert list(adata.var_names) == GENES
    assert np.array_equal(adata.X.toarray(), COUNTS[:, :5])
    assert adata.uns["sclatent"]["read"]["n_genes"] == 5
    assert f"kept 5 of 8 features ({types[0]}); left out: " in caplog.text


@pytest.mark.parametrize("ending", ["h5ad", "zarr", "loom"])
def test_other_features_are_read_when_they_are_asked_for(tmp_path, ending):
    path = write(tmp_path / f"a.{ending}", CITE)
    assert list(read_counts(path, features="Antibody Capture").var_names) == OTHERS
    with pytest.raises(InputError, match=r"no features 'Antibody' .* set `features` to one of Gene Expression, Anti"):
        read_counts(path, features="Antibody")


def test_features_of_raw(tmp_path):
    adata = read_counts(write(tmp_path / "a.h5ad", CITE, raw=True), layer="raw")
    assert np.array_equal(adata.X.toarray(), COUNTS[:, :5])


def test_a_file_of_proteins_alone_is_refused(tmp_path):
    path = write(tmp_path / "a.h5ad", ["Antibody Capture"] * 8)
    with pytest.raises(InputError, match="no features 'Gene Expression': set `features` to one of Antibody Capture"):
        read_counts(path)


@pytest.mark.parametrize("types", [["protein_coding"] * 5 + ["lncRNA"] * 3, ["ambient"] * 8])
def test_biotypes_are_no_feature_types(tmp_path, types):
    path = write(tmp_path / "a.h5ad", types, column="feature_type")
    assert read_counts(path).n_vars == 8
    with pytest.raises(InputError, match=r"`features: lncRNA` does not apply: the file names no feature types"):
        read_counts(path, features="lncRNA")


def test_long_lists_of_types_are_cut_short(tmp_path):
    path = write(tmp_path / "a.h5ad", ["Gene Expression", *(f"t{i}" for i in range(7))])
    with pytest.raises(InputError) as caught:
        read_counts(path, features="x")
    assert str(caught.value).endswith("set `features` to one of Gene Expression, t0, t1, t2, t3, t4, t5, t6")


def test_antibodies_without_types_are_known_by_their_names(tmp_path, caplog):
    names = [*GENES, "ADT_CD3", "CD4_TotalSeqB", "Hashtag1"]
    adata = read_counts(write(tmp_path / "a.h5ad", ["x"] * 8, names=names))
    assert list(adata.var_names) == GENES
    assert "left out rows that are antibodies by their names, not genes: ADT_CD3, CD4_TotalSeqB, H" in caplog.text
    genes = ["ADTRP", "Adtrp", "HTO", "CD3D", "ADT", "TAGLN", "A", "B"]
    assert list(read_counts(write(tmp_path / "b.h5ad", ["x"] * 8, names=genes)).var_names) == genes
    proteins = [f"ADT_{i}" for i in range(8)]
    assert list(read_counts(write(tmp_path / "c.h5ad", ["x"] * 8, names=proteins)).var_names) == proteins


@pytest.mark.parametrize(
    "name",
    [
        *("1-Mar", "2-Sep", "01-mar", "Mar-01", "Sept-7", "X1.Mar", "1.Mrz", "2-sept.", "Dez 01", "1-mars"),
        *("2021-03-01", "2021-03-01 00:00:00", "01.03.2021", "3/1/21", "2.31E+13", "2.31e+13", "2,31E+13"),
    ],
)
def test_names_that_a_spreadsheet_changed_are_told(tmp_path, caplog, name):
    read_counts(write(tmp_path / "a.h5ad", ["x"] * 8, names=[name, *GENES, "MARCH1", "SEPT2"]))
    assert f"1 gene name(s) such as '{name}' were changed by a spreadsheet" in caplog.text


def test_names_that_no_spreadsheet_changed(tmp_path, caplog):
    """Genes of the worm, clones, and plain numbers."""
    names = ["sep-1", "mars-1", "dec-2", "jun-1", "Oct-4", "RP11-34P13.7", "44256", "1.2.3.4"]
    read_counts(write(tmp_path / "a.h5ad", ["x"] * len(names), names=names))
    assert "spreadsheet" not in caplog.text


@pytest.mark.parametrize("genome", [None, "mm10"])
def test_genes_of_several_genomes_are_told(tmp_path, caplog, genome):
    matrix = sparse.csc_matrix(COUNTS.T)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("matrix")
        for name in ("data", "indices", "indptr", "shape"):
            group[name] = np.asarray(getattr(matrix, name))
        group["barcodes"] = np.array([f"c{i}" for i in range(30)], dtype="S")
        columns = {"id": GENES + OTHERS, "name": GENES + OTHERS, "feature_type": ["Gene Expression"] * 8}
        for name, values in {**columns, "genome": ["GRCh38"] * 5 + ["mm10"] * 3}.items():
            group[f"features/{name}"] = np.array(values, dtype="S")
    adata = read_counts(tmp_path / "a.h5", genome=genome)
    assert adata.n_vars == (8 if genome is None else 3)
    assert ("several genomes (5 of GRCh38, 3 of mm10): all are read" in caplog.text) == (genome is None)


def test_genomes_that_only_names_tell(tmp_path, caplog):
    names = [*(f"GRCh38_{gene}" for gene in GENES), *(f"mm10___{gene.capitalize()}" for gene in GENES[:3])]
    read_counts(write(tmp_path / "a.h5ad", ["x"] * 8, names=names))
    assert "genes of several genomes by their names (GRCh38: 5, mm10: 3): all are read" in caplog.text
    caplog.clear()
    read_counts(
        write(tmp_path / "b.h5ad", ["x"] * 8, names=[f"GRCh38_{i}{gene}" for i, gene in enumerate(GENES + OTHERS)])
    )
    assert "genomes" not in caplog.text
