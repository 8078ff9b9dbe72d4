"""Counts in a scratch file give what counts in memory give, stage by stage, and nothing is left on disk."""

import errno
import gzip
import io as io_
import logging
import tempfile
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import io, sparse

import sclatent as sl
from sclatent.atlas._build import log_normalise
from sclatent.data import blocks
from sclatent.data.blocks import ArrayStore, CountStore, RowSorter, is_mapped, row_blocks, subset, transposed
from sclatent.data.normalise import cell_sums, gene_moments
from sclatent.model import MappedCounts
from sclatent.model.csr import CSRCounts
from sclatent.tl._model.inputs import inputs


@pytest.fixture
def on_disk(monkeypatch):
    """Return a function: from its call on no counts are held in memory, and blocks are small."""

    def switch():
        monkeypatch.setattr(blocks, "IN_MEMORY", 100)
        monkeypatch.setattr(blocks, "BLOCK", 997)

    return switch


@pytest.fixture(scope="module")
def counts():
    return sl.simulate(400, 300, seed=3)


def random(n=500, m=60, seed=0, dtype=np.float32):
    matrix = sparse.random(n, m, 0.2, format="csr", random_state=seed, data_rvs=lambda k: np.arange(1, k + 1) % 9 + 1)
    matrix[7] = 0
    matrix.eliminate_zeros()
    return matrix.astype(dtype)


def same(a, b):
    """Hold every part of two AnnData against each other, bit by bit."""
    assert a.X.dtype == b.X.dtype
    for name in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(a.X, name), getattr(b.X, name)), name
    pd.testing.assert_frame_equal(a.obs, b.obs)
    pd.testing.assert_frame_equal(a.var, b.var)
    assert set(a.uns) == set(b.uns)


def test_a_store_of_blocks_is_the_matrix_and_leaves_no_file(tmp_path, monkeypatch, on_disk):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    matrix = random()
    on_disk()
    store = CountStore(matrix.shape[1])
    for _, block in row_blocks(matrix):
        store.append(block)
    made = store.matrix()
    assert is_mapped(made)
    assert not is_mapped(matrix)
    assert (made != matrix).nnz == 0
    assert made.dtype == matrix.dtype
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="read-only"):
        made.data[0] = 5


def test_a_full_disk_of_scratch_files_is_one_line_that_names_it(tmp_path, monkeypatch, on_disk):
    path = _written("csr", random(dtype=np.float64), tmp_path)
    on_disk()

    class Full(io_.BytesIO):
        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    monkeypatch.setattr(tempfile, "tempdir", "/somewhere")
    with pytest.raises(sl.InputError, match=r"^/somewhere: a scratch file.*No space left on device.*TMPDIR"):
        sl.io.read_counts(path)


def test_blocks_cover_every_row_once_and_hold_few_values(on_disk):
    on_disk()
    matrix = random()
    parts = list(row_blocks(matrix))
    assert [part.start for part, _ in parts] == [0, *[part.stop for part, _ in parts][:-1]]
    assert parts[-1][0].stop == matrix.shape[0]
    assert len(parts) > 5
    assert max(block.nnz for _, block in parts) <= blocks.BLOCK
    assert (sparse.vstack([block for _, block in parts]) != matrix).nnz == 0
    # a row longer than a block comes alone
    wide = sparse.csr_matrix(np.ones((3, 2000), np.float32))
    assert [block.shape[0] for _, block in row_blocks(wide)] == [1, 1, 1]
    assert list(row_blocks(sparse.csr_matrix((0, 5)))) == []


def test_an_empty_store_is_an_empty_matrix():
    assert CountStore(4).matrix().shape == (0, 4)
    assert ArrayStore().array(np.float32).dtype == np.float32
    assert RowSorter((3, 4), 0).matrix().shape == (3, 4)


def test_offsets_beyond_32_bits_are_not_copied_into_the_columns():
    offsets = np.array([0, 2**31 + 5], dtype=np.int64)
    matrix = blocks.csr_of(np.zeros(3, np.float32), np.zeros(3, np.int32), offsets, 7)
    assert matrix.indices.dtype == np.int32
    assert matrix.indptr.dtype == np.int64


@pytest.mark.parametrize("disk", [False, True])
def test_subset_transpose_and_sorting_are_those_of_scipy(disk, on_disk):
    matrix, rng = random(), np.random.default_rng(0)
    if disk:
        on_disk()
    cells, genes = rng.random(500) < 0.5, rng.random(60) < 0.5
    assert (subset(matrix, cells, genes) != matrix[cells][:, genes]).nnz == 0
    assert (transposed(matrix) != matrix.T.tocsr()).nnz == 0
    some, whole = rng.permutation(500)[:200], np.ones(500, dtype=bool)
    there = subset(matrix, whole, genes)
    assert (blocks.rows_at(there, some) != matrix[some][:, genes]).nnz == 0
    assert is_mapped(transposed(matrix)) == disk
    entries, order = matrix.tocoo(), rng.permutation(matrix.nnz)
    sorter = RowSorter(matrix.shape, matrix.nnz)
    for some in np.array_split(order, 7):
        sorter.add(entries.row[some], entries.col[some], entries.data[some])
    sorter.add(np.array([3]), np.array([5]), np.array([2], np.float32))
    matrix[3, 5] += 2
    assert (sorter.matrix() != matrix).nnz == 0


