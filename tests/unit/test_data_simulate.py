"""The simulator is what it says: moments, shares, geometry, determinism; and the demos are whole-number counts."""

import numpy as np
import pytest
from scipy import sparse, stats

import sclatent as sl
from sclatent.data import slots
from sclatent.settings import InputError


@pytest.fixture(scope="module")
def demo():
    return sl.data.demo("demo")


def test_the_defaults_are_the_documented_ones(demo):
    assert demo.shape == (2000, 1000)
    assert isinstance(demo.X, sparse.csr_matrix)
    assert demo.X.dtype == np.float32
    assert np.array_equal(demo.X.data, np.round(demo.X.data))
    assert demo.obs[slots.CELL_TYPE].nunique() == 4
    assert demo.obs[slots.BATCH].nunique() == 2
    assert abs(np.mean(~demo.obs[slots.TRUE_CYCLING]) - 0.3) < 0.04
    assert abs(np.median(demo.obs[slots.TRUE_LIBRARY]) / 2000 - 1) < 0.05
    amplitude = demo.var.loc[demo.var[slots.TRUE_CYCLING], slots.TRUE_AMPLITUDE]
    assert amplitude.between(0.35, 1.05).all()
    assert stats.kstest(amplitude, stats.uniform(0.35, 0.7).cdf).pvalue > 0.01
    share = demo.X[:, demo.var[slots.ON_LIST].to_numpy()].sum() / demo.X.sum()
    assert abs(share - 0.015) < 0.001
    log_library = np.log(demo.obs[slots.TRUE_LIBRARY])
    assert stats.shapiro(log_library).pvalue > 0.01


def test_as_many_cycling_genes_are_on_no_list(demo):
    on_list = demo.var[slots.ON_LIST]
    assert set(demo.var_names[on_list]) == set(sl.data.cycle_genes("human")["gene"])
    assert (demo.var[slots.TRUE_CYCLING] & ~on_list).sum() == on_list.sum()


def test_counts_are_negative_binomial_around_the_oracle(demo):
    fraction = np.exp(sl.data.oracle_log_fraction(demo))
    np.testing.assert_allclose(fraction.sum(axis=1), 1, rtol=1e-10)
    mu = fraction * demo.obs[slots.TRUE_LIBRARY].to_numpy()[:, None]
    counts = demo.X.toarray()
    z = (counts - mu) / np.sqrt(mu + mu**2 / 5)
    n = z.size
    assert abs(z.mean()) < 5 / np.sqrt(n)
    assert abs(z.var() - 1) < 0.03
    # the share of zeros is another moment, and scipy knows it
    expected = stats.nbinom.pmf(0, 5, 5 / (5 + mu)).mean()
    assert abs((counts == 0).mean() - expected) < 1e-3


def test_resting_cells_are_at_the_trough_of_every_cycling_gene(demo):
    rates = sl.data.oracle_log_fraction(demo)
    cycling = demo.var[slots.TRUE_CYCLING].to_numpy()
    other = np.flatnonzero(~cycling)
    first = (demo.obs[slots.CELL_TYPE] == "type1") & (demo.obs[slots.BATCH] == "batch1")
    resting = demo.obs[slots.TRUE_ANGLE].isna()
    # against the genes that do not cycle: what is left is amplitude × cosine
    relative = rates - rates[:, other[:1]]
    trough = relative[(first & resting).to_numpy()][0]
    assert np.all(relative[first.to_numpy()][:, cycling] >= trough[cycling] - 1e-9)
    assert np.allclose(relative[first.to_numpy()][:, other], trough[other])


