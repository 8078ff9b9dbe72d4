r"""The model of shallow counts (UMIs): a negative binomial around the exponential of the curves.

.. math::

    x_{ig} \sim \mathrm{NB}\bigl(l_i \exp(f_g(\varphi_i) + \delta_{b_i g}),\ \theta_g\bigr), \qquad
    \mathrm{Var}(x) = \mu + \mu^2 / \theta

Library sizes are rounded to a grid with steps of 5 %: then cells × states is one matrix product per step, exact for the
rounded library size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaln, logsumexp

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

LIBRARY_STEP = 0.05
THETAS: Array = np.exp(np.linspace(np.log(0.05), np.log(1000.0), 25))


@dataclass(frozen=True)
class CountLaw:
    """`counts` (n, G), `library` (n,), and the `batch` of each cell as a code (n,)."""

    counts: Array
    library: Array
    batch: Ints
    n_batches: int
    even: bool = True
    settle: int = 0

    def start(self, group: Ints, harmonics: int, resting: float) -> Curves:
        """Return flat curves, for a start without angles."""
        level = np.log((self.counts.sum(axis=0) + 0.5) / self.library.sum())
        coef = np.zeros((len(level), 1 + 2 * harmonics))
        coef[:, 0] = level
        batch = np.zeros((self.n_batches, len(level)))
        noise, shapes = np.full(len(level), 5.0), flat_shapes(group, harmonics)
        quality = Quality(np.zeros((len(level), 0)), ())
        return Curves(coef, noise, level, batch, log_prior(resting), shapes, quality)

    def log_likelihood(self, curves: Curves) -> Array:
        """Return (n, states) log p(x | state), up to terms that are the same for all states of a cell."""
        rate = np.column_stack([curves.values().T, curves.rest])
        level = np.rint(np.log(self.library) / LIBRARY_STEP).astype(np.int64)
        key = level * self.n_batches + self.batch
        order = np.argsort(key, kind="stable")
        by_theta, shift = np.exp(rate) / curves.noise[:, None], np.exp(curves.batch)
        out = np.empty((len(self.library), rate.shape[1]))
        for rows in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
            if not len(rows):
                continue
            batch = self.batch[rows[0]]
            scale = shift[batch] * np.exp(level[rows[0]] * LIBRARY_STEP)
            log_excess = np.log1p(by_theta * scale[:, None])
            log_mu = rate + curves.batch[batch][:, None]
            out[rows] = self.counts[rows] @ (log_mu - log_excess) - curves.noise @ log_excess
        return out

    def evidence(self, curves: Curves) -> float:
        """Return the mean over cells of log Σ_state p(state) p(x | state), up to terms without curves."""
        theta = curves.noise
        constant = gammaln(self.counts + theta) - gammaln(theta) - self.counts * np.log(theta)
        return float((logsumexp(self.log_likelihood(curves) + curves.prior, axis=1) + constant.sum(axis=1)).mean())

    def fit_curves(self, q: Array, curves: Curves) -> Curves:
        """Return new curves, resting levels and batch shifts, given the probabilities of the states."""
        shapes = curves.shapes
        codes = np.eye(self.n_batches)[self.batch]
        exposure = np.exp(curves.batch).T @ (codes.T @ (self.library[:, None] * q))
        sums = self.counts.T @ q
        middle = float(np.median(self.library))
        mean, variance = shapes.mean[shapes.group], shapes.variance[shapes.group]
        coef, spread = fit_coefficients(
            sums[:, :BINS], exposure[:, :BINS], curves.noise, middle, curves.coef, mean, variance
        )
        shapes = learn_shapes(coef[:, 1:], spread, shapes)
        trough = (coef @ basis(curves.harmonics).T).min(axis=1)
        lean = LEAN * middle  # a resting cell is at most at the trough
        rest = np.log(sums[:, BINS] + lean * np.exp(trough)) - np.log(exposure[:, BINS] + lean)
        new = replace(curves, coef=coef, rest=np.minimum(rest, trough), shapes=shapes)
        if self.n_batches > 1:
            rate = np.exp(np.vstack([new.values(), new.rest]))
            expected = (codes.T @ (self.library[:, None] * q)) @ rate
            seen = codes.T @ self.counts
            shift = np.log(seen + LEAN) - np.log(expected + LEAN)
            share = codes.sum(axis=0)[:, None] / len(codes)
            new = replace(new, batch=shift - (share * shift).sum(axis=0))
        return new

    def fit_noise(self, q: Array, curves: Curves) -> Curves:
        """Return the curves with the dispersions that maximise the likelihood at the expected rates, on a grid."""
        rows = np.linspace(0, len(q) - 1, min(len(q), 1500)).astype(np.int64)
        rate = np.exp(np.vstack([curves.values(), curves.rest]))
        mu = self.library[rows, None] * (q[rows] @ rate) * np.exp(curves.batch)[self.batch[rows]]
        value = sum_log_nb(self.counts[rows], np.maximum(mu, 1e-12), THETAS)
        return replace(curves, noise=THETAS[value.argmax(axis=0)])


def highest(part: Array) -> Array:
    """Return (G,) the third largest counts over library size: larger ones are clipped, so no curve follows outliers."""
    return np.asarray(np.quantile(part, 1 - 2 / len(part), axis=0))


def winsorize(counts: Array, library: Array, caps: Array) -> Array:
    """Clip outliers that curves should not follow; counts up to three are never clipped."""
    return np.minimum(counts, np.maximum(caps * library[:, None], 3.0))


def sum_log_nb(counts: Array, mu: Array, thetas: Array) -> Array:
    """Return (thetas, G) Σ_cells log NB(x; μ, θ), up to terms that are the same for all θ. Most counts may be 0."""
    seen, gene = np.nonzero(counts)
    x, n_genes = counts[seen, gene], counts.shape[1]
    out = np.empty((len(thetas), n_genes))
    for k, theta in enumerate(thetas):
        excess = np.log1p(mu / theta)
        of_counts = gammaln(x + theta) - gammaln(theta) - x * (np.log(theta) + excess[seen, gene])
        out[k] = np.bincount(gene, of_counts, n_genes) - theta * excess.sum(axis=0)
    return out


def fit_coefficients(
    sums: Array, exposure: Array, theta: Array, library: float, start: Array, mean: Array, variance: Array
) -> tuple[Array, Array]:
    """Newton steps of a penalised NB quasi-likelihood on the bins.

    Parameters
    ----------
    sums, exposure
        (G, bins) counts and libraries that fell into each bin.
    theta, library
        Dispersions and the typical library, for the variance function 1 + rate · library / θ.
    start
        (G, 1 + 2H) coefficients to start from.
    mean, variance
        (G, 2H) normal prior of the harmonics.

    Returns
    -------
    coef, spread
        (G, 1 + 2H) coefficients, and (G, 2H) posterior variances of the harmonics.
    """
    design = basis((start.shape[1] - 1) // 2)
    level = np.full((len(start), 1), 1e-6)
    precision = np.hstack([level, 1 / variance])
    centre = np.hstack([start[:, :1], mean])
    coef = start.copy()
    inverse = np.zeros((*start.shape, start.shape[1]))
    for _ in range(6):
        rate = np.exp(np.clip(coef @ design.T, -40, 8))
        weight = 1 / (1 + rate * library / theta[:, None])
        mu = rate * exposure
        gradient = ((sums - mu) * weight) @ design - precision * (coef - centre)
        hessian = np.einsum("gb,bk,bm->gkm", mu * weight, design, design)
        inverse = np.linalg.inv(hessian + precision[:, :, None] * np.eye(precision.shape[1]))
        coef += np.clip(np.einsum("gkm,gm->gk", inverse, gradient), -1, 1)
    return coef, np.einsum("gkk->gk", inverse)[:, 1:]
