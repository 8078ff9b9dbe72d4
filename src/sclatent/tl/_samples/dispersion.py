"""How far counts scatter at the depth of a cell: the inverse dispersion θ of a likelihood changes with library size.

A likelihood has one θ for each gene, whatever the depth of the cell. Where counts scatter less in deep cells than in
shallow ones, cells that are drawn with one θ have too few expressed genes for their depth if it is high, and too many
if it is low. So θ is multiplied by a power of the library size, and by a factor of the covariates' levels, which are
fitted to how many genes cells express. The likelihood of the counts would not do: the posteriors of training cells have
seen these counts, the more so the deeper the cell, so that deep cells seem to scatter less than others do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.data.modalities import RNA
from sclatent.model import Batches
from sclatent.tl._samples.scores import FEWEST

if TYPE_CHECKING:
    from sclatent.model import CountData, CountVAE

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
Index = npt.NDArray[np.int64]

GRID = np.linspace(-2.0, 2.0, 9)
"""Logs of the factors of θ at which the genes of a cell are looked at; none is beyond."""
TINY = 1e-12
HELD_OUT = 5
"""Every fifth cell is held out while it is chosen what θ depends on."""
BATCH = 256
ENOUGH = 2.0
"""Standard errors by which held-out cells have to be matched better."""


@dataclass(frozen=True)
class Dispersion:
    """By what the inverse dispersion of every gene is multiplied in a cell.

    Attributes
    ----------
    offsets
        (combinations of levels + 1,) log factor at the mean depth in each combination, and in all cells last.
    slope
        Power of the library size.
    depths
        Log library sizes: smallest, mean and largest; beyond the first and the last the factor does not change.
    """

    offsets: Array
    slope: npt.NDArray[np.float64] | float
    depths: Array

    def factors(self, library: Array, combination: Index) -> Array:
        """Return the factors of θ (n,) at library sizes (n,), in combinations of levels (n,); −1: one never seen."""
        low, mean, high = self.depths
        depth = np.clip(np.log(np.maximum(library, 1.0)), low, high) - mean
        return np.exp(np.clip(self.offsets[combination] + self.slope * depth, GRID[0], GRID[-1]))


def fit_dispersion(
    vae: CountVAE, data: CountData, cells: Index, combination: Index, n_combinations: int, seed: int
) -> tuple[Dispersion | None, dict[str, float]]:
    """Return by what θ is multiplied, and how much better that tells the number of genes that a cell expresses.

    The numbers of expressed genes are matched by least squares of relative errors, at one draw from the posterior of
    each cell. Tried are a power of the library size with one factor for all cells (``all``), and with one for each
    combination of levels (``levels``); what matches held-out cells best is taken, if it does so by two standard errors
    and the density of their counts does not fall: the zeros of very deep cells say little of how their counts scatter.

    Parameters
    ----------
    vae
        A trained model.
    data
        Counts and covariates.
    cells
        Positions of the cells to fit to.
    combination
        Code of the levels of each of these cells.
    n_combinations
        Number of combinations.
    seed
        Of the draws.

    Returns
    -------
    tuple
        None where nothing is gained, where the likelihood has no θ, or where fewer than ten cells would be held out;
        and the share of the squared error in held-out cells that goes away, by what was tried.
    """
    held = np.arange(len(cells)) % HELD_OUT == 0
    looked = expressed(vae, data, cells, seed) if held.sum() >= FEWEST else None
    if looked is None:
        return None, {}
    found, curves = looked
    depth = np.log(np.maximum(np.asarray(data.library[cells], np.float64), 1.0))
    design = {"all": np.zeros((len(cells), 0))}
    if n_combinations > 1:
        design["levels"] = np.eye(n_combinations)[combination]
        design["levels"][:, design["levels"].sum(axis=0) < FEWEST] = 0.0
    design = {name: np.column_stack([depth - depth.mean(), np.ones(len(cells)), one]) for name, one in design.items()}
    gains, errors, factors, before = {}, {}, {}, (found[held] - 1) ** 2
    for name, known in design.items():
        fit = _fitted(found[~held], curves[~held], known[~held])
        factors[name] = np.exp(np.clip(known[held] @ fit, GRID[0], GRID[-1]))
        better = before - (found[held] - _along(curves[held], known[held] @ fit)[0]) ** 2
        gains[name] = float(better.mean() / max(before.mean(), TINY))
        errors[name] = float(better.std() / np.sqrt(held.sum()) / max(before.mean(), TINY))
    best = max(gains, key=lambda name: gains[name])
    told = {name: round(gain, 3) for name, gain in gains.items()}
    log.info("dispersion by depth and levels explains %s of the error in the number of expressed genes", told)
    if gains[best] <= ENOUGH * errors[best]:
        return None, gains
    judges = cells[held]
    if log_density(vae, data, judges, seed, factors[best]) < log_density(vae, data, judges, seed, np.ones(len(judges))):
        log.info("one dispersion for all depths is kept: the counts of expressed genes would scatter wrongly")
        return None, gains
    fit = _fitted(found, curves, design[best])
    offsets = np.full(n_combinations + 1, fit[1])
    offsets[: len(fit) - 2] += fit[2:]
    return Dispersion(offsets, float(fit[0]), np.array([depth.min(), depth.mean(), depth.max()])), gains


def at_posteriors(
    vae: CountVAE, data: CountData, cells: Index, seed: int, *, of: str = RNA, theta: Array | None = None
) -> Iterator[tuple[Array, Array, dict[str, Array]]]:
    """Yield counts, means and shape of the likelihood (some cells × genes) at one draw from the posterior of each cell.

    `of` is the modality whose counts they are, `theta` (cells,) the factors of its inverse dispersion.
    """
    import torch

    likelihood, start = vae.modalities[of].likelihood, 0
    noise = torch.Generator(device=vae.device).manual_seed(seed)
    for batch in Batches(data, vae.device).stream(cells, BATCH):
        mu, shape = vae.predictive(batch, noise, of=of)
        if theta is not None:
            shape = shape | {"theta": shape["theta"] * theta[start : start + len(mu), None]}
        start += len(mu)
        counts = batch if of == RNA else batch.others[of]
        yield likelihood.observed(counts.dense().double().cpu().numpy()), mu, shape


def expressed(vae: CountVAE, data: CountData, cells: Index, seed: int) -> tuple[Array, Array] | None:
    """Return how many genes each cell expresses (cells,), and how many with θ multiplied by exp(`GRID`) (cells × grid).

    The latter is expected at one draw from the posterior of each cell. Both are shares of what is expected with θ as it
    is, so that deep cells count no more than others. None if the likelihood has no θ.
    """
    likelihood, parts, found = vae.likelihood, [], []
    for x, mu, shape in at_posteriors(vae, data, cells, seed):
        if "theta" not in shape:
            return None
        found.append((x > 0).sum(axis=1))
        scaled = (shape | {"theta": shape["theta"] * np.exp(change)} for change in GRID)
        parts.append(np.stack([mu.shape[1] - likelihood.zero(mu, **one).sum(axis=1) for one in scaled], axis=1))
    expected = np.concatenate(parts)
    usual = np.maximum(expected[:, len(GRID) // 2], TINY)
    return np.concatenate(found) / usual, expected / usual[:, None]


def log_density(vae: CountVAE, data: CountData, cells: Index, seed: int, theta: Array) -> float:
    """Return the mean log density of counts (nats per cell), θ multiplied by factors (cells,), at posterior draws."""
    total = 0.0
    for x, mu, shape in at_posteriors(vae, data, cells, seed, theta=theta):
        below, upto = vae.likelihood.interval(x, mu, **shape)
        total += float(np.log(np.maximum(upto - below, TINY)).sum())
    return total / len(cells)


def _fitted(found: Array, curves: Array, design: Array) -> Array:
    """Return the coefficients (columns,) of the log factor with which the curves (cells × grid) match what was found.

    Those of levels, from the third on, are drawn weakly towards 0, so that all are determined.
    """
    from scipy.optimize import least_squares

    pull = np.diag(np.where(np.arange(design.shape[1]) < 2, 1e-3, 1e-2))

    def residuals(coefficients: Array) -> Array:
        return np.concatenate([_along(curves, design @ coefficients)[0] - found, pull @ coefficients])

    def slopes(coefficients: Array) -> Array:
        return np.vstack([_along(curves, design @ coefficients)[1][:, None] * design, pull])

    return least_squares(residuals, np.zeros(design.shape[1]), slopes).x


def _along(curves: Array, at: Array) -> tuple[Array, Array]:
    """Return the value and the slope (cells,) of each cell's curve (cells × grid) at its place; level beyond."""
    from scipy.interpolate import CubicSpline

    inside = np.clip(at, GRID[0], GRID[-1])
    spline = CubicSpline(GRID, curves, axis=1)
    place = np.clip(np.searchsorted(GRID, inside, side="right") - 1, 0, len(GRID) - 2)
    a, b, c, d = spline.c[:, place, np.arange(len(at))]
    step = inside - GRID[place]
    return ((a * step + b) * step + c) * step + d, np.where(inside == at, (3 * a * step + 2 * b) * step + c, 0.0)
