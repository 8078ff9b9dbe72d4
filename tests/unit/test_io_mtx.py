"""Matrix Market files: what is read is what was written, in any dress, and whatever is wrong is one line."""

import gzip
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import io, sparse

from sclatent.io import read_counts
from sclatent.io._formats.mtx import read_mtx
from sclatent.settings import InputError

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
COUNTS = hnp.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 2**24))
HEAD = "%%MatrixMarket matrix coordinate integer general\n"


def entries(matrix, *, kind="integer", symmetry="general", ending="\n", gap=" ", last="\n"):
    found = sparse.coo_matrix(matrix)
    lines = [f"%%MatrixMarket matrix coordinate {kind} {symmetry}", "% made by hand", "%"]
    lines += [gap.join(map(str, (*found.shape, found.nnz)))]
    for i, j, value in zip(found.row, found.col, found.data, strict=True):
        shown = [] if kind == "pattern" else [f"{value:.6e}" if kind == "real" else str(value)]
        lines.append(gap.join([str(i + 1), str(j + 1), *shown]))
    return (ending.join(lines) + last).encode()


def folder(path, content, *, names=("matrix.mtx", "barcodes.tsv", "genes.tsv"), cells=3, genes=4):
    path.mkdir(exist_ok=True)
    (path / names[0]).write_bytes(content)
    (path / names[1]).write_text("".join(f"AAAC{i}-1\n" for i in range(cells)))
    (path / names[2]).write_text("".join(f"ENSG{i:011d}\tG{i}\n" for i in range(genes)))
    return path


@QUICK
@given(
    matrix=COUNTS,
    kind=st.sampled_from(["integer", "real"]),
    ending=st.sampled_from(["\n", "\r\n", "\n\n"]),
    gap=st.sampled_from([" ", "\t", "  "]),
    last=st.sampled_from(["\n", "", " ", "\t", "\r\n", "\n\n", " \n"]),
    packed=st.booleans(),
)
def test_any_matrix_in_any_dress(tmp_path, matrix, kind, ending, gap, last, packed):
    content = entries(
        matrix if kind == "integer" else np.minimum(matrix, 999_999), kind=kind, ending=ending, gap=gap, last=last
    )
    path = tmp_path / "a.mtx"
    path.write_bytes(gzip.compress(content) if packed else content)
    wanted = matrix if kind == "integer" else np.minimum(matrix, 999_999)
    assert np.array_equal(read_mtx(path).toarray(), wanted)


@QUICK
@given(matrix=COUNTS, data=st.data())
def test_a_file_that_was_changed_gives_counts_or_one_line(tmp_path, matrix, data):
    content = bytearray(entries(matrix))
    at = data.draw(st.integers(0, len(content)))
    content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    path = folder(tmp_path / "x", bytes(content), cells=matrix.shape[1], genes=matrix.shape[0])
    try:
        adata = read_counts(path)
    except InputError as error:
        line = str(error)
    else:
        assert sorted(adata.shape) == sorted(matrix.shape)
        return
    assert "\n" not in line
    assert str(tmp_path) in line


@QUICK
@given(matrix=COUNTS, data=st.data())
def test_a_file_cut_anywhere_is_refused(tmp_path, matrix, data):
    content = entries(matrix)
    path = tmp_path / "a.mtx"
    kept = content[: data.draw(st.integers(0, len(content) - 2))]
    path.write_bytes(kept)
    # what is cut off the last number cannot be seen
    if kept.count(b"\n") == content.count(b"\n") - 1 and len(kept.split(b"\n")[-1].split()) == 3:
        assert read_mtx(path).nnz == np.count_nonzero(matrix)
        return
    with pytest.raises((InputError, ValueError)):
        read_mtx(path)


