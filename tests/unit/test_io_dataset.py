"""Samples are joined, metadata is joined, downloads are checked, and nothing is left half-written."""

import functools
import hashlib
import http.server
import json
import logging
import threading

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import sclatent as sl
from sclatent.io import fetch, read_counts, read_dataset, read_h5ad, write_h5ad, write_json, write_table
from sclatent.io._counts import tidy
from sclatent.io._dataset import add_column
from sclatent.settings import InputError


def sample(path, matrix, genes, *, cells=None, obs=None, ids=None):
    cells = cells or [f"AAAC{i}-1" for i in range(len(matrix))]
    var = pd.DataFrame(index=genes)
    if ids:
        var["gene_ids"] = ids
    anndata.AnnData(np.asarray(matrix, dtype=np.float32), pd.DataFrame(obs or {}, index=cells), var).write_h5ad(path)
    return str(path)


@pytest.fixture
def two(tmp_path):
    a = sample(tmp_path / "a.h5ad", [[1, 2, 3], [4, 5, 6]], ["A", "B", "C"], obs={"day": [1, 2]})
    b = sample(tmp_path / "b.h5ad", [[7, 8], [9, 10], [11, 12]], ["C", "A"], obs={"site": list("xyx")})
    return [{"name": "s1", "path": a, "donor": "d1"}, {"name": "s2", "path": b, "donor": "d2"}]


def test_samples_are_joined_over_common_genes(two):
    adata = read_dataset(counts=two)
    assert list(adata.obs_names) == ["AAAC0-1-s1", "AAAC1-1-s1", "AAAC0-1-s2", "AAAC1-1-s2", "AAAC2-1-s2"]
    assert list(adata.var_names) == ["A", "C"]
    assert adata.X.toarray().tolist() == [[1, 3], [4, 6], [8, 7], [10, 9], [12, 11]]
    assert adata.X.dtype == np.float32
    assert adata.X.has_sorted_indices
    assert list(adata.obs["sample"]) == ["s1", "s1", "s2", "s2", "s2"]
    assert list(adata.obs["donor"]) == ["d1", "d1", "d2", "d2", "d2"]
    assert list(adata.obs["day"].isna()) == [False, False, True, True, True]
    assert list(adata.obs["site"][2:]) == ["x", "y", "x"]
    assert set(adata.uns["sclatent"]["read"]["samples"]) == {"s1", "s2"}


def test_outer_join_fills_with_zeros(two):
    adata = read_dataset(counts=two, join="outer")
    assert list(adata.var_names) == ["A", "B", "C"]
    assert adata.X.toarray().tolist() == [[1, 2, 3], [4, 5, 6], [8, 0, 7], [10, 0, 9], [12, 0, 11]]


def test_joining_as_anndata_does(simulated, tmp_path):
    counts = []
    rng = np.random.default_rng(0)
    parts = {}
    for name in ("a", "b", "c"):
        genes = rng.permutation(simulated.n_vars)[:150]
        part = simulated[rng.permutation(300)[:50], genes].copy()
        parts[name] = anndata.AnnData(part.X, part.obs[["batch"]], pd.DataFrame(index=part.var_names))
        parts[name].write_h5ad(tmp_path / f"{name}.h5ad")
        counts.append({"name": name, "path": str(tmp_path / f"{name}.h5ad")})
    for join in ("inner", "outer"):
        ours = read_dataset(counts=counts, join=join)
        theirs = anndata.concat(parts, join=join, index_unique="-", fill_value=0)[:, ours.var_names]
        assert np.array_equal(ours.X.toarray(), theirs.X.toarray())
        assert list(ours.obs_names) == list(theirs.obs_names)
        assert ours.n_vars == len(theirs.var_names)


def test_genes_are_matched_by_id_where_all_samples_have_them(tmp_path):
    a = sample(tmp_path / "a.h5ad", [[1, 2]], ["OLD", "B"], ids=["id1", "id2"])
    b = sample(tmp_path / "b.h5ad", [[3, 4]], ["B", "NEW"], ids=["id2", "id1"])
    adata = read_dataset(counts=[{"name": "a", "path": a}, {"name": "b", "path": b}])
    assert list(adata.var_names) == ["OLD", "B"]
    assert list(adata.var["gene_ids"]) == ["id1", "id2"]
    assert adata.X.toarray().tolist() == [[1, 2], [4, 3]]


