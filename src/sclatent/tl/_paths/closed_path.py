r"""A closed path through the latent space that follows an angle: periodic regression of posterior means.

For a cycling cell :math:`i` with posterior mean :math:`m_i`, angle :math:`\varphi_i` and circular SD :math:`\sigma_i`

.. math::

    m_i = c_{s(i)} + e_i + r_i, \qquad e_i = \sum_{h=1}^{H} \rho_{ih} (a_h \cos h\varphi_i + b_h \sin h\varphi_i),
    \qquad \rho_{ih} = \exp(-h^2 \sigma_i^2 / 2)

so :math:`e_i` is the expectation of the path :math:`d(\varphi) = \sum_h a_h \cos h\varphi + b_h \sin h\varphi` over
the cell's own posterior of the angle (a wrapped normal), and :math:`c_{s(i)}` is the level of its stratum: batch, and
a cluster of the cells in all directions *but* those of the path. Cell types thus drop out of the path without labels
being looked at. What is called an axis here is a coordinate of `sclatent.tl._paths.space`: an axis of the latent, or
cosine or sine of one that is an angle; an angle that goes round with the cycle has no level (`through_middle`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.data.blocks.dense import by_rows, mean_and_variance, rows_at, stretches
from sclatent.tl._paths.middle import Circles, solve, through_middle
from sclatent.tl._paths.strata import clusters, codes_of, indicators, merged

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

Array = npt.NDArray[Any]

MIN_CELLS = 30
"""A path through fewer cycling cells is noise."""
HARMONICS = (1, 2, 3)
_ROUNDS = 12
MAX_CELLS = 20_000
"""The path is fitted to at most so many cycling cells."""


def waves(angle: Array, harmonics: int, sd: Array | None = None) -> Array:
    """Return cos φ, sin φ, cos 2φ, … (n × 2H); with `sd` (circular) the expectations over wrapped normals."""
    angle = np.asarray(angle, dtype=np.float64)
    out = np.empty((len(angle), 2 * harmonics))
    for h in range(1, harmonics + 1):
        shrink = 1.0 if sd is None else np.exp(-0.5 * (h * np.asarray(sd, dtype=np.float64)) ** 2)
        out[:, 2 * h - 2] = shrink * np.cos(h * angle)
        out[:, 2 * h - 1] = shrink * np.sin(h * angle)
    return out


@dataclass(frozen=True)
class ClosedPath:
    """A closed path, and every cell seen from it; of many cells `base` and `expected` lie in scratch files.

    Attributes
    ----------
    coefficients
        (2H × axes) coefficients of cos φ, sin φ, cos 2φ, …
    plane
        (at most 2 × axes) orthonormal rows: the directions in which the path varies most, the first its best straight
        axis, pointing away from the start of G1.
    strength
        Share of the path's variance along each of the axis directions of `plane`.
    center
        (axes,) mean of the posterior means of the cycling cells without the path.
    base
        (cells × axes) every cell off the cycle: its level, and what is left of it outside `plane`. A cell set to the
        phase φ lies at ``base + at(φ)``.
    expected
        (cells × axes) the part of each posterior mean that is the cycle, 0 for cells that do not cycle.
    strata
        (cells,) stratum of each cell: batch and cluster.
    """

    coefficients: Array
    plane: Array
    strength: Array
    center: Array
    base: Array
    expected: Array
    strata: npt.NDArray[np.int64]

    @property
    def harmonics(self) -> int:
        """Number of harmonics H."""
        return len(self.coefficients) // 2

    def at(self, angle: npt.ArrayLike) -> Array:
        """Return the path (angles × axes), as a deviation from its centre."""
        return waves(np.atleast_1d(np.asarray(angle, dtype=np.float64)), self.harmonics) @ self.coefficients


def fit_path(
    means: npt.ArrayLike,
    angle: npt.ArrayLike,
    sd: npt.ArrayLike,
    cycling: npt.ArrayLike,
    batch: npt.ArrayLike | None = None,
    *,
    harmonics: int | None = None,
    circles: Circles = (),
    seed: int = 0,
) -> ClosedPath:
    """Fit a closed path that follows the angle.

    Parameters
    ----------
    means
        (cells × axes) posterior means.
    angle, sd
        (cells,) angle and its circular SD, radians; not looked at where `cycling` is False. A missing SD counts as 0.
    cycling
        (cells,) the cells the path is fitted to.
    batch
        (cells,) whole numbers; a level per batch is fitted along.
    harmonics
        Number of harmonics; None: 1, 2 or 3 by five-fold cross-validation over cells.
    circles
        Columns of `means` that are cosine and sine of one angle.
    seed
        Seed of clusters and folds.

    Raises
    ------
    ValueError
        If fewer than 30 cells cycle.
    """
    m = np.asarray(means)
    on = np.asarray(cycling, dtype=bool)
    if on.sum() < MIN_CELLS:
        raise ValueError(f"a path needs at least {MIN_CELLS} cycling cells, found {int(on.sum())}")
    phi = np.where(on, np.asarray(angle, dtype=np.float64), 0.0)
    sigma = np.where(on, np.nan_to_num(np.asarray(sd, dtype=np.float64)), 0.0)
    cells = np.flatnonzero(on)
    if len(cells) > MAX_CELLS:
        cells = np.sort(np.random.default_rng(seed).permutation(cells)[:MAX_CELLS])
    fitted = rows_at(m, cells, np.float64)
    lots = np.zeros(len(m), dtype=np.int64) if batch is None else np.unique(np.asarray(batch), return_inverse=True)[1]
    lots = merged(lots, cells)
    code = np.zeros(len(cells), dtype=np.int64)
    middle = through_middle(fitted, phi[cells], circles)
    groups: KMeans | None = None
    for step in range(_ROUNDS):
        levels = indicators(code, lots[cells], (int(code.max()) + 1, int(lots.max()) + 1))
        last = step == _ROUNDS - 1
        n_harmonics = harmonics or (_choose(fitted, phi[cells], sigma[cells], levels, middle, seed) if last else 2)
        regressors = waves(phi[cells], n_harmonics, sigma[cells])
        coefficients = solve(levels, regressors, fitted, middle)[levels.shape[1] :]
        plane, strength = _plane(coefficients)
        if not last:
            rest = _outside(fitted - regressors @ coefficients, plane)
            groups = clusters(rest, seed)
            code = merged(codes_of(groups, rest), np.arange(len(cells)))

    expected = by_rows(
        len(m), lambda rows: np.where(on[rows, None], waves(phi[rows], n_harmonics, sigma[rows]) @ coefficients, 0.0)
    )
    base, code = _without_cycle(m, expected, cells, groups, lots, plane, middle)
    center = mean_and_variance(base, np.flatnonzero(on))[0]
    strata = lots * (code.max() + 1) + code
    return ClosedPath(coefficients, plane, strength, center, base, expected, strata)


def _without_cycle(
    m: Array,
    expected: Array,
    cells: npt.NDArray[np.int64],
    groups: KMeans | None,
    lots: npt.NDArray[np.int64],
    plane: Array,
    middle: npt.NDArray[np.bool_],
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return every cell off the cycle (cells × axes), and its cluster; levels are those of `cells`."""

    def off(rows: slice) -> Array:
        return np.asarray(m[rows].astype(np.float64) - expected[rows])

    of_all = [codes_of(groups, _outside(off(rows), plane)) for rows in stretches(len(m), m, expected)]
    code = merged(np.concatenate(of_all), cells)
    shape = (int(code.max()) + 1, int(lots.max()) + 1)
    fitted = rows_at(m, cells, np.float64) - rows_at(expected, cells)
    by_level = np.linalg.lstsq(indicators(code[cells], lots[cells], shape), fitted, rcond=None)[0]
    by_level[:, middle] = 0.0

    def level_and_rest(rows: slice) -> Array:
        level = indicators(code[rows], lots[rows], shape) @ by_level
        return np.asarray(level + _outside(m[rows].astype(np.float64) - level - expected[rows], plane))

    return by_rows(len(m), level_and_rest, m, expected), code