def test_no_last_line_ends_the_interpreter(tmp_path):
    """In a process of its own, which a crash would end without a word."""
    body = HEAD.encode() + b"%\n4 3 5\n1 1 1\n2 2 2\n3 1 5\n4 3 9\n1 3 3"
    ends = {b"\n": True, b"": True, b" ": True, b"\t": True, b"inf": False, b"x": False, b"\x00": False}
    for i, end in enumerate(ends):
        folder(tmp_path / f"plain{i}", body + end)
        folder(tmp_path / f"packed{i}", gzip.compress(body + end))
    code = (
        "import sys, sclatent as sl\n"
        "for path in sys.argv[1:]:\n"
        "    try: print(sl.io.read_counts(path).X.toarray().astype(int).tolist())\n"
        "    except sl.settings.InputError as error: print('refused')\n"
    )
    paths = [str(tmp_path / f"{kind}{i}") for kind in ("plain", "packed") for i in range(len(ends))]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts = "[[1, 0, 5, 0], [0, 2, 0, 0], [3, 0, 0, 9]]"
    assert done.stdout.splitlines() == [counts if read else "refused" for read in ends.values()] * 2


def test_as_scipy_reads_it(tmp_path):
    matrix = sparse.random(40, 30, density=0.3, random_state=0, format="coo")
    matrix.data = np.ceil(matrix.data * 50).astype(int)
    io.mmwrite(tmp_path / "a.mtx", matrix)
    assert (read_mtx(tmp_path / "a.mtx") != io.mmread(tmp_path / "a.mtx").tocsr()).nnz == 0


def test_real_file_as_scipy_reads_it(shared_data):
    path = shared_data / "formats/10x_mtx_v3/matrix.mtx.gz"
    assert (read_mtx(path) != io.mmread(path).tocsr()).nnz == 0


def test_patterns_symmetric_matrices_arrays_and_entries_listed_twice(tmp_path):
    path = tmp_path / "a.mtx"
    path.write_text("%%MatrixMarket matrix coordinate pattern general\n2 3 2\n1 1\n2 3\n")
    assert read_mtx(path).toarray().tolist() == [[1, 0, 0], [0, 0, 1]]
    path.write_text("%%MatrixMarket MATRIX Coordinate Integer Symmetric\n2 2 2\n1 1 4\n2 1 3\n")
    assert read_mtx(path).toarray().tolist() == [[4, 3], [3, 0]]
    path.write_text("%%MatrixMarket matrix array real general\n2 3\n1\n2\n0\n4\n5\n0\n")
    assert read_mtx(path).toarray().tolist() == [[1, 0, 5], [2, 4, 0]]
    path.write_text(HEAD + "2 2 3\n1 1 4\n1 1 5\n2 2 1\n")
    assert read_mtx(path).toarray().tolist() == [[9, 0], [0, 1]]