def test_samples_without_common_genes(tmp_path):
    a = sample(tmp_path / "a.h5ad", [[1]], ["ENSG00000000001"])
    b = sample(tmp_path / "b.h5ad", [[3]], ["TP53"])
    with pytest.raises(InputError, match=r"no gene in common \(a: 'ENSG00000000001', b: 'TP53'"):
        read_dataset(counts=[{"name": "a", "path": a}, {"name": "b", "path": b}])


def test_one_sample_keeps_its_barcodes_and_an_incoming_column_is_not_lost(tmp_path, caplog):
    path = sample(tmp_path / "a.h5ad", [[1], [2]], ["A"], obs={"sample": ["x", "y"], "donor": ["d", "d"]})
    with caplog.at_level(logging.INFO):
        adata = read_dataset(counts={"path": path, "name": "s", "donor": "d"})
    assert list(adata.obs_names) == ["AAAC0-1", "AAAC1-1"]
    assert list(adata.obs["sample"]) == ["s", "s"]
    assert list(adata.obs["sample_input"]) == ["x", "y"]
    assert "donor_input" not in adata.obs
    assert "kept as 'sample_input'" in caplog.text


def test_add_column_tells_equal_from_different():
    obs = pd.DataFrame({"n": [1.0, 2.0, np.nan], "t": pd.Categorical(["a", "b", "a"])})
    add_column(obs, "n", np.array([1.0, 2.0, np.nan], dtype=np.float32), "x")
    add_column(obs, "t", ["a", "b", "a"], "x")
    assert list(obs) == ["n", "t"]
    add_column(obs, "n", np.array([1.0, 2.0, 3.0]), "x")
    assert list(obs) == ["n", "t", "n_input"]
    # what was kept before is not written over
    add_column(obs, "n", np.array([5.0, 2.0, 4.0]), "x")
    assert np.isnan(obs["n_input"][2])
    assert obs["n_input_2"][2] == 3.0
    assert obs["n"][2] == 4.0


@pytest.fixture
def one(tmp_path):
    return sample(tmp_path / "a.h5ad", [[1, 2], [3, 4], [5, 6]], ["A", "B"], cells=["c1", "c2", "c3"])


@pytest.mark.parametrize(
    "text",
    [
        "cell\ttype\tage\nc3\tT\t30\nc1\tB\t10\nx\tB\t0\n",
        "type\tage\nc3\tT\t30\nc1\tB\t10\nx\tB\t0\n",
        '"cell","type","age"\n"c3","T",30\n"c1","B",10\n"x","B",0\n',
        "\ufeffcell;type;age\r\nc3;T;30\r\nc1;B;10\r\nx;B;0\r\n",
        "\ncell\ttype\tage\n\nc3\tT\t30\nc1\tB\t10\n\nx\tB\t0\n",
    ],
)
def test_metadata_is_joined_on_the_barcode(tmp_path, one, text, caplog):
    path = tmp_path / "m.txt"
    path.write_bytes(text.encode())
    with caplog.at_level(logging.INFO):
        adata = read_dataset(counts=one, metadata=str(path))
    assert list(adata.obs["type"].astype(object).fillna("-")) == ["B", "-", "T"]
    assert adata.obs["age"].iloc[[0, 2]].tolist() == [10, 30]
    assert "2 of 3 cells matched (66.7 %); 1 rows of the table match none" in caplog.text
    assert adata.uns["sclatent"]["read"]["metadata"]["matched"] == 2
    write_h5ad(adata, tmp_path / "out.h5ad")
    assert list(read_h5ad(tmp_path / "out.h5ad").obs["age"].isna()) == [False, True, False]