def test_the_angle_grows_through_s_into_g2m(demo):
    obs = demo.obs.dropna(subset=[slots.TRUE_ANGLE])
    assert obs[slots.TRUE_ANGLE].between(0, 2 * np.pi).all()
    start = obs.groupby(slots.TRUE_PHASE, observed=True)[slots.TRUE_ANGLE].min()
    assert start["G1"] < start["S"] < start["G2M"]
    top = {c: obs[slots.TRUE_ANGLE][obs[c] > obs[c].quantile(0.95)].median() for c in (slots.TRUE_S, slots.TRUE_G2M)}
    assert top[slots.TRUE_S] < top[slots.TRUE_G2M]
    assert list(demo.obs[slots.TRUE_PHASE].cat.categories) == list(slots.PHASES)
    assert demo.obs[slots.TRUE_PHASE].isna().equals(~demo.obs[slots.TRUE_CYCLING])


def test_same_seed_same_counts():
    first, second, other = (sl.simulate(200, 60, seed=seed) for seed in (3, 3, 4))
    assert (first.X != second.X).nnz == 0
    assert first.obs.equals(second.obs)
    assert (first.X != other.X).nnz > 0


def test_the_oracle_survives_a_subset(demo):
    cells = np.flatnonzero(demo.obs[slots.CELL_TYPE] == "type3")[:20]
    part = demo[cells].copy()
    np.testing.assert_allclose(sl.data.oracle_log_fraction(part), sl.data.oracle_log_fraction(demo)[cells])


@pytest.mark.parametrize(
    "keys",
    [
        {"n_types": 1, "n_batches": 1},
        {"resting": 0.0},
        {"resting": 1.0},
        {"theta": np.inf},
        {"organism": "mouse"},
        {"amplitude": (0.0, 0.0)},
    ],
)
def test_corners(keys):
    adata = sl.simulate(60, 40, **keys)
    assert adata.shape == (60, 40)
    assert np.isfinite(sl.data.oracle_log_fraction(adata)).all()


def test_poisson_when_theta_is_infinite():
    adata = sl.simulate(3000, 20, theta=np.inf, seed=2)
    mu = np.exp(sl.data.oracle_log_fraction(adata)) * adata.obs[slots.TRUE_LIBRARY].to_numpy()[:, None]
    z = (adata.X.toarray() - mu) / np.sqrt(mu)
    assert abs(z.var() - 1) < 0.03


@pytest.mark.parametrize(
    "keys", [{"n_genes": 3}, {"n_cells": 0}, {"resting": 1.5}, {"theta": 0}, {"amplitude": (1, 0.5)}]
)
def test_arguments_out_of_range_get_one_line(keys):
    with pytest.raises(InputError, match="simulate:"):
        sl.simulate(**{"n_cells": 10, "n_genes": 20, **keys})


def test_pbmc68k_agrees_with_the_values_scanpy_ships():
    import scanpy as sc

    source, counts = sc.datasets.pbmc68k_reduced(), sl.data.pbmc68k()
    assert counts.shape == (700, 765)
    exact = np.expm1(source.raw.X.toarray().astype(np.float64)) * source.obs["n_counts"].to_numpy()[:, None] / 1e4
    assert np.abs(counts.X.toarray() - exact).max() < 0.1
    assert (counts.obs["n_umi_all_genes"] >= np.asarray(counts.X.sum(axis=1)).ravel()).all()
    # biology: monocytes express CST3, T cells CD3D
    per_type = {
        gene: counts.to_df()[gene].groupby(counts.obs["bulk_labels"], observed=True).mean() for gene in ("CST3", "CD3D")
    }
    assert per_type["CST3"]["CD14+ Monocyte"] > 10 * per_type["CST3"]["CD8+ Cytotoxic T"]
    assert per_type["CD3D"]["CD8+ Cytotoxic T"] > 5 * per_type["CD3D"]["CD14+ Monocyte"]


def test_write_demo(tmp_path):
    path = sl.data.write_demo("demo", tmp_path / "new" / "demo.h5ad")
    again = sl.io.read_counts(path)
    assert (again.X != sl.data.demo().X).nnz == 0
    assert [p.name for p in path.parent.iterdir()] == ["demo.h5ad"]
    with pytest.raises(InputError, match=r"did you mean 'pbmc68k'"):
        sl.data.demo("pbmc68")
