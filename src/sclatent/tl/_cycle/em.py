"""Expectation maximisation: alternates between the probabilities of the states and the curves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from sclatent.tl._cycle.states import BINS, GRID, Array, Curves, Ints, Law, fit_prior, log_prior, posterior

CONCENTRATION = 2.0
"""Concentration of the von Mises distribution around an initial angle."""
HOLD = 5
"""Steps before the resting state is added: its level is the trough of a curve, so curves must be fitted first."""
TOLERANCE = 5e-3
"""Mean change of a cell's probabilities (sum over states) below which the iteration stops."""


@dataclass(frozen=True)
class Fit:
    """A fitted model: the curves, the temper, and the probabilities (cells, states)."""

    curves: Curves
    temper: float
    q: Array


def resultant(q: Array) -> Array:
    """Return (n,) complex Σ q exp(iφ) / Σ q over the bins: its argument is the angle, its length how certain it is."""
    return (q[:, :BINS] @ np.exp(1j * GRID)) / np.maximum(q[:, :BINS].sum(axis=1), 1e-300)


def start_from_angle(angle: Array, concentration: float | None = None, *, resting: Array | float = 0.0) -> Array:
    """Return (cells, states) probabilities: a von Mises distribution around an initial angle, and resting."""
    logits = (CONCENTRATION if concentration is None else concentration) * np.cos(GRID[None, :] - angle[:, None])
    q = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    rest = np.broadcast_to(resting, len(angle))[:, None]
    return np.hstack([q * (1 - rest), rest])


def fit(
    law: Law, group: Ints, start: Array, harmonics: int, *, temper: float = 1.0, first: bool = False, steps: int = 40
) -> Fit:
    """Alternate between the probabilities of the states and the curves.

    Parameters
    ----------
    law
        The counts of the cells, and their distribution around the curves.
    group
        (G,) 0 for genes of the S list, 1 of the G2/M list, 2 for others.
    start
        (cells, states) initial probabilities. If no cell rests in them, the resting state is added after a few steps.
    harmonics, temper
        H, and the power to which the likelihood is raised.
    first
        Whether `start` is only an initial guess: then the noise is not fitted before the curves.
    """
    q = start
    nobody_rests = q[:, BINS].sum() == 0
    settle = law.settle if first else 0
    curves = law.start(group, harmonics, float(q[:, BINS].mean()))
    for step in range(steps):
        curves = law.fit_curves(q, curves)
        if step % 8 == 4 and step >= settle:
            curves = law.fit_noise(q, curves)
        ll = law.log_likelihood(curves)
        if nobody_rests and step == HOLD:
            curves = replace(curves, prior=log_prior(0.1))
        curves = replace(curves, prior=fit_prior(ll, curves.prior, temper, even=law.even))
        new = posterior(ll, curves.prior, temper)
        moved = float(np.abs(new - q).sum(axis=1).mean())
        q = new
        if moved < TOLERANCE and step > max(2 * HOLD, settle):
            break
    return Fit(curves, temper, q)