def test_metadata_with_plain_barcodes_and_a_sample_column(two, tmp_path):
    table = pd.DataFrame({"barcode": ["AAAC0-1", "AAAC0-1"], "sample": ["s1", "s2"], "type": ["T", "B"]})
    table.to_csv(tmp_path / "m.csv", index=False)
    adata = read_dataset(counts=two, metadata=str(tmp_path / "m.csv"))
    assert list(adata.obs["type"].astype(object).fillna("-")) == ["T", "-", "B", "-", "-"]
    assert list(adata.obs["sample"]) == ["s1", "s1", "s2", "s2", "s2"]


def test_metadata_with_barcodes_that_no_two_samples_share(two, tmp_path):
    cells = [f"GGTT{i}-1" for i in range(3)]
    two[1]["path"] = sample(tmp_path / "c.h5ad", [[7, 8], [9, 10], [11, 12]], ["C", "A"], cells=cells)
    (tmp_path / "m.csv").write_text("barcode,kind\nAAAC1-1,a\nGGTT0-1,b\n")
    adata = read_dataset(counts=two, metadata=str(tmp_path / "m.csv"))
    assert adata.obs["kind"].dropna().to_dict() == {"AAAC1-1-s1": "a", "GGTT0-1-s2": "b"}


def test_metadata_with_a_barcode_of_two_samples(two, tmp_path):
    (tmp_path / "m.csv").write_text("barcode,kind\nAAAC1-1,a\nAAAC2-1,b\n")
    said = r"m.csv: the barcode 'AAAC1-1' is that of cells of several samples \('s1', 's2'\): .* column 'sample'"
    with pytest.raises(InputError, match=said):
        read_dataset(counts=two, metadata=str(tmp_path / "m.csv"))


def test_samples_called_01_and_02_match_the_table(two, tmp_path):
    counts = [sample | {"name": name} for sample, name in zip(two, ("01", "02"), strict=True)]
    (tmp_path / "m.csv").write_text("bc,sample,type\nAAAC0-1,01,T\nAAAC0-1,02,B\n")
    adata = read_dataset(counts=counts, metadata=str(tmp_path / "m.csv"))
    assert list(adata.obs["type"].astype(object).fillna("-")) == ["T", "-", "B", "-", "-"]
    assert list(adata.obs["sample"].astype(str).unique()) == ["01", "02"]


def test_names_in_metadata_survive_reading_and_writing(one, tmp_path):
    (tmp_path / "m.csv").write_text("cell,id,region,long\nc1,001,NA,9007199254740993\nc2,1,EU,9007199254740992\n")
    adata = read_dataset(counts=one, metadata=str(tmp_path / "m.csv"))
    write_h5ad(adata, tmp_path / "out.h5ad")
    obs = read_h5ad(tmp_path / "out.h5ad").obs
    assert list(obs["id"].astype(object).fillna("-")) == ["001", "1", "-"]
    assert list(obs["region"].astype(object).fillna("-")) == ["NA", "EU", "-"]
    assert list(obs["long"].astype(object).fillna("-")) == ["9007199254740993", "9007199254740992", "-"]


def test_long_ids_of_a_count_file_keep_their_digits_where_a_sample_has_none(tmp_path):
    a = sample(tmp_path / "a.h5ad", [[1, 2]], ["A", "B"], obs={"id": [2**53 + 1]})
    b = sample(tmp_path / "b.h5ad", [[1, 2]], ["A", "B"])
    adata = read_dataset(counts=[{"name": "a", "path": a}, {"name": "b", "path": b}])
    assert adata.obs["id"].iloc[0] == "9007199254740993"


