"""What a likelihood is: a distribution of the counts, with its parameters and all that is asked of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sclatent.model.batch import Batch
from sclatent.model.kinds import Kinds
from sclatent.settings.kinds import parts as kinds
from sclatent.settings.kinds.parts import LikelihoodSettings

Array = np.ndarray

SIZED_STEPS, SIZED_WITHIN = 50, 1e-4
"""How often rates are raised at most so that counts sum to the library size, and how near is enough."""


class Sizes(NamedTuple):
    """What a likelihood can have parameters for."""

    n_genes: int
    n_code: int
    n_levels: tuple[int, ...]


class Likelihood(nn.Module, ABC):
    """A distribution of counts with rates μ = l · softmax(logits).

    The methods on arrays take the rates `mu` (cells × genes), float64, and as keywords what `shape` returns.

    Parameters
    ----------
    sizes
        Genes, entries of the latent code, levels of each categorical covariate.
    settings
        Those of the kind.
    generator
        Fills the weights.
    """

    settings: ClassVar[type[LikelihoodSettings]]

    def __init__(self, sizes: Sizes, settings: LikelihoodSettings, generator: torch.Generator) -> None:
        super().__init__()

    @abstractmethod
    def log_prob(self, logits: Tensor, code: Tensor, batch: Batch) -> Tensor:
        """Log p(x | code) of each cell (B,), nats, constants included.

        `logits` (B × genes, and a *rest* category last when there is one) are the decoder's, `code` (B × n_code).

        Parameters
        ----------
        logits
            Unnormalised log rates (B × genes).
        code
            Codes (B × n_code).
        batch
            The minibatch of B cells.

        Returns
        -------
        Tensor
            (B,), nats, differentiable.
        """

    def gene_wise(self) -> list[nn.Parameter]:
        """Return the parameters with one entry per gene, which learn faster than the weights of networks.

        Returns
        -------
        list of Parameter
            Empty if there are none.
        """
        return []

    def shape(self, code: Tensor, categorical: Tensor) -> dict[str, Array]:
        """Return the parameters of each count except its rate: arrays (1 or cells × genes), by name.

        Parameters
        ----------
        code
            Codes (cells × n_code).
        categorical
            Level of each categorical column (cells × columns).

        Returns
        -------
        dict
            Arrays by name, such as ``theta`` (genes,); empty for a Poisson.
        """
        return {}

    @abstractmethod
    def moments(self, mu: Array, **shape: Array) -> tuple[Array, Array]:
        """Mean and variance of each count.

        Parameters
        ----------
        mu
            Rates μ (cells × genes), counts per cell.
        **shape
            What `shape` returned: arrays (1 or cells × genes), by name.

        Returns
        -------
        tuple of ndarray
            Mean and variance (cells × genes), counts and counts².
        """

    @abstractmethod
    def cdf(self, x: Array, mu: Array, **shape: Array) -> Array:
        """Probability of at most `x`, a whole number from 0 on.

        Parameters
        ----------
        x
            Counts (cells × genes), whole numbers from 0 on.
        mu
            Rates μ (cells × genes), counts per cell.
        **shape
            What `shape` returned: arrays (1 or cells × genes), by name.

        Returns
        -------
        ndarray
            (cells × genes), 0 to 1.
        """

    @abstractmethod
    def draw(self, rng: np.random.Generator, mu: Array, **shape: Array) -> Array:
        """Draw counts.

        Parameters
        ----------
        rng
            Where the randomness comes from.
        mu
            Rates μ (cells × genes), counts per cell.
        **shape
            What `shape` returned: arrays (1 or cells × genes), by name.

        Returns
        -------
        ndarray
            (cells × genes), whole numbers.
        """

    def sized(self, mu: Array, **shape: Array) -> Array:
        """Return the rates of cells whose counts are expected to sum to what `mu` sums to.

        Rates are l · softmax. Where the mean of a count is below its rate (a peak is open or not, however high its
        rate; some zeros are extra), the counts of a cell would sum to less than l: all its rates are raised alike.

        Parameters
        ----------
        mu
            Rates μ (cells × genes), counts per cell.
        **shape
            What `shape` returned: arrays (1 or cells × genes), by name.

        Returns
        -------
        ndarray
            (cells × genes), `mu` itself where it is the mean.
        """
        wanted, rate = mu.sum(1, keepdims=True), mu
        for _ in range(SIZED_STEPS):
            mean = self.moments(rate, **shape)[0]
            if mean is rate:
                break
            ratio = wanted / np.maximum(mean.sum(1, keepdims=True), 1e-300)
            rate = rate * ratio
            if (np.abs(ratio - 1) < SIZED_WITHIN).all():
                break
        return rate

    def zero(self, mu: Array, **shape: Array) -> Array:
        """Probability of a 0.

        Parameters
        ----------
        mu
            Rates μ (cells × genes), counts per cell.
        **shape
            What `shape` returned: arrays (1 or cells × genes), by name.

        Returns
        -------
        ndarray
            (cells × genes), 0 to 1.
        """
        return self.cdf(np.zeros_like(mu), mu, **shape)

    def observed(self, x: Array) -> Array:
        """Return what of the counts `x` is looked at.

        Parameters
        ----------
        x
            Counts (cells × genes), whole numbers from 0 on.

        Returns
        -------
        ndarray
            (cells × genes); for most likelihoods the counts themselves.
        """
        return x

    def interval(self, x: Array, mu: Array, **shape: Array) -> tuple[Array, Array]:
        """F(x − 1) and F(x), between which the randomised PIT is uniform (Czado et al. 2009).

        Parameters
        ----------
        x
            Counts (cells × genes), whole numbers from 0 on.
        mu
            Rates μ (cells × genes), counts per cell.
        **shape
            What `shape` returned: arrays (1 or cells × genes), by name.

        Returns
        -------
        tuple of ndarray
            F(x − 1) and F(x), (cells × genes) each.
        """
        below, upto = np.zeros_like(mu), self.zero(mu, **shape)
        at = x > 0
        inside = {name: np.broadcast_to(value, mu.shape)[at] for name, value in shape.items()}
        below[at], upto[at] = (self.cdf(value, mu[at], **inside) for value in (x[at] - 1, x[at]))
        return below, upto

    def quantile(self, level: Array, mu: Array, **shape: Array) -> Array:
        """Return the smallest count of which the probability of at most it is `level` or more.

        Parameters
        ----------
        level
            Probabilities below 1 (cells × genes).
        mu
            Rates μ (cells × genes), counts per cell.
        **shape
            What `shape` returned: arrays (1 or cells × genes), by name.

        Returns
        -------
        ndarray
            (cells × genes), whole numbers.
        """
        out = np.zeros_like(mu)
        at = level > self.zero(mu, **shape)
        inside = {name: np.broadcast_to(value, mu.shape)[at] for name, value in shape.items()}
        rate, wanted = mu[at], level[at]
        low, high = np.zeros_like(rate), np.maximum(np.ceil(rate), 1.0)
        while (short := self.cdf(high, rate, **inside) < wanted).any():
            low, high = np.where(short, high, low), np.where(short, 2 * high, high)
        while (high - low > 1).any():
            middle = np.floor((low + high) / 2)
            enough = self.cdf(middle, rate, **inside) >= wanted
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        out[at] = high
        return out


LIKELIHOODS: Kinds[type[Likelihood]] = Kinds(kinds.LIKELIHOODS)
