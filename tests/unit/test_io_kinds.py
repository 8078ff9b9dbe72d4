"""The files that people have: what each reader takes in another dress, and the line for what it cannot take."""

import gzip
import logging

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from sclatent.io import read_counts
from sclatent.io._counts import tidy
from sclatent.settings import InputError

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MATRIX = np.random.default_rng(0).poisson(1.0, (7, 5))
CELLS, GENES = [f"AAAC{i}-1" for i in range(7)], [f"CD{i + 1}" for i in range(5)]
TABLE = pd.DataFrame(MATRIX.T, GENES, CELLS)


def of(matrix, **keys):
    return anndata.AnnData(matrix, pd.DataFrame(index=CELLS), pd.DataFrame(index=GENES), **keys)


def same(adata):
    return (
        np.array_equal(adata.X.toarray(), MATRIX) and list(adata.obs_names) == CELLS and list(adata.var_names) == GENES
    )


# --- h5ad and zarr -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("dtype", ["int64", "int8", "uint16", "uint64", "float32", "float64"])
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_any_type_of_number(tmp_path, form, dtype, kind):
    adata = of(form(MATRIX.astype(dtype)))
    (adata.write_h5ad if kind == "h5ad" else adata.write_zarr)(tmp_path / f"a.{kind}")
    assert same(read_counts(tmp_path / f"a.{kind}"))


def test_truth_values_and_numbers_that_are_none(tmp_path):
    of(MATRIX > 0).write_h5ad(tmp_path / "a.h5ad")
    assert np.array_equal(read_counts(tmp_path / "a.h5ad").X.toarray(), MATRIX > 0)
    of(MATRIX.astype(complex)).write_h5ad(tmp_path / "b.h5ad")
    with pytest.raises(InputError, match="X holds values of type complex128, not numbers"):
        read_counts(tmp_path / "b.h5ad")


def test_entries_in_any_order_and_listed_twice(tmp_path):
    of(sparse.csr_matrix(MATRIX.astype(np.float32))).write_h5ad(tmp_path / "a.h5ad")
    rows = [np.flatnonzero(row)[::-1] for row in MATRIX]
    indices = np.concatenate([np.concatenate([at, at]) for at in rows])
    data = np.concatenate([np.concatenate([row[at], row[at]]) / 2 for row, at in zip(MATRIX, rows, strict=True)])
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        for name, values in (("data", data), ("indices", indices), ("indptr", file["X/indptr"][:] * 2)):
            del file[f"X/{name}"]
            file[f"X/{name}"] = values
    assert same(read_counts(tmp_path / "a.h5ad"))


def test_zarr_columns_that_differ_in_case_only(tmp_path):
    adata = of(MATRIX.astype(np.float32))
    adata.obs["Batch"], adata.obs["batch"] = "x", ["p", "q", "p", "q", "p", "q", "p"]
    adata.write_zarr(tmp_path / "a.zarr")
    zarr.consolidate_metadata(tmp_path / "a.zarr")
    obs = read_counts(tmp_path / "a.zarr").obs
    assert list(obs["Batch"]) == ["x"] * 7
    assert list(obs["batch"]) == ["p", "q", "p", "q", "p", "q", "p"]


def test_zarr_with_metadata_that_is_older_than_the_store(tmp_path):
    adata = of(MATRIX.astype(np.float32))
    adata.write_zarr(tmp_path / "a.zarr")
    zarr.consolidate_metadata(tmp_path / "a.zarr")
    layers = zarr.open_group(tmp_path / "a.zarr", mode="a", use_consolidated=False)["layers"]
    made = layers.create_array("late", data=MATRIX.astype(np.float32))
    made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    assert same(read_counts(tmp_path / "a.zarr", layer="late"))


@pytest.fixture
def with_raw():
    """Return `X` of three genes with what is known of them, over a bare `raw` of five."""
    adata = of(MATRIX.astype(np.float32))
    adata.raw = adata.copy()
    adata = adata[:, [4, 0, 2]].copy()
    adata.var["symbol"] = ["MKI67", "MT-ND1", "ACTB"]
    adata.var["gene_ids"] = ["ENSG00000148773", "ENSG00000198888", "ENSG00000075624"]
    adata.var["mt"] = [False, True, False]
    adata.var["score"] = [1, 2, 3]
    adata.var["kind"] = pd.Categorical(["a", "b", "a"])
    return adata


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_raw_keeps_what_is_known_of_the_genes(tmp_path, with_raw, kind, caplog):
    path = tmp_path / f"a.{kind}"
    (with_raw.write_h5ad if kind == "h5ad" else with_raw.write_zarr)(path)
    with caplog.at_level(logging.INFO):
        adata = read_counts(path, layer="raw")
    assert same(adata)
    assert list(adata.var["symbol"].astype(object).fillna("-")) == ["MT-ND1", "-", "ACTB", "-", "MKI67"]
    assert list(adata.var["mt"]) == [True, False, False, False, False]
    assert adata.var["mt"].dtype == bool
    assert list(adata.var["score"].fillna(-1)) == [2, -1, 3, -1, 1]
    assert list(adata.var["kind"].astype(object).fillna("-")) == ["b", "-", "a", "-", "a"]
    assert "3 of 5 genes also have" in caplog.text


