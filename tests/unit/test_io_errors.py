"""Whatever is wrong with a file of counts, the user gets one line that says where and what."""

import gzip

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sclatent.io import read_counts
from sclatent.io._counts import unique
from sclatent.io._numbers import first_odd, to_counts
from sclatent.settings import InputError


def h5ad(path, matrix, **keys):
    anndata.AnnData(matrix, **keys).write_h5ad(path)
    return path


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (-1.0, "a negative value, -1 .*never negative"),
        (0.5, "a fraction, 0.5 .*normalised"),
        (np.nan, "missing or infinite"),
        (np.inf, "missing or infinite"),
        (-np.inf, "missing or infinite"),
        (2.0**24 + 1, "above 16,777,216"),
    ],
)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_values_that_are_no_counts(tmp_path, value, said, form):
    matrix = np.ones((4, 3))
    matrix[2, 1] = value
    path = h5ad(tmp_path / "a.h5ad", form(matrix))
    with pytest.raises(InputError, match=said) as error:
        read_counts(path)
    assert "(cell '2', gene '1')" in str(error.value)
    assert str(path) in str(error.value)


def test_cells_and_genes_the_wrong_way_round(tmp_path):
    """Genes of either organism among the cells, in symbols or ids, are told; cells may be called anything else."""
    genes = ["MCM5", "PCNA", "TYMS", "FEN1", "MCM2", "CD3D"]
    ids = [f"ENSG{i:011d}" for i in range(6)]
    cells = pd.DataFrame(index=[f"c{i}" for i in range(4)])
    for names in (genes, [name.capitalize() for name in genes], ids):
        path = h5ad(tmp_path / "a.h5ad", np.ones((6, 4)), obs=pd.DataFrame(index=names), var=cells)
        with pytest.raises(
            InputError, match=rf"a.h5ad: X has genes where cells should be \('{names[0]}', …\): store it"
        ):
            read_counts(path)
        turned = h5ad(tmp_path / "b.h5ad", np.ones((4, 6)), obs=cells, var=pd.DataFrame(index=names))
        assert read_counts(turned).shape == (4, 6)


def test_the_largest_exact_count_passes():
    counts = to_counts(np.array([[2.0**24, 1.0]]), "x", ["c"], ["a", "b"])
    assert counts.toarray().tolist() == [[2**24, 1]]


def test_duplicates_are_summed_before_they_are_rounded_to_float32():
    # 2^24 + 1 in two stored parts: a sum in float32 would lose the 1 and pass
    split = sparse.csr_matrix((np.array([2.0**24, 1.0]), np.array([0, 0]), np.array([0, 2])), shape=(1, 2))
    with pytest.raises(InputError, match="above 16,777,216"):
        to_counts(split, "x", ["c"], ["a", "b"])


def test_the_input_is_left_as_it_was():
    data = np.array([3.0, 0.0, 2.0, 1.0], dtype=np.float32)
    matrix = sparse.csr_matrix((data, np.array([2, 0, 1, 1]), np.array([0, 2, 4])), shape=(2, 3))
    before = (matrix.data.copy(), matrix.indices.copy(), matrix.indptr.copy())
    counts = to_counts(matrix, "x", ["c", "d"], ["a", "b", "e"])
    assert counts.toarray().tolist() == [[0, 0, 3], [0, 3, 0]]
    assert counts.nnz == 2
    assert all(np.array_equal(a, b) for a, b in zip(before, (matrix.data, matrix.indices, matrix.indptr), strict=True))


def test_positions_are_found_beyond_the_first_block(monkeypatch):
    monkeypatch.setattr("sclatent.io._numbers._BLOCK", 4)
    values = np.ones(11)
    values[9] = 1.5
    assert first_odd(values) == (9, "fraction")
    assert first_odd(np.ones(11)) is None


def test_empty_matrices(tmp_path):
    with pytest.raises(InputError, match="0 cells and 3 genes"):
        read_counts(h5ad(tmp_path / "a.h5ad", np.zeros((0, 3))))
    with pytest.raises(InputError, match="3 cells and 0 genes"):
        read_counts(h5ad(tmp_path / "b.h5ad", np.zeros((3, 0))))
    with pytest.raises(InputError, match="nothing but zeros"):
        read_counts(h5ad(tmp_path / "c.h5ad", sparse.csr_matrix((3, 4))))


def test_duplicated_names(tmp_path, caplog):
    obs, var = pd.DataFrame(index=["a", "b", "a"]), pd.DataFrame(index=["g", "h"])
    with pytest.raises(InputError, match=r"1 cell name\(s\) occur more than once, such as 'a'"):
        read_counts(h5ad(tmp_path / "a.h5ad", np.ones((3, 2)), obs=obs, var=var))
    var = pd.DataFrame(index=["g", "g"])
    adata = read_counts(h5ad(tmp_path / "b.h5ad", np.ones((2, 2)), var=var))
    assert list(adata.var_names) == ["g", "g-1"]
    assert "1 gene name(s) occur more than once" in caplog.text


