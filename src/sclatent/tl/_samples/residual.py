"""How the counts of genes go together beyond what the axes say: a Gaussian copula of a few factors.

Given a cell's place the likelihood draws genes apart from each other. What many genes share, but too little for an axis
of its own, would then be missing from drawn cells, each gene of which varies as much as in real ones.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.data.modalities import RNA
from sclatent.tl._samples.dispersion import at_posteriors

if TYPE_CHECKING:
    from sclatent.model import CountData, CountVAE

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

CELLS, FACTORS = 2000, 16
"""Cells that are looked at, and factors, at most."""
HELD_OUT = 5
"""Every fifth cell is held out while the number of factors is chosen."""
LARGEST = 4.0
"""Normal scores beyond are set to this, so that a single count does not make a factor."""
SHARED = 0.9
"""Share of a gene's scores that the factors make at most."""


def fit_residual(
    vae: CountVAE, data: CountData, cells: npt.NDArray[np.int64], seed: int, *, theta: Array | None = None
) -> tuple[Array, list[float]]:
    """Return loadings (genes × factors) of the normal scores of counts, given where the cells lie.

    The scores are those of the randomised PIT at one draw from each cell's posterior: independent normal numbers, if
    the model were all there is. As many factors are taken as give held-out cells the highest density; 0 for cells of
    which the axes say all.

    Parameters
    ----------
    vae
        A trained model.
    data
        Counts and covariates.
    cells
        Positions of the cells to fit to.
    seed
        Of the draws.
    theta
        Factor of the inverse dispersion of each of these cells.

    Returns
    -------
    tuple
        The loadings, and what each number of factors adds to the log density of a held-out cell, from 0 factors on,
        nats.
    """
    from threadpoolctl import threadpool_limits

    scores = normal_scores(vae, data, cells, seed, theta=theta)
    held = np.arange(len(scores)) % HELD_OUT == 0
    with threadpool_limits(1):  # sums in one order, whatever the number of cores
        tried = factors(scores[~held])
        gains = [gain(scores[held], tried[:, :k]) for k in range(tried.shape[1] + 1)]
        found = factors(scores)[:, : int(np.argmax(gains))]
    log.info("counts beyond the axes: %d factors, of %s nats", found.shape[1], [round(one, 2) for one in gains])
    return found.astype(np.float32), gains


def normal_scores(
    vae: CountVAE,
    data: CountData,
    cells: npt.NDArray[np.int64],
    seed: int,
    *,
    of: str = RNA,
    theta: Array | None = None,
) -> Array:
    """Return the normal scores of the counts (cells × genes) at one draw from the posterior of each cell.

    `of` is the modality whose counts they are, `theta` (cells,) the factors of its inverse dispersion.
    """
    from scipy.special import ndtri

    likelihood, rng = vae.modalities[of].likelihood, np.random.default_rng(seed)
    parts: list[Array] = []
    for x, mu, shape in at_posteriors(vae, data, cells, seed, of=of, theta=theta):
        below, upto = likelihood.interval(x, mu, **shape)
        level = ndtri(below + (upto - below) * rng.random(x.shape))
        parts.append(np.clip(level, -LARGEST, LARGEST).astype(np.float32))
    return np.concatenate(parts)


def factors(scores: Array) -> Array:
    """Return the loadings (genes × factors) of all factors that stand out of noise, the strongest first.

    Principal components whose variance is above what independent scores would show (Marchenko and Pastur 1967), with
    their variances shrunk to what they are worth (Donoho, Gavish and Johnstone 2018, Frobenius loss).
    """
    n, genes = scores.shape
    centred = scores - scores.mean(axis=0)
    centred /= np.maximum(centred.std(axis=0), 1e-6)
    values, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64) / n)
    values, vectors = values[::-1][:FACTORS], vectors[:, ::-1][:, :FACTORS]
    ratio = genes / n
    out = values > (1 + np.sqrt(ratio)) ** 2
    values, vectors = values[out], vectors[:, out]
    middle = values + 1 - ratio
    above = (middle + np.sqrt(np.maximum(middle**2 - 4 * values, 0.0))) / 2 - 1
    true = (1 - ratio / above**2) / (1 + ratio / above)  # squared cosine between what is found and what is
    loadings = centred.T.astype(np.float64) @ vectors / np.sqrt(n * values) * np.sqrt(above * np.maximum(true, 0.0))
    share = (loadings**2).sum(axis=1, keepdims=True)
    return loadings * np.sqrt(np.minimum(1.0, SHARED / np.maximum(share, 1e-12)))


def gain(scores: Array, loadings: Array) -> float:
    """Return how much more log density the factors give to a cell than independent scores do, nats, mean."""
    own = 1 - (loadings**2).sum(axis=1)
    scaled = loadings / own[:, None]
    inner = np.eye(loadings.shape[1]) + loadings.T @ scaled
    seen = scores @ scaled
    squares = (scores**2 / own).sum(axis=1) - (seen * np.linalg.solve(inner, seen.T).T).sum(axis=1)
    determinant = np.log(own).sum() + np.linalg.slogdet(inner)[1]
    return 0.0 + float(0.5 * ((scores**2).sum(axis=1) - squares - determinant).mean())


def draw_scores(loadings: Array, n: int, rng: np.random.Generator) -> Array:
    """Return normal scores (n × genes) that go together as the loadings say."""
    own = np.sqrt(1 - (loadings**2).sum(axis=1))
    shared = rng.standard_normal((n, loadings.shape[1])) @ loadings.T
    return shared + own * rng.standard_normal((n, len(loadings)))
