"""Files are data: nothing in them runs, nothing is followed out of them, and what they claim is checked first."""

import gzip
import json
import os
import pickle
import struct
import subprocess
import sys

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

import sclatent as sl
from sclatent.data.genes import cycle_genes
from sclatent.data.programs import read_gmt
from sclatent.io import fetch, read_counts, read_metadata
from sclatent.io._counts import tidy
from sclatent.io._formats import hdf5
from sclatent.io._sizes import SMALL, check_sizes
from sclatent.settings import InputError, load_dataset, read_yaml

CELLS, GENES = [f"AAAC{i}-1" for i in range(7)], [f"G{i}" for i in range(5)]
MATRIX = np.random.default_rng(0).poisson(1.0, (7, 5)).astype(np.float32)


@pytest.fixture
def adata():
    return anndata.AnnData(MATRIX, pd.DataFrame({"day": [1.0] * 7}, index=CELLS), pd.DataFrame(index=GENES))


@pytest.fixture
def file(tmp_path, adata):
    adata.write_h5ad(tmp_path / "a.h5ad")
    return tmp_path / "a.h5ad"


def refused(read, said):
    with pytest.raises(InputError, match=said) as error:
        read()
    assert str(error.value).isprintable()


class Evil:
    def __reduce__(self):
        return os.mkdir, ("loaded",)


PACKINGS = [
    {"dtype": "|O", "filters": [{"id": "pickle"}], "compressor": None, "fill_value": None},
    {"dtype": "|O", "filters": [{"id": "vlen-utf8"}, {"id": "pickle"}], "compressor": None, "fill_value": ""},
    {"dtype": "|O", "filters": [{"id": "vlen-utf8"}], "compressor": {"id": "pickle"}, "fill_value": ""},
    {"dtype": "<f4", "filters": None, "compressor": {"id": "pickle"}},
]


def texts_at(store, place):
    """Return where the texts of an array lie: since anndata 0.13 beside which of them are missing."""
    return f"{place}/values" if (store / place / "values").exists() else place


def pickled(store, place, packing):
    """Pack an array of a zarr store so that to read it is to unpickle."""
    place = texts_at(store, place)
    about = json.loads((store / place / ".zarray").read_text()) | packing
    (store / place / ".zarray").write_text(json.dumps(about))
    for chunk in (store / place).glob("[0-9]*"):
        chunk.write_bytes(pickle.dumps(Evil()))


@pytest.mark.parametrize("packing", PACKINGS)
def test_no_pickle_in_a_zarr_store_is_loaded(tmp_path, adata, packing, monkeypatch):
    monkeypatch.chdir(tmp_path)
    adata.layers["counts"] = np.log1p(MATRIX)
    with anndata.settings.override(zarr_write_format=2):
        adata.write_zarr("a.zarr")
    for place in ("layers/counts", "X", "obs/day", "obs/_index"):
        pickled(tmp_path / "a.zarr", place, packing)
        layer = "counts" if place == "layers/counts" else None
        # the newest zarr refuses some of these by itself
        refused(lambda layer=layer: read_counts("a.zarr", layer=layer), "packed with 'pickle', which|No Zarr data type")
        assert not (tmp_path / "loaded").exists()


@pytest.mark.parametrize("packing", PACKINGS[1:3])
def test_a_pickle_in_another_matrix_is_not_loaded_to_give_a_hint(tmp_path, adata, packing, monkeypatch):
    monkeypatch.chdir(tmp_path)
    adata.X, adata.layers["counts"] = np.log1p(MATRIX), MATRIX
    with anndata.settings.override(zarr_write_format=2):
        adata.write_zarr("a.zarr")
    pickled(tmp_path / "a.zarr", "layers/counts", packing)
    refused(lambda: read_counts("a.zarr"), "a fraction.*no other matrix")
    assert not (tmp_path / "loaded").exists()


def test_a_chunk_of_texts_that_says_it_holds_four_billion(tmp_path, adata):
    with anndata.settings.override(zarr_write_format=2):
        adata.write_zarr(tmp_path / "a.zarr")
    assert read_counts(tmp_path / "a.zarr").shape == (7, 5)
    names = tmp_path / "a.zarr" / texts_at(tmp_path / "a.zarr", "obs/_index")
    about = json.loads((names / ".zarray").read_text()) | {"compressor": None}
    (names / ".zarray").write_text(json.dumps(about))
    (names / "0").write_bytes(b"\xff\xff\xff\xff" + bytes(40))
    refused(lambda: read_counts(tmp_path / "a.zarr"), "obs/_index.*: a chunk of strings is damaged")