def test_x_keeps_what_raw_knows_of_the_genes(tmp_path, with_raw):
    known = with_raw.copy()
    with_raw.raw = None
    full = anndata.AnnData(
        MATRIX.astype(np.float32), pd.DataFrame(index=CELLS), pd.DataFrame({"symbol": list("VWXYZ")}, index=GENES)
    )
    with_raw.raw = full
    with_raw.var = with_raw.var[["mt"]]
    with_raw.write_h5ad(tmp_path / "a.h5ad")
    adata = read_counts(tmp_path / "a.h5ad")
    assert list(adata.var_names) == list(known.var_names)
    assert list(adata.var["symbol"]) == ["Z", "V", "X"]
    assert list(adata.var["mt"]) == [False, True, False]


def test_raw_by_id_where_the_names_are_of_two_kinds(tmp_path):
    ids = [f"ENSG{i:011d}" for i in range(5)]
    adata = anndata.AnnData(
        MATRIX.astype(np.float32), pd.DataFrame(index=CELLS), pd.DataFrame(index=[f"{i}.7" for i in ids])
    )
    adata.raw = adata.copy()
    adata.var = pd.DataFrame({"gene_ids": ids, "chromosome": list("12345")}, index=GENES)
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert list(read_counts(tmp_path / "a.h5ad", layer="raw").var["chromosome"]) == list("12345")


def test_genes_symbols_works_on_raw(tmp_path, make_settings):
    from sclatent.data import cycle_genes, simulate
    from sclatent.io import read_dataset
    from sclatent.pp import prepare

    adata = simulate(60, 120, seed=0)
    adata.X = sparse.csr_matrix(adata.X)
    symbols = [*cycle_genes("human")["gene"], "MT-ND1", "RPS6", *(f"S{i}" for i in range(21))]
    adata.obs, adata.var = adata.obs[[]], pd.DataFrame(index=[f"gene{i}" for i in range(120)])
    for slot in ("obsm", "varm", "uns", "layers"):
        getattr(adata, slot).clear()
    adata.raw = adata.copy()
    adata.var["name_of_gene"] = symbols
    adata.X = adata.X.log1p()
    adata.write_h5ad(tmp_path / "a.h5ad")
    keys = make_settings(
        counts={"path": str(tmp_path / "a.h5ad"), "layer": "raw"}, genes={"symbols": "name_of_gene", "keep": ["RPS6"]}
    )
    prepared = prepare(read_dataset(**keys.parts(read_dataset)), **keys.parts(prepare))
    assert prepared.var["cycle_gene"].sum() > 90
    assert prepared.var["mt"].sum() == 1
    assert prepared.var["ribo"].sum() == 1


# --- 10x h5 and its relatives ----------------------------------------------------------------------------------------


def tenx(path, *, root="matrix", old=False, types=None, extra=False):
    matrix = sparse.csr_matrix(MATRIX)
    with h5py.File(path, "w") as file:
        group = file.create_group(root)
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(matrix, name).astype("i4")
        group["shape"], group["barcodes"] = np.array(MATRIX.shape[::-1]), np.array(CELLS, "S")
        ids = np.array([f"ENSG{i:011d}" for i in range(5)], "S")
        if old:
            group["genes"], group["gene_names"] = ids, np.array(GENES, "S")
        else:
            group["features/id"], group["features/name"] = ids, np.array(GENES, "S")
        if types:
            group["features/feature_type"] = np.array(types, "S")
        if extra:
            file["metadata/learning_curve_train_elbo"] = np.ones(3)
            file["droplet_latents/barcode_indices_for_latents"] = np.arange(7)
            file["global_latents/ambient_expression"] = np.ones(5)
            group["latent_cell_probability"] = np.ones(7)
    return path


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"extra": True},
        {"extra": True, "types": ["Gene Expression"] * 5},
        {"extra": True, "old": True},
        {"extra": True, "old": True, "root": "background_removed"},
        {"old": True, "root": "GRCh38"},
    ],
)
def test_cellbender_and_other_10x_files(tmp_path, keys):
    adata = read_counts(tenx(tmp_path / "a.h5", **keys))
    assert same(adata)
    assert adata.var["gene_ids"].iloc[1] == "ENSG00000000001"


