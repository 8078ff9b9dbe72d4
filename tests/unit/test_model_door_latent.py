"""A latent from outside the package: amounts above 0, with a log-normal posterior and an exponential prior."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

import sclatent as sl
from sclatent.model import LATENTS, CountData, Latent, Posterior, train_vae
from sclatent.model.data import Batches
from sclatent.settings import LatentSettings, ModelSettings
from sclatent.tl._model.inputs import inputs
from sclatent.tl._model.train import TrainedModel


class AmountSettings(LatentSettings):
    kind: Literal["amount"] = "amount"
    largest_sd: float = 1.0


class AmountPosterior(Posterior):
    """Log-normal, under an exponential prior of rate 1. It says no KL, though there is one."""

    def __init__(self, mu: Tensor, sigma: Tensor) -> None:
        self.mu, self.sigma = mu, sigma

    def sample(self, noise: Tensor) -> Tensor:
        return (self.mu + self.sigma * noise).exp()

    def log_q(self, code: Tensor) -> Tensor:
        scaled = (code.log() - self.mu) / self.sigma
        return (-0.5 * scaled**2 - self.sigma.log() - code.log() - 0.5 * math.log(2 * math.pi)).sum(-1)

    def log_prior(self, code: Tensor) -> Tensor:
        return -code.sum(-1)

    def mean(self) -> Tensor:
        return (self.mu + 0.5 * self.sigma**2).exp()

    def sd(self) -> Tensor:
        return self.mean() * torch.expm1(self.sigma**2).sqrt()

    def moved(self, code: Tensor, axis: int, step: float) -> Tensor:
        return at_least_zero(code, axis, step)

    def detached(self) -> AmountPosterior:
        return AmountPosterior(self.mu.detach(), self.sigma.detach())

    def exact_kl(self) -> Tensor:
        return self.mean() - self.mu - self.sigma.log() - 0.5 * (1 + math.log(2 * math.pi))


class Amount(Latent):
    """One parameter per axis, and one spread for all."""

    settings = AmountSettings

    def __init__(self, settings: LatentSettings, n_axes: int) -> None:
        super().__init__(settings, n_axes)
        assert isinstance(settings, AmountSettings)
        self.largest_sd, self.n_parameters = settings.largest_sd, n_axes + 1
        self.seen: list[float] = []

    def posterior(self, raw: Tensor, progress: float = 1.0) -> AmountPosterior:
        self.seen.append(progress)
        mu, spread = raw[..., :-1].clamp(-5, 3), raw[..., -1:]
        return AmountPosterior(mu, (0.05 + self.largest_sd * torch.sigmoid(spread)).expand_as(mu))

    def moved(self, z, axis, step):  # type: ignore[no-untyped-def]
        return at_least_zero(z, axis, step)


def at_least_zero(z, axis, step):  # type: ignore[no-untyped-def]
    out = z.copy() if isinstance(z, np.ndarray) else z.clone()
    out[..., axis] = (out[..., axis] + step).clip(0)
    return out


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    LATENTS.register(Amount)
    yield
    LATENTS.remove("amount")


def test_the_toy_is_a_distribution() -> None:
    posterior = AmountPosterior(torch.tensor([[0.5, -1.0]]), torch.tensor([[0.4, 0.8]]))
    noise = torch.randn(200_000, 1, 2, generator=torch.Generator().manual_seed(0))
    drawn = posterior.sample(noise)
    torch.testing.assert_close(drawn.mean(0), posterior.mean(), rtol=0.02, atol=0)
    torch.testing.assert_close(drawn.std(0), posterior.sd(), rtol=0.05, atol=0)
    estimate = -posterior.log_ratio(drawn, noise).mean()
    assert abs(float(estimate - posterior.exact_kl().sum())) < 0.02


def test_it_trains_is_embedded_and_judged(make_settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model = {"latent": {"kind": "amount", "largest_sd": 0.5}, "n_latent": 4, "n_hidden": 24, "epochs": 120}
    settings = make_settings(models={"m": model | {"decoder": "linear"}})
    prepared = sl.pp.prepare(sl.data.simulate(300, 200, median_library=20_000, seed=1), **settings.parts(sl.pp.prepare))
    trained = sl.tl.train(prepared, model=settings.models["m"], **settings.parts(sl.tl.train))
    elbo = trained.history["validation_elbo"]
    assert elbo.iloc[-1] > elbo.iloc[0] + 20
    assert isinstance(trained.vae.latent, Amount)
    assert trained.vae.encoder.head.out_features == 5
    assert torch.equal(trained.vae.rotation, torch.eye(4))
    assert trained.vae.progress == 1

    trained.save(tmp_path)
    again = TrainedModel.load(tmp_path)
    assert again.vae.latent.largest_sd == 0.5
    latent = sl.tl.embed(prepared, again)
    assert (latent.X > 0).all()
    assert (latent.layers["sd"] < latent.X).all()
    assert latent.var["kl"].isna().all()
    assert np.isfinite(latent.varm["loadings"]).all()
    assert np.abs(latent.varm["loadings"]).max() > 0.05
    metrics = sl.tl.evaluate(prepared, again, samples=20)
    assert metrics["kl_per_axis"] == [None] * 4
    test = np.flatnonzero(prepared.obs["split"] == "test")
    batch = Batches(inputs(prepared, again.card)).gather(test)
    with torch.no_grad():
        exact = float(again.vae.encode(batch).exact_kl().sum(1).mean())
    assert abs(metrics["test"]["kl"] - exact) < 0.3
    assert metrics["test"]["marginal"] >= metrics["test"]["elbo"]
    assert np.isfinite(sl.tl.query(prepared, again).X).all()


def test_it_is_told_how_far_training_is(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Amount] = []
    begin = Amount.__init__
    monkeypatch.setattr(Amount, "__init__", lambda self, *given: (made.append(self), begin(self, *given))[1])
    counts = csr_matrix(np.random.default_rng(0).poisson(3, (60, 8)).astype(np.float32))
    data = CountData(counts, np.asarray(counts.sum(1)).ravel())
    settings = ModelSettings(latent="amount", n_latent=2, n_hidden=8, epochs=10, batch_size=25)
    train_vae(data, np.arange(50), np.arange(50, 60), settings)
    seen = np.array(made[0].seen)
    assert seen[0] == 0
    assert (np.diff(seen) >= 0).all()
    assert seen.max() == 0.95


def test_without_its_registration_the_file_is_refused(make_settings) -> None:  # type: ignore[no-untyped-def]
    LATENTS.remove("amount")
    try:
        with pytest.raises(ValueError, match="'amount' is not one of 'gaussian'"):
            make_settings(models={"m": {"latent": "amount"}})
    finally:
        LATENTS.register(Amount)


def test_moved_stays_in_the_support() -> None:
    z = np.array([[0.5, 1.0]], np.float32)
    np.testing.assert_allclose(Amount(AmountSettings(), 2).moved(z, 0, -2.0), [[0.0, 1.0]])
    posterior = AmountPosterior(torch.zeros(1, 2), torch.ones(1, 2))
    np.testing.assert_allclose(posterior.moved(torch.from_numpy(z), 1, 0.5), [[0.5, 1.5]])
