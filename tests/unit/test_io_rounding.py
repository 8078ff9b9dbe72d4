"""Estimated counts become whole numbers when asked to, values that are whole but for an error always, logs never."""

import logging

import anndata
import numpy as np
import pytest
from scipy import sparse

import sclatent as sl
from sclatent.io import read_counts, read_dataset
from sclatent.io._rounding import Rounder, Rounding
from sclatent.settings import InputError, load_dataset


def write(path, matrix, **layers):
    adata = anndata.AnnData(matrix)
    adata.layers.update(layers)
    adata.write_h5ad(path)
    return path


@pytest.fixture
def counts():
    return np.random.default_rng(0).negative_binomial(1, 0.2, (60, 200)).astype(float)


@pytest.fixture
def estimated(counts):
    return np.maximum(counts - np.random.default_rng(1).random(counts.shape) * (counts > 0), 0)


def test_fractions_are_refused_and_the_line_names_the_key(tmp_path, estimated):
    with pytest.raises(InputError, match="need `round: nearest` or `round: stochastic`"):
        read_counts(write(tmp_path / "a.h5ad", estimated))


def test_nearest(tmp_path, estimated, caplog):
    adata = sl.read_counts(write(tmp_path / "a.h5ad", estimated), round="nearest")
    wanted = np.rint(estimated)
    assert np.array_equal(adata.X.toarray(), wanted)
    told = adata.uns["sclatent"]["read"]["round"]
    away = np.abs(wanted - estimated)
    assert told["how"] == "nearest"
    assert "seed" not in told
    assert told["n_values"] == np.count_nonzero(estimated)
    assert told["n_changed"] == np.count_nonzero(away)
    assert told["share_changed"] == told["n_changed"] / told["n_values"]
    assert told["n_to_zero"] == np.count_nonzero((wanted == 0) & (estimated > 0))
    assert told["mean_change"] == pytest.approx(away.sum() / told["n_changed"])
    assert told["largest_change"] == pytest.approx(away.max())
    assert told["sum_before"] == pytest.approx(estimated.sum())
    assert told["sum_after"] == wanted.sum()
    assert f"`round: nearest` changed {told['n_changed']} of the {told['n_values']} values of X" in caplog.text


def test_stochastic_draws_are_the_seed_s_and_none_else(tmp_path, estimated):
    """The same seed gives the same counts however the matrix is stored; another seed gives others."""
    forms = (np.asarray, sparse.csr_matrix, sparse.csc_matrix)
    paths = [write(tmp_path / f"{i}.h5ad", form(estimated)) for i, form in enumerate(forms)]
    first, *others = (read_counts(path, round="stochastic", round_seed=3) for path in paths)
    for other in others:
        assert np.array_equal(first.X.toarray(), other.X.toarray())
    assert first.uns["sclatent"]["read"]["round"]["seed"] == 3
    again = read_counts(paths[0], round="stochastic")
    assert not np.array_equal(first.X.toarray(), again.X.toarray())
    low, high = np.floor(estimated), np.ceil(estimated)
    assert ((first.X.toarray() == low) | (first.X.toarray() == high)).all()


def test_stochastic_keeps_the_mean_of_many_small_values(monkeypatch):
    monkeypatch.setattr("sclatent.io._rounding._BLOCK", 1000)
    values = np.full(100_000, 0.2)
    drawn = Rounder(Rounding("stochastic")).round(values)
    # five standard errors
    assert abs(drawn.mean() - 0.2) < 5 * np.sqrt(0.2 * 0.8 / len(values))
    assert set(drawn) == {0, 1}
    assert Rounder(Rounding("nearest")).round(values).sum() == 0


def test_a_real_set_of_estimates(shared_data):
    path = shared_data / "formats/h5ad/neurosphere_mouse_fractional.h5ad"
    nearest = read_counts(path, round="nearest")
    theirs = anndata.read_h5ad(shared_data / "neurosphere_mouse.h5ad")
    assert (nearest[:, theirs.var_names].X != theirs.X).nnz == 0
    told = read_counts(path, round="stochastic").uns["sclatent"]["read"]["round"]
    assert abs(told["sum_after"] / told["sum_before"] - 1) < 1e-3


