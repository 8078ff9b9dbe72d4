r"""The model of deep counts: log-normalised counts are normally distributed around the curves.

.. math::

    y_{ig} = f_g(\varphi_i) + \delta_{b_i g} + \sum_k \sigma_k w_{gk} u_{ik} + \varepsilon_{ig}, \qquad
    u_{ik} \sim \mathcal N(0, 1), \quad \varepsilon_{ig} \sim \mathcal N(0, \psi_g), \qquad y = \log(1 + \bar
    l x / l)

Cells differ in quality, and that moves all genes together. :math:`u_{i1}` is the error of the cell's library size:
:math:`w_{g1}` is the slope of y against log library. :math:`u_{i2}` is how many of its molecules were caught: in a cell
that catches few, rare genes are missed and frequent ones are not. Where counts are deep these errors outweigh the
counting noise, and a cell of another quality would look like one in another phase. Read counts run up to 10^5, with
drop-outs to 0: there a negative binomial follows single entries, and log counts do not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from sclatent.tl._cycle.states import (
    BINS,
    LEAN,
    Array,
    Curves,
    Ints,
    Quality,
    basis,
    flat_shapes,
    learn_shapes,
    log_prior,
)

SETTLE = 20
"""Steps after an initial guess before shared errors are fitted: they explain a cell whose genes are all high as well as
the angle does, so without curves they would replace the angle (S and G2/M would then coincide)."""
SDS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
LEAST_NOISE = 1e-4


@dataclass(frozen=True)
class LogLaw:
    """`y` (n, G) log-normalised counts, the `batch` (n,) of each cell, and whether cells differ in `capture`."""

    y: Array
    batch: Ints
    n_batches: int
    even: bool = False
    settle: int = SETTLE
    capture: bool = True

    def start(self, group: Ints, harmonics: int, resting: float) -> Curves:
        """Return flat curves, for a start without angles."""
        mean, noise = self.y.mean(axis=0), np.maximum(self.y.var(axis=0), LEAST_NOISE)
        coef = np.zeros((len(mean), 1 + 2 * harmonics))
        coef[:, 0] = mean
        batch = np.zeros((self.n_batches, len(mean)))
        shapes = flat_shapes(group, harmonics)
        shared = loadings(self.y)[:, : 1 + self.capture]
        quality = Quality(shared, (0.0,) * shared.shape[1])
        return Curves(coef, noise, mean, batch, log_prior(resting), shapes, quality)

    def log_likelihood(self, curves: Curves) -> Array:
        """Return (n, states) log p(y | state), constants included; the covariance diag(ψ) + W Wᵀ is never built."""
        y = self.y - curves.batch[self.batch]
        mean = np.vstack([curves.values(), curves.rest])
        weight = 1 / curves.noise
        away = (y**2 @ weight)[:, None] - 2 * y @ (weight[:, None] * mean.T) + (mean**2 @ weight)[None, :]
        shared = curves.quality.shared()
        root = np.linalg.cholesky(np.eye(shared.shape[1]) + (shared.T * weight) @ shared)
        for axis in np.linalg.solve(root, shared.T * weight):
            away -= ((y @ axis)[:, None] - (mean @ axis)[None, :]) ** 2
        constant = len(weight) * np.log(2 * np.pi) + np.log(curves.noise).sum() + 2 * np.log(np.diag(root)).sum()
        return -0.5 * (away + constant)

    def evidence(self, curves: Curves) -> float:
        """Return the mean over the cells of log Σ_state p(state) p(y | state)."""
        return float(logsumexp(self.log_likelihood(curves) + curves.prior, axis=1).mean())

    def fit_curves(self, q: Array, curves: Curves) -> Curves:
        """Return new curves, noise, resting levels and batch shifts, given the probabilities of the states."""
        design, shapes = basis(curves.harmonics), curves.shapes
        y = self.y - curves.batch[self.batch]
        bins, rest_mass = q[:, :BINS], float(q[:, BINS].sum())
        mass = bins.sum(axis=0)
        sums = bins.T @ y
        flat = np.zeros((len(curves.noise), 1))
        precision = np.hstack([flat, 1 / shapes.variance[shapes.group]])
        pull = np.hstack([flat, shapes.mean[shapes.group]]) * precision
        information = (design.T @ (mass[:, None] * design))[None] / curves.noise[:, None, None]
        # the ridge on the level matters only if almost no cell cycles
        precision[:, 0], pull[:, 0] = 1e-3, 1e-3 * curves.coef[:, 0]
        inverse = np.linalg.inv(information + precision[:, :, None] * np.eye(precision.shape[1]))
        coef = np.einsum("gkm,gm->gk", inverse, (design.T @ sums).T / curves.noise[:, None] + pull)
        shapes = learn_shapes(coef[:, 1:], np.einsum("gkk->gk", inverse)[:, 1:], shapes)
        values = design @ coef.T
        trough = values.min(axis=0)
        # a resting cell is at most at the trough
        rest = np.minimum((q[:, BINS] @ y + LEAN * trough) / (rest_mass + LEAN), trough)
        square = bins.sum(axis=1) @ y**2 - 2 * (sums * values).sum(axis=0) + mass @ values**2
        square += q[:, BINS] @ y**2 - 2 * rest * (q[:, BINS] @ y) + rest_mass * rest**2
        batch = curves.batch
        if self.n_batches > 1:
            codes = np.eye(self.n_batches)[self.batch]
            count = codes.sum(axis=0)[:, None]
            batch = (codes.T @ (self.y - bins @ values - q[:, [BINS]] * rest)) / (count + LEAN)
            batch = batch - (count * batch).sum(axis=0) / count.sum()
        noise = np.maximum(square / len(y), LEAST_NOISE)
        new = replace(curves, coef=coef, noise=noise, rest=rest, batch=batch, shapes=shapes)
        return _split_noise(new, curves.quality)

    def fit_noise(self, q: Array, curves: Curves) -> Curves:
        """Return the curves with the SDs of the shared errors that maximise the evidence, one after the other."""
        now = curves.quality
        whole = self.fit_curves(q, replace(curves, quality=now.without()))
        for k in range(len(now.sd)):
            now = max((now.with_sd(k, sd) for sd in SDS), key=lambda one: self.evidence(_split_noise(whole, one)))
        return _split_noise(whole, now)


def loadings(y: Array) -> Array:
    r"""Return (G, 2) the slopes of log-normalised counts (n, G) against the log library of a cell and its log capture.

    y = log(1 + m) has the slope m / (1 + m) against log m. A gene that is seen in a share d of the cells, molecules
    being Poisson, is seen in :math:`-(1 - d) \log(1 - d)` more of them per unit of log capture, each time at its mean
    level.
    """
    mean = y.mean(axis=0)
    seen = np.clip((y > 0).mean(axis=0), 1e-12, 1 - 1e-12)
    return np.column_stack([-np.expm1(-mean), -(1 - seen) * np.log1p(-seen) * mean / seen])


def _split_noise(curves: Curves, quality: Quality) -> Curves:
    """Remove the contribution of the shared errors from each gene's own noise."""
    part = (quality.shared() ** 2).sum(axis=1)
    return replace(curves, quality=quality, noise=np.maximum(curves.noise - part, LEAST_NOISE))