@pytest.mark.parametrize("how", ["external", "link", "virtual"])
@pytest.mark.parametrize("place", ["X", "obs/day"])
def test_what_lies_in_another_file_is_not_followed(tmp_path, file, place, how):
    (tmp_path / "secret").write_bytes(bytes(200))
    shape = (7, 5) if place == "X" else (7,)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.ones(shape)
    with h5py.File(file, "a") as h5:
        about = dict(h5[place].attrs)
        del h5[place]
        if how == "external":
            h5.create_dataset(place, shape=shape, dtype="u1", external=[(str(tmp_path / "secret"), 0, 200)])
        elif how == "virtual":
            layout = h5py.VirtualLayout(shape, "f8")
            layout[:] = h5py.VirtualSource("other.h5", "x", shape)
            h5.create_virtual_dataset(place, layout)
        else:
            h5[place] = h5py.ExternalLink("other.h5", "x")
    if how != "link":
        with h5py.File(file, "a") as h5:
            h5[place].attrs.update(about)
    refused(lambda: read_counts(file), r"(X|x|day) is kept in another file \(.*which is not followed")


def test_a_virtual_array_of_the_same_file_is_read(file):
    with h5py.File(file, "a") as h5:
        about = dict(h5["X"].attrs)
        h5["parts"] = h5["X"][:]
        layout = h5py.VirtualLayout((7, 5), "f4")
        layout[:] = h5py.VirtualSource(".", "parts", (7, 5))
        del h5["X"]
        h5.create_virtual_dataset("X", layout).attrs.update(about)
    assert np.array_equal(read_counts(file).X.toarray(), MATRIX)


def test_links_in_circles_end(file):
    with h5py.File(file, "a") as h5:
        for i in range(12):
            h5[f"obs/c{i}"] = h5py.SoftLink("/")
        h5["obs/nothing"] = h5py.SoftLink("/nowhere")
    assert read_counts(file).shape == (7, 5)


def test_texts_that_all_stand_at_one_place(file):
    """A list of names takes 16 bytes each, whatever their length: a million of them may share one of a megabyte."""
    with h5py.File(file, "a") as h5:
        made = h5.create_dataset("obs/notes", (100_000,), h5py.string_dtype(), chunks=(100_000,), compression="gzip")
        made[0] = "x" * 10_000
        row = made.id.read_direct_chunk((0,))  # as it is packed
        import zlib

        raw = zlib.decompress(row[1])
        made.id.write_direct_chunk((0,), zlib.compress(raw[:16] * 100_000))
        h5["obs"].attrs["column-order"] = ["day", "notes"]
    assert file.stat().st_size < 200_000
    refused(lambda: read_counts(file), "obs/notes declares 1,000,000,000 letters, which the file does not hold")


