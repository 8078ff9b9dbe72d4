"""A Gaussian mixture with as many components as predict cells that it was not fitted to best."""

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

COMPONENTS = (1, 2, 4, 8, 16, 32, 64)
CELLS_PER_COMPONENT = 10
"""A component with fewer cells than this is not tried."""
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


def fit_mixture(draws: Array, seed: int = 0) -> tuple[Mixture, Array, dict[int, float]]:
    """Fit a mixture to draws from the posteriors of cells.

    Several draws of each cell carry its own uncertainty; its mean alone would make the cells narrower than they are.

    Parameters
    ----------
    draws
        (draws × cells × dimensions).
    seed
        Of the first guess.

    Returns
    -------
    The mixture; the share of each component in each cell (cells × components), mean over its draws; and the log
    density of held-out cells (nats per cell, mean) by number of components.
    """
    from threadpoolctl import threadpool_limits

    n_draws, n, size = draws.shape
    spread = draws.std((0, 1))
    scale = np.where(spread > 0, spread, 1.0)  # so that the floor is small along every axis
    draws = draws / scale
    held = np.arange(n) % HELD_OUT == 0
    scores: dict[int, float] = {}
    with threadpool_limits(1):  # sums in one order, whatever the number of cores
        for k in COMPONENTS:
            if k > 1 and (k * CELLS_PER_COMPONENT > n or _falling(list(scores.values()))):
                break
            model = _fit(draws[:, ~held].reshape(-1, size), k, seed)
            scores[k] = float(model.score(draws[:, held].reshape(-1, size)))
        best = max(scores, key=lambda k: scores[k])
        model = _fit(draws.reshape(-1, size), best, seed)
        share = model.predict_proba(draws.reshape(-1, size)).reshape(n_draws, n, best).mean(0)
    log.info("density of the cells: %d components, of %s", best, {k: round(v, 2) for k, v in scores.items()})
    weights = share.mean(0)
    factors = np.linalg.cholesky(model.covariances_) * scale[:, None]
    return Mixture(weights / weights.sum(), model.means_ * scale, factors), share, scores


def _falling(scores: list[float]) -> bool:
    """Tell whether the last two numbers of components were each worse than the one before."""
    return len(scores) > 2 and scores[-1] < scores[-2] < scores[-3]


def _fit(points: Array, k: int, seed: int) -> GaussianMixture:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        # the last steps of a fit move the density by less than another choice of held-out cells would
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(k, reg_covar=FLOOR, max_iter=STEPS, tol=1e-2, random_state=seed).fit(points)
