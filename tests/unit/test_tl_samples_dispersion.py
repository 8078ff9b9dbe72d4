"""Counts scatter less in deep cells, or more with a level: drawn cells express as many genes as cells of that depth."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.stats import nbinom

import sclatent as sl
from sclatent.model import Batches
from sclatent.tl._model.inputs import inputs
from sclatent.tl._samples import dispersion
from sclatent.tl._samples.dispersion import GRID, Dispersion, expressed, fit_dispersion, log_density

GENES, CELLS = 150, 600
MODEL = {"n_latent": 1, "epochs": 12, "refit": False, "decoder": "linear"}


def world(slope: float, levels: float = 0.0, seed: int = 0) -> ad.AnnData:
    """Cells of one type whose θ is a power of their depth, times a factor in the second batch."""
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.full(GENES, 2.0))
    depth = rng.lognormal(5.5, 0.8, CELLS)
    second = rng.random(CELLS) < 0.5
    theta = 0.7 * (depth / np.exp(5.5)) ** slope * np.exp(levels * second)
    mean = depth[:, None] * share
    counts = rng.poisson(mean * rng.standard_gamma(np.broadcast_to(theta[:, None], mean.shape)) / theta[:, None])
    counts[:, 0] += 1
    cells = ad.AnnData(sparse.csr_matrix(counts, dtype=np.float32))
    cells.obs_names, cells.var_names = [f"c{i}" for i in range(CELLS)], [f"g{i}" for i in range(GENES)]
    cells.obs["split"] = rng.permuted(np.repeat(["train", "validation", "test"], [400, 50, 150]))
    cells.obs["library_size"] = counts.sum(1).astype(float)
    cells.obs["batch"] = np.where(second, "b", "a")
    cells.var["in_model"] = True
    return cells


def number_at_depths(counts: sparse.csr_matrix) -> np.ndarray:
    """Mean share of expressed genes in shallow, middling and deep cells, the depth of each third being fixed."""
    total, genes = np.asarray(counts.sum(1)).ravel(), np.diff(counts.indptr) / GENES
    third = np.digitize(total, [170, 350])
    return np.array([genes[third == k].mean() for k in range(3)])


@pytest.fixture(scope="module")
def deep():
    cells = world(0.8)
    trained = sl.tl.train(cells, model=MODEL)
    return cells, trained, sl.tl.density(cells, trained)


def test_deep_cells_express_as_many_genes_as_real_ones(deep):
    cells, trained, density = deep
    assert density.dispersion is not None
    assert 0.4 < density.dispersion.slope < 1.2
    assert density.about["dispersion"]["all"] > 0.1
    without = replace(density, dispersion=None)
    real, now, before = (
        number_at_depths(x)
        for x in (cells.X, *(sl.tl.sample(trained, 3000, density=one).X for one in (density, without)))
    )
    assert np.abs(now - real).max() < 0.5 * np.abs(before - real).max()


def test_what_does_not_depend_on_depth_is_left_as_it_is():
    cells = world(0.0)
    density = sl.tl.density(cells, sl.tl.train(cells, model=MODEL))
    assert density.dispersion is None or abs(density.dispersion.slope) < 0.15


def test_levels_may_scatter_each_in_its_own_way():
    cells = world(0.0, 1.5)
    density = sl.tl.density(cells, sl.tl.train(cells, batch="batch", model=MODEL))
    assert density.about["dispersion"]["levels"] > density.about["dispersion"]["all"]
    assert density.dispersion is not None
    first, second, _ = density.dispersion.offsets
    assert 0.7 < second - first < 2.3


def test_a_few_cells_tell_nothing(deep):
    cells, trained, _ = deep
    assert sl.tl.density(cells[:49].copy(), trained).about["dispersion"] == {}


def test_a_saved_density_keeps_it(deep, tmp_path):
    _, trained, density = deep
    density.save(tmp_path / "density.npz")
    again = sl.tl.Density.load(tmp_path / "density.npz")
    drawn = [sl.tl.sample(trained, 50, density=one).X.toarray() for one in (density, again)]
    assert np.array_equal(*drawn)
    replace(density, dispersion=None).save(tmp_path / "none.npz")
    assert sl.tl.Density.load(tmp_path / "none.npz").dispersion is None


def test_beyond_the_depths_that_were_seen_nothing_changes():
    one = Dispersion(np.array([0.5, -0.5, 0.0]), 1.0, np.log([100.0, 200.0, 400.0]))
    levels = np.array([0, 1, -1, -1, -1, -1])
    found = np.log(one.factors(np.array([200.0, 200.0, 200.0, 1e9, 400.0, 1e-9]), levels))
    assert np.allclose(found, [0.5, -0.5, 0, np.log(2), np.log(2), -np.log(2)])
    steep = replace(one, slope=100.0)
    assert np.log(steep.factors(np.array([400.0]), np.array([0])))[0] == pytest.approx(GRID[-1])


@pytest.mark.parametrize("likelihood", ["poisson", "zip"])
def test_a_likelihood_without_dispersion_has_nothing_to_fit(likelihood):
    cells = world(0.8)
    trained = sl.tl.train(cells, model=MODEL | {"epochs": 1, "likelihood": likelihood})
    data = inputs(cells, trained.card)
    every = np.arange(CELLS)
    assert fit_dispersion(trained.vae, data, every, 0 * every, 1, 0) == (None, {})
    assert sl.tl.density(cells, trained).dispersion is None


@pytest.mark.parametrize("likelihood", ["nb", "zinb", {"kind": "nb", "dispersion": "gene-cell"}])
def test_the_expected_number_is_that_of_drawn_counts(likelihood):
    """More scatter (a smaller θ), fewer genes; and as it is, as many as the model draws."""
    cells = world(0.8)
    trained = sl.tl.train(cells, model=MODEL | {"epochs": 3, "likelihood": likelihood})
    data = inputs(cells, trained.card)
    looked = expressed(trained.vae, data, np.arange(CELLS), 0)
    assert looked is not None
    found, curves = looked
    assert (np.diff(curves, axis=1) > 0).all()
    assert np.allclose(curves[:, len(GRID) // 2], 1.0)
    z = trained.vae.draws(data, np.arange(CELLS), 1, seed=0)[0]
    for at in (2, 4, 6):
        theta = np.full(CELLS, np.exp(GRID[at]))
        drawn = (trained.vae.sample(z, data.library, theta=theta, seed=1) > 0).sum(1)
        if likelihood != "zinb":  # there `sample` raises the rates, so that counts sum to the library size
            expected = (curves[:, at] / found * np.diff(cells.X.indptr)).mean()
            assert drawn.mean() == pytest.approx(expected, rel=0.03)


def test_the_density_of_the_counts_is_that_of_scipy_and_falls_with_a_wrong_dispersion(deep):
    cells, trained, density = deep
    data, rows = inputs(cells, trained.card), np.arange(50)
    with torch.no_grad():
        mu, shape = trained.vae.predictive(Batches(data).gather(rows), torch.Generator().manual_seed(0))
    theta = 2 * shape["theta"]
    expected = nbinom.logpmf(cells.X[rows].toarray(), theta, theta / (theta + mu)).sum(1).mean()
    assert log_density(trained.vae, data, rows, 0, np.full(50, 2.0)) == pytest.approx(expected, rel=1e-6)
    every = np.flatnonzero(cells.obs["split"] != "test")
    right = density.dispersion.factors(data.library[every], 0 * every)
    at = [log_density(trained.vae, data, every, 0, one) for one in (right, np.ones(len(every)), 1 / right)]
    assert at[0] > at[1] > at[2]


def test_one_dispersion_is_kept_where_the_density_of_the_counts_falls(deep, monkeypatch):
    cells, trained, _ = deep
    monkeypatch.setattr(dispersion, "log_density", lambda vae, data, cells, seed, theta: -np.abs(theta - 1).sum())
    found = sl.tl.density(cells, trained)
    assert found.dispersion is None
    assert found.about["dispersion"]["all"] > 0.1
