"""A rotation after training changes what the axes are called, and nothing else."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.stats import ortho_group
from sklearn.metrics import roc_auc_score

from sclatent.data import simulate
from sclatent.model import CountData, CountVAE, train_vae
from sclatent.model import rotation as module
from sclatent.model.rotation import (
    independent,
    largest_correlation,
    normalise_rows,
    one_sided,
    rotate_axes,
    slopes,
    varimax,
)
from sclatent.settings import ModelSettings


def criterion(loadings):
    return ((loadings**2).var(axis=0)).sum()


def test_varimax_finds_the_simple_structure_it_was_hidden_from():
    rng = np.random.default_rng(0)
    simple = np.zeros((120, 4))
    simple[np.arange(120), np.repeat(range(4), 30)] = rng.normal(2, 0.3, 120)
    hidden = simple @ ortho_group.rvs(4, random_state=1)
    found = hidden @ varimax(hidden)
    match = np.abs(np.corrcoef(found.T, simple.T)[:4, 4:])
    assert np.sort(match.max(axis=1)).min() > 0.999
    assert criterion(found) == pytest.approx(criterion(simple), rel=1e-6)


def test_varimax_is_orthogonal_and_no_random_rotation_is_better():
    loadings = np.random.default_rng(2).laplace(size=(200, 5))
    rotation = varimax(loadings)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(5), atol=1e-10)
    best = criterion(loadings @ rotation)
    small = [np.linalg.qr(np.eye(5) + 0.05 * np.random.default_rng(s).normal(size=(5, 5)))[0] for s in range(50)]
    assert all(criterion(loadings @ rotation @ r) <= best + 1e-9 for r in small)


def test_one_sided_programs_come_back_upright():
    rng = np.random.default_rng(5)
    simple = np.zeros((120, 4))
    simple[np.arange(120), np.repeat(range(4), 30)] = rng.uniform(0.5, 2, 120)
    found = simple @ (turn := ortho_group.rvs(4, random_state=6)) @ one_sided(simple @ turn)
    order = [int(np.corrcoef(found.T, simple.T)[:4, 4 + k].argmax()) for k in range(4)]
    np.testing.assert_allclose(found[:, order], simple, atol=0.02)


def test_one_sided_is_orthogonal_and_no_small_rotation_is_better():
    loadings = np.random.default_rng(9).exponential(size=(200, 5)) - 0.5
    length = np.linalg.norm(loadings, axis=1, keepdims=True)
    rows = loadings / length * np.sqrt(np.minimum(length / np.quantile(length, 0.99), 1))

    def value(rotation):
        return ((rows @ rotation) ** 4 + 2 * (rows @ rotation) ** 3).sum()

    rotation = one_sided(loadings, tolerance=1e-12)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(5), atol=1e-10)
    small = [np.linalg.qr(np.eye(5) + 0.05 * np.random.default_rng(s).normal(size=(5, 5))) for s in range(50)]
    small = [q * np.sign(np.diag(r)) for q, r in small]
    assert all(value(rotation @ r) <= value(rotation) + 1e-9 for r in small)
    assert value(rotation) > value(varimax(rows))


def test_ica_separates_sources_that_an_orthogonal_map_mixed():
    sources = np.random.default_rng(3).laplace(size=(3000, 3))
    mixed = sources @ ortho_group.rvs(3, random_state=4)
    rotation = independent(mixed)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-10)
    assert np.abs(np.corrcoef((mixed @ rotation).T, sources.T)[:3, 3:]).max(axis=1).min() > 0.98


def test_rows_have_length_one_and_zeros_stay():
    out = normalise_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(out, [[0.6, 0.8], [0, 0]])


@pytest.fixture(scope="module")
def trained():
    adata = simulate(n_cells=400, n_genes=150, median_library=5000, seed=1)
    codes = adata.obs["batch"].cat.codes.to_numpy().astype(np.int64)[:, None]
    data = CountData(adata.X.tocsr(), np.asarray(adata.X.sum(axis=1)).ravel(), codes)
    settings = ModelSettings(
        n_latent=6, n_hidden=32, epochs=60, batch_size=32, dropout=0.0, decoder="linear", rotate="none"
    )
    vae, _ = train_vae(data, np.arange(320), np.arange(320, 400), settings, n_levels=(2,), seed=0)
    return vae, data


@pytest.mark.parametrize("method", ["programs", "varimax", "ica"])
def test_only_the_names_of_directions_change(trained, method):
    vae, data = trained
    with torch.no_grad():
        vae.rotation.copy_(torch.eye(6))
    mean, _ = vae.posterior(data)
    before = vae.log_fraction(mean, data.categorical)
    rotate_axes(vae, data, np.arange(320), method)
    rotation = vae.rotation.numpy().astype(np.float64)
    assert np.abs(rotation - np.eye(6)).max() > 0.1
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(6), atol=1e-5)
    turned, sd = vae.posterior(data)
    np.testing.assert_allclose(turned, mean @ rotation.T, atol=1e-4)
    np.testing.assert_allclose(vae.log_fraction(turned, data.categorical), before, atol=1e-4)
    # the SD of R z for z ~ N(m, Σ), against draws
    with torch.no_grad():
        vae.rotation.copy_(torch.eye(6))
    _, plain = vae.posterior(data)
    draws = np.random.default_rng(0).normal(size=(200_000, 6)) * plain[0]
    np.testing.assert_allclose((draws @ rotation.T).std(axis=0), sd[0], rtol=0.02)


def test_axes_are_ordered_by_strength_and_point_to_large_loadings(trained):
    vae, data = trained
    rotate_axes(vae, data, np.arange(320), "programs")
    mean, _ = vae.posterior(data)
    active = np.flatnonzero(mean[:320].var(axis=0) > 0.01)
    assert len(active) >= 2
    slope = slopes(vae, data.subset(np.arange(320)), mean[:320], np.eye(6)[:, active])
    assert ((slope**3).sum(axis=1) > 0).all()
    strength = np.sqrt((slope**2).sum(axis=1)) * mean[:320, active].std(axis=0)
    assert (np.diff(strength) < 1e-3).all()


def test_slopes_of_a_linear_decoder_are_its_weights():
    settings = ModelSettings(n_latent=3, decoder="linear", rotate="none")
    vae = CountVAE(20, settings, seed=1)
    mean = np.random.default_rng(0).normal(0, 3, size=(500, 3)).astype(np.float32)
    data = CountData(simulate(n_cells=500, n_genes=20).X.tocsr(), np.ones(500))
    design = torch.zeros(3, 0)
    with torch.no_grad():
        weight = (vae.decoder(torch.eye(3), design) - vae.decoder(torch.zeros(3, 3), design)).numpy().T
    slope = slopes(vae, data, mean, np.eye(3)).T
    np.testing.assert_allclose(slope, weight - weight.mean(axis=0), rtol=0.01, atol=1e-3)


def test_the_rotation_is_saved_with_the_model(trained, tmp_path):
    vae, data = trained
    rotate_axes(vae, data, np.arange(320), "programs")
    vae.save(tmp_path)
    again = CountVAE.load(tmp_path)
    np.testing.assert_array_equal(again.posterior(data)[0], vae.posterior(data)[0])


@pytest.fixture(scope="module")
def four_types():
    rng = np.random.default_rng(0)
    types = rng.integers(4, size=400)
    markers = np.repeat(np.eye(4), 40, axis=1)
    mu = np.exp(rng.normal(0, 0.7, 160) + 0.7 * markers[types])
    mu *= 3000 / mu.sum(axis=1, keepdims=True)
    data = CountData(csr_matrix(rng.poisson(mu).astype(np.float32)), np.full(400, 3000.0))
    settings = ModelSettings(n_latent=8, n_hidden=32, epochs=60)
    vae, _ = train_vae(data, np.arange(360), np.arange(360, 400), settings, seed=0)
    return vae, data, types


def variances(vae, data):
    """Variance of the posterior means along their principal directions, falling."""
    return np.linalg.eigvalsh(np.cov(vae.posterior(data, np.arange(360))[0], rowvar=False))[::-1]


def test_four_types_that_span_three_directions_get_an_axis_each(four_types):
    vae, data, types = four_types
    assert (variances(vae, data) > 0.01).sum() == 3
    rotate_axes(vae, data, np.arange(360), "programs")
    mean, _ = vae.posterior(data)
    area = np.array([[roc_auc_score(types == k, axis) for k in range(4)] for axis in mean.T])
    area = np.maximum(area, 1 - area)
    rows, columns = linear_sum_assignment(-area)
    assert area[rows, columns].min() > 0.99
    assert (mean[:, rows].var(axis=0) > 0.01).all()


def test_a_weak_direction_that_splits_an_axis_is_left_out(four_types, monkeypatch):
    vae, data, _ = four_types
    with torch.no_grad():
        vae.rotation.copy_(torch.eye(8))
    strong = variances(vae, data)

    def split(loadings):
        turn = np.eye(n := loadings.shape[1])
        if n > 3:
            turn[np.ix_([0, n - 1], [0, n - 1])] = np.array([[1, 1], [-1, 1]]) / np.sqrt(2)
        return turn

    monkeypatch.setattr(module, "one_sided", split)
    rotate_axes(vae, data, np.arange(360), "programs")
    mean, _ = vae.posterior(data, np.arange(360))
    np.testing.assert_allclose(np.sort(mean.var(axis=0, ddof=1))[::-1][:4], strong[:4], rtol=1e-3)


def test_largest_correlation_is_that_of_the_cells_along_active_axes():
    rng = np.random.default_rng(1)
    means = np.linalg.qr(rng.normal(size=(500, 4)))[0]
    means -= means.mean(axis=0)
    variance, basis = np.linalg.eigh(np.cov(means * [3.0, 2.0, 1.0, 0.001], rowvar=False) * 100)
    means = means * [30.0, 20.0, 10.0, 0.01] @ basis
    turn = ortho_group.rvs(4, random_state=2)
    along = means @ turn
    expected = np.abs(np.triu(np.corrcoef(along, rowvar=False), 1)).max()
    assert largest_correlation(turn, variance) == pytest.approx(expected, abs=1e-6)
    assert largest_correlation(np.eye(4), variance) == 0
    assert largest_correlation(np.eye(1), np.ones(1)) == 0
