"""What a file declares is held against what it holds, before memory is asked for."""

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

from sclatent.io import read_counts
from sclatent.settings import InputError

HUGE = 10**12
CELLS, GENES = [f"AAAC{i}-1" for i in range(7)], [f"G{i}" for i in range(5)]
MATRIX = np.random.default_rng(0).poisson(1.0, (7, 5))


@pytest.fixture
def adata():
    return anndata.AnnData(
        sparse.csr_matrix(MATRIX.astype(np.float32)), pd.DataFrame(index=CELLS), pd.DataFrame(index=GENES)
    )


def replace(file, name, shape, dtype="f4"):
    """Put an array of a declared shape, of which nothing is stored, in the place of another."""
    attributes = dict(file[name].attrs) if name in file else {}
    if name in file:
        del file[name]
    made = file.create_dataset(name, shape=shape, dtype=dtype, chunks=tuple(min(n, 1000) for n in shape))
    made.attrs.update(attributes)


def refused(path, said, **options):
    with pytest.raises(InputError, match=said) as error:
        read_counts(path, **options)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("name", "dtype", "said"),
    [
        ("X/data", "f4", "X/data declares 1000000000000 values, which the file does not hold"),
        ("X/indices", "i4", "X/indices declares"),
        ("X/indptr", "i8", "X/indptr declares"),
        ("obs/_index", h5py.string_dtype(), "obs/_index declares"),
        ("var/_index", h5py.string_dtype(), "var/_index declares"),
    ],
)
def test_arrays_of_an_h5ad_file(tmp_path, adata, name, dtype, said):
    adata.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        replace(file, name, (HUGE,), dtype)
    refused(tmp_path / "a.h5ad", said)


def test_shapes_of_an_h5ad_file(tmp_path, adata):
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X.toarray()
    adata.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        replace(file, "X", (HUGE // 1000, 1000))
        file["layers/counts"].attrs["shape"] = np.array([HUGE, 5])
    refused(tmp_path / "a.h5ad", r"X is 1000000000 × 1000, but there are names for 7 cells and 5 genes")
    refused(tmp_path / "a.h5ad", r"layers\['counts'\] is 1000000000000 × 5, but there are names", layer="counts")


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("indices", lambda v: np.where(np.arange(len(v)) == 2, 99, v), "there is an index 99, expected 0 to 4"),
        ("indices", lambda v: np.where(np.arange(len(v)) == 2, -1, v), "there is an index -1, expected 0 to 4"),
        ("indices", lambda v: v[:-1], r"there are \d+ values and \d+ indices"),
        ("indptr", lambda v: v[:-1], "indptr has 7 entries, expected 8"),
        ("indptr", lambda v: v + 1, "indptr does not go from 0"),
        ("indptr", lambda v: np.where(np.arange(len(v)) == 3, 10**6, v), "in steps that only rise"),
        ("data", lambda v: v[:, None], "must be lists of numbers"),
    ],
)
@pytest.mark.parametrize("kind", ["h5ad", "10x"])
def test_sparse_matrices_that_do_not_fit_together(tmp_path, adata, name, values, said, kind):
    path = tmp_path / ("a.h5ad" if kind == "h5ad" else "a.h5")
    if kind == "h5ad":
        adata.write_h5ad(path)
    else:
        tenx(path)
    group = "X" if kind == "h5ad" else "matrix"
    with h5py.File(path, "a") as file:
        changed = values(file[group][name][:])
        del file[group][name]
        file[group][name] = changed
    refused(path, said)


def tenx(path, shape=(5, 7)):
    matrix = sparse.csr_matrix(MATRIX)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(matrix, name).astype("i4")
        group["shape"], group["barcodes"] = np.array(shape), np.array(CELLS, "S")
        group["features/id"] = group["features/name"] = np.array(GENES, "S")


