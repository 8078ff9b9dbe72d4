"""Readers on files that the test writes: what is read is what was written, whatever the dress of the file."""

import gzip
import logging

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import io, sparse

from sclatent.io import read_counts
from sclatent.settings import InputError

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))
counts = shapes.flatmap(lambda s: hnp.arrays(np.int64, s, elements=st.integers(0, 2**24)))
names = st.text(st.characters(codec="utf-8", categories=["L", "N"], include_characters="-_. "), min_size=1, max_size=8)


def table_of(matrix):
    return pd.DataFrame(
        matrix,
        index=[f"cell_{i}" for i in range(matrix.shape[0])],
        columns=[f"ENSG{i:011d}" for i in range(matrix.shape[1])],
    )


def write_10x(folder, matrix, genes, *, version=3, packed=True, prefix="", kinds=None):
    folder.mkdir(parents=True, exist_ok=True)
    features = pd.DataFrame({"id": [f"id{i}" for i in range(len(genes))], "name": genes})
    if version == 3:
        features["type"] = kinds or "Gene Expression"
    suffix = ".gz" if packed else ""
    opened = gzip.open if packed else open
    names = "features" if version == 3 else "genes"
    features.to_csv(folder / f"{prefix}{names}.tsv{suffix}", sep="\t", header=False, index=False)
    barcodes = pd.Series([f"AAAC{i}-1" for i in range(matrix.shape[0])])
    barcodes.to_csv(folder / f"{prefix}barcodes.tsv{suffix}", header=False, index=False)
    with opened(folder / f"{prefix}matrix.mtx{suffix}", "wb") as file:
        io.mmwrite(file, sparse.coo_matrix(matrix.T))
    return folder


@QUICK
@given(
    matrix=counts.filter(lambda m: m.sum() > 0),
    separator=st.sampled_from("\t,; "),
    flip=st.booleans(),
    short=st.booleans(),
    quoted=st.booleans(),
    packed=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
)
def test_dense_text_in_any_dress(tmp_path, matrix, separator, flip, short, quoted, packed, ending, bom):
    table = table_of(matrix)
    shown = table.T if flip else table
    mark = '"' if quoted else ""
    corner = "" if short else (f"{mark}id{mark}{separator}")
    lines = [corner + separator.join(f"{mark}{c}{mark}" for c in shown.columns)]
    lines += [
        separator.join([f"{mark}{n}{mark}", *map(str, row)])
        for n, row in zip(shown.index, shown.to_numpy(), strict=True)
    ]
    text = ("\ufeff" if bom else "") + ending.join(lines) + ending
    path = tmp_path / ("t.txt.gz" if packed else "t.txt")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    if short and len(shown.columns) == 1:
        with pytest.raises(InputError, match="one field only"):
            read_counts(path)
        return
    adata = read_counts(path)
    assert np.array_equal(adata.X.toarray(), matrix)
    assert list(adata.obs_names) == list(table.index)
    assert list(adata.var_names) == list(table.columns)


@QUICK
@given(content=st.binary(max_size=200), ending=st.sampled_from([".csv", ".tsv.gz", ".h5", ".h5ad", ".loom", ".mtx"]))
def test_any_bytes_give_counts_or_one_line(tmp_path, content, ending):
    path = tmp_path / f"x{ending}"
    path.write_bytes(content)
    try:
        adata = read_counts(path)
    except InputError as error:
        line = str(error)
    else:
        assert adata.X.sum() > 0
        return
    assert "\n" not in line
    assert str(tmp_path) in line


@QUICK
@given(matrix=counts.filter(lambda m: m.sum() > 0), data=st.data())
def test_h5ad_round_trip_with_any_names(tmp_path, matrix, data):
    n, g = matrix.shape
    cells = data.draw(st.lists(names, min_size=n, max_size=n, unique=True))
    genes = data.draw(st.lists(names, min_size=g, max_size=g, unique=True))
    form = data.draw(st.sampled_from([np.asarray, sparse.csr_matrix, sparse.csc_matrix]))
    dtype = data.draw(st.sampled_from([np.int64, np.float32, np.float64, np.uint32]))
    adata = anndata.AnnData(form(matrix.astype(dtype)), pd.DataFrame(index=cells), pd.DataFrame(index=genes))
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = read_counts(tmp_path / "a.h5ad")
    assert np.array_equal(again.X.toarray(), matrix)
    assert list(again.obs_names) == cells
    assert list(again.var_names) == genes


