"""The additive decoder: curves that add up, in log rates or in expression, and are the traversals."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import integrate, stats

from sclatent.data import simulate
from sclatent.model import CountData, CountVAE, train_vae
from sclatent.model.parts.additive import N_FUNCTIONS, basis, prior_mean
from sclatent.settings import ModelSettings


def untrained(pooling, n_levels=(), scale=1.0):
    settings = ModelSettings(decoder="additive", pooling=pooling, n_latent=3)
    vae = CountVAE(12, settings, n_levels=n_levels, seed=1)
    with torch.no_grad():
        vae.decoder.curves.mul_(scale)
        vae.decoder.bias.normal_(generator=torch.Generator().manual_seed(0))
        vae.decoder.covariates.normal_(generator=torch.Generator().manual_seed(1))
    return vae


def test_a_straight_line_is_among_the_curves_and_functions_are_positive():
    z = torch.linspace(-4, 4, 101, dtype=torch.float64)
    functions = basis(z)
    assert functions.shape == (101, N_FUNCTIONS)
    assert (functions > 0).all()
    np.testing.assert_allclose(functions[:, 0] - functions[:, 2], z, atol=1e-12)


def test_prior_means_are_those_of_quadrature():
    for j, value in enumerate(prior_mean().tolist()):
        exact, _ = integrate.quad(
            lambda t, j=j: stats.norm.pdf(t) * float(basis(torch.tensor(t, dtype=torch.float64))[j]), -9, 9
        )
        assert value == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("pooling", ["log", "counts"])
def test_logits_are_the_pooled_curves(pooling):
    vae = untrained(pooling, scale=1.3)
    z = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    curves = np.stack([vae.decoder.response(torch.from_numpy(z[:, k])).numpy()[k] for k in range(3)])
    bias = vae.decoder.bias.detach().numpy()
    logits = bias + (curves.sum(0) if pooling == "log" else np.log1p(curves.sum(0)))
    expected = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(vae.log_fraction(z), expected, atol=2e-5)


def test_response_curves_are_the_traversals_up_to_one_number_per_cell():
    vae = untrained("log", scale=10.0)
    grid = np.linspace(-2, 2, 9, dtype=np.float32)
    for others in (np.zeros(3), np.array([0.0, 1.5, -2.0])):
        z = np.tile(others.astype(np.float32), (9, 1))
        z[:, 0] = grid
        moved = vae.log_fraction(z) - vae.decoder.response(torch.from_numpy(grid)).numpy()[0]
        moved -= moved[:1]
        assert np.ptp(moved, axis=1).max() < 1e-4


def test_counts_pooling_only_ever_adds_to_the_background():
    vae = untrained("counts")
    assert (vae.decoder.response(torch.linspace(-3, 3, 7)) >= 0).all()


@pytest.mark.parametrize("pooling", ["log", "counts"])
def test_a_batch_is_one_number_per_gene(pooling):
    vae = untrained(pooling, n_levels=(2,))
    z = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    a, b = (vae.log_fraction(z, np.full((5, 1), level)) for level in (0, 1))
    change = a - b
    change -= change[:, :1]
    assert np.ptp(change, axis=0).max() < 1e-4


@pytest.mark.parametrize("pooling", ["log", "counts"])
def test_it_learns(pooling):
    adata = simulate(n_cells=400, n_genes=100, seed=0)
    data = CountData(adata.X.tocsr(), np.asarray(adata.X.sum(axis=1)).ravel())
    settings = ModelSettings(decoder="additive", pooling=pooling, n_latent=5, epochs=40, batch_size=64)
    vae, history = train_vae(data, np.arange(320), np.arange(320, 400), settings, seed=0)
    flat = ModelSettings(decoder="linear", n_latent=1, epochs=1, learning_rate=1e-9, batch_size=64)
    _, constant = train_vae(data, np.arange(320), np.arange(320, 400), flat, seed=0)
    assert history["validation_elbo"].max() > constant["validation_elbo"].max() + 10
    mean, _ = vae.posterior(data)
    codes = adata.obs["cell_type"].cat.codes.to_numpy()
    between = sum((codes == c).mean() * mean[codes == c].mean(0) ** 2 for c in np.unique(codes))
    assert between.max() > 0.3 * mean.var(0).max()


def test_a_stronger_prior_makes_more_weights_small():
    adata = simulate(n_cells=300, n_genes=80, seed=0)
    data = CountData(adata.X.tocsr(), np.asarray(adata.X.sum(axis=1)).ravel())
    share = []
    for sparsity in (0.0, 20.0):
        settings = ModelSettings(decoder="additive", n_latent=4, epochs=30, batch_size=64, sparsity=sparsity)
        vae, _ = train_vae(data, np.arange(240), np.arange(240, 300), settings, seed=0)
        share.append(float((vae.decoder.weights().abs() < 0.02).float().mean()))
    assert share[1] > share[0] + 0.2


def test_saved_and_loaded(tmp_path):
    vae = untrained("counts", n_levels=(2,)).eval()
    vae.save(tmp_path)
    z = np.zeros((1, 3), np.float32)
    np.testing.assert_array_equal(CountVAE.load(tmp_path).log_fraction(z), vae.log_fraction(z))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"decoder": "additive", "rotate": "ica"}, "already fix the axes"),
        ({"decoder": "linear", "pooling": "counts"}, "pooling: is for decoder: additive only"),
        ({"sparsity": 3.0}, "sparsity: is for decoder: additive only"),
    ],
)
def test_options_that_would_do_nothing_are_refused(keys, said):
    with pytest.raises(ValidationError, match=said):
        ModelSettings(**keys)