def test_genes_and_peaks_of_one_file(tmp_path):
    path = tenx(tmp_path / "a.h5", types=["Gene Expression"] * 3 + ["Peaks"] * 2)
    assert np.array_equal(read_counts(path).X.toarray(), MATRIX[:, :3])
    assert np.array_equal(read_counts(path, features="Peaks").X.toarray(), MATRIX[:, 3:])
    with pytest.raises(InputError, match="`features: Peaks` does not apply: the file names no feature types"):
        read_counts(tenx(tmp_path / "b.h5"), features="Peaks")


def test_hdf5_whatever_its_name(tmp_path):
    tenx(tmp_path / "a.h5").rename(tmp_path / "a.h5.gz")
    assert same(read_counts(tmp_path / "a.h5.gz"))
    (tmp_path / "b.h5").write_bytes(gzip.compress((tmp_path / "a.h5.gz").read_bytes()))
    with pytest.raises(InputError, match="unpack it first"):
        read_counts(tmp_path / "b.h5")


# --- dense tables ----------------------------------------------------------------------------------------------------


def text(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gzip without .gz", gzip.compress(TABLE.to_csv().encode(), mtime=0)),
        ("a line for spreadsheets", "sep=;\n" + TABLE.to_csv(sep=";")),
        ("an unnamed column of names", TABLE.to_csv()),
        ("a blank line at the end", TABLE.to_csv() + "\n\n"),
        ("blanks before numbers", TABLE.to_csv().replace(",", ", ").replace(", AAAC", ",AAAC")),
        (
            "a quote inside a name",
            TABLE.rename(index={"CD2": 'CD2"x'}).to_csv(quoting=3, escapechar="\\", quotechar="'"),
        ),
    ],
)
def test_tables_in_other_dresses(tmp_path, name, content):
    adata = read_counts(text(tmp_path / "a.csv", content))
    assert np.array_equal(adata.X.toarray(), MATRIX)


def test_text_that_is_called_gz(tmp_path):
    assert same(read_counts(text(tmp_path / "a.csv.gz", TABLE.to_csv())))


def test_names_that_hold_the_other_mark(tmp_path):
    named = TABLE.rename(
        columns={"AAAC0-1": "AAAC0, fine, broad, or, other, 1, 2, 3", "AAAC1-1": "a;b;c;d;e;f;g;h;i;j;k"}
    )
    adata = read_counts(text(tmp_path / "a.tsv", named.to_csv(sep="\t")))
    assert np.array_equal(adata.X.toarray(), MATRIX)
    assert adata.obs_names[0] == "AAAC0, fine, broad, or, other, 1, 2, 3"


def changed_line(number, change):
    lines = TABLE.to_csv().split("\n")
    lines[number] = change(lines[number])
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (changed_line(0, lambda s: s.replace(",", "\t")), "header is separated by tabs and the rows by commas"),
        (changed_line(2, lambda s: s.replace(",", "\t")), "some rows are separated by tabs, others by commas"),
        (changed_line(3, lambda s: '"' + s), "line 4: the quote before 'CD3' is not closed in its line"),
        (changed_line(1, lambda s: '"' + s).replace("\nCD3", '\n"CD3'), "line 2: the quote before 'CD1' is not closed"),
        (changed_line(0, lambda s: s.replace("AAAC3", '"AAAC3')), "line 1: the quote before 'AAAC3-1' is not closed"),
        (
            TABLE.astype(float).to_csv(sep=";", decimal=","),
            r"found '\d,0', expected a count: write numbers without commas",
        ),
        (changed_line(2, lambda s: s[:-1] + "TRUE"), "found 'TRUE', expected a count"),
        (TABLE.to_csv().replace("CD2", "CD\x002"), "line 3 holds a zero byte"),
    ],
)
def test_the_line_names_the_true_cause(tmp_path, content, said):
    with pytest.raises(InputError, match=said):
        read_counts(text(tmp_path / "a.csv", content))


