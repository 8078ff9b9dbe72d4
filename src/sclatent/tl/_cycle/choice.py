"""The quality of a fit without labels: how well its angle predicts listed genes that were left out of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sclatent.tl._cycle.em import Fit, fit
from sclatent.tl._cycle.laws.source import Source
from sclatent.tl._cycle.states import LEAN, Array, Ints

PARTS, FOLDS = 4, 5
STEPS = 4
"""EM steps after genes were left out: enough for the angle to become independent of them."""
HARMONICS = 3
"""Harmonics of the predicting curves: fixed, so that no angle is favoured for the number it was fitted with."""


def held_out_gain(source: Source, fitted: Fit, columns: Ints, group: Ints, *, deep: bool, seed: int = 0) -> Array:
    r"""Predict listed genes from the angle of all other genes.

    Each quarter of the listed genes is left out in turn, and the angle is found without it. The curves of these genes
    over that angle are learned on four fifths of the cells; in the last fifth their log-normalised counts have the
    density :math:`\sum_s q_{is} \mathcal N(y_{ig}; f_g(s), \psi_g)`. So an uncertain angle gives a wide prediction, and
    an overconfident angle is penalised.

    With deep counts, what the number of *unlisted* genes seen in a cell says of a gene is regressed out before. Cells
    of poor quality have fewer genes and other counts of all of them, so an angle that follows quality would predict
    well too.

    Parameters
    ----------
    source
        The counts of the cells that were fitted.
    fitted
        The fit to evaluate.
    columns, group
        (G,) its genes; 0 for the S list, 1 for the G2/M list, 2 for added genes.

    Returns
    -------
    (cells, listed genes) nats above a normal density without an angle, in the order of `columns`.
    """
    rng = np.random.default_rng(seed)
    n = len(fitted.q)
    rows = np.arange(n)
    fold = rng.permutation(n) % FOLDS
    part = np.full(len(columns), -1)
    for k in (0, 1):
        members = rng.permutation(np.flatnonzero(group == k))
        part[members] = np.arange(len(members)) % PARTS
    gain = np.zeros((n, len(columns)))
    breadth = source.breadth(columns[group < 2]) if deep else np.ones((n, 1))
    for k in range(PARTS):
        keep, out = np.flatnonzero(part != k), np.flatnonzero(part == k)
        law = source.law(rows, columns[keep], deep=deep)
        again = fit(law, group[keep], fitted.q, fitted.curves.harmonics, temper=fitted.temper, steps=STEPS)
        gain[:, out] = _predict(source, again.q, columns[out], group[out], fold, breadth)
    return gain[:, group < 2]


def mean_gain(gain: Array, phase: Ints) -> tuple[float, float]:
    """Return the mean of (cells, listed genes) gains, or of their differences, and its standard error.

    The S list (`phase` 0) and the G2/M list (1) have the same weight. The standard error is over cells and over genes,
    so that the result holds for other cells and for other genes of the lists.
    """
    lists = [gain[:, phase == k] for k in (0, 1)]
    by_cell = np.mean([part.mean(axis=1) for part in lists], axis=0)
    variance = by_cell.var() / len(by_cell)
    variance += sum(part.mean(axis=0).var() / part.shape[1] for part in lists) / len(lists) ** 2
    return float(by_cell.mean()), float(np.sqrt(variance))


def _predict(source: Source, q: Array, columns: Ints, group: Ints, fold: Ints, breadth: Array) -> Array:
    """Return (cells, G) log density of every gene above that without an angle, each learned on the other folds."""
    out = np.empty((len(q), len(columns)))
    for k in range(FOLDS):
        learn, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        seen, new = (source.log_law(rows, columns) for rows in (learn, test))
        slopes = np.linalg.lstsq(breadth[learn], seen.y, rcond=None)[0]
        slopes[0] = 0.0  # the level is the curve's
        seen = replace(seen, y=seen.y - breadth[learn] @ slopes)
        new = replace(new, y=new.y - breadth[test] @ slopes)
        curves = seen.start(group, HARMONICS, 0.1)
        codes = np.eye(seen.n_batches)[seen.batch]
        shift = codes.T @ (seen.y - curves.rest) / (codes.sum(axis=0)[:, None] + LEAN)
        noise = np.maximum((seen.y - shift[seen.batch]).var(axis=0), 1e-4)
        flat = _log_density(new.y - shift[new.batch], curves.rest[None], noise, np.ones((len(test), 1)))
        for _ in range(STEPS):  # curves, noise, shapes and batch shifts depend on one another
            curves = seen.fit_curves(q[learn], curves)
        level = np.vstack([curves.values(), curves.rest])
        out[test] = _log_density(new.y - curves.batch[new.batch], level, curves.noise, q[test]) - flat
    return out


def _log_density(y: Array, level: Array, noise: Array, q: Array) -> Array:
    """Return (cells, G) log Σ_state q(state) N(y; level(state), ψ), gene by gene."""
    density = np.empty_like(y)
    for g, variance in enumerate(noise):
        away = (y[:, [g]] - level[:, g]) ** 2 / (-2 * variance)
        density[:, g] = (q * np.exp(away)).sum(axis=1)
    return np.log(np.maximum(density, 1e-300)) - 0.5 * np.log(2 * np.pi * noise)