def test_unique_meets_no_old_name():
    assert unique(["a", "a", "a-1", "a"]) == ["a", "a-2", "a-1", "a-3"]
    assert len(set(unique(["x"] * 50 + ["x-1", "x-7"]))) == 52


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", r"empty \(0 bytes\)"),
        ("a.csv", b"\n\n", "no header"),
        ("a.csv", b"gene,c1,c2\n", "a header and nothing below it"),
        ("a.csv", b"gene,c1,c2\nCD3D,1,two\n", "column 'c2', row 'CD3D': found 'two'"),
        ("a.csv", b"gene,c1,c2\nCD3D,1,2\nACTB,1\n", "column 'c2', row 'ACTB': found 'nothing'"),
        ("a.csv", b"gene,c1,c2\nCD3D,1,\n", "column 'c2', row 'CD3D': found 'nothing'"),
        ("a.csv", b"gene,c1,c2\nCD3D,1,nan\n", "found 'nan'"),
        ("a.csv", b"gene,c1,c2\nCD3D,1,2,3,4\n", "header has 3 fields, the rows have 5"),
        ("a.csv", b"gene,c1,c2\nCD3D,1,2\nACTB,1,2,3\n", "line 3 has 4 fields, the rows above it have 3"),
        ("a.csv", b"just one column\n1\n", "cannot be read|one field|header has"),
        ("a.csv", b"gene,c1,c2\nCD3D,1,0.5\n", "a fraction"),
        ("a.csv", b"gene,c1,c1\nCD3D,1,1\n", "'c1': cell names must be unique"),
        ("a.csv", b"\xff\xfe\x00gene", "cannot be read as a table"),
        ("a.tsv.gz", b"not gzip", "cannot be read as a table"),
        ("a.tsv.gz", gzip.compress(b"gene\tc1\n" + b"CD3D\t1\n" * 99, mtime=0)[:-20], "cannot be read as a table"),
        ("a.h5", b"\x89HDF\r\n\x1a\n broken", "cannot be read as HDF5"),
        ("a.h5ad", b"no hdf5", "cannot be read as HDF5"),
        ("a.h5ad.gz", b"x", "unpack it first"),
        ("a.loom", b"no hdf5", "cannot be read as HDF5"),
        ("a.xlsx", b"x", "unknown ending"),
        ("matrix.mtx", b"%%MatrixMarket matrix\n", "no barcodes.tsv"),
    ],
)
def test_damaged_and_foreign_files(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as error:
        read_counts(path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_h5ad_damaged_inside(tmp_path):
    matrix = sparse.csr_matrix(np.random.default_rng(0).poisson(1.0, (200, 100)).astype(np.float32))
    path = tmp_path / "a.h5ad"
    anndata.AnnData(matrix).write_h5ad(path, compression="gzip")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as h5ad"):
        read_counts(path)


def test_hdf5_that_holds_something_else(tmp_path):
    import h5py

    for ending in ("h5", "h5ad", "loom"):
        with h5py.File(tmp_path / f"a.{ending}", "w") as file:
            file["weather"] = np.ones(3)
        with pytest.raises(InputError, match=r"weather|no 'obs'"):
            read_counts(tmp_path / f"a.{ending}")


def test_missing_files_and_empty_folders(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_counts(tmp_path / "none.h5ad")
    with pytest.raises(InputError, match="what is there to read"):
        read_counts(tmp_path)
    (tmp_path / "filtered_feature_bc_matrix").mkdir()
    with pytest.raises(InputError, match="did you mean filtered_feature_bc_matrix in it"):
        read_counts(tmp_path)


@pytest.mark.parametrize("option", ["layer", "genome", "features"])
def test_options_that_do_not_fit_the_format(tmp_path, option):
    (tmp_path / "a.csv").write_text("gene,c1\nCD3D,1\n")
    with pytest.raises(InputError, match=f"`{option}: x` does not apply to a text file"):
        read_counts(tmp_path / "a.csv", **{option: "x"})


def test_h5ad_without_x(tmp_path):
    adata = anndata.AnnData(obs=pd.DataFrame(index=["a", "b"]), var=pd.DataFrame(index=["g"]))
    adata.layers["counts"] = np.ones((2, 1))
    adata.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(InputError, match="set `layer` to one of counts"):
        read_counts(tmp_path / "a.h5ad")
    assert read_counts(tmp_path / "a.h5ad", layer="counts").shape == (2, 1)
