"""From the listed genes to the final fit: further genes and harmonics, each kept on held-out counts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from sclatent.tl._cycle.choice import held_out_gain, mean_gain
from sclatent.tl._cycle.em import Fit, fit, resultant
from sclatent.tl._cycle.gauge import list_curve, second_peak
from sclatent.tl._cycle.join import certainty, explained, explained_beside
from sclatent.tl._cycle.laws.source import Source
from sclatent.tl._cycle.states import BINS, GUESS_AMPLITUDE, Array, Ints

log = logging.getLogger(__name__)

MAX_HARMONICS = len(GUESS_AMPLITUDE)
MAX_JOINED = 150
"""So many further genes join at most where counts are shallow: more of them bend vague angles towards themselves."""
MIN_R2 = 0.12
"""Where counts are deep, the angle explains as much of a gene that joins. A gene that it explains less of may follow a
cell type whose cells happen to bunch on the circle."""
BY_CHANCE = 0.1
"""So large a share of the genes that join may do so by chance (Benjamini and Hochberg)."""
SECOND_PEAK = 0.1
"""A second peak of a list's curve stands out by at most this share of the curve's range."""
CLEARLY = 0.05
"""Nats per cell by which a later first guess has to be better.

Fits that are the same differ by less than 0.03 (real and simulated cells); where the usual guess was lost, by 0.5.
"""


@dataclass(frozen=True)
class Plan:
    """How the fit starts and grows.

    Attributes
    ----------
    deep
        Which law holds: that of deep counts, or that of shallow ones.
    grow
        Number of harmonics of each step of the growth, in turn.
    temper
        The power to which the likelihood is raised; 1 is what the model itself says.
    beside
        Whether fits one step away are reported too.
    """

    deep: bool
    grow: tuple[int, ...]
    temper: float = 1.0
    beside: bool = True


@dataclass(frozen=True)
class Grown:
    """A fit with its genes (G,), the R² of *all* genes, and what its angle predicts of held-out genes (cells, L)."""

    columns: Ints
    group: Ints
    fitted: Fit
    r2: Array
    gain: Array

    @property
    def n_joined(self) -> int:
        """Number of genes that joined the lists."""
        return int((self.group == 2).sum())


class Growth:
    """Tries fits on some cells and keeps the better ones.

    Parameters
    ----------
    source, normalised
        Counts of the cells, and (cells, genes) the same log-normalised.
    listed, phase
        (L,) columns of the listed genes; 0 for S, 1 for G2/M.
    plan
        How to go about it.
    """

    def __init__(self, source: Source, normalised: sp.csr_matrix, listed: Ints, phase: Ints, plan: Plan) -> None:
        self.source, self.normalised, self.plan = source, normalised, plan
        self.listed, self.phase = listed, phase
        self.rows = np.arange(normalised.shape[0])

    def first(self, guesses: list[Array]) -> tuple[Grown, int]:
        """Fit the listed genes from several first guesses; return the fit that goes on, judged, and its number.

        That is the first one, unless another has clearly more evidence: most end at one and the same fit.
        """
        law = self.source.law(self.rows, self.listed, deep=self.plan.deep, capture=False)
        fits = [fit(law, self.phase, guess, 1, temper=self.plan.temper, first=True) for guess in guesses]
        evidence = np.array([law.evidence(fitted.curves) for fitted in fits])
        best = int(np.argmax(evidence - CLEARLY * (np.arange(len(fits)) > 0)))
        if self.plan.deep:  # judged without an error of capture, as the evidence is, and fitted with it
            law = self.source.law(self.rows, self.listed, deep=True)
            fits[best] = fit(law, self.phase, guesses[best], 1, temper=self.plan.temper, first=True)
        return self._judge(self.listed, self.phase, fits[best]), best

    def with_plan(self, plan: Plan) -> Growth:
        """Return the same cells and lists with another plan."""
        return Growth(self.source, self.normalised, self.listed, self.phase, plan)

    def fit(self, columns: Ints, group: Ints, q: Array, harmonics: int, temper: float) -> Grown:
        """Fit, starting from the probabilities `q`, and judge the fit."""
        law = self.source.law(self.rows, columns, deep=self.plan.deep)
        return self._judge(columns, group, fit(law, group, q, harmonics, temper=temper))

    def _judge(self, columns: Ints, group: Ints, fitted: Fit) -> Grown:
        gain = held_out_gain(self.source, fitted, columns, group, deep=self.plan.deep)
        return Grown(columns, group, fitted, explained(self.normalised, fitted.q)[0], gain)

    def grow(self, now: Grown) -> Grown:
        """Let genes join and harmonics grow, as long as the angle stays with the cell cycle.

        It does where held-out genes are predicted no worse than by the best fit so far, and where the S and the G2/M
        curve have one peak each. Else it is left for what tells cell types apart: then fewer genes join, or none. Where
        little changes no worse means within the error: with deep counts, for a further harmonic of the same genes, two
        standard errors; with shallow counts one, for an angle that agrees with that of the best fit as the truth would.
        """
        best = now
        for harmonics in self.plan.grow:
            new = self._best(self._choices(now, harmonics), harmonics, now, best)
            if new is not None:
                now = new
                best = now if self.change(now, best)[0] > 0 else best
            elif harmonics == self.plan.grow[-1]:
                break
        return now

    def _best(self, groups: list[list[Ints]], harmonics: int, now: Grown, best: Grown) -> Grown | None:
        """Return the best fit, started from `now`, to the first group of sets of genes that has one to be taken."""
        for sets in groups:
            fits = [self._try(columns, harmonics, now, best) for columns in sets]
            taken = [one for one in fits if one is not None]
            if taken:
                return max(taken, key=lambda one: self.change(one, best)[0])
        return None

    def _try(self, columns: Ints, harmonics: int, now: Grown, best: Grown) -> Grown | None:
        """Return the fit with these genes and harmonics, started from `now`, if it is to be taken."""
        group = np.concatenate([self.phase, np.full(len(columns) - len(self.listed), 2)])
        new = self.fit(columns, group, now.fitted.q, harmonics, now.fitted.temper)
        change, error = self.change(new, best)
        second = self._second_peak(new)
        least = 0.0
        if self.plan.deep and frozenset(columns) == frozenset(now.columns):
            least = -2 * error
        elif not self.plan.deep and _stays(new.fitted.q, best.fitted.q):
            least = -error
        if change >= least and second <= SECOND_PEAK:
            return new
        log.info(
            "not taken: %d further genes with %d harmonics (held-out gain %+.4f, error %.4f, second peak %.2f)",
            len(columns) - len(self.listed), harmonics, change, error, second,
        )  # fmt: skip
        return None

    def change(self, new: Grown, old: Grown) -> tuple[float, float]:
        """Return by how much held-out genes are predicted better, and the standard error of that."""
        return mean_gain(new.gain - old.gain, self.phase)

    def _second_peak(self, grown: Grown) -> float:
        values, weight = grown.fitted.curves.values(), grown.r2[grown.columns]
        return max(second_peak(list_curve(values, grown.group == phase, weight)) for phase in (0, 1))

    def _choices(self, now: Grown, harmonics: int) -> list[list[Ints]]:
        """Return the sets of genes to try: all that follow the angle, the present ones, and fewer but more than now.

        With deep counts one after the other. With shallow counts they are one group, of which the best is taken. Then
        the genes that follow the angle are tried without a look at the axes beside it too: in a panel of cycle genes
        these axes are the part of the cycle that a vague angle leaves.
        """
        joining = [self._joining(now)] if self.plan.deep else [self._joining(now), self._joining(now, rival=False)]
        sets = [np.concatenate([self.listed, columns]) for columns in joining] + [now.columns]
        fewer = [sets[0][: len(self.listed) + n] for n in (MAX_JOINED // 4, MAX_JOINED // 16)]
        sets += [columns for columns in fewer if len(columns) > len(now.columns)]
        tried = {frozenset(now.columns)} if harmonics == now.fitted.curves.harmonics else set()
        new: dict[frozenset[np.int64], Ints] = {}
        for columns in sets:
            if frozenset(columns) not in tried:
                new.setdefault(frozenset(columns), columns)
        return [[columns] for columns in new.values()] if self.plan.deep else [list(new.values())]

    def _joining(self, now: Grown, *, rival: bool = True) -> Ints:
        """Return the genes that follow the angle more than by chance, and no worse than they follow an axis beside it.

        A vague angle explains less of every gene: an amplitude is found smaller by the certainty of the angles, R² by
        its square. By chance the angle explains less too (see `certainty`). So what is asked for falls with it. Without
        `rival` no axis beside the angle is looked at.
        """
        r2, bins = now.r2.copy(), now.fitted.q[:, :BINS]
        r2[self.listed] = 0.0
        order = np.argsort(-r2, kind="stable")
        order = order[r2[order] >= MIN_R2] if self.plan.deep else order[:MAX_JOINED]
        order = order[r2[order] > 0]
        if not len(order):
            return order
        sure = certainty(bins)
        if rival:
            order = order[r2[order] >= sure**2 * explained_beside(self.normalised, now.fitted.q, order)]
        by_chance = (r2 > 0).sum() * np.exp(-0.5 * bins.sum() * r2[order] / sure)
        within = np.flatnonzero(by_chance <= BY_CHANCE * np.arange(1, len(order) + 1))
        return order[: within[-1] + 1] if len(within) else order[:0]

    def beside(self, now: Grown) -> list[Grown]:
        """Return the fits one step away in temper and in harmonics, the genes being the same: for the report."""
        if not self.plan.beside:
            return []
        h, temper = now.fitted.curves.harmonics, now.fitted.temper
        steps = [self._again(now, h, t) for t in (temper / 2, temper * 2)]
        return steps + [self._again(now, k, temper) for k in (h - 1, h + 1) if 0 < k <= MAX_HARMONICS]

    def _again(self, now: Grown, harmonics: int, temper: float) -> Grown:
        return self.fit(now.columns, now.group, now.fitted.q, harmonics, temper)


def _stays(new: Array, old: Array) -> bool:
    """Return whether new angles agree with the old ones, after the best rotation, as well as the true ones would.

    By the old posterior the mean cosine of its own angles with the true ones is the mean length of its resultants. An
    angle that agrees with them less is another one.
    """
    z, known = resultant(new), resultant(old)
    weight = new[:, :BINS].sum(axis=1) * old[:, :BINS].sum(axis=1)
    turned = np.exp(1j * (np.angle(z) - np.angle(known)))
    return bool(abs(weight @ turned) >= weight @ np.abs(known))


def grid(chosen: Grown, beside: list[Grown]) -> dict[str, Array]:
    """Return the table of the fit chosen (first) and those one step away: harmonics, temper, held-out gain, agreement.

    The agreement is the mean cosine of the angle with that of the fit chosen, after the best rotation.
    """
    fits = [chosen, *beside]
    phase = chosen.group[chosen.group < 2]
    here = np.angle(resultant(chosen.fitted.q))
    angles = [np.angle(resultant(f.fitted.q)) for f in fits]
    rows: dict[str, list[Any]] = {
        "harmonics": [f.fitted.curves.harmonics for f in fits],
        "temper": [f.fitted.temper for f in fits],
        "held_out_gain": [mean_gain(f.gain, phase)[0] for f in fits],
        "difference_se": [mean_gain(f.gain - chosen.gain, phase)[1] for f in fits],
        "agreement": [float(abs(np.exp(1j * (a - here)).mean())) for a in angles],
    }
    return {name: np.array(values) for name, values in rows.items()}