def test_the_dataset_file_says_it_and_the_stage_file_keeps_it(tmp_path, estimated, make_settings):
    path = write(tmp_path / "a.h5ad", estimated)
    file = tmp_path / "d.yaml"
    file.write_text(f"counts: {{path: {path}, round: stochastic, round_seed: 7}}\n")
    adata = read_dataset(**load_dataset(file).parts(read_dataset))
    sl.io.write_h5ad(adata, tmp_path / "counts.h5ad")
    told = sl.io.read_h5ad(tmp_path / "counts.h5ad").uns["sclatent"]["read"]["samples"]["counts"]["round"]
    assert told["how"] == "stochastic"
    assert told["seed"] == 7
    assert told["n_changed"] > 0
    for keys, said in (
        ({"round": "up"}, "counts.0.round"),
        ({"round_seed": 3}, "`round_seed` is for `round: stochastic`"),
    ):
        with pytest.raises(ValueError, match=said):
            make_settings(counts={"path": "a.h5ad", **keys})
    with pytest.raises(InputError, match="`round: up`: must be nearest or stochastic"):
        read_counts(path, round="up")


@pytest.mark.parametrize("genes", [200, 80])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("logarithms: with log1p undone", lambda share: np.log1p(1e4 * share)),
        ("logarithms: with log1p undone", lambda share: np.log1p(1e4 * share).astype(np.float32)),
        ("logarithms: with log2", lambda share: np.log2(1e4 * share + 1)),
        ("normalised", lambda share: 1e6 * share),
        ("normalised", lambda share: share),
    ],
)
def test_normalised_values_are_refused_all_the_same(tmp_path, counts, name, change, genes):
    share = counts / counts.sum(axis=1, keepdims=True)
    path = write(tmp_path / "a.h5ad", change(share)[:, :genes])
    for how in ("nearest", "stochastic"):
        with pytest.raises(InputError, match=f"X cannot be rounded to counts: the values are {name}"):
            read_counts(path, round=how)


def test_logarithms_of_counts_and_scaled_values_are_refused_all_the_same(tmp_path, counts):
    with pytest.raises(InputError, match="with log1p undone, all of them are whole numbers"):
        read_counts(write(tmp_path / "a.h5ad", np.log1p(counts)), round="nearest")
    with pytest.raises(InputError, match="a negative value"):
        read_counts(write(tmp_path / "b.h5ad", counts - counts.mean(axis=0)), round="nearest")


def test_square_roots_of_counts_are_refused_all_the_same(tmp_path, counts):
    with pytest.raises(InputError, match="square roots: squared, all of them are whole numbers"):
        read_counts(write(tmp_path / "a.h5ad", np.sqrt(counts).astype(np.float32)), round="nearest")


def test_the_reason_is_the_true_one(tmp_path, counts):
    millions = np.log2(1e6 * counts / counts.sum(axis=1, keepdims=True) + 1)
    with pytest.raises(InputError, match=r"with log2\(x \+ 1\) undone, every cell has the sum 1e\+06"):
        read_counts(write(tmp_path / "a.h5ad", millions), round="nearest")


def test_large_estimates_are_no_whole_numbers_of_something_else(tmp_path):
    # above 500 a thousandth of a value is half a count: any number is that near to a whole one
    deep = np.random.default_rng(0).uniform(600, 3000, (10, 30))
    assert read_counts(write(tmp_path / "a.h5ad", deep), round="nearest").n_obs == 10


def test_split_reads_are_no_normalised_counts(tmp_path, counts):
    """Halves and thirds, as where a read fits several genes."""
    for i, parts in enumerate(
        (counts / 2, np.where(np.random.default_rng(2).random(counts.shape) < 0.5, counts / 2, counts / 3))
    ):
        assert read_counts(write(tmp_path / f"{i}.h5ad", parts), round="nearest").X.sum() == np.rint(parts).sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_whole_but_for_an_error(tmp_path, counts, dtype, form, caplog):
    near = (np.expm1(np.log1p(counts / 7 * 3)) / 3 * 7).astype(dtype)
    near[near > 0] += np.where(near[near > 0] % 2 < 1, 9e-4, -9e-4).astype(dtype)
    path = write(tmp_path / "a.h5ad", form(near), other=counts - 0.5)
    with caplog.at_level(logging.INFO):
        adata = read_counts(path)
    assert np.array_equal(adata.X.toarray(), counts)
    assert "are whole but for a rounding error (at most 0.0009): taken as whole" in caplog.text
    with pytest.raises(InputError, match=r"X holds whole numbers \(use remove `layer`\)"):
        read_counts(path, layer="other")


def test_what_is_farther_than_a_thousandth_is_a_fraction(tmp_path, counts):
    with pytest.raises(InputError, match=r"a fraction, 1\.0011"):
        read_counts(write(tmp_path / "a.h5ad", np.where(counts == 0, 0, counts + 0.0011) * (counts == 1)))


