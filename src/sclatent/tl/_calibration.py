"""Do the counts spread as the likelihood says? Per gene, on cells the model has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.special import betainc, gammaincc

from sclatent.model.batches import Batches, CountData
from sclatent.model.vae import CountVAE
from sclatent.tl._subset import evenly

BINS = 20
Array = np.ndarray


@dataclass(frozen=True)
class Predictive:
    """The distribution of each count (cells × genes), given the latent coordinates.

    Attributes
    ----------
    mu
        Rate of the count distribution.
    theta
        Inverse dispersion of a negative binomial; None: Poisson.
    gate
        Probability of an extra zero; None: there is none.
    binary
        Only whether a count is above 0 is looked at.
    """

    mu: Array
    theta: Array | None = None
    gate: Array | None = None
    binary: bool = False

    def zero(self) -> Array:
        """Probability of a 0."""
        plain = np.exp(-self.mu if self.theta is None else -self.theta * np.log1p(self.mu / self.theta))
        return plain if self.gate is None else self.gate + (1.0 - self.gate) * plain

    def moments(self) -> tuple[Array, Array]:
        """Mean and variance."""
        if self.binary:
            present = 1.0 - self.zero()
            return present, present * (1.0 - present)
        variance = self.mu if self.theta is None else self.mu + self.mu**2 / self.theta
        if self.gate is None:
            return self.mu, variance
        return (1.0 - self.gate) * self.mu, (1.0 - self.gate) * (variance + self.gate * self.mu**2)

    def interval(self, x: Array) -> tuple[Array, Array]:
        """F(x − 1) and F(x), between which the randomised PIT is uniform."""
        below, upto = np.zeros_like(self.mu), self.zero()
        at = x > 0
        if self.binary:
            below[at], upto[at] = upto[at], 1.0
            return below, upto
        below[at], upto[at] = self._cumulative(x[at] - 1, at), self._cumulative(x[at], at)
        return below, upto

    def _cumulative(self, x: Array, at: Array) -> Array:
        mu = self.mu[at]
        if self.theta is None:
            plain = gammaincc(x + 1.0, mu)
        else:
            theta = self.theta[at]
            plain = betainc(theta, x + 1.0, theta / (theta + mu))
        return plain if self.gate is None else self.gate[at] + (1.0 - self.gate[at]) * plain


@torch.no_grad()
def calibration(
    vae: CountVAE, data: CountData, index: Array, genes: list[str], *, cells: int = 2000, seed: int = 0
) -> tuple[pd.DataFrame, Array]:
    """Compare the counts of the cells `index` with what the model expects for them, gene by gene.

    Each cell's rates are decoded at one draw of its posterior. Under a calibrated model the randomised probability
    integral transform F(x − 1) + v p(x), v uniform (Czado et al. 2009), is uniform.

    Parameters
    ----------
    index
        Positions of held-out cells; at most `cells` of them, evenly spaced, are used.
    genes
        Names of the model's genes.

    Returns
    -------
    A table, one row per gene: ``mean`` (of the counts), ``zero_fraction_observed``, ``zero_fraction_expected``,
    ``variance_to_mean_observed``, ``variance_to_mean_expected`` (by the law of total variance; NaN for a gene without
    counts in these cells) and ``pit_deviation`` (largest distance of the gene's cumulative PIT from the diagonal, on a
    grid of 20; 0 to 1). And the density of the PIT over all entries (20 bins, 1 = uniform).
    """
    picked = evenly(index, cells)
    rng = np.random.default_rng(seed)
    noise = torch.Generator(device=vae.device).manual_seed(seed)
    n, n_genes = len(picked), data.n_genes
    histogram = np.zeros((n_genes, BINS))
    names = ("x", "x2", "zero", "mean", "mean2", "variance", "p_zero")
    sums = {name: np.zeros(n_genes) for name in names}
    for batch in Batches(data, vae.device).stream(picked, 128):
        x = batch.dense().cpu().numpy().astype(np.float64)
        mu, theta, gate = vae.predictive(batch, noise)
        found = Predictive(mu, theta, gate, binary=vae.settings.likelihood == "bernoulli")
        if found.binary:
            x = (x > 0).astype(np.float64)
        below, upto = found.interval(x)
        u = below + rng.random(x.shape) * (upto - below)
        bins = np.clip((u * BINS).astype(np.int64), 0, BINS - 1) + np.arange(n_genes) * BINS
        histogram += np.bincount(bins.ravel(), minlength=n_genes * BINS).reshape(n_genes, BINS)
        mean, variance = found.moments()
        for name, value in zip(names, (x, x * x, x == 0, mean, mean * mean, variance, found.zero()), strict=True):
            sums[name] += value.sum(0)
    m = {name: total / n for name, total in sums.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.where(m["x"] > 0, (m["x2"] - m["x"] ** 2) / m["x"], np.nan)
        expected = (m["variance"] + m["mean2"] - m["mean"] ** 2) / m["mean"]
    steps = np.cumsum(histogram / n, axis=1) - np.arange(1, BINS + 1) / BINS
    table = pd.DataFrame(
        {
            "mean": m["x"],
            "zero_fraction_observed": m["zero"],
            "zero_fraction_expected": m["p_zero"],
            "variance_to_mean_observed": observed,
            "variance_to_mean_expected": np.where(m["x"] > 0, expected, np.nan),
            "pit_deviation": np.abs(steps).max(1),
        },
        index=pd.Index(genes, name="gene"),
    )
    return table, histogram.sum(0) / histogram.sum() * BINS