@pytest.fixture
def matrix():
    return np.random.default_rng(0).poisson(1.0, (7, 5))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("prefix", ["", "GSM1_s1_"])
def test_10x_folders(tmp_path, matrix, version, packed, prefix):
    folder = write_10x(tmp_path / "x", matrix, list("ABCDE"), version=version, packed=packed, prefix=prefix)
    for path in (folder, folder / f"{prefix}matrix.mtx{'.gz' if packed else ''}"):
        adata = read_counts(path)
        assert np.array_equal(adata.X.toarray(), matrix)
        assert list(adata.var_names) == list("ABCDE")
        assert adata.obs_names[0] == "AAAC0-1"


def test_10x_keeps_gene_expression_unless_told(tmp_path, matrix, caplog):
    kinds = ["Gene Expression"] * 3 + ["Antibody Capture"] * 2
    folder = write_10x(tmp_path / "x", matrix, list("ABCDE"), kinds=kinds)
    with caplog.at_level(logging.INFO):
        assert list(read_counts(folder).var_names) == ["A", "B", "C"]
    assert "left out: 2 Antibody Capture" in caplog.text
    proteins = read_counts(folder, features="Antibody Capture")
    assert np.array_equal(proteins.X.toarray(), matrix[:, 3:])
    with pytest.raises(InputError, match=r"no features 'antibody' .*Gene Expression, Antibody Capture"):
        read_counts(folder, features="antibody")


def test_10x_genes_that_share_a_symbol_stay_apart(tmp_path, matrix, caplog):
    folder = write_10x(tmp_path / "x", matrix, ["A", "B", "A", "A-1", "A"])
    adata = read_counts(folder)
    assert list(adata.var_names) == ["A", "B", "A-2", "A-1", "A-3"]
    assert np.array_equal(adata.X.toarray(), matrix)
    assert "1 gene name(s) occur more than once, such as 'A'" in caplog.text


def test_10x_folder_with_parts_missing_or_foreign(tmp_path, matrix):
    folder = write_10x(tmp_path / "x", matrix, list("ABCDE"))
    (folder / "barcodes.tsv.gz").write_bytes(gzip.compress(b"AAAC1-1\nAAAC2-1\n"))
    with pytest.raises(InputError, match=r"7 × 5, but there are names for 2 cells and 5 genes"):
        read_counts(folder)
    (folder / "barcodes.tsv.gz").unlink()
    with pytest.raises(InputError, match=r"no barcodes.tsv \(gzipped or not\)"):
        read_counts(folder)
    write_10x(folder, matrix, list("ABCDE"), prefix="GSM1_")
    with pytest.raises(InputError, match=r"holds 2 matrices \(GSM1_matrix.*give the path of the one with the counts"):
        read_counts(folder)


def _renamed(folder, name):
    """Give the matrix of a folder another name."""
    (folder / "matrix.mtx.gz").rename(folder / name)
    return folder


@pytest.mark.parametrize("name", ["UniqueAndMult-EM.mtx.gz", "spliced.mtx.gz", "counts.mtx.gz"])
def test_a_matrix_of_another_name_beside_barcodes_and_features(tmp_path, matrix, name):
    folder = _renamed(write_10x(tmp_path / "x", matrix, list("ABCDE")), name)
    for path in (folder, folder / name):
        assert np.array_equal(read_counts(path).X.toarray(), matrix)
    (folder / "ambiguous.mtx.gz").write_bytes((folder / name).read_bytes())
    with pytest.raises(InputError, match=r"holds 2 matrices .*ambiguous.mtx.gz.*give the path of the one"):
        read_counts(folder)
    assert np.array_equal(read_counts(folder / name).X.toarray(), matrix)  # what the line says to do
    (folder / "barcodes.tsv.gz").rename(folder / "cells.tsv.gz")
    with pytest.raises(InputError, match=rf"no barcodes.tsv .gzipped or not. beside {name}"):
        read_counts(folder / name)


def test_a_matrix_of_another_name_with_the_prefix_of_its_lists(tmp_path, matrix):
    folder = write_10x(tmp_path / "x", matrix, list("ABCDE"), prefix="GSM1_a.")
    write_10x(folder, matrix[:, ::-1], list("EDCBA"), prefix="GSM1_")
    (folder / "GSM1_a.matrix.mtx.gz").rename(folder / "GSM1_a.counts.mtx.gz")
    found = read_counts(folder / "GSM1_a.counts.mtx.gz")
    assert list(found.var_names) == list("ABCDE")
    assert np.array_equal(found.X.toarray(), matrix)