def refit(
    means: Array,
    angle: Array,
    sd: Array,
    strata: Array,
    cells: npt.NDArray[np.int64],
    harmonics: int,
    circles: Circles = (),
) -> tuple[Array, float]:
    """Fit the path again to other angles or other cells, in given strata; fast enough for hundreds of times.

    Parameters
    ----------
    means, angle, sd, strata
        Of all cells.
    cells
        Positions of the cells to fit to; they may repeat.
    harmonics
        Number of harmonics.
    circles
        As of `fit_path`.

    Returns
    -------
    The coefficients (2H × axes), and the share of the variance of these cells (summed over axes) that the path takes.
    """
    code = np.unique(strata[cells], return_inverse=True)[1]
    count = np.bincount(code).astype(np.float64)[:, None]

    def within(x: Array) -> Array:
        sums = np.stack([np.bincount(code, weights=column) for column in x.T], axis=1)
        return x - (sums / count)[code]

    m = rows_at(means, cells, np.float64)
    raw = waves(angle[cells], harmonics, np.nan_to_num(sd[cells]))
    regressors = within(raw)
    gram = regressors.T @ regressors
    coefficients = np.linalg.lstsq(gram, regressors.T @ within(m), rcond=None)[0]
    middle = through_middle(m, angle[cells], circles)
    if middle.any():
        coefficients[:, middle] = np.linalg.lstsq(raw, m[:, middle], rcond=None)[0]
    total = float(m.var(axis=0).sum())
    return coefficients, float((raw @ coefficients).var(axis=0).sum() / total) if total > 0 else 0.0


