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
SECOND_PEAK = 0.1
"""A second peak of a list's curve stands out by at most this share of the curve's range."""
CLEARLY = 0.05
"""Nats per cell by which a later first guess has to be better.

Fits that are the same differ by less than 0.03 (real and simulated cells); where the usual guess was lost, by 0.5.
"""


@dataclass(frozen=True)
class Step:
    """One step of the growth.

    Attributes
    ----------
    harmonics
        So many from here on.
    gain
        The least gain (R² times the number of cycling cells) with which a further gene joins.
    by_chance
        Of the genes that join at most this share may do so by chance (Benjamini and Hochberg); 1 for no limit.
    rival
        A gene joins if the angle explains at least this part of what any single axis beside it explains; 0 for no rule.
    """

    harmonics: int
    gain: float = 0.0
    by_chance: float = 1.0
    rival: float = 0.0


@dataclass(frozen=True)
class Plan:
    """How the fit starts and grows.

    Attributes
    ----------
    deep
        Which law holds: that of deep counts, or that of shallow ones.
    grow
        The steps, in turn.
    max_joined, min_r2
        At most so many genes join, and none that the angle explains less of.
    temper
        The power to which the likelihood is raised; 1 is what the model itself says.
    beside
        Whether fits one step away are reported too.
    """

    deep: bool
    grow: tuple[Step, ...]
    max_joined: float = np.inf
    min_r2: float = 0.0
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
        law = self.source.law(self.rows, self.listed, deep=self.plan.deep)
        fits = [fit(law, self.phase, guess, 1, temper=self.plan.temper, first=True) for guess in guesses]
        evidence = np.array([law.evidence(fitted.curves) for fitted in fits])
        best = int(np.argmax(evidence - CLEARLY * (np.arange(len(fits)) > 0)))
        return self._judge(self.listed, self.phase, fits[best]), best

    def fit(self, columns: Ints, group: Ints, q: Array, harmonics: int, temper: float) -> Grown:
        """Fit, starting from the probabilities `q`, and judge the fit."""
        law = self.source.law(self.rows, columns, deep=self.plan.deep)
        return self._judge(columns, group, fit(law, group, q, harmonics, temper=temper))

    def _judge(self, columns: Ints, group: Ints, fitted: Fit) -> Grown:
        gain = held_out_gain(self.source, fitted, columns, group, deep=self.plan.deep)
        return Grown(columns, group, fitted, explained(self.normalised, fitted.q)[0], gain)

    def grow(self, now: Grown) -> Grown:
        """Let genes join and harmonics grow, as long as the angle stays with the cell cycle.

        It does where held-out genes are predicted no worse than before (within a standard error), and
        where the S and the G2/M curve have one peak each. Else it is left for what tells cell types apart: then fewer
        genes join, or none.
        """
        for step in self.plan.grow:
            for columns in self._choices(now, step):
                group = np.concatenate([self.phase, np.full(len(columns) - len(self.listed), 2)])
                new = self.fit(columns, group, now.fitted.q, step.harmonics, now.fitted.temper)
                change, error = mean_gain(new.gain - now.gain, self.phase)
                second = self._second_peak(new)
                if change >= -error and second <= SECOND_PEAK:
                    now = new
                    break
                log.info(
                    "not taken: %d further genes with %d harmonics (held-out gain %+.4f, error %.4f, second peak %.2f)",
                    len(columns) - len(self.listed), step.harmonics, change, error, second,
                )  # fmt: skip
        return now

    def _second_peak(self, grown: Grown) -> float:
        values, weight = grown.fitted.curves.values(), grown.r2[grown.columns]
        return max(second_peak(list_curve(values, grown.group == phase, weight)) for phase in (0, 1))

    def _choices(self, now: Grown, step: Step) -> list[Ints]:
        """Return the sets of genes to try: all that follow the angle, the present ones, and fewer but more than now."""
        r2 = now.r2.copy()
        r2[self.listed] = 0.0
        most = int(min(self.plan.max_joined, max(100, len(r2) // 25)))
        order = np.argsort(-r2, kind="stable")[:most]
        bins = now.fitted.q[:, :BINS]
        gain = float(bins.sum()) * r2
        order = order[(r2[order] >= self.plan.min_r2) & (gain[order] > step.gain)]
        if step.rival and len(order):
            order = order[r2[order] >= step.rival * explained_beside(self.normalised, now.fitted.q, order)]
        if step.by_chance < 1:
            # deep counts: on the safe side, as if every angle were known
            vague = 1.0 if self.plan.deep else certainty(bins)
            by_chance = (r2 > 0).sum() * np.exp(-0.5 * gain[order] / vague)
            within = np.flatnonzero(by_chance <= step.by_chance * np.arange(1, len(order) + 1))
            order = order[: within[-1] + 1] if len(within) else order[:0]
        sets = [np.concatenate([self.listed, order]), now.columns]
        sets += [
            part for n in (most // 4, most // 16) if len(part := sets[0][: len(self.listed) + n]) > len(now.columns)
        ]
        tried = {frozenset(now.columns)} if step.harmonics == now.fitted.curves.harmonics else set()
        out: list[Ints] = []
        for columns in sets:
            if (key := frozenset(columns)) not in tried:
                tried.add(key)
                out.append(columns)
        return out

    def beside(self, now: Grown) -> list[Grown]:
        """Return the fits one step away in temper and in harmonics, the genes being the same: for the report."""
        if not self.plan.beside:
            return []
        h, temper = now.fitted.curves.harmonics, now.fitted.temper
        steps = [self._again(now, h, t) for t in (temper / 2, temper * 2)]
        return steps + [self._again(now, k, temper) for k in (h - 1, h + 1) if 0 < k <= MAX_HARMONICS]

    def _again(self, now: Grown, harmonics: int, temper: float) -> Grown:
        return self.fit(now.columns, now.group, now.fitted.q, harmonics, temper)


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
