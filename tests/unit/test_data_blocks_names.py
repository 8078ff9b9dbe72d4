"""Packed names of cells: text to pandas and anndata, the same files, and none of them as a string of Python's."""

from __future__ import annotations

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.io import mmwrite

import sclatent as sl
from sclatent import bridge
from sclatent.data.blocks import dense, names
from sclatent.data.blocks.names import LONGEST, Names, NamesIndex
from sclatent.io import _stored
from sclatent.settings import InputError

strings_of_python = pytest.mark.skipif(
    pd.Index(["a"]).dtype != object, reason="pandas 3 keeps texts in one piece itself, and writes them in another way"
)
TEXTS = ["AAAC-1", "b", "", "Zelle é", "日本", "AAAC-10", "a" * LONGEST]


def packed(texts: list[str]) -> pd.Index:
    return pd.Index(Names(np.array([text.encode() for text in texts], dtype=np.bytes_)))


def cells(texts: list[str], name: str | None = None) -> ad.AnnData:
    n = len(texts)
    kinds = pd.Categorical.from_codes(np.arange(n) % 3 - 1, ["x", "y"])
    obs = pd.DataFrame({"a": np.arange(n) / 3, "kind": kinds, "on": np.arange(n) % 2 == 0}, index=pd.Index(texts))
    out = ad.AnnData(np.ones((n, 2), np.float32), obs=obs.rename_axis(name))
    out.uns["sclatent"] = {"qc": obs[["a"]].iloc[::-1].copy(), "read": {"total": 3}}
    return out


@strings_of_python
@pytest.mark.parametrize("name", [None, "barcode"])
@pytest.mark.parametrize("columns", [[], ["a", "kind", "on"]])
def test_the_file_of_packed_names_has_the_same_bytes(tmp_path, name, columns):
    for n in (0, 7, 70_000):
        made = cells(["é" * (i % 7) + f"cell{i}" for i in range(n)], name)
        made.obs = made.obs[columns]
        sl.io.write_h5ad(made, tmp_path / "first.h5ad")
        paths = []
        for how in (False, True):
            read = sl.io.read_h5ad(tmp_path / "first.h5ad", packed=how)
            assert isinstance(read.obs_names, NamesIndex) == how
            assert isinstance(read.uns["sclatent"]["qc"].index, NamesIndex) == how
            assert not isinstance(read.var_names, NamesIndex)
            paths.append(tmp_path / f"{how}.h5ad")
            sl.io.write_h5ad(read, paths[-1])
        assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("dtype", [object, str])
def test_an_index_of_packed_names_does_what_one_of_strings_does(dtype):
    ours, theirs = packed(TEXTS), pd.Index(TEXTS, dtype=dtype)
    assert list(ours) == TEXTS
    assert ours[3] == "Zelle é"
    assert ours.equals(theirs)
    assert theirs.equals(ours)
    assert not ours.equals(theirs[::-1])
    assert not packed(TEXTS[:-1]).equals(ours)
    assert ours.is_unique
    assert not ours.append(ours[1:2]).is_unique
    assert not packed(["b", "a", "b"]).is_unique
    assert ("日本" in ours, "x" in ours, 3 in ours) == (True, False, False)
    np.testing.assert_array_equal(ours == "b", theirs == "b")
    np.testing.assert_array_equal(ours.get_indexer(["b", "x", ""]), [1, -1, 2])
    np.testing.assert_array_equal(ours.isin(["b", "x"]), theirs.isin(["b", "x"]))
    np.testing.assert_array_equal(ours.argsort(), theirs.argsort())
    for pick in (slice(2, 5), [4, 0], np.arange(7) > 3, np.ones(7, bool)):
        assert isinstance(ours[pick], NamesIndex)
        assert list(ours[pick]) == list(theirs[pick])
    assert list(ours.append(pd.Index(["more"]))) == [*TEXTS, "more"]
    assert list(ours.astype(str)) == TEXTS
    assert list(ours.str.upper()) == list(theirs.str.upper())


def test_tables_of_packed_names_are_looked_up_by_name():
    ours = pd.DataFrame({"x": np.arange(7)}, index=packed(TEXTS))
    theirs = pd.DataFrame({"x": np.arange(7)}, index=TEXTS)
    for frame in (ours, theirs):
        assert frame.loc["b", "x"] == 1
        assert frame.loc[["日本", "b"], "x"].tolist() == [4, 1]
        assert (frame["x"] + theirs["x"]).loc[TEXTS].tolist() == (2 * np.arange(7)).tolist()
        assert frame.reindex(["b", "none"])["x"].isna().tolist() == [False, True]
        assert pd.concat([frame, theirs]).index.tolist() == TEXTS * 2


def test_anndata_takes_packed_names_as_text():
    made = cells(TEXTS)
    made.obs.index = packed(TEXTS)
    with pytest.warns(UserWarning, match="not unique"):
        ad.AnnData(obs=pd.DataFrame(index=packed(["a", "a"])))
    for part in (ad.AnnData(made.X, obs=made.obs), made[["日本", "b"]].copy(), made[made.obs["a"] > 0.5].copy()):
        assert isinstance(part.obs_names, NamesIndex)
    assert list(made[["日本", "b"]].obs_names) == ["日本", "b"]


