"""The posterior of a gene's parameters: modes from several starts, full covariances, importance weights on top."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammaln, logsumexp

from sclatent.tl._kinetics.counts import Binned
from sclatent.tl._kinetics.mechanism import Array

Curve = Callable[[Array], Array]
"""From parameters (… × parameters) to log means (… × kinds · bins)."""
Mixture = tuple[Array, list[tuple[Any, Any]]]
"""Shares of Student distributions, and of each its centre and the Cholesky factor of its scale."""

STEPS, STEP = 40, 1e-5
"""Damped scoring steps from each start; the step of the numerical derivatives."""
DRAWS, ROUNDS = 500, 4
"""Draws of a round of adaptive importance sampling, and rounds."""
FREEDOM, WIDER = 6.0, 1.3
"""Degrees of freedom of the Student proposals, and the factor on their covariances."""
FEW = 5
"""Independent draws for each parameter, below which moments are those of tempered weights."""


@dataclass(frozen=True)
class Posterior:
    """Weighted draws of every gene: ``draws`` (genes × draws × parameters), ``weight`` (genes × draws), ``ess``."""

    draws: Array
    weight: Array
    ess: Array


def jacobian(curve: Curve, at: Array) -> Array:
    """Return the derivatives of the log means with each parameter (… × kinds · bins × parameters)."""
    columns = []
    for k in range(at.shape[-1]):
        step = np.zeros(at.shape[-1])
        step[k] = STEP
        columns.append((curve(at + step) - curve(at - step)) / (2 * STEP))
    return np.stack(columns, -1)


def climb(curve: Curve, binned: Binned, start: Array, mean: Array, sd: Array) -> tuple[Array, Array]:
    """Climb to a mode by damped Fisher scoring (Levenberg and Marquardt), all genes at once.

    Returns
    -------
    The modes (genes × parameters) and the curvatures there (genes × parameters × parameters).
    """
    at, n = start.copy(), start.shape[1]
    precision = np.zeros((len(at), n, n))
    precision[:, np.arange(n), np.arange(n)] = 1 / sd**2
    damping = np.full(len(at), 1e-2)
    value = height(curve, binned, at, mean, sd)
    curvature = precision
    for _ in range(STEPS):
        slopes, weight = binned.slope(curve(at))
        j = jacobian(curve, at)
        gradient = np.einsum("gb,gbp->gp", slopes, j) - (at - mean) / sd**2
        curvature = np.einsum("gbp,gb,gbq->gpq", j, weight, j, optimize=True) + precision
        lifted = curvature + damping[:, None, None] * np.eye(n) * np.einsum("gpp->gp", curvature)[:, None, :]
        step = np.clip(np.linalg.solve(lifted, gradient[:, :, None])[:, :, 0], -1.0, 1.0)
        new = height(curve, binned, at + step, mean, sd)
        better = new > value
        at = np.where(better[:, None], at + step, at)
        value = np.where(better, new, value)
        damping = np.where(better, np.maximum(damping / 5, 1e-6), np.minimum(damping * 4, 1e4))
    return at, curvature


def height(curve: Curve, binned: Binned, at: Array, mean: Array, sd: Array) -> Array:
    """Return the log posterior (genes,) up to a constant."""
    log_mean = curve(at)
    fit = np.array([binned.log_likelihood(one[None], gene)[0] for gene, one in enumerate(log_mean)])
    return fit - 0.5 * (((at - mean) / sd) ** 2).sum(1)


def explore(
    curve: Curve, binned: Binned, modes: list[tuple[Array, Array]], mean: Array, sd: Array, seeds: list[list[int]]
) -> Posterior:
    """Draw from the posterior of each gene by adaptive importance sampling.

    The first round draws from Student distributions about the modes, each as often as its evidence says, the later
    rounds also from one with the moments of all draws so far. Each draw is weighted by its posterior density over the
    mean of the densities of all proposals (the deterministic mixture, Cornuet et al. 2012). `seeds`: one
    of each gene.
    """
    parts = []
    heights = np.array([height(curve, binned, at, mean, sd) for at, _ in modes])
    for gene in range(len(mean)):
        rng = np.random.default_rng(seeds[gene])
        proposals = []
        for (at, curvature), top in zip(modes, heights[:, gene], strict=True):
            covariance = np.linalg.inv(curvature[gene])
            evidence = top + 0.5 * np.linalg.slogdet(covariance)[1]
            proposals.append((at[gene], WIDER * covariance, evidence))
        parts.append(_explore_one(curve, binned, gene, proposals, mean[gene], sd[gene], rng))
    draws, weight = (np.stack(part) for part in zip(*parts, strict=True))
    return Posterior(draws, weight, 1 / (weight**2).sum(1))


def _explore_one(
    curve: Curve,
    binned: Binned,
    gene: int,
    proposals: list[tuple[Array, Array, float]],
    mean: Array,
    sd: Array,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    evidence = np.array([one[2] for one in proposals])
    # a start that ended lower still gets some draws: the evidence of a mode is only about right
    share = 0.9 * np.exp(evidence - logsumexp(evidence)) + 0.1 / len(evidence)
    mixtures: list[Mixture] = [(share, [(at, np.linalg.cholesky(covariance)) for at, covariance, _ in proposals])]
    draws, target = np.empty((0, len(mean))), np.empty(0)
    weight = np.empty(0)
    for turn in range(ROUNDS):
        shares, components = mixtures[-1]
        which = rng.choice(len(shares), size=DRAWS, p=shares)
        new = np.empty((DRAWS, len(mean)))
        for k, (at, factor) in enumerate(components):
            inside = which == k
            normal = rng.standard_normal((int(inside.sum()), len(mean)))
            scale = np.sqrt(FREEDOM / rng.chisquare(FREEDOM, len(normal)))
            new[inside] = at + scale[:, None] * (normal @ factor.T)
        new_target = binned.log_likelihood(curve(new), gene) - 0.5 * (((new - mean) / sd) ** 2).sum(1)
        draws, target = np.concatenate([draws, new]), np.concatenate([target, new_target])
        proposed = [_log_density(draws, *mixture) for mixture in mixtures]
        log_weight = target - logsumexp(proposed, axis=0)
        weight = np.exp(log_weight - logsumexp(log_weight))
        if turn < ROUNDS - 1:
            mixtures.append(_moved(draws, weight, mixtures[0]))
    return draws, weight


def _moved(draws: Array, weight: Array, first: Mixture) -> Mixture:
    """Return the next proposal: mostly a Student distribution with the moments of the draws, and the first one."""
    if 1 / (weight**2).sum() < FEW * draws.shape[1]:  # a few heavy draws must not make the proposal narrow
        weight = np.sqrt(weight) / np.sqrt(weight).sum()
    centre = weight @ draws
    away = draws - centre
    covariance = (away * weight[:, None]).T @ away + 1e-6 * np.eye(draws.shape[1])
    share, components = first
    own = (centre, np.linalg.cholesky(WIDER * covariance))
    return np.append(0.85, 0.15 * share), [own, *components]


def _log_density(draws: Array, share: Array, components: list[tuple[Any, Any]]) -> Array:
    """Return the log density of a mixture of Student distributions (draws,)."""
    n = draws.shape[1]
    constant = gammaln((FREEDOM + n) / 2) - gammaln(FREEDOM / 2) - 0.5 * n * np.log(FREEDOM * np.pi)
    each = []
    for at, factor in components:
        scaled = np.linalg.solve(factor, (draws - at).T)
        square = (scaled**2).sum(0)
        each.append(constant - np.log(np.diag(factor)).sum() - 0.5 * (FREEDOM + n) * np.log1p(square / FREEDOM))
    return np.asarray(logsumexp(np.array(each) + np.log(share)[:, None], axis=0))


def quantiles(values: Array, weight: Array, at: tuple[float, ...]) -> Array:
    """Return weighted quantiles (genes × len(at)) of values (genes × draws)."""
    order = np.argsort(values, axis=1)
    ranked = np.take_along_axis(values, order, 1)
    summed = np.cumsum(np.take_along_axis(weight, order, 1), axis=1)
    summed = (summed - 0.5 * np.take_along_axis(weight, order, 1)) / summed[:, -1:]
    return np.stack([np.interp(at, s, r) for s, r in zip(summed, ranked, strict=True)])
