r"""The law for deep counts: log-normalised counts scatter normally about the curves.

.. math::

    y_{ig} = f_g(\varphi_i) + \delta_{b_i g} + \sigma w_g u_i + \varepsilon_{ig}, \qquad
    u_i \sim \mathcal N(0, 1), \quad \varepsilon_{ig} \sim \mathcal N(0, \psi_g), \qquad y = \log(1 + \bar
    l x / l)

:math:`u_i` is the error of the cell's library size, shared by all genes (:math:`w_g` is the slope of y against log
library): where counts are deep it outweighs the counting noise, and a cell whose library is off would look like one
in another phase. Read counts run up to 10^5, with drop-outs to 0: there a negative binomial follows single entries,
and log counts do not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from sclatent.tl._cycle.states import BINS, Array, Curves, Ints, basis, flat_shapes, learn_shapes, log_prior

SETTLE = 20
"""From a first guess, steps before the shared error opens: it explains a cell whose genes are all high as well as the
angle does, so before there are curves it takes the angle's place (then S and G2/M fall together)."""
SIGMAS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)


@dataclass(frozen=True)
class LogLaw:
    """`y` (n, G) log-normalised counts, and the `batch` of each cell as a code (n,)."""

    y: Array
    batch: Ints
    n_batches: int
    even: bool = False
    settle: int = SETTLE

    def start(self, group: Ints, harmonics: int, resting: float) -> Curves:
        """Return flat curves, before anything was seen of the angle."""
        mean, noise = self.y.mean(axis=0), np.maximum(self.y.var(axis=0), 1e-4)
        coef = np.zeros((len(mean), 1 + 2 * harmonics))
        coef[:, 0] = mean
        batch = np.zeros((self.n_batches, len(mean)))
        return Curves(coef, noise, mean, batch, 0.0, log_prior(resting), flat_shapes(group, harmonics))

    def log_likelihood(self, curves: Curves) -> Array:
        """Return (n, states) log p(y | state), constants included; the covariance diag(ψ) + σ² w wᵀ is never built."""
        y = self.y - curves.batch[self.batch]
        mean = np.vstack([curves.values(), curves.rest])
        weight = 1 / curves.noise
        w = curves.sigma * _slope(curves)
        ll = y @ (weight[:, None] * mean.T) - 0.5 * (mean**2 @ weight)[None, :] - 0.5 * (y**2 @ weight)[:, None]
        information = 1 + (w**2 * weight).sum()
        score = (y @ (w * weight))[:, None] - (mean @ (w * weight))[None, :]
        ll += 0.5 * score**2 / information
        constant = len(weight) * np.log(2 * np.pi) + np.log(curves.noise).sum() + np.log(information)
        return ll - 0.5 * constant

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
        # the ridge on the level only matters when next to nobody cycles
        precision[:, 0], pull[:, 0] = 1e-3, 1e-3 * curves.coef[:, 0]
        inverse = np.linalg.inv(information + precision[:, :, None] * np.eye(precision.shape[1]))
        coef = np.einsum("gkm,gm->gk", inverse, (design.T @ sums).T / curves.noise[:, None] + pull)
        shapes = learn_shapes(coef[:, 1:], np.einsum("gkk->gk", inverse)[:, 1:], shapes)
        values = design @ coef.T
        trough = values.min(axis=0)
        # a resting cell is at most at the trough; its level leans on it as if five such cells had been seen
        rest = np.minimum((q[:, BINS] @ y + 5 * trough) / (rest_mass + 5), trough)
        square = bins.sum(axis=1) @ y**2 - 2 * (sums * values).sum(axis=0) + mass @ values**2
        square += q[:, BINS] @ y**2 - 2 * rest * (q[:, BINS] @ y) + rest_mass * rest**2
        batch = curves.batch
        if self.n_batches > 1:
            codes = np.eye(self.n_batches)[self.batch]
            count = codes.sum(axis=0)[:, None]
            batch = (codes.T @ (self.y - bins @ values - q[:, [BINS]] * rest)) / (count + 10)
            batch = batch - (count * batch).sum(axis=0) / count.sum()
        noise = np.maximum(square / len(y), 1e-4)
        new = replace(curves, coef=coef, noise=noise, rest=rest, batch=batch, shapes=shapes)
        return _split_noise(new, curves.sigma)

    def fit_noise(self, q: Array, curves: Curves) -> Curves:
        """Return the curves with the SD of the shared error that has the most evidence."""
        whole = self.fit_curves(q, replace(curves, sigma=0.0))
        choices = [_split_noise(whole, sigma) for sigma in SIGMAS]
        return max(choices, key=self.evidence)


def _slope(curves: Curves) -> Array:
    # y = log(1 + m) has the slope m / (1 + m) against log m
    return -np.expm1(-np.maximum(curves.coef[:, 0], 0.0))


def _split_noise(curves: Curves, sigma: float) -> Curves:
    """Take the shared error's part out of each gene's own noise."""
    part = (sigma * _slope(curves)) ** 2
    return replace(curves, sigma=sigma, noise=np.maximum(curves.noise - part, 0.3 * curves.noise))