@strings_of_python
def test_files_of_the_same_cells_share_packed_names_and_others_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(_stored, "SHARED", 3)
    some = [f"cell{i}" for i in range(9)]
    for name, texts in {"a": some, "b": some, "other": some[::-1], "wider": [*some[:-1], "cell8888"]}.items():
        sl.io.write_h5ad(cells(texts), tmp_path / f"{name}.h5ad")
    first, second = (bridge.read_h5ad(tmp_path / f"{name}.h5ad") for name in "ab")
    assert first.obs_names.array is second.obs_names.array
    for name in ("other", "wider", "a"):
        assert list(bridge.read_h5ad(tmp_path / f"{name}.h5ad").obs_names) == list(
            ad.read_h5ad(tmp_path / f"{name}.h5ad").obs_names
        )
    plain = sl.io.read_h5ad(tmp_path / "a.h5ad")
    assert not isinstance(plain.obs_names, NamesIndex)
    assert isinstance(bridge.read_h5ad(tmp_path / "a.h5ad").obs_names, NamesIndex)


@strings_of_python
def test_long_columns_lie_in_scratch_files_and_are_written_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(_stored, "COLUMN", 100)
    sl.io.write_h5ad(cells([f"cell{i}" for i in range(99)]), tmp_path / "a.h5ad")
    plain, found = sl.io.read_h5ad(tmp_path / "a.h5ad"), bridge.read_h5ad(tmp_path / "a.h5ad")
    assert dense.in_file(found.obs["a"].to_numpy())
    assert dense.in_file(found.uns["sclatent"]["qc"]["a"].to_numpy())
    assert not dense.in_file(found.obs["on"].to_numpy())  # 99 bytes
    assert not dense.in_file(plain.obs["a"].to_numpy())
    pd.testing.assert_frame_equal(found.obs.reset_index(drop=True), plain.obs.reset_index(drop=True))
    for name, read in (("plain", plain), ("packed", found)):
        sl.io.write_h5ad(read, tmp_path / name)
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "packed").read_bytes()


def test_very_long_names_stay_strings(tmp_path):
    sl.io.write_h5ad(cells([*TEXTS, "a" * (LONGEST + 1)]), tmp_path / "a.h5ad")
    found = bridge.read_h5ad(tmp_path / "a.h5ad")
    assert not isinstance(found.obs_names, NamesIndex)
    assert found.obs_names[-1] == "a" * (LONGEST + 1)


@strings_of_python
def test_names_that_are_no_text_are_refused(tmp_path):
    import h5py

    sl.io.write_h5ad(cells(TEXTS), tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        file["obs/_index"][0] = b"\xff\xfe"
    with pytest.raises(sl.InputError, match=r"a\.h5ad: cannot be read as h5ad: it is not UTF-8 text"):
        bridge.read_h5ad(tmp_path / "a.h5ad")


def test_names_are_packed_only_where_they_come_back_as_they_were(monkeypatch):
    monkeypatch.setattr(names, "MANY", 3)
    texts = ["é1", "", "cell", "x" * 60]
    found = names.pack(pd.Index(texts))
    assert isinstance(found, NamesIndex)
    assert list(found) == texts
    for other in (["a", "b"], ["a", "b", "c\0"], ["a", "b", "x" * 65], ["a", "b", 3], ["a", "b", None], [1, 2, 3]):
        index = pd.Index(other)
        assert names.pack(index) is index


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("kind", ["h5ad", "10x h5", "10x folder"])
def test_counts_of_many_cells_have_the_names_of_the_file(tmp_path, monkeypatch, kind, twice):
    """They are packed while the counts are read, and Python's strings afterwards."""
    made = sl.simulate(60, 30, seed=0)
    barcodes = [f"AAé{i}" for i in range(60)]
    if twice:
        barcodes[7] = barcodes[3]
    counts, genes = made.X.tocsr(), list(made.var_names)
    path = tmp_path / kind.replace(" ", ".")
    if kind == "h5ad":
        ad.AnnData(counts, obs=pd.DataFrame(index=barcodes), var=pd.DataFrame(index=genes)).write_h5ad(path)
    elif kind == "10x h5":
        with h5py.File(path, "w") as file:
            group = file.create_group("matrix")
            for name, array in (("data", counts.data), ("indices", counts.indices), ("indptr", counts.indptr)):
                group[name] = array
            group["shape"], group["barcodes"] = counts.shape[::-1], barcodes
            for name, text in (("name", genes), ("id", genes), ("feature_type", ["Gene Expression"] * len(genes))):
                group[f"features/{name}"] = text
    else:
        path.mkdir()
        mmwrite(path / "matrix.mtx", counts.T.astype(int))
        (path / "barcodes.tsv").write_text("".join(f"{name}\n" for name in barcodes), encoding="utf-8")
        (path / "features.tsv").write_text("".join(f"{g}\t{g}\tGene Expression\n" for g in genes), encoding="utf-8")
    monkeypatch.setattr(names, "MANY", 10)
    if twice:
        with pytest.raises(InputError, match=r"1 cell name\(s\) occur more than once, such as 'AAé3'"):
            sl.io.read_counts(path)
        return
    read = sl.io.read_counts(path)
    assert type(read.obs.index) is pd.Index
    assert list(read.obs_names) == barcodes
    assert (counts != read.X).nnz == 0