def test_a_stage_file_is_the_same_from_memory_and_from_disk(tmp_path, counts, on_disk):
    counts = counts.copy()
    counts.layers["more"] = counts.X.copy()
    counts.uns["list"] = {"a": np.arange(3), "b": "text"}
    sl.io.write_h5ad(counts, tmp_path / "memory.h5ad")
    on_disk()
    read = sl.io.read_h5ad(tmp_path / "memory.h5ad")
    assert is_mapped(read.X)
    assert is_mapped(read.layers["more"])
    same(read, ad.read_h5ad(tmp_path / "memory.h5ad"))
    sl.io.write_h5ad(read, tmp_path / "disk.h5ad")
    again = ad.read_h5ad(tmp_path / "disk.h5ad")
    same(again, ad.read_h5ad(tmp_path / "memory.h5ad"))
    assert again.uns["list"]["b"] == "text"
    with h5py.File(tmp_path / "disk.h5ad") as file, h5py.File(tmp_path / "memory.h5ad") as other:
        assert file["X/data"].compression == other["X/data"].compression == "gzip"
        assert dict(file["X"].attrs).keys() == dict(other["X"].attrs).keys()


@pytest.mark.parametrize("kind", ["csr", "csc", "dense", "layer", "10x", "mtx", "turned mtx", "text", "loom", "zarr"])
def test_every_format_is_read_the_same_from_memory_and_in_blocks(kind, tmp_path, on_disk):
    matrix = random(dtype=np.float64)
    path = _written(kind, matrix, tmp_path)
    layer = "counts" if kind == "layer" else None
    here = sl.io.read_counts(path, layer=layer)
    on_disk()
    there = sl.io.read_counts(path, layer=layer)
    assert is_mapped(there.X)
    assert not is_mapped(here.X)
    same(here, there)
    assert here.uns["sclatent"]["read"] == there.uns["sclatent"]["read"]
    assert (matrix.astype(np.float32) != here.X).nnz == 0


def _written(kind, matrix, folder: Path) -> Path:
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(matrix.shape[0])])
    var = pd.DataFrame(index=[f"MT-{i}" for i in range(matrix.shape[1])])
    path = folder / "counts.h5ad"
    if kind in ("csr", "csc", "dense", "layer", "zarr"):
        x = {"csc": sparse.csc_matrix(matrix), "dense": matrix.toarray()}.get(kind, matrix)
        adata = ad.AnnData(x, obs=obs, var=var, layers={"counts": matrix})
        if kind == "zarr":
            path = folder / "counts.zarr"
            adata.write_zarr(path)
        else:
            adata.write_h5ad(path)
    elif kind == "10x":
        path = folder / "counts.h5"
        with h5py.File(path, "w") as file:
            group = file.create_group("matrix")
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(matrix, name).astype(np.int64)
            group["shape"], group["barcodes"] = matrix.shape[::-1], np.array(obs.index, dtype="S")
            for name, values in (("id", var.index), ("name", var.index), ("feature_type", ["Gene Expression"] * 60)):
                group[f"features/{name}"] = np.array(values, dtype="S")
    elif "mtx" in kind:
        path = folder / "tenx"
        path.mkdir()
        (path / "barcodes.tsv").write_text("".join(f"{name}\n" for name in obs.index))
        (path / "features.tsv").write_text("".join(f"{n}\t{n}\tGene Expression\n" for n in var.index))
        with gzip.open(path / "matrix.mtx.gz", "wb") as file:
            io.mmwrite(file, (matrix if kind == "turned mtx" else matrix.T).tocoo().astype(np.int64))
    elif kind == "text":
        path = folder / "counts.csv.gz"
        pd.DataFrame(matrix.toarray().T.astype(int), index=var.index, columns=obs.index).to_csv(path)
    else:
        path = folder / "counts.loom"
        with h5py.File(path, "w") as file:
            file["matrix"] = matrix.toarray().T
            file["row_attrs/Gene"] = np.array(var.index, dtype="S")
            file["col_attrs/CellID"] = np.array(obs.index, dtype="S")
    return path


