"""States of the cell cycle (bins of the angle, and resting), and the curves of genes over them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sclatent.data.blocks.dense import column_of, stretches

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 72
GRID: Array = np.linspace(0, 2 * np.pi, BINS, endpoint=False)
GUESS_GENES = 4.0
GUESS_AMPLITUDE = (0.3, 0.3 / 2, 0.3 / 3)
"""Initial amplitudes of the harmonics of a gene's curve; the guess has the weight of `GUESS_GENES` genes."""
LEAN = 5.0
"""Weight, in cells, with which a resting level is shrunk to the trough and a batch shift to 0."""


@dataclass(frozen=True)
class Shapes:
    """What genes of one group have in common: `mean` and `variance` (groups, 2H) of their harmonics.

    Group 0 is the S list, 1 the G2/M list, 2 the added genes, which have no common shape (mean 0).
    """

    group: Ints
    mean: Array
    variance: Array


@dataclass(frozen=True)
class Quality:
    """How cells differ in quality: `loadings` (G, k) of errors that all genes share, and their `sd` (k)."""

    loadings: Array
    sd: tuple[float, ...]

    def shared(self) -> Array:
        """Return (G, k) the loadings times their SD."""
        return self.loadings * np.array(self.sd)

    def without(self) -> Quality:
        """Return the same without the errors."""
        return replace(self, sd=(0.0,) * len(self.sd))

    def with_sd(self, k: int, sd: float) -> Quality:
        """Return the same with another SD of one error."""
        return replace(self, sd=tuple(sd if j == k else old for j, old in enumerate(self.sd)))


@dataclass(frozen=True)
class Curves:
    """Parameters; all per gene (G) except `prior` (states,), the log prior of the bins and of resting.

    `coef` (G, 1 + 2H): Fourier coefficients; `noise` (G,): variance or dispersion, depending on the law; `rest` (G,):
    the level of resting cells; `batch` (batches, G): shifts; `quality`: the errors that all genes of a cell share.
    """

    coef: Array
    noise: Array
    rest: Array
    batch: Array
    prior: Array
    shapes: Shapes
    quality: Quality

    @property
    def harmonics(self) -> int:
        """Number of harmonics H."""
        return (self.coef.shape[1] - 1) // 2

    def values(self) -> Array:
        """Return (bins, G): the curves on the grid."""
        return basis(self.harmonics) @ self.coef.T

    def genes(self, columns: Ints) -> Curves:
        """Return the curves of some of the genes."""
        return replace(
            self,
            coef=self.coef[columns],
            noise=self.noise[columns],
            rest=self.rest[columns],
            batch=self.batch[:, columns],
            shapes=replace(self.shapes, group=self.shapes.group[columns]),
            quality=replace(self.quality, loadings=self.quality.loadings[columns]),
        )


class Law(Protocol):
    """The distribution of counts around the curves, together with the counts of some cells."""

    @property
    def even(self) -> bool:
        """Whether the posterior mass, not only the prior, is spread evenly over the bins."""
        ...

    @property
    def settle(self) -> int:
        """EM steps after an initial guess before the noise is fitted."""
        ...

    def start(self, group: Ints, harmonics: int, resting: float) -> Curves:
        """Return flat curves, for a start without angles."""
        ...

    def log_likelihood(self, curves: Curves) -> Array:
        """Return (cells, states) log p(counts | state), up to terms that are the same for all states of a cell."""
        ...

    def evidence(self, curves: Curves) -> float:
        """Return the mean over cells of log Σ_state p(state) p(counts | state), up to terms without curves."""
        ...

    def fit_curves(self, q: Array, curves: Curves) -> Curves:
        """Return new curves, given the probabilities (cells, states)."""
        ...

    def fit_noise(self, q: Array, curves: Curves) -> Curves:
        """Return the curves with new noise; called every few steps."""
        ...


