"""A likelihood from outside the package: the geometric distribution, a negative binomial with θ = 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
import torch
from anndata import AnnData
from scipy.sparse import csr_matrix
from scipy.stats import nbinom
from torch import Tensor

import sclatent as sl
from sclatent.model import LIKELIHOODS, Batch, CountData, CountVAE, Likelihood, log_rate
from sclatent.model.data import Batches
from sclatent.settings import LikelihoodSettings, ModelSettings


class GeometricSettings(LikelihoodSettings):
    kind: Literal["geometric"] = "geometric"


class Geometric(Likelihood):
    settings = GeometricSettings

    def log_prob(self, logits: Tensor, code: Tensor, batch: Batch) -> Tensor:
        log_mu = log_rate(logits, batch)
        x = batch.dense()
        return (x * log_mu - (x + 1) * torch.nn.functional.softplus(log_mu)).sum(1)

    def moments(self, mu, **shape):  # type: ignore[no-untyped-def]
        return mu, mu + mu**2

    def cdf(self, x, mu, **shape):  # type: ignore[no-untyped-def]
        return 1 - (mu / (1 + mu)) ** (x + 1)

    def draw(self, rng, mu, **shape):  # type: ignore[no-untyped-def]
        return rng.geometric(1 / (1 + mu)) - 1


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    LIKELIHOODS.register(Geometric)
    yield
    LIKELIHOODS.remove("geometric")


def test_log_p_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(2, (20, 6)).astype(np.float32)
    data = CountData(csr_matrix(counts), counts.sum(1))
    vae = CountVAE(6, ModelSettings(likelihood="geometric", n_latent=2, n_hidden=8))
    z = rng.normal(size=(20, 2)).astype(np.float32)
    mu = np.exp(vae.log_rate(z, data.library))
    with torch.no_grad():
        found = vae.log_prob(torch.from_numpy(z), Batches(data).gather(np.arange(20)))
    np.testing.assert_allclose(found, nbinom.logpmf(counts, 1.0, 1 / (1 + mu)).sum(1), rtol=1e-4)


def test_it_trains_and_is_judged(make_settings) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    mu = 400 * rng.dirichlet(np.full(60, 0.4), 2)[rng.integers(2, size=600)]
    counts = rng.geometric(1 / (1 + mu)) - 1
    truth = nbinom.logpmf(counts, 1.0, 1 / (1 + mu)).sum(1)
    prepared = AnnData(csr_matrix(counts.astype(np.float32)))
    prepared.obs["split"] = np.repeat(["train", "validation", "test"], [400, 100, 100])
    prepared.var["in_model"] = True
    model = {"likelihood": "geometric", "n_latent": 2, "n_hidden": 24, "epochs": 60}
    settings = make_settings(models={"m": model})
    trained = sl.tl.train(prepared, model=settings.models["m"], **settings.parts(sl.tl.train))
    elbo = trained.history["validation_elbo"]
    assert elbo.iloc[-1] > elbo.iloc[0] + 8
    metrics = sl.tl.evaluate(prepared, trained, samples=10)
    assert metrics["likelihood"] == "geometric"
    assert abs(metrics["test"]["marginal"] - truth[500:].mean()) < 5
    assert abs(np.mean(metrics["calibration"]["pit"]) - 1) < 1e-4


def test_draws_have_its_moments() -> None:
    vae = CountVAE(6, ModelSettings(likelihood="geometric", n_latent=2, n_hidden=8))
    z, library = np.zeros((40_000, 2), np.float32), np.full(40_000, 30.0)
    drawn, mu = vae.sample(z, library, seed=1), np.exp(vae.log_rate(z[:1], library[:1]))[0].astype(np.float64)
    mean, variance = vae.likelihood.moments(mu)
    np.testing.assert_allclose(drawn.mean(0), mean, rtol=0.05)
    np.testing.assert_allclose(drawn.var(0), variance, rtol=0.08)
    np.testing.assert_allclose((drawn <= 3).mean(0), vae.likelihood.cdf(3.0, mu), atol=0.01)