def test_another_separator_far_below(tmp_path):
    rows = ["id,AAACCTGA-1,AAACCTGC-1", *(f"CD{i},1,2" for i in range(20)), "CD20\t3\t4"]
    with pytest.raises(InputError, match="row 'CD20 3 4' is separated by tabs, the rows above it are not"):
        read_counts(text(tmp_path / "a.csv", "\n".join(rows)))


def test_a_line_without_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr("sclatent.data.textfiles.LONGEST_LINE", 1000)
    with pytest.raises(InputError, match="line 1 is longer than 1,000 characters"):
        read_counts(text(tmp_path / "a.csv", "x" * 2000))


@QUICK
@given(data=st.data())
def test_a_table_that_was_changed_gives_counts_or_one_line(tmp_path, data):
    content = bytearray(TABLE.to_csv(sep=data.draw(st.sampled_from("\t,;"))).encode())
    at = data.draw(st.integers(0, len(content)))
    content[at : at + data.draw(st.integers(0, 3))] = data.draw(
        st.one_of(st.binary(max_size=3), st.sampled_from([b'"', b"\t", b",", b"\n", b'\n"', b",,", b"1"]))
    )
    try:
        adata = read_counts(text(tmp_path / "a.csv", bytes(content)))
    except InputError as error:
        line = str(error)
    else:
        # no row is swallowed
        assert max(adata.shape) >= 7
        return
    assert "\n" not in line
    assert str(tmp_path) in line


def test_an_empty_place_where_raw_would_be(tmp_path):
    of(np.log1p(MATRIX)).write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        file.pop("raw", None)
        file["raw"] = h5py.Empty("f4")
        file["obs/nothing"] = h5py.Empty("f4")
    with pytest.raises(InputError, match="no other matrix of the file holds whole numbers"):
        read_counts(tmp_path / "a.h5ad")
    with pytest.raises(InputError, match=r"no layer 'raw'.*available: X"):
        read_counts(tmp_path / "a.h5ad", layer="raw")


# --- names ---------------------------------------------------------------------------------------------------------


def test_a_column_keeps_its_name_where_another_must_change(tmp_path):
    adata = of(MATRIX)
    adata.obs["a_b"] = 2
    table = adata.obs.assign(**{"a/b": 1})[["a/b", "a_b"]]
    found = tidy(table, tmp_path, "obs")
    assert found["a_b"].eq(2).all()
    assert found["a_b-1"].eq(1).all()


def test_genes_without_a_symbol_go_by_their_id(tmp_path, caplog):
    adata = of(MATRIX)
    adata.var["gene_ids"] = [f"ENSG{i:011d}" for i in range(5)]
    adata.var_names = ["CD1", "nan", "CD3", "nan", "CD5"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    with caplog.at_level(logging.INFO):
        names = list(read_counts(tmp_path / "a.h5ad").var_names)
    assert names == ["CD1", "ENSG00000000001", "CD3", "ENSG00000000003", "CD5"]
    assert "2 gene(s) without a name, 2 of them are named by their id" in caplog.text


@pytest.mark.parametrize("name", ["__no_feature", "__alignment_not_unique", "N_unmapped", "N_noFeature"])
def test_sums_over_reads_are_no_genes(tmp_path, caplog, name):
    table = pd.concat([TABLE, pd.DataFrame([range(900, 907)], index=[name], columns=CELLS)])
    assert same(read_counts(text(tmp_path / "a.tsv", table.to_csv(sep="\t"))))
    assert f"left out rows that are sums over reads, not genes: {name}" in caplog.text


# --- loom and MuData -----------------------------------------------------------------------------------------------


def loom(path, matrix=MATRIX.T, rows=GENES, columns=CELLS):
    with h5py.File(path, "w") as file:
        file["matrix"] = matrix
        file["row_attrs/Gene"] = np.array(rows, dtype="S")
        file["col_attrs/CellID"] = np.array(columns, dtype="S")
        file["row_attrs/Regulons"] = np.zeros(len(rows), [("SOX2(+)", "i4"), ("E2F1(+)", "i4")])
        file["col_attrs/Embedding"] = np.zeros(len(columns), [("_X", "f4"), ("_Y", "f4")])
    return path


def test_attributes_of_scenic_are_left_out(tmp_path):
    adata = read_counts(loom(tmp_path / "a.loom"))
    assert same(adata)
    assert list(adata.obs) == list(adata.var) == []


def test_a_loom_file_the_wrong_way_round(tmp_path):
    with pytest.raises(InputError, match="matrix is 7 × 5, and the attributes of its rows have 5 values"):
        read_counts(loom(tmp_path / "a.loom", matrix=MATRIX))