def test_kallisto_with_several_matrices(tmp_path, matrix):
    """``kb count --workflow nac`` writes one matrix per kind of count, cells × genes, beside common lists."""
    for kind, counts in (("mature", matrix), ("nascent", 2 * matrix)):
        with (tmp_path / f"cells_x_genes.{kind}.mtx").open("wb") as file:
            io.mmwrite(file, sparse.coo_matrix(counts))
    (tmp_path / "cells_x_genes.barcodes.txt").write_text("".join(f"AAAC{i}\n" for i in range(len(matrix))))
    (tmp_path / "cells_x_genes.genes.txt").write_text("".join(f"ENSG0000000000{i}\n" for i in range(matrix.shape[1])))
    (tmp_path / "cells_x_genes.genes.names.txt").write_text("A\nB\nC\nD\nE\n")
    with pytest.raises(InputError, match=r"holds 2 matrices \(cells_x_genes.mature.mtx, cells_x_genes.nascent.mtx\)"):
        read_counts(tmp_path)
    found = read_counts(tmp_path / "cells_x_genes.nascent.mtx")
    assert np.array_equal(found.X.toarray(), 2 * matrix)
    assert list(found.var_names) == list("ABCDE")


def test_a_folder_above_the_counts_says_where_they_are(tmp_path, matrix):
    for name in ("raw_feature_bc_matrix", "filtered_feature_bc_matrix"):
        write_10x(tmp_path / "run" / "outs" / name, matrix, list("ABCDE"))
    write_10x(tmp_path / "Solo.out" / "Gene" / "raw", matrix, list("ABCDE"))
    write_10x(tmp_path / "Solo.out" / "Gene" / "filtered", matrix, list("ABCDE"))
    for above, meant in (("run", "outs/filtered_feature_bc_matrix"), ("Solo.out", "Gene/filtered")):
        with pytest.raises(InputError, match=f"no zarr store: did you mean {meant} in it"):
            read_counts(tmp_path / above)


@pytest.fixture
def rich(matrix):
    adata = anndata.AnnData(sparse.csr_matrix(np.log1p(matrix).astype(np.float32)))
    adata.layers["raw_counts"] = sparse.csr_matrix(matrix.astype(np.float32))
    adata.layers["scaled"] = matrix - 0.5
    whole = anndata.AnnData(sparse.csr_matrix(np.hstack([matrix, matrix]).astype(np.float32)))
    adata.raw = whole
    adata.obs["day"] = pd.Categorical(["d1"] * 4 + ["d2"] * 3)
    return adata


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_layers_and_raw(tmp_path, rich, matrix, kind):
    path = tmp_path / f"a.{kind}"
    (rich.write_h5ad if kind == "h5ad" else rich.write_zarr)(path)
    layer = read_counts(path, layer="raw_counts")
    assert np.array_equal(layer.X.toarray(), matrix)
    assert list(layer.obs["day"]) == list(rich.obs["day"])
    assert np.array_equal(read_counts(path, layer="raw").X.toarray(), np.hstack([matrix, matrix]))
    with pytest.raises(InputError, match=r"no layer 'raw_count' \(did you mean 'raw_counts'\?\)"):
        read_counts(path, layer="raw_count")
    with pytest.raises(InputError, match="a fraction") as error:
        read_counts(path)
    assert "layers['raw_counts'] holds whole numbers (use `layer: raw_counts`)" in str(error.value)
    assert "raw holds whole numbers (use `layer: raw`)" in str(error.value)
    assert "scaled" not in str(error.value)


@pytest.mark.parametrize("layer", [None, "scaled"])
def test_a_loom_file_says_where_its_counts_are(tmp_path, matrix, layer):
    path = tmp_path / "a.loom"
    with h5py.File(path, "w") as file:
        file["matrix"] = (matrix if layer else np.log1p(matrix)).T
        file["layers/spliced"] = matrix.T
        file["layers/scaled"] = matrix.T - 0.5
        file["row_attrs/Gene"] = np.array([f"G{i}" for i in range(matrix.shape[1])], dtype="S")
        file["col_attrs/CellID"] = np.array([f"c{i}" for i in range(matrix.shape[0])], dtype="S")
    with pytest.raises(InputError, match=r"layers\['spliced'\] holds whole numbers \(use `layer: spliced`\)") as caught:
        read_counts(path, layer=layer)
    assert ("matrix holds whole numbers (remove `layer`)" in str(caught.value)) == (layer is not None)
    assert "layer: scaled" not in str(caught.value)