def test_a_column_of_a_sample_that_is_called_sample_is_kept(two):
    adata = read_dataset(counts=[two[0] | {"sample": "x"}, two[1]])
    assert list(adata.obs["sample"].astype(str).unique()) == ["s1", "s2"]
    assert list(adata.obs["sample_input"].astype(object).fillna("-")) == ["x", "x", "-", "-", "-"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cell,type\nz1,T\n", "no barcode matches the counts: the table has 'z1', the counts have 'c1'"),
        ("cell,type\nc1,T\nc1,B\n", "'c1' occurs more than once"),
        ("cell,type\n", "no cell in it"),
        ("", "no cell in it"),
        ("cell\nc1\n", "one field only"),
        ("cell,type\nc1,T,x,y\n", "header has 2 fields, the rows have 4"),
        ("cell,type,type\nc1,T,x\n", "2 columns are called 'type': give them different names"),
    ],
)
def test_metadata_that_cannot_be_joined(tmp_path, one, text, said):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_dataset(counts=one, metadata=str(tmp_path / "m.csv"))


def test_a_missing_metadata_file(one):
    with pytest.raises(InputError, match=r"none.tsv: no such file \(metadata\)"):
        read_dataset(counts=one, metadata="none.tsv")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def site(tmp_path):
    """Serve a folder over HTTP on this machine."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_download_with_checksum(site, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder, url = site
    sample(folder / "a.h5ad", [[1, 2]], ["A", "B"])
    good = hashlib.sha256((folder / "a.h5ad").read_bytes()).hexdigest()
    target = tmp_path / "data" / "a.h5ad"
    counts = {"path": str(target), "url": f"{url}/a.h5ad", "sha256": good}
    assert read_dataset(counts=counts).shape == (1, 2)
    (folder / "a.h5ad").unlink()
    assert read_dataset(counts=counts).shape == (1, 2), "a file that is there is not fetched again"

    with pytest.raises(InputError, match="checksum mismatch: expected sha256 0000"):
        read_dataset(counts={**counts, "sha256": "0" * 64})
    target.unlink()
    with pytest.raises(InputError, match=r"cannot fetch .*404"):
        read_dataset(counts=counts)
    (folder / "a.h5ad").write_bytes(b"something else")
    with pytest.raises(InputError, match="checksum mismatch"):
        read_dataset(counts=counts)
    assert list(target.parent.iterdir()) == [], "nothing half-written"


def test_a_download_without_an_end(site, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder, url = site
    (folder / "a.h5ad").write_bytes(bytes(300_000))
    monkeypatch.setattr("sclatent.io._download.LARGEST", 100_000)
    with pytest.raises(InputError, match="it is larger than the free space on the disk"):
        fetch(tmp_path / "data/a.h5ad", url=f"{url}/a.h5ad", sha256="0" * 64)
    assert list((tmp_path / "data").iterdir()) == [], "nothing half-written"


def test_a_host_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(InputError, match="cannot fetch"):
        fetch(tmp_path / "a.h5ad", url="http://127.0.0.1:9/a.h5ad", sha256="0" * 64)
    with pytest.raises(InputError, match="no such file"):
        fetch(tmp_path / "a.h5ad")
    with pytest.raises(InputError, match="is a folder"):
        fetch(tmp_path, sha256="0" * 64)


def test_writers_leave_the_old_file_when_they_fail(tmp_path):
    path = tmp_path / "x" / "a.json"
    write_json({"a": 1}, path)
    with pytest.raises(TypeError):
        write_json({"a": object()}, path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]
    adata = anndata.AnnData(sparse.csr_matrix(np.eye(2)))
    adata.uns["cannot"] = object()
    with pytest.raises(Exception, match="writ"):
        write_h5ad(adata, tmp_path / "y" / "a.h5ad")
    assert list((tmp_path / "y").iterdir()) == []


def test_json_is_plain(tmp_path):
    write_json(
        {"n": np.int64(3), "x": np.float32(0.5), "bad": [np.nan, np.inf], "v": np.arange(2)}, tmp_path / "a.json"
    )
    assert json.loads((tmp_path / "a.json").read_text()) == {"n": 3, "x": 0.5, "bad": [None, None], "v": [0, 1]}


def test_tables_and_h5ad_have_the_same_bytes_twice(tmp_path, simulated):
    for i in (1, 2):
        write_table(pd.DataFrame({"a": [1 / 3, np.nan], "b": ["x", None]}), tmp_path / f"{i}.tsv")
        write_h5ad(simulated, tmp_path / f"{i}.h5ad")
    assert (tmp_path / "1.tsv").read_bytes() == (tmp_path / "2.tsv").read_bytes() == b"a\tb\n0.33333333\tx\n\t\n"
    assert (tmp_path / "1.h5ad").read_bytes() == (tmp_path / "2.h5ad").read_bytes()


def test_what_was_written_can_be_read_as_counts(tmp_path, simulated):
    write_h5ad(simulated, tmp_path / "a.h5ad")
    assert read_counts(tmp_path / "a.h5ad").shape == simulated.shape


def test_names_can_be_read_without_the_matrix(tmp_path):
    adata = anndata.AnnData(
        np.ones((3, 2), np.float32), pd.DataFrame({"d": [1, 2, 3]}, index=list("abc")), pd.DataFrame(index=list("xy"))
    )
    write_h5ad(adata, tmp_path / "out.h5ad")
    names = read_h5ad(tmp_path / "out.h5ad", names_only=True)
    assert names.X is None
    assert list(names.obs["d"]) == [1, 2, 3]
    assert list(names.var_names) == ["x", "y"]
    names.file.close()


def test_reading_a_stage_file_that_is_damaged(tmp_path):
    (tmp_path / "a.h5ad").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="cannot be read as h5ad"):
        read_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(InputError, match="no such file"):
        read_h5ad(tmp_path / "b.h5ad")


COLUMNS = {
    "text with a gap, each another": (["a", "b", "c", None], ["a", "b", "c", None]),
    "nothing at all": ([None] * 4, [None] * 4),
    "nullable truth": (pd.array([True, None, True, False], dtype="boolean"), ["True", None, "True", "False"]),
    "full nullable truth": (pd.array([True, True, True, False], dtype="boolean"), [True, True, True, False]),
    "nullable whole numbers": (pd.array([1, None, 2, 3], dtype="Int64"), [1.0, None, 2.0, 3.0]),
    "full nullable whole numbers": (pd.array([1, 4, 2, 3], dtype="Int64"), [1, 4, 2, 3]),
    "days": (pd.to_datetime(["2020-01-01", None, None, None]), ["2020-01-01 00:00:00", None, None, None]),
    "mixed": ([1, "x", None, 2.5], ["1", "x", None, "2.5"]),
    "intervals": (pd.cut([1, 2, 3, 4], [0, 2, 4]), ["(0, 2]", "(0, 2]", "(2, 4]", "(2, 4]"]),
    "a/slash": ([1, 2, 3, 4], [1, 2, 3, 4]),
}


@pytest.mark.parametrize("name", list(COLUMNS))
def test_columns_survive_h5ad(tmp_path, name):
    given, expected = COLUMNS[name]
    obs = tidy(pd.DataFrame({name: given}, index=list("wxyz")), "x", "obs")
    write_h5ad(anndata.AnnData(np.eye(4), obs), tmp_path / "a.h5ad")
    (again,) = (column for _, column in read_h5ad(tmp_path / "a.h5ad").obs.items())
    assert [None if gap else value for value, gap in zip(again, again.isna(), strict=True)] == expected
    assert again.name == name.replace("/", "_")


def test_a_column_name_that_h5ad_keeps_to_itself(tmp_path, one):
    (tmp_path / "m.csv").write_text("cell,_index,index\nc1,a,x\nc2,b,y\nc3,a,z\n")
    adata = read_dataset(counts=one, metadata=str(tmp_path / "m.csv"))
    write_h5ad(adata, tmp_path / "out.h5ad")
    obs = read_h5ad(tmp_path / "out.h5ad").obs
    assert sorted(map(list, (obs[name].astype(str) for name in obs))) == [["a", "b", "a"], ["x", "y", "z"]]


def test_the_package_does_not_load_readers_before_they_are_used(root):
    import subprocess
    import sys

    heavy = "('torch', 'scanpy', 'anndata')"
    code = f"import sys, sclatent, sclatent.io, sclatent.pp; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root / "src")
    assert done.stdout.strip() == "[]"
    assert sl.io.read_dataset is read_dataset
