"""Do the counts spread as the likelihood says? Per gene, on cells the model has not seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from sclatent.model import Batches, CountData, CountVAE
from sclatent.tl._model.subset import evenly

BINS = 20
Array = np.ndarray


@torch.no_grad()
def calibration(
    vae: CountVAE, data: CountData, index: Array, genes: list[str], *, cells: int = 2000, seed: int = 0
) -> tuple[pd.DataFrame, Array]:
    """Compare the counts of the cells `index` with what the model expects for them, gene by gene.

    Each cell's rates are decoded at one draw of its posterior. Under a calibrated model the randomised probability
    integral transform F(x − 1) + v p(x), v uniform (Czado et al. 2009), is uniform.

    Parameters
    ----------
    vae
        The trained model.
    data
        The counts that `index` points into.
    index
        (n,) positions of held-out cells; at most `cells` of them, evenly spaced, are used.
    genes
        Names of the model's genes.
    cells
        Most cells that are used.
    seed
        Seed of the draws.

    Returns
    -------
    tuple
        A table, one row per gene: ``mean`` (of the counts), ``zero_fraction_observed``, ``zero_fraction_expected``,
        ``variance_to_mean_observed``, ``variance_to_mean_expected`` (by the law of total variance; NaN for a gene
        without counts in these cells) and ``pit_deviation`` (largest distance of the gene's cumulative PIT from the
        diagonal, on a grid of 20; 0 to 1). And the density of the PIT over all entries (20,), 1 where it is uniform.
    """
    picked = evenly(index, cells)
    rng = np.random.default_rng(seed)
    noise = torch.Generator(device=vae.device).manual_seed(seed)
    n, n_genes = len(picked), data.n_genes
    histogram = np.zeros((n_genes, BINS))
    names = ("x", "x2", "zero", "mean", "mean2", "variance", "p_zero")
    sums = {name: np.zeros(n_genes) for name in names}
    for batch in Batches(data.subset(picked), vae.device).stream(np.arange(n), 128):
        x = vae.likelihood.observed(batch.dense().cpu().numpy().astype(np.float64))
        mu, shape = vae.predictive(batch, noise)
        below, upto = vae.likelihood.interval(x, mu, **shape)
        u = below + rng.random(x.shape) * (upto - below)
        bins = np.clip((u * BINS).astype(np.int64), 0, BINS - 1) + np.arange(n_genes) * BINS
        histogram += np.bincount(bins.ravel(), minlength=n_genes * BINS).reshape(n_genes, BINS)
        mean, variance = vae.likelihood.moments(mu, **shape)
        zero = vae.likelihood.zero(mu, **shape)
        for name, value in zip(names, (x, x * x, x == 0, mean, mean * mean, variance, zero), strict=True):
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
