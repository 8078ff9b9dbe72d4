"""Is there a cell cycle in these data? Listed genes must follow an angle they were not used to find."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.stats import chi2, norm

from sclatent.tl._cycle_em import Fit
from sclatent.tl._cycle_join import explained
from sclatent.tl._cycle_scores import ListGenes
from sclatent.tl._cycle_source import Source
from sclatent.tl._cycle_states import BINS, Array, Ints, posterior

CONTROLS = 50
ALPHA = 0.01


@dataclass(frozen=True)
class Evidence:
    """How well the listed genes follow an angle they were not used for: p-values, and the mean R² behind them."""

    p_s: float
    p_g2m: float
    r2_s: float
    r2_g2m: float
    r2_controls: float
    null: str


def weigh(
    fitted: Fit,
    source: Source,
    normalised: sp.csr_matrix,
    genes: ListGenes,
    *,
    deep: bool,
    folds: int = 4,
    seed: int = 0,
) -> Evidence:
    """Test whether the listed genes follow the angle of the other listed genes.

    In turn a quarter of the listed genes is left out of the angle, and the share of their variance
    that this angle explains is ranked among genes of like abundance that are on no list. Without a cell cycle their
    ranks are uniform (one-sided normal test of the mean rank). In a panel with fewer other genes than that takes,
    the shares are compared with those of permuted cells (χ²).

    Parameters
    ----------
    fitted
        The fit on the listed genes alone, in their order.
    source
        The counts of the cells it was fitted on.
    normalised
        (cells, genes) their log-normalised counts.
    genes
        The listed genes.
    """
    rng = np.random.default_rng(seed)
    listed = np.arange(len(genes.position))
    fold = rng.permutation(len(listed)) % folds
    r2 = np.zeros(normalised.shape[1])
    held = np.zeros(len(listed))
    cells = 0.0
    for k in range(folds):
        q = _angle_without(fitted, source, genes.position, listed[fold != k], deep=deep)
        cells += float(q[:, :BINS].sum()) / folds
        share, _ = explained(normalised, q)
        r2 += share / folds
        held[fold == k] = share[genes.position[listed[fold == k]]]
    mean = np.asarray(normalised.mean(axis=0)).ravel()
    others = np.setdiff1d(np.flatnonzero(mean > 0), genes.position[listed])
    is_s = genes.phase == "S"
    ranks = len(others) >= 4 * CONTROLS
    p = []
    for inside in (is_s, ~is_s):
        if ranks:
            pairs = zip(held[inside], listed[inside], strict=True)
            quantile = [_rank(share, r2[_like(mean, others, mean[genes.position[g]])]) for share, g in pairs]
            p.append(float(norm.sf((np.mean(quantile) - 0.5) * np.sqrt(12 * len(quantile)))))
        else:
            p.append(float(chi2.sf(cells * held[inside].sum(), 2 * inside.sum())))
    return Evidence(
        p[0],
        p[1],
        float(held[is_s].mean()),
        float(held[~is_s].mean()),
        float(r2[others].mean()) if len(others) else float("nan"),
        "genes of like abundance" if ranks else "permuted cells",
    )


def _angle_without(fitted: Fit, source: Source, columns: Ints, keep: Ints, *, deep: bool) -> Array:
    rows = np.arange(source.counts.shape[0])
    ll = source.law(rows, columns[keep], deep=deep).log_likelihood(fitted.curves.genes(keep))
    return posterior(ll, fitted.curves.prior, fitted.temper)


def _like(mean: Array, others: Ints, level: float) -> Ints:
    """Return the other genes nearest in abundance."""
    return others[np.argsort(np.abs(np.log(mean[others]) - np.log(max(level, 1e-12))), kind="stable")[:CONTROLS]]


def _rank(value: float, among: Array) -> float:
    return float(((among < value).sum() + 0.5 * (among == value).sum() + 0.5) / (len(among) + 1))
