r"""Is there a cell cycle in these data? Listed genes must follow an angle they were not used to find.

There are two tests for each list. Both use genes that were left out when the angle was found, in cells that its curves
were not learned from, and compare them with genes of similar abundance that are on no list:

1. *Apart*: are S genes high where the other S genes are high and low where the G2/M genes are high, and vice versa? The
   statistic is the correlation with the direction in which the two lists differ. It has a sign, so a gene that cycles
   with another phase, or follows depth or a cell type, is as often against it as for it. That gives power even if
   hundreds of other genes cycle too. If both lists pass, the data contain both ends of the circle, unless the genes
   hardly change: S genes fall and G2/M genes rise in any part of the circle, also in cells of one phase.
2. *Stand out*: does the angle explain more of the variance of these genes, in whatever direction? If one list passes,
   the angle explains it better than almost all other genes; this says nothing about the other end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.stats import chi2, norm

from sclatent.tl._cycle.em import Fit, fit
from sclatent.tl._cycle.join import explained
from sclatent.tl._cycle.laws.source import Source
from sclatent.tl._cycle.scores import ListGenes
from sclatent.tl._cycle.states import BINS, GRID, Array, Ints, posterior

LISTS = ("S", "G2M")
CONTROLS = 50
ALPHA = 0.01
"""Both p-values of *apart* below this: a cycle. The tests use different genes, so both rarely pass by chance."""
FOLD = 1.5
"""Smallest change of the mean gene of one list from trough to peak. Every dataset of dividing cells, also with fewer
counts, has more over the whole circle, and less within a thirteenth of a turn."""
PART_ALPHA = 1e-5
"""If one list stands out, or both lists together are apart, with a p-value below this: a part of a cycle. It is
stricter because genes of a list correlate even in resting cells (smallest of 600 draws: 7e-5 for a list, 3e-5 for
both)."""


@dataclass(frozen=True)
class Evidence:
    """How well the listed genes follow an angle that was found without them; all by list (``S``, ``G2M``).

    `apart`, `alone`: p-values of the two tests; `fold`: change of the mean gene from trough to peak; `r2`: mean
    share of variance explained; `r2_controls`: that of genes on no list; `null`: what the lists were compared with.
    """

    apart: dict[str, float]
    alone: dict[str, float]
    fold: dict[str, float]
    r2: dict[str, float]
    r2_controls: float
    null: str

    @property
    def together(self) -> float:
        """The combined p-value of both lists being apart (Stouffer): small if one is clear and the other uncertain."""
        z = norm.isf(np.clip(list(self.apart.values()), 1e-300, 1 - 1e-16))
        return float(norm.sf(z.sum() / np.sqrt(len(z))))

    @property
    def hardly(self) -> bool:
        """Whether the lists part, but their genes hardly change."""
        return max(self.fold.values()) < FOLD and max(self.apart.values()) < ALPHA

    @property
    def ends(self) -> tuple[str, ...]:
        """The ends of the circle that the data contain: both, that of one list (the clearer one), or none."""
        changes = max(self.fold.values()) >= FOLD
        if changes and max(self.apart.values()) < ALPHA:
            return LISTS
        name = min(LISTS, key=lambda name: self.alone[name])
        if self.alone[name] < PART_ALPHA:
            return (name,)
        if changes and self.together < PART_ALPHA:
            return (min(LISTS, key=lambda name: self.apart[name]),)
        return ()


def weigh(
    source: Source,
    normalised: sp.csr_matrix,
    genes: ListGenes,
    start: Array,
    *,
    deep: bool,
    temper: float = 1.0,
    folds: int = 4,
    seed: int = 0,
) -> Evidence:
    """Test whether the listed genes follow the angle of the other listed genes, and on which side.

    Curves are learned on one half of the cells. In the other half, each quarter of the listed genes is left out of the
    angle in turn. Their correlation with the direction in which the lists differ, and the share of their variance that
    the angle explains, are ranked among genes of similar abundance that are on no list (both halves averaged). Without
    a cell cycle the ranks are uniform (one-sided normal test of the mean rank). In a panel with too few other genes the
    comparison is with permuted cells (normal and χ²).

    Parameters
    ----------
    source
        The counts of the cells.
    normalised
        (cells, genes) their log-normalised counts.
    genes
        The listed genes.
    start
        (cells, states) initial probabilities.
    deep, temper
        As in the fit.
    """
    group = np.where(genes.phase == "S", 0, 1)
    found = _left_out(
        source, normalised, genes.position, group, start, deep=deep, temper=temper, folds=folds, seed=seed
    )
    mean = np.asarray(normalised.mean(axis=0)).ravel()
    others = np.setdiff1d(np.flatnonzero(mean > 0), genes.position)
    ranks = len(others) >= CONTROLS
    alone, apart, r2 = {}, {}, {}
    for k, (name, sign) in enumerate(zip(LISTS, (1, -1), strict=True)):
        of_list = np.flatnonzero(group == k)
        r2[name] = float(found.held[0, of_list].mean())
        if ranks:
            like = [_like(mean, others, mean[g]) for g in genes.position[of_list]]
            alone[name] = _mean_rank(found.held[0, of_list], [found.every[0, near] for near in like])
            apart[name] = _mean_rank(sign * found.held[1, of_list], [sign * found.every[1, near] for near in like])
        else:
            alone[name] = float(chi2.sf(found.chance[0, of_list].sum(), 4 * len(of_list)))
            apart[name] = float(norm.sf(sign * found.chance[1, of_list].sum() / np.sqrt(len(of_list))))
    return Evidence(
        apart,
        alone,
        dict(zip(LISTS, np.exp(2 * found.amplitude).tolist(), strict=True)),
        r2,
        float(found.every[0, others].mean()) if len(others) else float("nan"),
        "genes of like abundance" if ranks else "permuted cells",
    )


@dataclass(frozen=True)
class _LeftOut:
    """Rows: share of the variance explained, and correlation with the direction from the G2/M to the S genes.

    `every` (2, genes) of all genes; `held` (2, L) of the listed genes by angles found without them; `chance` (2, L) the
    same as sums of χ² and of normal deviates; `amplitude` (2,) of the mean gene of each list.
    """

    every: Array
    held: Array
    chance: Array
    amplitude: Array


def _left_out(
    source: Source,
    normalised: sp.csr_matrix,
    position: Ints,
    group: Ints,
    start: Array,
    *,
    deep: bool,
    temper: float,
    folds: int,
    seed: int,
) -> _LeftOut:
    """Learn curves on each half of the cells, and in the other half leave out each fold of the listed genes in turn."""
    rng = np.random.default_rng(seed)
    listed = np.arange(len(position))
    fold = rng.permutation(len(listed)) % folds
    half = rng.permutation(normalised.shape[0]) % 2
    every, held = np.zeros((2, normalised.shape[1])), np.zeros((2, len(listed)))
    chance, amplitude = np.zeros((2, len(listed))), np.zeros(2)
    for side in (0, 1):
        learn, test = np.flatnonzero(half == side), np.flatnonzero(half != side)
        # in half of the cells the capture error can replace the angle (stages of an embryo)
        law = source.law(learn, position, deep=deep, capture=False)
        fitted = fit(law, group, start[learn], 1, temper=temper, first=True)
        amplitude += [abs(_wave(fitted)[group == k].mean()) / 2 for k in (0, 1)]
        part = sp.csr_matrix(normalised[test])
        for k in range(folds):
            keep, out = listed[fold != k], listed[fold == k]
            q = _angle_without(fitted, source, test, position, keep, deep=deep)
            found = np.stack([explained(part, q)[0], _along(part, q, _direction(fitted, keep, group))])
            every += found / (2 * folds)
            held[:, out] += found[:, position[out]] / 2
            cycling = q[:, :BINS].sum()
            chance[0, out] += found[0, position[out]] * cycling
            chance[1, out] += found[1, position[out]] * np.sqrt(cycling / 2)
    return _LeftOut(every, held, chance, amplitude)


def _angle_without(fitted: Fit, source: Source, rows: Ints, columns: Ints, keep: Ints, *, deep: bool) -> Array:
    ll = source.law(rows, columns[keep], deep=deep).log_likelihood(fitted.curves.genes(keep))
    return posterior(ll, fitted.curves.prior, fitted.temper)


def _wave(fitted: Fit) -> npt.NDArray[np.complex128]:
    """Return (G,) amplitude · exp(i · peak) of every curve."""
    return np.asarray(fitted.curves.coef[:, 1] + 1j * fitted.curves.coef[:, 2])


def _direction(fitted: Fit, keep: Ints, group: Ints) -> float:
    """Return the angle at which the kept S genes are highest above the kept G2/M genes."""
    wave = _wave(fitted)[keep]
    s, g2m = (np.angle(wave[group[keep] == k].sum()) for k in (0, 1))
    return float(np.angle(np.exp(1j * s) - np.exp(1j * g2m)))


def _along(y: sp.csr_matrix, q: Array, direction: float) -> Array:
    """Return (genes,) correlation with the posterior mean of cos(φ - direction), weighted by P(cycling)."""
    weight = q[:, :BINS].sum(axis=1)
    place = (q[:, :BINS] @ np.cos(GRID - direction)) / np.maximum(weight, 1e-12)
    weight = weight / weight.sum()
    place = place - weight @ place
    mean = np.asarray(y.T @ weight).ravel()
    variance = np.asarray(y.multiply(y).T @ weight).ravel() - mean**2
    spread = np.sqrt(np.maximum(variance, 1e-12) * max(float(weight @ place**2), 1e-12))
    return np.asarray(y.T @ (weight * place)).ravel() / spread


def _like(mean: Array, others: Ints, level: float) -> Ints:
    """Return the other genes nearest in abundance."""
    return others[np.argsort(np.abs(np.log(mean[others]) - np.log(max(level, 1e-12))), kind="stable")[:CONTROLS]]


def _mean_rank(values: Array, among: list[Array]) -> float:
    """Return the p-value of the mean rank, one-sided: 0 if each value exceeds all of its comparison."""
    quantile = [_rank(value, near) for value, near in zip(values, among, strict=True)]
    return float(norm.sf((np.mean(quantile) - 0.5) * np.sqrt(12 * len(quantile))))


def _rank(value: float, among: Array) -> float:
    return float(((among < value).sum() + 0.5 * (among == value).sum() + 0.5) / (len(among) + 1))