@pytest.mark.parametrize("how", ["nearest", "stochastic"])
def test_rounding_in_blocks_draws_the_same(how, tmp_path, on_disk):
    matrix = random(dtype=np.float64)
    matrix.data += np.random.default_rng(1).random(matrix.nnz) / 2
    path = _written("csr", matrix, tmp_path)
    here = sl.io.read_counts(path, round=how)
    on_disk()
    there = sl.io.read_counts(path, round=how)
    same(here, there)
    told, other = here.uns["sclatent"]["read"]["round"], there.uns["sclatent"]["read"]["round"]
    assert told == pytest.approx(other) or all(
        told[k] == other[k] or abs(told[k] - other[k]) < 1e-9 * abs(told[k]) for k in told
    )


@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan, 2.0**25])
def test_the_first_value_that_is_no_count_is_named_in_blocks_too(value, tmp_path, on_disk):
    matrix = random(dtype=np.float64)
    matrix.data[5000] = value
    path = _written("csr", matrix, tmp_path)
    with pytest.raises(sl.InputError) as here:
        sl.io.read_counts(path)
    on_disk()
    with pytest.raises(sl.InputError) as there:
        sl.io.read_counts(path)
    assert str(here.value) == str(there.value)


def test_repeated_entries_add_up_in_blocks(tmp_path, on_disk):
    matrix = random(dtype=np.float64)
    twice = sparse.csr_matrix(matrix.shape)
    twice.data, twice.indices = np.repeat(matrix.data, 2), np.repeat(matrix.indices, 2)
    twice.indptr = matrix.indptr * 2
    adata = ad.AnnData(twice)
    adata.obs_names, adata.var_names = (
        [f"c{i}" for i in range(matrix.shape[0])],
        [f"MT-{i}" for i in range(matrix.shape[1])],
    )
    adata.write_h5ad(tmp_path / "twice.h5ad")
    on_disk()
    read = sl.io.read_counts(tmp_path / "twice.h5ad")
    assert is_mapped(read.X)
    assert (2 * matrix.astype(np.float32) != read.X).nnz == 0


def test_samples_are_joined_the_same(tmp_path, on_disk):
    first, second = random(seed=1), random(seed=2)
    for name, matrix, genes in (("a", first, range(60)), ("b", second, range(90, 30, -1))):
        ad.AnnData(
            matrix,
            obs=pd.DataFrame(index=[f"cell{i}" for i in range(500)]),
            var=pd.DataFrame(index=[f"MT-{i}" for i in genes]),
        ).write_h5ad(tmp_path / f"{name}.h5ad")
    samples = [{"name": name, "path": str(tmp_path / f"{name}.h5ad")} for name in "ab"]
    for join in ("inner", "outer"):
        here = sl.io.read_dataset(counts=samples, join=join)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "IN_MEMORY", 100)
            patch.setattr(blocks, "BLOCK", 997)
            there = sl.io.read_dataset(counts=samples, join=join)
        assert is_mapped(there.X)
        same(here, there)


@pytest.mark.parametrize("library_size", [None, "total"])
def test_prepare_takes_the_same_cells_and_genes(library_size, counts, tmp_path, on_disk, caplog):
    caplog.set_level(logging.INFO)
    counts = counts.copy()
    counts.obs["total"] = np.asarray(counts.X.sum(axis=1)).ravel() + 10.0
    sl.io.write_h5ad(counts, tmp_path / "counts.h5ad")
    settings = {"batch": ["batch"], "genes": {"n_top": 60}, "library_size": library_size}
    here = sl.pp.prepare(sl.io.read_h5ad(tmp_path / "counts.h5ad"), **settings)
    said = [record.getMessage() for record in caplog.records]
    caplog.clear()
    on_disk()
    there = sl.pp.prepare(sl.io.read_h5ad(tmp_path / "counts.h5ad"), **settings)
    assert is_mapped(there.X)
    same(here, there)
    pd.testing.assert_frame_equal(here.uns["sclatent"]["qc"], there.uns["sclatent"]["qc"])
    pd.testing.assert_frame_equal(here.uns["sclatent"]["filters"], there.uns["sclatent"]["filters"])
    assert said == [record.getMessage() for record in caplog.records]
    same(sl.pp.model_counts(here), sl.pp.model_counts(there))


def test_counts_in_a_file_are_asked_like_those_in_memory(on_disk):
    matrix = random()
    on_disk()
    there = MappedCounts(subset(matrix, np.arange(500) < 400, np.ones(60, bool)), blocks.release)
    here = CSRCounts(matrix[:400])
    index = np.array([3, 399, 3, 17, 250])
    for mine, theirs in zip(there.rows(index), here.rows(index), strict=True):
        assert np.array_equal(mine, theirs)
    for mine, theirs in zip(there.row_sums, here.row_sums, strict=True):
        assert np.array_equal(mine, theirs)
    assert np.array_equal(there.gene_sums(index), here.gene_sums(index))
    assert there.fingerprint() == here.fingerprint()
    assert there.n_values == here.n_values
    assert there.wrong() is None
    assert there.subset(index).rows(np.array([1])).offsets[1] == here.rows(np.array([399])).offsets[1]


