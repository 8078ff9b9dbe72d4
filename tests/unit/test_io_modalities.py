"""Two modalities are read and joined by barcode, whatever files they come in."""

from __future__ import annotations

import logging
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multiome import multiome, peak_names
from scipy import sparse

import sclatent as sl
from sclatent.data.modalities import counts_of, further, measured
from sclatent.io._modalities import join_modalities
from sclatent.io._mudata import columns_stay
from sclatent.settings import InputError, ModalitiesSettings

BERNOULLI = ModalitiesSettings.model_validate({"rna": {}, "atac": {"counts": "-"}})


@pytest.fixture(scope="module")
def both() -> tuple[ad.AnnData, ad.AnnData]:
    rna, atac = multiome(60, 30, 40, seed=2)
    del rna.uns
    return rna, atac


def write(folder: Path, rna: ad.AnnData, atac: ad.AnnData) -> dict[str, dict[str, str]]:
    rna.write_h5ad(folder / "rna.h5ad")
    atac.write_h5ad(folder / "atac.h5ad")
    return {"rna": {"counts": str(folder / "rna.h5ad")}, "atac": {"counts": str(folder / "atac.h5ad")}}


def table(names: list[str], n_features: int, prefix: str, seed: int) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    features = peak_names(n_features) if prefix == "peak" else [f"{prefix}{i}" for i in range(n_features)]
    counts = sparse.csr_matrix(rng.poisson(0.7, (len(names), n_features)).astype(np.float32))
    return ad.AnnData(counts, obs=pd.DataFrame(index=names), var=pd.DataFrame(index=features))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.permutations([f"cell{i}" for i in range(9)]), st.integers(1, 9), st.integers(0, 8), st.integers(0, 10**6))
def test_every_cell_keeps_its_counts(order, n_rna, first, seed):
    ours, theirs = order[:n_rna], sorted(order)[first:]
    if not set(ours) & set(theirs):
        return
    rna, atac = table(ours, 4, "gene", seed), table(theirs, 6, "peak", seed + 1)
    out = join_modalities(rna, atac, BERNOULLI, "x.yaml")
    assert set(out.obs_names) == set(ours) | set(theirs)
    assert out.obs_names.is_unique
    for name in out.obs_names:
        at = out.obs_names.get_loc(name)
        has = (name in ours, name in theirs)
        assert (measured(out, "rna")[at], measured(out, "atac")[at]) == has
        for here, there, source in ((out.X, has[0], rna), (out.obsm["atac"], has[1], atac)):
            row = here[at].toarray().ravel()
            wanted = source[name].X.toarray().ravel() if there else np.zeros_like(row)
            assert np.array_equal(row, wanted)


def test_two_files(tmp_path, both):
    rna, atac = both
    modalities = write(tmp_path, rna[:50], atac[20:])
    out = sl.io.read_dataset(modalities=modalities, counts=modalities["rna"].pop("counts"))
    assert out.obs["measured"].value_counts().to_dict() == {"rna+atac": 30, "rna": 20, "atac": 10}
    assert further(out)["atac"].columns[-3:].tolist() == ["chrom", "start", "end"]
    assert np.array_equal(counts_of(out, "atac")[:20].toarray(), np.zeros((20, 40)))
    assert out.obs["batch"].notna().all()  # said by either file
    sl.io.write_h5ad(out, tmp_path / "counts.h5ad")
    again = sl.io.read_h5ad(tmp_path / "counts.h5ad")
    assert (counts_of(again, "atac") != counts_of(out, "atac")).nnz == 0
    assert further(again)["atac"].equals(further(out)["atac"])
    assert further(again[:5].copy())["atac"].index.equals(further(out)["atac"].index)


def test_columns_that_differ_are_kept_apart(tmp_path, both):
    rna, atac = both[0].copy(), both[1].copy()
    rna.obs["depth"], atac.obs["depth"] = 1.0, 2.0
    modalities = write(tmp_path, rna, atac)
    out = sl.io.read_dataset(modalities=modalities, counts=modalities["rna"].pop("counts"))
    assert (out.obs["depth"] == 1).all()
    assert (out.obs["atac_depth"] == 2).all()


def test_lanes_behind_the_barcode_do_not_matter(tmp_path, both, caplog):
    rna, atac = both[0].copy(), both[1].copy()
    rna.obs_names = [f"{name}-1" for name in rna.obs_names]
    modalities = write(tmp_path, rna, atac)
    with caplog.at_level(logging.INFO, logger="sclatent"):
        out = sl.io.read_dataset(modalities=modalities, counts=modalities["rna"].pop("counts"))
    assert (out.obs["measured"] == "rna+atac").all()
    assert list(out.obs_names) == list(rna.obs_names)
    assert "without the number after the barcode" in caplog.text