@pytest.mark.parametrize("name", ["barcodes", "features/id", "features/name", "data", "indptr"])
def test_arrays_of_a_10x_file(tmp_path, name):
    tenx(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        replace(file, f"matrix/{name}", (HUGE,), "S16" if "/" in name or name == "barcodes" else "i8")
    refused(tmp_path / "a.h5", f"matrix/{name} declares")


def test_the_shape_of_a_10x_file(tmp_path):
    tenx(tmp_path / "a.h5", shape=(5, 10**9))
    refused(tmp_path / "a.h5", "the matrix is 1000000000 × 5, but there are names for 7 cells")


def test_loom_and_zarr(tmp_path, adata):
    with h5py.File(tmp_path / "a.loom", "w") as file:
        replace(file, "matrix", (5, HUGE))
        file["row_attrs/Gene"], file["col_attrs/CellID"] = np.array(GENES, "S"), np.array(CELLS, "S")
    refused(tmp_path / "a.loom", "matrix declares 5 × 1000000000000 values")
    adata.write_zarr(tmp_path / "a.zarr")
    store = zarr.open_group(tmp_path / "a.zarr", mode="a")
    del store["X/data"]
    store.create_array("X/data", shape=(HUGE,), dtype="f4", chunks=(1000,))
    refused(tmp_path / "a.zarr", "X/data declares")


def test_another_matrix_of_a_huge_shape_is_not_looked_at(tmp_path, adata):
    adata.X = np.log1p(adata.X.toarray())
    adata.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        replace(file, "layers/counts", (7, HUGE))
    refused(tmp_path / "a.h5ad", "a fraction.*no other matrix of the file holds whole numbers")


def test_files_that_are_well_packed_are_read(tmp_path):
    """Zeros pack a thousandfold: a matrix that is nearly empty is no lie."""
    matrix = np.zeros((2000, 20_000), np.float32)
    matrix[5, 7] = 3
    anndata.AnnData(matrix).write_h5ad(tmp_path / "a.h5ad", compression="gzip")
    assert (tmp_path / "a.h5ad").stat().st_size * 100 < matrix.nbytes
    assert read_counts(tmp_path / "a.h5ad").X.sum() == 3


def test_too_little_memory_is_one_line(tmp_path, adata, monkeypatch):
    adata.write_h5ad(tmp_path / "a.h5ad")

    def full(*args, **keys):
        raise MemoryError("Unable to allocate 7.28 TiB")

    for place in ("sclatent.io._formats.h5ad.read_sparse", "sclatent.io._counts.to_counts"):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            refused(tmp_path / "a.h5ad", r"too little memory to read it as h5ad \(Unable to allocate 7.28 TiB\)")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("X/data", r"of X \(data\) 0 of 1 chunks are there"),
        ("X/indices", r"of X \(indices\) 0 of 1 chunks"),
        ("X/indptr", r"of X \(indptr\) 0 of 1 chunks"),
        ("var/_index", "of the names in var 0 of 1 chunks"),
        ("obs/_index", "of the names in obs 0 of 1 chunks"),
    ],
)
def test_a_zarr_store_that_was_copied_in_part(tmp_path, adata, version, part, said):
    adata.X = sparse.csr_matrix(adata.X)
    adata.obs["zeros"] = 0  # zarr leaves out what is zero all over
    with anndata.settings.override(zarr_write_format=version):
        adata.write_zarr(tmp_path / "a.zarr")
    assert read_counts(tmp_path / "a.zarr").obs["zeros"].eq(0).all()
    chunks = [file for file in (tmp_path / "a.zarr" / part).rglob("*") if file.is_file() and file.name == "0"]
    assert len(chunks) == 1
    chunks[0].unlink()
    refused(tmp_path / "a.zarr", said)


def test_a_dense_zarr_matrix_without_its_zeros_is_read_and_said(tmp_path, adata, caplog):
    adata.X = adata.X.toarray()
    adata.X[:3] = 0
    adata.write_zarr(tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr", use_consolidated=False)
    about = dict(group["X"].attrs)
    del group["X"]
    group.create_array("X", shape=adata.shape, chunks=(3, 5), dtype="f4").attrs.update(about)
    group["X"][:] = adata.X
    found = read_counts(tmp_path / "a.zarr")
    assert np.array_equal(found.X.toarray(), adata.X)
    assert "1 chunks of X are missing" in caplog.text


def test_numbers_with_the_bytes_the_other_way_round(tmp_path, adata):
    adata.X = sparse.csr_matrix(adata.X)
    adata.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        for name in ("data", "indices", "indptr"):
            values = file[f"X/{name}"][:]
            del file[f"X/{name}"]
            file[f"X/{name}"] = values.astype(values.dtype.newbyteorder(">"))
    assert np.array_equal(read_counts(tmp_path / "a.h5ad").X.toarray(), adata.X.toarray())


def test_a_table_that_anndata_did_not_write(tmp_path, adata):
    adata.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        del file["obs"].attrs["encoding-type"]
    refused(tmp_path / "a.h5ad", "obs is not a table that anndata wrote")