def test_memory_of_what_was_read_is_given_back_once_that_is_much(monkeypatch):
    monkeypatch.setattr("sclatent.model.csr.PART", 10)
    monkeypatch.setattr("sclatent.model.csr.MOST", 4)
    given_back = []
    counts = MappedCounts(sparse.csr_matrix(np.ones((40, 5), np.float32)), given_back.append)
    for _ in range(3):  # the same two parts however often they are read
        counts.rows(np.array([0, 1, 2]))
        counts.take(np.array([2, 0]))
    assert not given_back
    counts.rows(np.array([10, 20]))
    counts.take(np.array([30]))
    assert given_back == [counts.matrix]
    counts.rows(np.array([0, 1, 2]))  # what was given back no longer counts
    assert len(given_back) == 1
    counts.fingerprint()
    assert len(given_back) > 10


def test_an_epoch_asks_for_every_cell_once_in_runs_of_neighbours(monkeypatch):
    monkeypatch.setattr("sclatent.model.csr.RUN", 10)
    monkeypatch.setattr("sclatent.model.csr.RUNS", 8)
    matrix = sparse.csr_matrix(np.ones((3000, 2), np.float32))
    counts = MappedCounts(matrix, lambda matrix: None)
    cells = np.flatnonzero(np.random.default_rng(0).random(3000) < 0.8)
    rng = np.random.default_rng(1)
    first, second = counts.order(rng, cells), counts.order(rng, cells)
    assert np.array_equal(np.sort(first), cells)
    assert not np.array_equal(first, second)
    near = [len(np.unique(part // 13)) for part in np.array_split(first, len(first) / 80)]
    far = [len(np.unique(part // 13)) for part in np.array_split(rng.permutation(cells), len(first) / 80)]
    assert np.mean(near) < 0.5 * np.mean(far)
    # within a stretch the order is random too
    assert np.mean(np.diff(first) == 1) < 0.2


def test_training_from_disk_fits_as_well(on_disk, counts):
    prepared = sl.pp.prepare(sl.simulate(1200, 120, seed=4), genes={"n_top": 60})
    model = {"epochs": 12, "n_latent": 3, "batch_size": 64, "refit": False}
    small = sl.pp.model_counts(prepared)
    here = sl.tl.train(small, model=model)
    on_disk()
    disk = small.copy()
    disk.X = blocks.change_rows(small.X, lambda _, block: block)
    assert is_mapped(disk.X)
    there = sl.tl.train(disk, model=model)
    assert is_mapped(inputs(disk, there.card).source.matrix)
    best, other = (trained.history["validation_elbo"].max() for trained in (here, there))
    worst = here.history["validation_elbo"].iloc[0]
    assert abs(best - other) < 0.1 * (best - worst)
    same_embedding = [sl.tl.embed(adata, there) for adata in (small, disk)]
    assert np.array_equal(same_embedding[0].X, same_embedding[1].X)
    assert sl.tl.evaluate(small, there) == sl.tl.evaluate(disk, there)


def test_the_cycle_and_the_atlas_are_the_same_from_disk(tmp_path, counts, on_disk):
    prepared = sl.pp.prepare(sl.simulate(300, 400, seed=5))
    sl.io.write_h5ad(prepared, tmp_path / "prepared.h5ad")
    here = sl.tl.cycle(prepared)
    normalised = log_normalise(prepared.X)
    on_disk()
    disk = sl.io.read_h5ad(tmp_path / "prepared.h5ad")
    there = sl.tl.cycle(disk)
    pd.testing.assert_frame_equal(here.obs, there.obs, rtol=1e-9)
    pd.testing.assert_frame_equal(here.var, there.var, rtol=1e-9)
    made = log_normalise(disk.X)
    assert is_mapped(made)
    assert np.array_equal(made.data, normalised.data)
    sl.io.write_h5ad(ad.AnnData(made, layers={"counts": disk.X}), tmp_path / "atlas.h5ad")
    atlas = ad.read_h5ad(tmp_path / "atlas.h5ad")
    assert (normalised != atlas.X).nnz == 0
    assert (atlas.layers["counts"] != prepared.X).nnz == 0


def test_moments_of_genes_are_those_of_numpy(on_disk):
    matrix = random()
    for _ in range(2):
        mean, variance = gene_moments(matrix)
        np.testing.assert_allclose(mean, matrix.toarray().astype(float).mean(0))
        np.testing.assert_allclose(variance, matrix.toarray().astype(float).var(0, ddof=1))
        assert np.array_equal(cell_sums(matrix), matrix.toarray().sum(1))
        on_disk()
