"""Is there a cell cycle in these data? Listed genes must follow an angle they were not used to find."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.stats import chi2, norm

from sclatent.tl._cycle_em import Fit, fit
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
    source: Source,
    normalised: sp.csr_matrix,
    genes: ListGenes,
    start: Array,
    *,
    deep: bool,
    temper: float = 1.0,
    folds: int = 4,
    seed: int = 0,
) -> Evidence:
    """Test whether the listed genes follow the angle of the other listed genes.

    Curves are learned on one half of the cells. In the other half, in turn a quarter of the listed genes is left out
    of the angle, and the share of their variance that this angle explains is ranked among genes of like abundance
    that are on no list (both halves averaged). Without a cell cycle the ranks are uniform (one-sided normal test of
    the mean rank). In a panel with fewer other genes than that takes, the shares are compared with those of permuted
    cells (χ²).

    Parameters
    ----------
    source
        The counts of the cells.
    normalised
        (cells, genes) their log-normalised counts.
    genes
        The listed genes.
    start
        (cells, states) first probabilities.
    deep, temper
        As in the fit.
    """
    rng = np.random.default_rng(seed)
    listed = np.arange(len(genes.position))
    fold = rng.permutation(len(listed)) % folds
    half = rng.permutation(normalised.shape[0]) % 2
    group = np.where(genes.phase == "S", 0, 1)
    r2 = np.zeros(normalised.shape[1])
    held, gain = np.zeros(len(listed)), np.zeros(len(listed))
    for side in (0, 1):
        learn, test = np.flatnonzero(half == side), np.flatnonzero(half != side)
        law = source.law(learn, genes.position, deep=deep)
        fitted = fit(law, group, start[learn], 1, temper=temper, first=True)
        part = sp.csr_matrix(normalised[test])
        for k in range(folds):
            q = _angle_without(fitted, source, test, genes.position, listed[fold != k], deep=deep)
            share, _ = explained(part, q)
            inside = fold == k
            r2 += share / (2 * folds)
            held[inside] += share[genes.position[inside]] / 2
            gain[inside] += share[genes.position[inside]] * q[:, :BINS].sum()
    mean = np.asarray(normalised.mean(axis=0)).ravel()
    others = np.setdiff1d(np.flatnonzero(mean > 0), genes.position)
    ranks = len(others) >= 4 * CONTROLS
    p, is_s = [], group == 0
    for inside in (is_s, ~is_s):
        if ranks:
            pairs = zip(held[inside], genes.position[inside], strict=True)
            quantile = [_rank(share, r2[_like(mean, others, mean[g])]) for share, g in pairs]
            p.append(float(norm.sf((np.mean(quantile) - 0.5) * np.sqrt(12 * len(quantile)))))
        else:
            p.append(float(chi2.sf(gain[inside].sum(), 4 * inside.sum())))
    return Evidence(
        p[0],
        p[1],
        float(held[is_s].mean()),
        float(held[~is_s].mean()),
        float(r2[others].mean()) if len(others) else float("nan"),
        "genes of like abundance" if ranks else "permuted cells",
    )


def _angle_without(fitted: Fit, source: Source, rows: Ints, columns: Ints, keep: Ints, *, deep: bool) -> Array:
    ll = source.law(rows, columns[keep], deep=deep).log_likelihood(fitted.curves.genes(keep))
    return posterior(ll, fitted.curves.prior, fitted.temper)


def _like(mean: Array, others: Ints, level: float) -> Ints:
    """Return the other genes nearest in abundance."""
    return others[np.argsort(np.abs(np.log(mean[others]) - np.log(max(level, 1e-12))), kind="stable")[:CONTROLS]]


def _rank(value: float, among: Array) -> float:
    return float(((among < value).sum() + 0.5 * (among == value).sum() + 0.5) / (len(among) + 1))
