"""The kinds of likelihood: one class for each."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from scipy.special import betainc, gammaincc
from torch import Tensor, nn

from sclatent.model.batch import Batch
from sclatent.model.parts import log_likelihoods
from sclatent.model.parts.layers import init_linear
from sclatent.model.parts.likelihood import LIKELIHOODS, Array, Likelihood, Sizes
from sclatent.settings.kinds.parts import (
    BernoulliSettings,
    LikelihoodSettings,
    NBSettings,
    PoissonSettings,
    ZINBSettings,
    ZIPSettings,
)
from sclatent.settings.kinds.registry import unknown_kind

LOG_THETA = (-9.21, 18.42)
"""Range of log θ: 1e-4 (all but a point mass at 0) to 1e8 (Poisson)."""
DISPERSIONS = ("gene", "gene-batch", "gene-cell")
MOST = 1e15
"""Largest rate of a Poisson count that is drawn."""


@LIKELIHOODS.register
class Poisson(Likelihood):
    """Poisson(μ)."""

    settings: ClassVar[type[LikelihoodSettings]] = PoissonSettings

    def log_prob(self, logits: Tensor, code: Tensor, batch: Batch) -> Tensor:
        """Log-likelihood of each cell (B,)."""
        return log_likelihoods.poisson(logits, batch)

    def moments(self, mu: Array, **shape: Array) -> tuple[Array, Array]:
        """μ and μ."""
        return mu, mu

    def cdf(self, x: Array, mu: Array, **shape: Array) -> Array:
        """Probability of at most `x`."""
        return gammaincc(x + 1.0, mu)

    def zero(self, mu: Array, **shape: Array) -> Array:
        """exp(−μ)."""
        return np.exp(-mu)

    def draw(self, rng: np.random.Generator, mu: Array, **shape: Array) -> Array:
        """Draw counts."""
        return rng.poisson(np.minimum(mu, MOST))


@LIKELIHOODS.register
class NegativeBinomial(Likelihood):
    """Negative binomial of mean μ and variance μ + μ²/θ.

    ``log_theta`` is one row of genes, or one per level of the first categorical covariate.
    """

    settings: ClassVar[type[LikelihoodSettings]] = NBSettings

    def __init__(self, sizes: Sizes, settings: LikelihoodSettings, generator: torch.Generator) -> None:
        super().__init__(sizes, settings, generator)
        n_genes, n_code, n_levels = sizes
        assert isinstance(settings, NBSettings)
        if settings.dispersion not in DISPERSIONS:
            raise unknown_kind("dispersion", settings.dispersion, DISPERSIONS)
        rows = n_levels[0] if settings.dispersion == "gene-batch" and n_levels else 1
        self.log_theta = nn.Parameter(torch.full((rows, n_genes), 1.0))
        self.theta_head: nn.Linear | None = None
        if settings.dispersion == "gene-cell":
            self.theta_head = nn.Linear(n_code, n_genes, bias=False)
            init_linear(self.theta_head, generator, 0.1)

    def gene_wise(self) -> list[nn.Parameter]:
        """Return log θ."""
        return [self.log_theta]

    def theta(self, code: Tensor, categorical: Tensor) -> Tensor:
        """Inverse dispersion θ ((1 | B) × genes)."""
        log_theta: Tensor = self.log_theta
        if log_theta.shape[0] > 1:
            level = categorical[:, 0]
            known = log_theta[level.clamp(min=0)]
            log_theta = torch.where((level >= 0)[:, None], known, log_theta.mean(0, keepdim=True))
        if self.theta_head is not None:
            log_theta = log_theta + self.theta_head(code)
        return log_theta.clamp(*LOG_THETA).exp()

    def log_prob(self, logits: Tensor, code: Tensor, batch: Batch) -> Tensor:
        """Log-likelihood of each cell (B,)."""
        return log_likelihoods.negative_binomial(logits, self.theta(code, batch.categorical), batch)

    def shape(self, code: Tensor, categorical: Tensor) -> dict[str, Array]:
        """Return θ."""
        return {"theta": self.theta(code, categorical).double().cpu().numpy()}

    def moments(self, mu: Array, **shape: Array) -> tuple[Array, Array]:
        """μ and μ + μ²/θ."""
        return mu, mu + mu**2 / shape["theta"]

    def cdf(self, x: Array, mu: Array, **shape: Array) -> Array:
        """Probability of at most `x`."""
        theta = shape["theta"]
        return betainc(theta, x + 1.0, theta / (theta + mu))

    def zero(self, mu: Array, **shape: Array) -> Array:
        """(1 + μ/θ)^−θ."""
        theta = shape["theta"]
        return np.exp(-theta * np.log1p(mu / theta))

    def draw(self, rng: np.random.Generator, mu: Array, **shape: Array) -> Array:
        """Draw counts: Poisson with a gamma rate."""
        theta = np.broadcast_to(shape["theta"], mu.shape)
        return rng.poisson(np.minimum(mu * rng.standard_gamma(theta) / theta, MOST))


class _ZeroInflated(Likelihood):
    """A point mass at 0 of probability π = sigmoid(gate), mixed with a count distribution."""

    def __init__(self, sizes: Sizes, settings: LikelihoodSettings, generator: torch.Generator) -> None:
        super().__init__(sizes, settings, generator)
        self.gate_head = nn.Linear(sizes.n_code, sizes.n_genes)
        init_linear(self.gate_head, generator, 0.1)
        nn.init.constant_(self.gate_head.bias, -3.0)

    def shape(self, code: Tensor, categorical: Tensor) -> dict[str, Array]:
        """Return π beside what the count distribution has."""
        return super().shape(code, categorical) | {"gate": torch.sigmoid(self.gate_head(code)).double().cpu().numpy()}

    def moments(self, mu: Array, **shape: Array) -> tuple[Array, Array]:
        """Mean and variance of the mixture."""
        gate, (mean, variance) = shape["gate"], super().moments(mu, **shape)  # type: ignore[safe-super]
        return (1.0 - gate) * mean, (1.0 - gate) * (variance + gate * mean**2)

    def cdf(self, x: Array, mu: Array, **shape: Array) -> Array:
        """Probability of at most `x`."""
        gate = shape["gate"]
        return gate + (1.0 - gate) * super().cdf(x, mu, **shape)  # type: ignore[safe-super]

    def zero(self, mu: Array, **shape: Array) -> Array:
        """Probability of a 0, extra or not."""
        gate = shape["gate"]
        return gate + (1.0 - gate) * super().zero(mu, **shape)

    def draw(self, rng: np.random.Generator, mu: Array, **shape: Array) -> Array:
        """Draw counts, then which of them are 0 for certain."""
        counts = super().draw(rng, mu, **shape)  # type: ignore[safe-super]
        counts[rng.random(mu.shape) < shape["gate"]] = 0
        return counts


@LIKELIHOODS.register
class ZeroInflatedPoisson(_ZeroInflated, Poisson):
    """Poisson(μ) with extra zeros."""

    settings = ZIPSettings

    def log_prob(self, logits: Tensor, code: Tensor, batch: Batch) -> Tensor:
        """Log-likelihood of each cell (B,)."""
        return log_likelihoods.zero_inflated_poisson(logits, self.gate_head(code), batch)


@LIKELIHOODS.register
class ZeroInflatedNB(_ZeroInflated, NegativeBinomial):
    """Negative binomial with extra zeros."""

    settings = ZINBSettings

    def log_prob(self, logits: Tensor, code: Tensor, batch: Batch) -> Tensor:
        """Log-likelihood of each cell (B,)."""
        theta = self.theta(code, batch.categorical)
        return log_likelihoods.zero_inflated_nb(logits, theta, self.gate_head(code), batch)


@LIKELIHOODS.register
class Bernoulli(Likelihood):
    """Whether a Poisson(μ) count is above 0."""

    settings = BernoulliSettings

    def log_prob(self, logits: Tensor, code: Tensor, batch: Batch) -> Tensor:
        """Log-likelihood of each cell (B,)."""
        return log_likelihoods.bernoulli(logits, batch)

    def moments(self, mu: Array, **shape: Array) -> tuple[Array, Array]:
        """P and p (1 − p)."""
        present = 1.0 - self.zero(mu)
        return present, present * (1.0 - present)

    def cdf(self, x: Array, mu: Array, **shape: Array) -> Array:
        """Probability of at most `x`."""
        return np.where(x < 1, self.zero(mu), 1.0)

    def zero(self, mu: Array, **shape: Array) -> Array:
        """exp(−μ)."""
        return np.exp(-mu)

    def draw(self, rng: np.random.Generator, mu: Array, **shape: Array) -> Array:
        """Draw presence."""
        return rng.random(mu.shape) < -np.expm1(-mu)

    def observed(self, x: Array) -> Array:
        """Return presence."""
        return (x > 0).astype(np.float64)