def basis(harmonics: int, angle: Array = GRID) -> Array:
    """Return (angles, 1 + 2H): 1, cos φ, sin φ, cos 2φ, and so on."""
    columns = [np.ones_like(angle)]
    for h in range(1, harmonics + 1):
        columns += [np.cos(h * angle), np.sin(h * angle)]
    return np.column_stack(columns)


def posterior(ll: Array, prior: Array, temper: float = 1.0) -> Array:
    """Return (n, states) probabilities from log-likelihoods and log prior."""
    out = _likelihood(ll + prior if temper == 1 else temper * ll + prior)
    out /= out.sum(axis=1, keepdims=True)
    return out


def cells_by_state(q: Array) -> tuple[float, float]:
    """Return how many cells are expected to cycle, and how many to rest, from probabilities (cells, states)."""
    cycling = sum(float(q[rows, :BINS].sum()) for rows in stretches(len(q), q))
    return cycling, float(column_of(q, BINS).sum())


def log_prior(resting: float) -> Array:
    """Return (states,) the log prior that is uniform over the bins, with a share of resting cells."""
    with np.errstate(divide="ignore"):
        return np.log(np.append(np.full(BINS, (1 - resting) / BINS), resting))


def fit_prior(ll: Array, prior: Array, temper: float, *, even: bool) -> Array:
    """Return the log prior with a new share of resting cells.

    With `even`, the prior moves until the *posterior* mass of the cycling cells is spread evenly over the bins, not
    only the prior. If single cells are uncertain, this prevents resting cells, or a cell type, from being fitted as a
    dense part of the circle.
    """
    likelihood, share = _likelihood(temper * ll), np.exp(prior)
    for _ in range(10 if even else 3):
        # the mean posterior by two products of the likelihoods: prior · Lᵀ (1 / L · prior)
        mass = share * (likelihood.T @ (1 / np.maximum(likelihood @ share, 1e-300))) / len(ll)
        rest = min(float(mass[BINS]), 1 - 1e-6)
        if even:
            bins = share[:BINS] / np.sqrt((mass[:BINS] * BINS + 1e-3 * (1 - rest)) / (1 - rest))
            share = np.append(bins * (1 - rest) / bins.sum(), rest)
        else:
            share = np.append(np.full(BINS, (1 - rest) / BINS), rest)
        share[BINS] *= rest > 1e-12
    with np.errstate(divide="ignore"):
        return np.log(share)


def _likelihood(ll: Array) -> Array:
    """Return exp(ll), each row up to a factor: its largest entry is 1."""
    out = ll - ll.max(axis=1, keepdims=True)
    return np.exp(out, out=out)


def flat_shapes(group: Ints, harmonics: int) -> Shapes:
    """Return the initial shapes."""
    guess = np.repeat(np.array(GUESS_AMPLITUDE[:harmonics]) ** 2, 2)
    return Shapes(group, np.zeros((3, 2 * harmonics)), np.tile(4 * guess, (3, 1)))


def learn_shapes(coef: Array, spread: Array, shapes: Shapes) -> Shapes:
    """Return the groups' means and variances by empirical Bayes, given the genes' harmonics and their variances.

    Genes of a list share a mean, so a gene detected in a few cells follows its list, and a well-measured gene
    its own counts.
    """
    harmonics = coef.shape[1] // 2
    guess = np.repeat(np.array(GUESS_AMPLITUDE[:harmonics]) ** 2, 2)
    mean, variance = shapes.mean.copy(), shapes.variance.copy()
    for k in range(3):
        inside = shapes.group == k
        if not inside.any():
            continue
        if k < 2:
            weight = 1 / (spread[inside] + variance[k])
            mean[k] = (weight * coef[inside]).sum(axis=0) / weight.sum(axis=0)
        square = ((coef[inside] - mean[k]) ** 2 + spread[inside]).sum(axis=0) + GUESS_GENES * guess
        both = square.reshape(harmonics, 2).sum(axis=1) / (2 * (inside.sum() + GUESS_GENES))
        variance[k] = np.repeat(both, 2)
    return Shapes(shapes.group, mean, variance)