def test_a_matrix_file_of_another_name(tmp_path):
    (tmp_path / "cells_x_genes.mtx").write_text("%%MatrixMarket matrix coordinate integer general\n1 1 1\n1 1 1\n")
    with pytest.raises(InputError, match=r"expected a name that ends in matrix\.mtx"):
        read_counts(tmp_path / "cells_x_genes.mtx")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_text_that_is_not_utf8(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes("g,zäh1,zäh2\nCD3D,1,2\n".encode(encoding))
    with pytest.raises(InputError, match="it is not UTF-8 text: save it as UTF-8"):
        read_counts(tmp_path / "a.csv")


def test_fractions_without_a_way_out(tmp_path, matrix):
    anndata.AnnData(np.log1p(matrix)).write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(InputError, match="no other matrix of the file holds whole numbers"):
        read_counts(tmp_path / "a.h5ad")


def test_h5ad_from_before_anndata_07(tmp_path, matrix):
    names = {"obs": [f"c{i}" for i in range(7)], "var": [f"g{i}" for i in range(5)]}
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        file["X"] = matrix.astype(np.float32)
        for key, index in names.items():
            file[key] = np.array([(n.encode(), 1.5) for n in index], dtype=[("index", "S4"), ("score", "f8")])
    adata = read_counts(tmp_path / "old.h5ad")
    assert np.array_equal(adata.X.toarray(), matrix)
    assert list(adata.obs_names) == names["obs"]
    assert list(adata.var["score"]) == [1.5] * 5


def test_dense_matrices_are_read_in_blocks(tmp_path, matrix, monkeypatch):
    from sclatent.io._formats import h5ad as _h5ad
    from sclatent.io._formats import loom as _loom
    from sclatent.io._formats import text as _text

    anndata.AnnData(matrix.astype(float)).write_h5ad(tmp_path / "a.h5ad")
    pd.DataFrame(matrix, [f"c{i}" for i in range(7)], [f"ENSG{i:011d}" for i in range(5)]).to_csv(tmp_path / "a.csv")
    with h5py.File(tmp_path / "a.loom", "w") as file:
        file.create_dataset("matrix", data=matrix.T, chunks=(2, 2))
        file["row_attrs/Gene"] = np.array([b"A", b"B", b"C", b"D", b"E"])
        file["col_attrs/CellID"] = np.array([f"c{i}".encode() for i in range(7)])
    monkeypatch.setattr(_h5ad, "_ROWS", 10)
    monkeypatch.setattr(_loom, "_CELLS", 10)
    monkeypatch.setattr(_text, "_ENTRIES", 12)
    for ending in ("h5ad", "csv", "loom"):
        assert np.array_equal(read_counts(tmp_path / f"a.{ending}").X.toarray(), matrix)


def test_comments_above_a_table(tmp_path):
    (tmp_path / "a.tsv").write_text("# made by hand\nid\tCD3D\tACTB\nc1\t1\t2\nc2\t3\t4\n")
    (tmp_path / "b.tsv").write_text("#id\tCD3D\tACTB\nc1\t1\t2\nc2\t3\t4\n")
    for name in ("a.tsv", "b.tsv"):
        adata = read_counts(tmp_path / name)
        assert adata.X.toarray().tolist() == [[1, 2], [3, 4]]
        assert list(adata.var_names) == ["CD3D", "ACTB"]


def test_names_that_tell_nothing(tmp_path, caplog):
    (tmp_path / "a.csv").write_text(",x,y\na,1,2\nb,3,4\nc,0,1\n")
    adata = read_counts(tmp_path / "a.csv")
    assert adata.shape == (2, 3)
    assert "set `orientation` if that is wrong" in caplog.text


def test_a_gene_called_na(tmp_path):
    (tmp_path / "a.csv").write_text("id,AAACCTGA-1,AAACCTGC-1\nNA,1,2\nnan,3,4\nNone,5,6\n")
    adata = read_counts(tmp_path / "a.csv")
    assert list(adata.var_names) == ["NA", "nan", "None"]
    assert adata.X.toarray().tolist() == [[1, 3, 5], [2, 4, 6]]