def write_10x(path: Path, rna: ad.AnnData, atac: ad.AnnData) -> None:
    """Write a multiome as Cell Ranger ARC does: features of both types in one matrix."""
    matrix = sparse.hstack([rna.X, atac.X], format="csr")
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array([name.encode() for name in rna.obs_names])
        group["data"], group["indices"] = matrix.data.astype(np.int32), matrix.indices.astype(np.int64)
        group["indptr"], group["shape"] = matrix.indptr.astype(np.int64), np.array(matrix.shape[::-1])
        features = group.create_group("features")
        names = [*rna.var_names, *atac.var_names]
        types = ["Gene Expression"] * rna.n_vars + ["Peaks"] * atac.n_vars
        for key, values in (("id", names), ("name", names), ("feature_type", types)):
            features[key] = np.array([value.encode() for value in values])
        features["genome"] = np.array([b"GRCh38"] * len(names))


def test_a_multiome_of_10x_holds_both(tmp_path, both):
    write_10x(tmp_path / "multiome.h5", *both)
    out = sl.io.read_dataset(counts=str(tmp_path / "multiome.h5"), modalities={"rna": None, "atac": None})
    assert list(out.var_names) == list(both[0].var_names)
    assert np.array_equal(out.X.toarray(), both[0].X.toarray())
    assert np.array_equal(counts_of(out, "atac").toarray(), both[1].X.toarray())


def test_an_h5ad_with_both_types_of_features(tmp_path, both):
    rna, atac = both
    whole = ad.concat([rna, atac], axis=1)
    whole.obs = rna.obs
    whole.var["feature_types"] = ["Gene Expression"] * rna.n_vars + ["Peaks"] * atac.n_vars
    whole.write_h5ad(tmp_path / "both.h5ad")
    out = sl.io.read_dataset(counts=str(tmp_path / "both.h5ad"), modalities={"rna": {}, "atac": {}})
    assert out.n_vars == rna.n_vars
    assert np.array_equal(counts_of(out, "atac").toarray(), atac.X.toarray())


@pytest.mark.parametrize("names", [("rna", "atac"), ("GEX", "Peaks"), ("one", "two")])
def test_a_mudata_holds_both(tmp_path, both, names):
    mudata = pytest.importorskip("mudata")
    rna, atac = both
    with columns_stay():
        mdata = mudata.MuData({names[0]: rna[:50].copy(), names[1]: atac[10:].copy()})
        mdata.obs["donor"] = [f"d{i % 2}" for i in range(mdata.n_obs)]
        mdata.write_h5mu(tmp_path / "x.h5mu")
    out = sl.io.read_dataset(counts=str(tmp_path / "x.h5mu"), modalities={"rna": None, "atac": None})
    assert out.obs["measured"].value_counts().to_dict() == {"rna+atac": 40, "rna": 10, "atac": 10}
    assert set(out.obs["donor"].astype(str)) == {"d0", "d1"}
    assert np.array_equal(out.X[:50].toarray(), rna[:50].X.toarray())


def refused(tmp_path: Path, rna: ad.AnnData, atac: ad.AnnData, **atac_keys: object) -> str:
    modalities = write(tmp_path, rna, atac)
    modalities["atac"] |= atac_keys
    with pytest.raises(InputError) as error:
        sl.io.read_dataset(counts=modalities["rna"].pop("counts"), modalities=modalities, file="x.yaml")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("x.yaml: ")
    return str(error.value)


def test_refused_in_one_line(tmp_path, both):
    rna, atac = both
    assert "peaks ('chr1:1000-1300', …), not of genes" in refused(tmp_path, atac, rna)
    assert "modalities.atac: the counts are of genes ('" in refused(tmp_path, rna, rna)
    unnamed = atac.copy()
    unnamed.var_names = [f"peak_{i}" for i in range(atac.n_vars)]
    assert "40 of 40 peaks have no coordinates that can be read, such as 'peak_0'" in refused(tmp_path, rna, unnamed)
    other = atac.copy()
    other.obs_names = [f"other{i}" for i in range(other.n_obs)]
    assert "rna and atac have no cell in common ('" in refused(tmp_path, rna, other)
    odd = atac.copy()
    odd.var_names = [*atac.var_names[:-1], "chr2:50-20"]
    assert "1 of 40 peaks have no coordinates that can be read, such as 'chr2:50-20'" in refused(tmp_path, rna, odd)
    twice = atac.copy()
    twice.var_names = [atac.var_names[1], *atac.var_names[1:]]
    assert f"the peak '{atac.var_names[1]}' occurs more than once" in refused(tmp_path, rna, twice)
    open_ = atac.copy()
    open_.X.data[:] = 1
    line = refused(tmp_path, rna, open_, likelihood="poisson")
    assert "modalities.atac.likelihood: poisson is of counts, but all values are 0 or 1" in line