def _outside(x: Array, plane: Array) -> Array:
    """Return what of `x` (cells × axes) lies outside the plane (orthonormal rows)."""
    return x - (x @ plane.T) @ plane


def _choose(m: Array, phi: Array, sigma: Array, levels: Array, middle: npt.NDArray[np.bool_], seed: int) -> int:
    """Choose the fewest harmonics that predict held-out cells (five folds) about as well as the best.

    About as well: within one standard error, or within a fiftieth of what the best gains over no path at all.
    """
    fold = np.random.default_rng(seed).permutation(len(m)) % 5
    errors = []
    for harmonics in (0, *HARMONICS):
        regressors = waves(phi, harmonics, sigma)
        error = np.zeros(len(m))
        for k in range(5):
            fit, check = fold != k, fold == k
            beta = solve(levels[fit], regressors[fit], m[fit], middle)
            guess = np.hstack([levels[check], regressors[check]]) @ beta
            error[check] = ((m[check] - guess) ** 2).sum(axis=1)
        errors.append(error)
    none, *errors = errors
    best = min(errors, key=lambda error: error.mean())
    gain = 0.02 * max(0.0, (none - best).mean())
    within = [(error - best).mean() <= max(gain, (error - best).std() / np.sqrt(len(best))) for error in errors]
    return HARMONICS[within.index(True)]


def _plane(coefficients: Array) -> tuple[Array, Array]:
    """Leading directions of the path: cosines and sines all have mean square 1/2, so the SVD is that of the path."""
    _, size, directions = np.linalg.svd(coefficients, full_matrices=False)
    total = float((size**2).sum())
    keep = min(2, int((size > 1e-9 * max(size[0], 1e-300)).sum())) if total > 0 else 0
    plane = directions[:keep].copy()
    if keep and coefficients[0] @ plane[0] > 0:  # cos φ falls from the start of G1 on
        plane[0] *= -1
    return plane, (size[:keep] ** 2 / total if keep else np.zeros(0))