def test_shares_of_a_whole_are_no_zeros(tmp_path, counts):
    """Values that all are below a thousandth would vanish."""
    with pytest.raises(InputError, match="a fraction"):
        read_counts(write(tmp_path / "a.h5ad", counts / counts.sum() / 100))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_half_precision(tmp_path, counts, form):
    import h5py

    path = write(tmp_path / "a.h5ad", form(counts.astype(np.float32)))
    with h5py.File(path, "a") as file:
        name = "X/data" if "data" in getattr(file["X"], "keys", list)() else "X"
        values, about = file[name][:].astype(np.float16), dict(file[name].attrs)
        del file[name]
        file[name] = values
        file[name].attrs.update(about)
    assert np.array_equal(read_counts(path).X.toarray(), counts)


def test_half_precision_that_lost_units_is_said(tmp_path, caplog):
    import h5py

    with h5py.File(tmp_path / "a.loom", "w") as file:
        file["matrix"] = np.array([[2049, 3], [1, 2048]], dtype=np.float16)
        file["row_attrs/Gene"], file["col_attrs/CellID"] = np.array(["A", "B"], "S"), np.array(["c", "d"], "S")
    assert read_counts(tmp_path / "a.loom").X.sum() > 4000
    assert "half precision" not in caplog.text
    with h5py.File(tmp_path / "a.loom", "a") as file:
        file["matrix"][0, 0] = 3001
    read_counts(tmp_path / "a.loom")
    assert "values in half precision, up to 3000: above 2,048" in caplog.text


def normalised(counts, total):
    """Counts per `total` and cell; cells of different depth, as real ones."""
    depth = np.exp(np.random.default_rng(2).normal(0, 0.4, (len(counts), 1)))
    counts = np.random.default_rng(3).poisson(counts * depth)
    return counts / counts.sum(1, keepdims=True) * total


@pytest.mark.parametrize("total", [1e4, 1e5, 1e6])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_normalised_values_that_were_rounded_are_refused(tmp_path, counts, total, form):
    path = write(tmp_path / "a.h5ad", form(np.rint(normalised(counts, total))), counts=counts)
    line = r"whole numbers that are no counts but were normalised and rounded: .*`layer: counts`"
    with pytest.raises(InputError, match=line):
        read_counts(path)


def test_rounded_tpm_is_refused(tmp_path, counts):
    """Over the lengths of genes, so that no value stands for a count of 1."""
    per_base = counts / np.exp(np.random.default_rng(4).normal(0, 1, counts.shape[1]))
    tpm = per_base / per_base.sum(1, keepdims=True) * 1e6
    with pytest.raises(InputError, match="every cell has a sum of nearly 1,000,000"):
        read_counts(write(tmp_path / "a.h5ad", np.rint(tpm)))


@pytest.mark.parametrize("kind", ["downsampled", "deep", "even", "one value"])
def test_whole_counts_of_odd_kinds_are_read(tmp_path, counts, kind):
    rng = np.random.default_rng(5)
    odd = {
        "downsampled": np.array([rng.multinomial(1_000_000, cell / cell.sum()) for cell in counts + 0.1]),
        "deep": rng.poisson(300, counts.shape),
        "even": 2 * rng.poisson(counts),
        "one value": 7 * (counts > 2),
    }[kind]
    assert np.array_equal(read_counts(write(tmp_path / "a.h5ad", odd)).X.toarray(), odd)


@pytest.mark.parametrize("times", [2, 1000])
def test_counts_that_were_multiplied_are_told(tmp_path, caplog, times):
    cells = sl.simulate(60, 50, seed=0)
    cells.write_h5ad(tmp_path / "a.h5ad")
    cells.X = cells.X * times
    cells.write_h5ad(tmp_path / "b.h5ad")
    sl.read_counts(tmp_path / "a.h5ad")
    assert "multiples" not in caplog.text
    both = [{"name": name, "path": str(tmp_path / f"{name}.h5ad")} for name in "ab"]
    read = sl.io.read_dataset(counts=both)  # of the joined matrix no number is a divisor
    line = f"b.h5ad: all of the {cells.X.nnz} counts of X that are not 0 are multiples of {times}, as if"
    assert caplog.text.count(line) == 1
    sl.pp.prepare(read)
    assert caplog.text.count("multiples of") == 1
    sl.pp.prepare(cells)  # of a notebook, not of a file
    assert caplog.text.count(f"settings: all of the {cells.X.nnz} counts of X") == 1


def test_few_counts_with_a_common_divisor_are_chance(tmp_path, caplog):
    few = anndata.AnnData(np.full((3, 4), 2, dtype=np.float32))
    few.write_h5ad(tmp_path / "few.h5ad")
    sl.read_counts(tmp_path / "few.h5ad")
    assert "multiples" not in caplog.text