def test_blocks_join(tmp_path, monkeypatch):
    matrix = np.random.default_rng(0).poisson(2.0, (9, 8))
    (tmp_path / "a.mtx").write_bytes(entries(matrix))
    monkeypatch.setattr("sclatent.io._formats.mtx._BLOCK", 7)
    assert np.array_equal(read_mtx(tmp_path / "a.mtx").toarray(), matrix)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1 1 1\n", "not a Matrix Market header"),
        ("%%MatrixMarket matrix coordinate complex general\n1 1 1\n1 1 1 1\n", "'coordinate complex general' holds no"),
        ("%%MatrixMarket matrix coordinate integer skew-symmetric\n1 1 0\n", "holds no counts"),
        ("%%MatrixMarket matrix coordinate integer symmetric\n1 2 0\n", "declared symmetric"),
        (HEAD, "ends before the line of its sizes"),
        (HEAD + "4 3\n", "expected 3 whole numbers"),
        (HEAD + "4 3 -1\n", "expected 3 whole numbers"),
        (HEAD + "4 3 1000000000000\n1 1 1\n", "more than a file of 73 bytes can hold"),
        ("%%MatrixMarket matrix array integer general\n100000 100000\n1\n", "more than a file of"),
        (HEAD + "4 3 2\n1 1 1\n", "declares 2 entries, but there are 1"),
        (HEAD + "4 3 1\n1 1 1\n2 2 2\n", "declares 1 entries, but there are more"),
        (HEAD + "4 3 1\n5 1 1\n", "in row 5, but there are 4 rows"),
        (HEAD + "4 3 1\n1 0 1\n", "in column 0, but there are 3 columns"),
        (HEAD + "4 3 1\n1 1 1 1\n", "have 4 fields, expected 3"),
        (HEAD + "4 3 1\n1 1 1.5.2\n", "cannot be read as Matrix Market"),
        (HEAD + "4 3 1\n1.5 1 1\n", "cannot be read as Matrix Market"),
        (HEAD + "1000000000 3 1\n1 1 1\n", "names for 3 cells and 4 genes"),
        (HEAD + "4 3 1\n1 1 -1\n", "a negative value"),
        (HEAD + "4 3 1\n1 1 nan\n", "missing or infinite, nan"),
        (HEAD + "4 3 1\nnan 1 1\n", "cannot be read as Matrix Market"),
        (HEAD + "4 3 1\n1 1 inf\n", "cannot be read as Matrix Market|missing or infinite"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_wrong_is_one_line(tmp_path, content, said, packed):
    path = folder(tmp_path / "m", gzip.compress(content.encode()) if packed else content.encode())
    said = "can hold" if packed and said.startswith("more than a file") else said
    with pytest.raises(InputError, match=said) as error:
        read_counts(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "names",
    [
        ("matrix.mtx", "barcodes.tsv", "genes.tsv"),
        ("quants_mat.mtx", "quants_mat_rows.txt", "quants_mat_cols.txt"),
        ("cells_x_genes.mtx", "cells_x_genes.barcodes.txt", "cells_x_genes.genes.txt"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_either_way_round_as_the_names_tell(tmp_path, names, turned):
    matrix = np.random.default_rng(0).poisson(2.0, (3, 4))
    adata = read_counts(folder(tmp_path / "m", entries(matrix if turned else matrix.T), names=names))
    assert np.array_equal(adata.X.toarray(), matrix)
    assert list(adata.var_names) == ["G0", "G1", "G2", "G3"]


def test_as_many_cells_as_genes_goes_by_the_tool(tmp_path):
    matrix = np.arange(16).reshape(4, 4)
    tenx = read_counts(folder(tmp_path / "a", entries(matrix.T), cells=4))
    names = ("quants_mat.mtx", "quants_mat_rows.txt", "quants_mat_cols.txt")
    alevin = read_counts(folder(tmp_path / "b", entries(matrix), cells=4, names=names))
    assert np.array_equal(tenx.X.toarray(), matrix)
    assert np.array_equal(alevin.X.toarray(), matrix)


def test_names_alone_and_names_in_other_dresses(tmp_path):
    matrix = np.random.default_rng(0).poisson(2.0, (3, 4))
    path = folder(tmp_path / "m", entries(matrix.T))
    (path / "genes.tsv").write_text(
        "ENSG00000000001.3\r\nENSG00000000002.1\r\nENSG00000000003.7\r\nENSG00000000004.9\r\n"
    )
    (path / "barcodes.tsv").unlink()
    (path / "barcodes.tsv.gz").write_text("AAAC1-1\r\nAAAC2-1\r\nAAAC3-1\r\n")
    adata = read_counts(path)
    assert list(adata.obs_names) == ["AAAC1-1", "AAAC2-1", "AAAC3-1"]
    assert list(adata.var["gene_ids"]) == list(adata.var_names)
    (path / "genes.tsv").write_text("ENSG1,A\nENSG2,B\nENSG3,C\nENSG4,D\n")
    with pytest.raises(InputError, match="found one column, such as 'ENSG1,A'"):
        read_counts(path)
    (path / "genes.tsv").write_text("ENSG1\tA\nENSG2\nENSG3\tC\nENSG4\tD\n")
    with pytest.raises(InputError, match="row 2 has 1 fields, others have 2"):
        read_counts(path)


def test_a_list_of_names_that_blows_up(tmp_path):
    path = folder(tmp_path / "m", entries(np.eye(4, 3, dtype=int)))
    (path / "barcodes.tsv").write_bytes(gzip.compress(b"A\n" * 5_000_000))
    with pytest.raises(InputError, match=r"holds more than \d+ names, many more than the matrix has rows or columns"):
        read_counts(path)