def test_a_feature_type_for_a_file_without_any_is_refused(tmp_path, both):
    modalities = write(tmp_path, *both)
    modalities["atac"]["counts"] = [{"path": modalities["atac"]["counts"], "features": "Peaks"}]
    with pytest.raises(InputError, match="`features: Peaks` does not apply: the file names no feature types"):
        sl.io.read_dataset(counts=modalities["rna"].pop("counts"), modalities=modalities)


def test_several_samples_match_within_each(tmp_path, both):
    rna, atac = both
    modalities: dict[str, dict[str, list[dict[str, str]]]] = {"rna": {"counts": []}, "atac": {"counts": []}}
    for name in ("a", "b"):
        for kind, adata in (("rna", rna), ("atac", atac)):
            path = tmp_path / f"{kind}_{name}.h5ad"
            adata.write_h5ad(path)
            modalities[kind]["counts"].append({"path": str(path), "name": name})
    out = sl.io.read_dataset(modalities=modalities, counts=modalities["rna"].pop("counts"))
    assert out.n_obs == 2 * rna.n_obs
    assert (out.obs["measured"] == "rna+atac").all()
    assert set(out.obs["sample"]) == {"a", "b"}


def _two_samples(folder, rna, first, second):
    modalities: dict[str, dict[str, list[dict[str, str]]]] = {"rna": {"counts": []}, "atac": {"counts": []}}
    for name, peaks in (("a", first), ("b", second)):
        for kind, adata in (("rna", rna), ("atac", peaks)):
            path = folder / f"{kind}_{name}.h5ad"
            adata.write_h5ad(path)
            modalities[kind]["counts"].append({"path": str(path), "name": name})
    return {"counts": modalities["rna"].pop("counts"), "modalities": modalities}


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("spelled", ["{}-{}-{}", "{}_{}_{}", "GRCh38_{}:{}-{}"])
def test_a_peak_is_the_same_however_its_place_is_written(tmp_path, both, spelled, ids, caplog):
    rna, atac = both
    peaks = ad.AnnData(atac.X, obs=atac.obs[[]])
    places = [("chr1", 100 * i, 100 * i + 50) for i in range(atac.n_vars)]
    peaks.var_names = [f"{chrom}:{start}-{end}" for chrom, start, end in places]
    other = peaks[:, 1:].copy()
    other.var_names = [spelled.format(*place) for place in places[1:]]
    if ids:
        for adata in (peaks, other):
            adata.var["gene_ids"] = adata.var_names.to_numpy()
    with caplog.at_level("INFO"):
        out = sl.io.read_dataset(**_two_samples(tmp_path, rna, peaks, other))
    assert list(further(out)["atac"].index) == list(peaks.var_names[1:])
    counts = counts_of(out, "atac").toarray()
    assert np.array_equal(counts[: atac.n_obs], counts[atac.n_obs :])
    assert f"{atac.n_vars - 1} peaks (inner)" in caplog.text


def test_samples_whose_peaks_were_called_apart(tmp_path, both):
    rna, atac = both
    first, second = (ad.AnnData(atac.X, obs=atac.obs[[]]) for _ in range(2))
    first.var_names = [f"chr1:{100 * i}-{100 * i + 50}" for i in range(atac.n_vars)]
    second.var_names = [f"chr1:{100 * i + 1}-{100 * i + 50}" for i in range(atac.n_vars)]
    with pytest.raises(
        InputError, match=r"modalities.atac.counts: the samples have no peak in common \(a: 'chr1:0-50', b"
    ):
        sl.io.read_dataset(**_two_samples(tmp_path, rna, first, second))


def test_what_is_said_of_a_sample_holds_in_both_modalities(tmp_path, both):
    rna, atac = both
    given = _two_samples(tmp_path, rna[:-3].copy(), atac[2:].copy(), atac[2:].copy())
    for sample, lane in zip(given["counts"], (1, 2), strict=True):
        sample["lane"] = lane
    for sample, kit in zip(given["modalities"]["atac"]["counts"], ("v1", "v2"), strict=True):
        sample["kit"] = kit
    out = sl.io.read_dataset(**given)
    assert set(out.obs["measured"]) == {"rna", "atac", "rna+atac"}
    for column, first, second in (("lane", 1, 2), ("kit", "v1", "v2")):
        assert (out.obs[column].to_numpy() == np.where(out.obs["sample"] == "a", first, second)).all()