def test_many_columns_that_are_small_each(file):
    with h5py.File(file, "a") as h5:
        for i in range(40):
            h5.create_dataset(f"obs/c{i}", shape=(SMALL // 4,), dtype="f4", chunks=(1000,))
    refused(lambda: read_counts(file), "obs declares 3 GB, which the file does not hold")


def test_blocks_that_are_larger_than_the_array(file):
    with h5py.File(file, "a") as h5:
        about = dict(h5["X"].attrs)
        del h5["X"]
        h5.create_dataset("X", (7, 5), "f4", maxshape=(None, 5), chunks=(2**27, 5), compression="gzip").attrs.update(
            about
        )
    refused(lambda: read_counts(file), "X declares blocks of 134217728 × 5 values")


def test_a_reference_is_followed_before_it_is_believed(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        h5.create_dataset("far", shape=(10**12,), dtype="f4", chunks=(1000,))
        h5["obs/codes"] = np.zeros(3)
        h5["obs/codes"].attrs["categories"] = h5["far"].ref
        with pytest.raises(InputError, match="far declares 1000000000000 values"):
            check_sizes(h5["obs"], tmp_path / "a.h5")


@pytest.mark.parametrize("name", ["/far", "../far"])
def test_a_column_outside_of_the_table(file, name):
    with h5py.File(file, "a") as h5:
        h5["far"] = np.arange(7)
        h5["obs"].attrs["column-order"] = [name]
    refused(lambda: read_counts(file), f"obs names a column outside of it \\('{name}'\\)")


def test_an_array_in_the_place_of_a_group(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        h5.create_dataset("matrix/features", shape=(10**12,), dtype="f4", chunks=(1000,))
    refused(lambda: read_counts(tmp_path / "a.h5"), "matrix/features declares 10+ values")
    with h5py.File(tmp_path / "a.loom", "w") as h5:
        h5["matrix"], h5["row_attrs/Gene"] = MATRIX.T, np.array(GENES, "S")
        h5.create_dataset("layers", shape=(10**12,), dtype="f4", chunks=(1000,))
    assert read_counts(tmp_path / "a.loom").shape == (7, 5)


def bomb(path, head, line, times=30_000_000):
    with gzip.open(path, "wb", 6) as file:
        file.write(head)
        for _ in range(10):
            file.write(line * (times // 10 // len(line)))
    return path


def test_text_that_unpacks_to_far_more_than_text_does(tmp_path):
    said = "unpacks to more than 100 times its size, which real text does not"
    refused(lambda: read_metadata(bomb(tmp_path / "m.csv.gz", b"cell,x\n", b"a,1\n")), said)
    refused(lambda: read_gmt(bomb(tmp_path / "a.gmt.gz", b"A\tB", b"\tC")), said)
    refused(lambda: cycle_genes("human", bomb(tmp_path / "g.tsv.gz", b"gene\tphase\n", b"A\tS\n")), said)
    (tmp_path / "tenx").mkdir()
    n = 30_000_000 // 60 * 10
    head = f"%%MatrixMarket matrix coordinate integer general\n5 7 {n}\n".encode()
    bomb(tmp_path / "tenx/matrix.mtx.gz", head, b"1 1 1\n")
    (tmp_path / "tenx/barcodes.tsv").write_text("".join(f"{c}\n" for c in CELLS))
    (tmp_path / "tenx/features.tsv").write_text("".join(f"{g}\t{g}\n" for g in GENES))
    refused(lambda: read_counts(tmp_path / "tenx"), said)


def test_a_table_of_millions_of_rows_in_a_small_file(tmp_path):
    path = bomb(tmp_path / "a.tsv.gz", b"gene\tc1\tc2\n", b"a\t0\t0\n")
    refused(lambda: read_counts(path), "unpacks to more rows than a table of its size holds")


def test_a_table_of_mostly_zeros_is_read(tmp_path):
    rows = [f"G{i}\t" + "\t".join(["0"] * 999) + "\t3\n" for i in range(3000)]
    with gzip.open(tmp_path / "a.tsv.gz", "wt", 9) as file:
        file.write("gene\t" + "\t".join(f"c{i}" for i in range(1000)) + "\n" + "".join(rows))
    assert (tmp_path / "a.tsv.gz").stat().st_size * 100 < 6_000_000
    assert read_counts(tmp_path / "a.tsv.gz").X.sum() == 9000


def test_pipes_and_devices_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "a.tsv")
    (tmp_path / "d.yaml").write_text(f"counts: {tmp_path / 'a.tsv'}\n")
    for path in (tmp_path / "a.tsv", "/dev/zero"):
        for read in (read_counts, read_metadata, read_gmt, read_yaml, load_dataset):
            refused(lambda read=read, path=path: read(path), "is a pipe or a device, not a file")
    refused(lambda: sl.settings.missing_files(load_dataset(tmp_path / "d.yaml")), "is a pipe or a device")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("counts: !!bool maybe", "a tag .* that does not fit its value"),
        ("counts: !!int 1x", "a tag .* that does not fit"),
        ("counts: !!timestamp 2001-99-99", "a tag .* that does not fit"),
        ("counts: !!python/object/apply:os.system [touch loaded]", "could not determine a constructor"),
        ("counts: " + "[" * 30_000, "nested too deeply to be read"),
        ("counts: a\n" * 200_000, "bytes are too many for a dataset file"),
    ],
)
def test_yaml_that_is_more_than_text(tmp_path, text, said):
    (tmp_path / "a.yaml").write_text(text)
    refused(lambda: read_yaml(tmp_path / "a.yaml"), said)


def test_a_line_shows_what_a_name_holds_and_no_more():
    line = str(InputError("a.h5ad: the name '\x1b[2J\u202e\x00' occurs\n\ttwice"))
    assert line == "a.h5ad: the name '\\x1b[2J\\u202e\\x00' occurs twice"
    assert str(InputError("Größe 𝔊 “µ”")) == "Größe 𝔊 “µ”"
    long = str(InputError(f"a.h5ad: the name '{'x' * 10**6}' occurs twice"))
    assert len(long) < 2100
    assert long.startswith("a.h5ad: the name 'xxx")
    assert long.endswith("xxx' occurs twice")


@pytest.mark.parametrize("url", ["ftp://h/a", "file:///etc/passwd", "sftp://h/a", "doi:10.1/a/b", "HTTPS+unix://a"])
def test_only_the_web_is_fetched_from(tmp_path, url):
    refused(lambda: fetch(tmp_path / "a", url=url, sha256="0" * 64), "only https:// and http:// are fetched from")
    (tmp_path / "d.yaml").write_text(json.dumps({"counts": {"path": "a", "url": url, "sha256": "0" * 64}}))
    refused(lambda: load_dataset(tmp_path / "d.yaml"), "must start with https://, http://: a local file")


def test_the_fuzz_run_finds_nothing(root, tmp_path):
    done = subprocess.run(
        [sys.executable, root / "tests/benchmarks/fuzz.py", "--inputs", "100", "--first", "20000"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "100 inputs" in done.stdout


def loom_of_texts(path, **how):
    with h5py.File(path, "w") as file:
        file["matrix"] = np.ones((3, 2))
        file["row_attrs/Gene"] = np.array(["a", "b", "c"], h5py.string_dtype())
        file.create_dataset("col_attrs/CellID", data=np.array(["x", "y"], h5py.string_dtype()), **how)
    return path


def damaged_heap(content):
    """Yield what can be wrong with a heap of texts, in which the library walks from object to object by their sizes."""
    heap = content.index(b"GCOL")
    size = struct.unpack_from("<Q", content, heap + 8)[0]
    place, found = heap + 16, 1
    while found:
        found, length = struct.unpack_from("<H6xQ", content, place)
        place += (16 + (length + 7) // 8 * 8) if found else 0
    endless = bytearray(content)
    endless[place + 8 : place + 16] = bytes(8)  # the size of the free space
    yield endless, "HDF5 does not come to an end with "
    behind = bytearray(content)
    behind[heap + 8 : heap + 16] = struct.pack("<Q", size + 16)  # now the first 16 bytes behind it are part of it
    behind[place + length : place + length + 16] = bytes(16)
    yield behind, "HDF5 "
    beyond = bytearray(content)
    beyond[heap + 24 : heap + 32] = struct.pack("<Q", 2**64 - 16)  # with its header no byte, counted in 64 bits
    yield beyond, "HDF5 "


@pytest.mark.parametrize("which", range(3))
def test_a_damaged_heap_of_texts(tmp_path, monkeypatch, which):
    monkeypatch.setattr(hdf5, "_SECONDS", 1)
    path = loom_of_texts(tmp_path / "a.loom")
    assert list(sl.io.read_counts(path).var_names) == ["a", "b", "c"]
    os.utime(path, ns=(1, 1))  # a file that has changed is looked at again
    content, said = list(damaged_heap(path.read_bytes()))[which]
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.loom: {said}.*: the file is damaged"):
        sl.io.read_counts(path)


@pytest.mark.parametrize("level", [b"\x00", b"\x01"])
def test_a_list_of_a_group_that_leads_to_itself(tmp_path, monkeypatch, level):
    monkeypatch.setattr(hdf5, "_SECONDS", 1)
    path = loom_of_texts(tmp_path / "a.loom")
    content = bytearray(path.read_bytes())
    tree = content.index(b"TREE\x00")  # of the root: signature, type, level, number of entries, two neighbours, entries
    content[tree + 5 : tree + 6] = level
    content[tree + 32 : tree + 40] = struct.pack("<Q", tree)  # behind the first key: the first child
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"a\.loom: HDF5 (cannot list|does not come|crashes).* the file: the file is da"
    ):
        sl.io.read_counts(path)


def test_a_program_that_cannot_be_started_or_ends_is_no_fault_of_the_file(tmp_path, monkeypatch, caplog):
    path = loom_of_texts(tmp_path / "a.loom")
    assert sl.io.read_counts(path).n_obs == 2
    walker = hdf5._program(os.getpid())
    walker.kill()
    walker.wait()
    os.utime(path, ns=(1, 1))
    assert sl.io.read_counts(path).n_obs == 2
    assert hdf5._program(os.getpid()) is not walker
    hdf5._program.cache_clear()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    os.utime(path, ns=(2, 2))
    with caplog.at_level("INFO"):
        assert sl.io.read_counts(path).n_obs == 2
    assert "read without a first walk through it" in caplog.text


def test_a_walk_reads_nothing_of_what_is_claimed_and_all_of_a_large_sound_file(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "_SECONDS", 2)
    path = loom_of_texts(tmp_path / "a.loom")
    with h5py.File(path, "a") as file:
        file.create_dataset("layers/empty", (10**6, 10**6), "f8", chunks=(1000, 1000))
        file.create_dataset("layers/text", (10**12,), h5py.string_dtype(), chunks=(10**6,))
        for i in range(5):  # half a billion zeros in half a megabyte
            file.create_dataset(f"layers/zeros{i}", data=np.zeros((10**4, 10**4), "u1"), compression="gzip")
    assert hdf5._walked(path, path.stat().st_size, 0) == ""


@pytest.mark.parametrize("how", [{}, {"chunks": (1,)}])
def test_a_text_longer_than_the_file_is_refused_before_there_is_room_for_it(tmp_path, how):
    path = loom_of_texts(tmp_path / "a.loom", **how)
    with h5py.File(path) as file:
        array = file["col_attrs/CellID"].id
        place = array.get_chunk_info(1).byte_offset if how else array.get_offset() + 16
    content = bytearray(path.read_bytes())
    content[place : place + 4] = struct.pack("<I", 2**32 - 1)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.loom: a text of col_attrs/CellID is damaged"):
        sl.io.read_counts(path)


def test_lists_in_place_of_names(tmp_path):
    path = tmp_path / "a.h5ad"
    anndata.AnnData(np.ones((2, 3), "f4")).write_h5ad(path)
    with h5py.File(path, "a") as file:
        about = dict(file["obs/_index"].attrs)
        del file["obs/_index"]
        lists = file["obs"].create_dataset("_index", (2,), h5py.vlen_dtype(np.uint8))
        lists[0], lists[1] = [1, 2], [3]
        lists.attrs.update(about)
    with pytest.raises(InputError, match=r"a\.h5ad: obs/_index holds lists of varying length, which are not read"):
        sl.io.read_counts(path)


def test_lists_in_place_of_an_attribute(tmp_path):
    path = tmp_path / "a.h5ad"
    anndata.AnnData(np.ones((2, 3), "f4")).write_h5ad(path)
    with h5py.File(path, "a") as file:
        del file["var"].attrs["encoding-type"]
        lists = np.empty(1, dtype=object)
        lists[0] = np.array([1, 2], np.uint8)
        file["var"].attrs.create("encoding-type", lists, (1,), h5py.vlen_dtype(np.uint8))
    with pytest.raises(InputError, match=r"a\.h5ad: the attribute 'encoding-type' of var is damaged"):
        sl.io.read_counts(path)


@pytest.mark.parametrize("place", ["barcodes", "features/id", "features/name"])
def test_a_name_with_a_nul_byte_is_one_line(tmp_path, place):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["data"], group["indices"], group["indptr"] = np.ones(2, "i4"), np.array([0, 1]), np.array([0, 1, 2])
        group["shape"], group["barcodes"] = np.array([2, 2]), np.array([b"AAA-1", b"CCC-1"])
        group["features/id"], group["features/name"] = np.array([b"g1", b"g2"]), np.array([b"MCM5", b"PCNA"])
        group["features/feature_type"] = np.array([b"Gene Expression"] * 2)
        del group[place]
        group[place] = np.array([b"one", b"t\x00wo"])
    with pytest.raises(InputError, match=r"a\.h5: (obs|var): .*hold 't\\x00wo', with a NUL byte") as found:
        sl.io.read_counts(path)
    assert str(found.value).isprintable()


def test_text_with_a_nul_byte_in_a_column_is_one_line(tmp_path):
    for column in (pd.Categorical(["a\x00b", "c"]), ["a\x00b", "c"]):
        obs = pd.DataFrame({"donor": column}, index=["x", "y"])
        with pytest.raises(InputError, match=r"column 'donor' hold 'a.*b', with a NUL byte"):
            tidy(obs, "a.h5ad", "obs")
