"""MuData: the table of genes is read, other tables are left out with a line, and what is not clear is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from multiome import multiome

import sclatent as sl
from sclatent.data.modalities import counts_of
from sclatent.io._mudata import columns_stay
from sclatent.settings import InputError

mudata = pytest.importorskip("mudata")


def antibodies(rna: ad.AnnData) -> ad.AnnData:
    counts = np.random.default_rng(0).poisson(50, (rna.n_obs, 5)).astype(np.float32)
    return ad.AnnData(counts, obs=rna.obs[[]].copy(), var=pd.DataFrame(index=["CD3", "CD4", "CD8", "CD19", "IgG1"]))


@pytest.fixture(scope="module")
def tables() -> dict[str, ad.AnnData]:
    rna, atac = multiome(60, 30, 40, seed=2)
    del rna.uns
    return {"rna": rna, "atac": atac, "prot": antibodies(rna)}


def written(folder: Path, parts: dict[str, ad.AnnData]) -> str:
    with columns_stay():
        mudata.MuData({name: part.copy() for name, part in parts.items()}).write_h5mu(folder / "x.h5mu")
    return str(folder / "x.h5mu")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line.getMessage() for line in caplog.records if "left out the tables" in line.getMessage()]


@pytest.mark.parametrize(
    ("genes", "other"),
    [("rna", "prot"), ("RNA", "adt"), ("gex", "protein"), ("Gene Expression", "HTO"), ("x", "adt"), ("rna", "spatial")],
)
def test_genes_are_read_and_other_tables_left_out(tmp_path, tables, caplog, genes, other):
    path = written(tmp_path, {genes: tables["rna"], other: tables["prot"]})
    with caplog.at_level(logging.INFO):
        out = sl.io.read_dataset(counts=path)
    assert list(out.var_names) == list(tables["rna"].var_names)
    assert np.array_equal(out.X.toarray(), tables["rna"].X.toarray())
    assert said(caplog) == [f"{path}: read the genes of the table '{genes}'; left out the tables: {other}"]


@pytest.mark.parametrize("name", ["rna", "spatial", "one"])
def test_one_table_is_read_without_a_word(tmp_path, tables, caplog, name):
    with caplog.at_level(logging.INFO):
        out = sl.io.read_counts(written(tmp_path, {name: tables["rna"]}))
    assert out.n_vars == tables["rna"].n_vars
    assert said(caplog) == []


def test_three_tables(tmp_path, tables, caplog):
    path = written(tmp_path, tables)
    with caplog.at_level(logging.INFO):
        alone = sl.io.read_counts(path)
        assert said(caplog)[0].endswith("left out the tables: atac, prot")
        caplog.clear()
        both = sl.io.read_dataset(counts=path, modalities={"rna": None, "atac": None})
    assert np.array_equal(alone.X.toarray(), both.X.toarray())
    assert np.array_equal(counts_of(both, "atac").toarray(), tables["atac"].X.toarray())
    assert [line.rpartition(": ")[2] for line in said(caplog)] == ["prot"]


def test_feature_types_tell_what_names_do_not(tmp_path, tables):
    first, second = tables["prot"].copy(), tables["rna"].copy()
    first.var["feature_types"], second.var["feature_types"] = "Antibody Capture", "Gene Expression"
    assert sl.io.read_counts(written(tmp_path, {"one": first, "two": second})).n_vars == second.n_vars


def test_names_of_antibodies_tell_what_they_are(tmp_path, tables):
    first = tables["prot"].copy()
    first.var_names = [f"ADT_{name}" for name in first.var_names]
    assert sl.io.read_counts(written(tmp_path, {"one": first, "two": tables["rna"]})).n_vars == tables["rna"].n_vars


def test_counts_in_a_layer(tmp_path, tables):
    rna = tables["rna"].copy()
    rna.layers["counts"] = rna.X.copy()
    rna.X = rna.X.log1p()
    path = written(tmp_path, {"rna": rna, "prot": tables["prot"]})
    out = sl.io.read_counts(path, layer="counts")
    assert np.array_equal(out.X.toarray(), tables["rna"].X.toarray())
    with pytest.raises(InputError, match=r"layers\['counts'\] holds whole numbers \(use `layer: counts`\)"):
        sl.io.read_counts(path)


@pytest.mark.parametrize(
    ("chosen", "modality", "line"),
    [
        (("prot",), None, r"no table of genes \(rna\) in it \(found: prot\): tables of genes \(rna\) and of peaks"),
        (("atac", "prot"), None, r"no table of genes \(rna\) in it \(found: atac, prot\)"),
        (("rna", "prot"), "atac", r"no table of peaks \(atac\) in it \(found: prot, rna\): .* are supported"),
        (("prot", "atac"), "rna", r"no table of genes \(rna\) in it \(found: atac, prot\)"),
    ],
)
def test_a_modality_that_is_not_there(tmp_path, tables, chosen, modality, line):
    path = written(tmp_path, {name: tables[name] for name in chosen})
    with pytest.raises(InputError, match=line) as error:
        sl.io.read_counts(path, modality=modality)
    assert "\n" not in str(error.value)


def test_two_tables_that_may_be_genes(tmp_path, tables):
    other = tables["rna"].copy()
    other.var_names = [f"{name}_unspliced" for name in other.var_names]
    for names in (("gex", "rna"), ("one", "two")):
        path = written(tmp_path, dict(zip(names, (tables["rna"], other), strict=True)))
        with pytest.raises(InputError, match=rf"not clear which table .* of rna \(found: {names[0]}, {names[1]}\)"):
            sl.io.read_counts(path)


def test_proteins_are_no_modality_of_a_dataset(tmp_path, tables):
    path = written(tmp_path, {"rna": tables["rna"], "prot": tables["prot"]})
    with pytest.raises(InputError, match=r"no table of peaks \(atac\) in it \(found: prot, rna\)"):
        sl.io.read_dataset(counts=path, modalities={"rna": None, "atac": None})
    with pytest.raises(InputError, match="prot"):
        sl.io.read_dataset(counts=path, modalities={"rna": None, "prot": None})


def test_a_zarr_folder_is_told_what_to_do(tmp_path, tables):
    with columns_stay():
        mudata.MuData({"rna": tables["rna"].copy(), "prot": tables["prot"].copy()}).write_zarr(tmp_path / "x.zarr")
    with pytest.raises(InputError, match=r"MuData in zarr, with several tables of counts \(.*\): write it as h5mu"):
        sl.io.read_counts(tmp_path / "x.zarr")
