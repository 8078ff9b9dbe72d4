"""A Gaussian mixture with as many components as the density of cells that it was not fitted to allows."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

KINDS = ("full", "tied")
"""Covariances: one for each component, or one for all, which leaves room for more components."""
COMPONENTS = (1, 2, 4, 8, 16, 32, 64)
CELLS_PER_COMPONENT = 5
"""A number of components that leaves each with fewer cells than this is not tried."""
HELD_OUT = 5
"""Every fifth cell is held out while the number of components is chosen."""
FLOOR = 1e-3
"""Added to the variances of each component, as a share of those of all cells."""
STEPS = 60


@dataclass(frozen=True)
class Mixture:
    """A mixture of normal distributions.

    Attributes
    ----------
    weights
        (components,) how often each is drawn from.
    means
        (components × dimensions).
    factors
        (components × dimensions × dimensions) lower triangular, L of the covariance L Lᵀ.
    """

    weights: Array
    means: Array
    factors: Array

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Array, npt.NDArray[np.int64]]:
        """Return `n` points (n × dimensions) and the component of each."""
        which = rng.choice(len(self.weights), n, p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1]))
        points = np.empty_like(noise)
        for k in np.unique(which):
            rows = which == k
            points[rows] = self.means[k] + noise[rows] @ self.factors[k].T
        return points, which


def fit_mixture(draws: Array, seed: int = 0) -> tuple[Mixture, Array, dict[str, float]]:
    """Fit a mixture to draws from the posteriors of cells.

    Several draws of each cell carry its own uncertainty; its means alone would make the cells narrower than they are.
    Of all mixtures that give held-out cells a density within one standard error of the best, that with the most
    components is taken: what is lost by one too few is a shape of the cells, by one too many hardly anything.

    Parameters
    ----------
    draws
        (draws × cells × dimensions).
    seed
        Of the first guess.

    Returns
    -------
    The mixture; the share of each component in each cell (cells × components), mean over its draws; and the log
    density of held-out cells (nats per cell, mean) by what was tried, such as ``"8 full"``.
    """
    from threadpoolctl import threadpool_limits

    n_draws, n, size = draws.shape
    spread = draws.std((0, 1))
    scale = np.where(spread > 0, spread, 1.0)  # so that the floor is small along every axis
    flat = (draws / scale).reshape(-1, size)
    with threadpool_limits(1):  # sums in one order, whatever the number of cores
        tried = _tried(draws / scale, seed)
        means = {what: float(score.mean()) for what, score in tried.items()}
        best = max(means, key=lambda what: means[what])
        error = tried[best].std() / np.sqrt(len(tried[best]))
        near = [what for what in tried if means[what] >= means[best] - error]
        k, kind = max(near, key=lambda what: (what[0], means[what]))
        model = _fit(flat, k, kind, seed)
        share = model.predict_proba(flat).reshape(n_draws, n, k).mean(0)
    found = {f"{k} {kind}": mean for (k, kind), mean in means.items()}
    log.info("density of the cells: %d components, %s covariance, of %s", k, kind, found)
    covariances = np.broadcast_to(model.covariances_, (k, size, size))
    weights = share.mean(0)
    factors = np.linalg.cholesky(covariances) * scale[:, None]
    return Mixture(weights / weights.sum(), model.means_ * scale, factors), share, found


def _tried(draws: Array, seed: int) -> dict[tuple[int, str], Array]:
    """Return the log density of each held-out cell (mean over its draws), by number of components and kind."""
    n_draws, n, size = draws.shape
    held = np.arange(n) % HELD_OUT == 0
    fit, judge = (draws[:, rows].reshape(-1, size) for rows in (~held, held))
    tried: dict[tuple[int, str], Array] = {}
    for kind in KINDS:
        means: list[float] = []
        for k in COMPONENTS:
            if k > 1 and (k * CELLS_PER_COMPONENT > n or _falling(means)):
                break
            if k == 1 and kind != KINDS[0]:
                continue  # one component is the same of either kind
            score = _fit(fit, k, kind, seed).score_samples(judge).reshape(n_draws, -1).mean(0)
            tried[k, kind] = score
            means.append(float(score.mean()))
    return tried


def _falling(means: list[float]) -> bool:
    """Tell whether the last two numbers of components were each worse than the one before."""
    return len(means) > 2 and means[-1] < means[-2] < means[-3]


def _fit(points: Array, k: int, kind: str, seed: int) -> GaussianMixture:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        # the last steps of a fit move the density by less than another choice of held-out cells would
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(
            k, covariance_type=kind, reg_covar=FLOOR, max_iter=STEPS, tol=1e-2, random_state=seed
        ).fit(points)
