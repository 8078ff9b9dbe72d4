"""The phases: where G1, S and G2/M meet on the circle, and how probable each is in a cell.

The middle of S is where the known S genes peak; S ends half way from there to where the known G2 genes peak
(``peak_order.tsv``: genes of synchronised cells), and is as long before its middle as after it. Nothing else is
measured: G1 is the rest. The position of a border is uncertain, and the certainty of an angle does not include that,
so the borders are blurred. With a part of a cycle, one phase is distinguished from the rest: the arc in which the curve
of its list is above half of its range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sclatent.data.slots import PHASES
from sclatent.tl._cycle.gauge import EXPECTED, STAGES, TURN, list_curve, peaks
from sclatent.tl._cycle.states import BINS, Array, Ints

S_STAGE, G2_STAGE = 2, 3
"""Ranks in ``peak_order.tsv``."""
BLUR = 0.04
"""SD of a border, in turns: the value with the most likely phases on labelled cells."""


@dataclass(frozen=True)
class Arcs:
    """Which phase the bins of the final circle belong to.

    Attributes
    ----------
    member
        (BINS, 3) probability of G1, S, G2/M; NaN for phases that cannot be told apart.
    borders
        First bins of S and of G2/M (``s_start``, ``g2m_start``); with a part of a cycle, the first bin of its one
        phase, and the first one after it (``g2m_start``, ``g2m_end``).
    """

    member: Array
    borders: dict[str, int]

    def probability(self, q: Array) -> Array:
        """Return (cells, 3) P(G1), P(S), P(G2/M), given that the cell cycles, from q (cells, states)."""
        bins = q[:, :BINS]
        return np.asarray((bins @ self.member) / np.maximum(bins.sum(axis=1, keepdims=True), 1e-300))

    def called(self, probability: Array) -> Ints:
        """Return (cells,) the most probable phase (0, 1, 2), or -1 for phases that cannot be told apart."""
        told = np.isfinite(probability).any(axis=0)
        rest = np.where(told.all(), 0.0, 1 - np.nansum(probability, axis=1, keepdims=True))
        choices = np.hstack([np.nan_to_num(probability, nan=-1.0), rest])
        best = choices.argmax(axis=1)
        return np.where(best < len(PHASES), best, -1).astype(np.int64)


def find_arcs(values: Array, group: Ints, weight: Array, stage: Ints, cycling: float, ends: tuple[str, ...]) -> Arcs:
    """Find the phases.

    Parameters
    ----------
    values
        (BINS, G) the genes' log curves on the final circle.
    group, weight, stage
        (G,) 0 for the S list, 1 for the G2/M list, 2 for others; how well each gene follows (R²); its rank in
        ``peak_order.tsv``, 0 where it is not there.
    cycling
        Number of cycling cells.
    ends
        The lists that are seen: both, or one.
    """
    if len(ends) == 2:
        s, g2 = (_place(values, group, weight, stage, rank, cycling) for rank in (S_STAGE, G2_STAGE))
        half = ((g2 - s) % 1) / 2
        s_start = int(np.clip(np.rint((s - half) * BINS), 1, BINS - 2))
        g2m_start = int(np.clip(np.rint((s + half) * BINS), s_start + 1, BINS - 1))
        hard = np.repeat(np.eye(3), [s_start, g2m_start - s_start, BINS - g2m_start], axis=0)
        return Arcs(_blur(hard), {"s_start": s_start, "g2m_start": g2m_start})
    k = ends[0] == "G2M"
    high = list_curve(values, group == int(k), weight) >= 0.5
    member = np.full((BINS, 3), np.nan)
    member[:, PHASES.index(ends[0])] = _blur(high[:, None].astype(np.float64))[:, 0]
    first, behind = np.flatnonzero(high & ~np.roll(high, 1)), np.flatnonzero(~high & np.roll(high, 1))
    name = ends[0].lower()
    known = len(first) == 1
    return Arcs(member, {f"{name}_start": int(first[0]), f"{name}_end": int(behind[0])} if known else {})


def _place(values: Array, group: Ints, weight: Array, stage: Ints, rank: int, cycling: float) -> float:
    """Return where the genes of a stage peak, in turns.

    The position expected from the peaks of both lists is included, with the weight that the genes would have by chance
    (an R² of 2 / n each, and one more). It replaces a stage without genes, or whose genes hardly follow the angle.
    """
    peak = peaks(values) / TURN
    s, g2m = (_mean(peak[group == k], weight[group == k]) for k in (0, 1))
    share = (STAGES[rank] - EXPECTED["S"]) / (EXPECTED["G2M"] - EXPECTED["S"])
    expected = s + share * ((g2m - s) % 1)
    inside = stage == rank
    chance = 2 / max(cycling, 2.0) * (inside.sum() + 1)
    return _mean(np.append(peak[inside], expected), np.append(weight[inside], chance)) % 1


def _mean(turns: Array, weight: Array) -> float:
    return float(np.angle((weight * np.exp(1j * TURN * turns)).sum()) / TURN)


def _blur(hard: Array) -> Array:
    """Return the membership (BINS, k) with borders that are normal with SD `BLUR` about where they are."""
    away = np.arange(BINS) / BINS
    kernel = np.exp(-(np.minimum(away, 1 - away) ** 2) / (2 * BLUR**2))
    out = np.fft.irfft(np.fft.rfft(hard, axis=0) * np.fft.rfft(kernel / kernel.sum())[:, None], BINS, axis=0)
    return np.clip(out, 0.0, 1.0)
