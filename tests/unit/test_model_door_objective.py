"""An objective from outside the package: an importance-weighted bound of antithetic draws."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from sclatent.model import OBJECTIVES, Batch, CountData, CountVAE, Loss, Objective, train_vae
from sclatent.settings import ModelSettings, ObjectiveSettings


class WeightedSettings(ObjectiveSettings):
    kind: Literal["weighted"] = "weighted"
    draws: int = 4


class Weighted(Objective):
    """Log 1/S Σ p(x, z_s)/q(z_s | x) (Burda et al. 2016); the KL is that of the draws, weighted while it warms up."""

    settings = WeightedSettings

    def __init__(self, settings: ObjectiveSettings) -> None:
        super().__init__(settings)
        assert isinstance(settings, WeightedSettings)
        self.draws = settings.draws
        self.scored = 0

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        half = super().noise((shape[0] // 2, *shape[1:]), generator)
        return torch.cat([half, -half])

    def bound(self, model: CountVAE, batch: Batch, noise, masks, weight: float) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        posterior = model.encode(batch, masks)
        eps = self.noise((self.draws, len(batch), model.latent.n_noise), noise)
        code = posterior.sample(eps)
        fit = model.log_prob_of_draws(code, batch, masks)
        # sticking the landing: no gradient through the density itself
        ratio = posterior.log_prior(code) - posterior.detached().log_q(code)
        return torch.logsumexp(fit + weight * ratio, 0) - math.log(self.draws), -ratio.mean(0)

    def loss(self, model, batch, noise, masks, kl_weight):  # type: ignore[no-untyped-def]
        bound, kl = self.bound(model, batch, noise, masks, kl_weight)
        return Loss(-bound, bound + kl, kl)

    def score(self, model, batch, noise):  # type: ignore[no-untyped-def]
        self.scored += len(batch)
        return self.bound(model, batch, noise, None, 1.0)[0].double()


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    OBJECTIVES.register(Weighted)
    yield
    OBJECTIVES.remove("weighted")


def simulated(n: int = 300, genes: int = 40) -> CountData:
    rng = np.random.default_rng(0)
    fraction = rng.dirichlet(np.ones(genes), 2)[rng.integers(2, size=n)]
    counts = rng.poisson(300 * fraction).astype(np.float32)
    return CountData(csr_matrix(counts), counts.sum(1))


def trained(data: CountData, objective: object) -> tuple[CountVAE, float]:
    settings = ModelSettings(n_latent=3, n_hidden=16, epochs=60, likelihood="poisson", objective=objective)
    vae, history = train_vae(data, np.arange(60, 300), np.arange(60), settings, seed=1)
    return vae, float(history["validation_elbo"].max())


def test_it_trains_and_its_score_picks_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    data, made = simulated(), []
    begin = Weighted.__init__
    monkeypatch.setattr(Weighted, "__init__", lambda self, settings: (made.append(self), begin(self, settings))[1])
    vae, best = trained(data, {"kind": "weighted", "draws": 4})
    assert made[0].draws == 4
    assert made[0].scored >= 60 * 50
    _, usual = trained(data, "elbo")
    assert abs(best - usual) < 3
    assert vae.settings.objective.draws == 4


def test_noise_is_of_the_objective() -> None:
    eps = Weighted(WeightedSettings()).noise((4, 3, 2), torch.Generator().manual_seed(0))
    assert torch.equal(eps[:2], -eps[2:])


def test_more_draws_bound_more_tightly() -> None:
    data = simulated()
    vae, _ = trained(data, "elbo")
    from sclatent.model.data import Batches

    batch = Batches(data).gather(np.arange(60))
    with torch.no_grad():
        scores = [
            float(Weighted(WeightedSettings(draws=n)).score(vae, batch, torch.Generator().manual_seed(0)).mean())
            for n in (2, 64)
        ]
        elbo = OBJECTIVES["elbo"](vae.settings.objective).score(vae, batch, torch.Generator().manual_seed(0)).mean()
    assert float(elbo) - 1 < scores[0] < scores[1]
