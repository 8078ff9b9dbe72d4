"""The gauge: where the angle is 0, and its direction.

A fitted circle is known up to a rotation and a reflection (its speed is fixed by the uniform prior over the bins).
The rest is fixed by rules:

1. *Direction*: the direction in which the genes peak in their known order. S genes are expected at 0.42 of a
   turn and G2/M genes at 0.80, those in ``peak_order.tsv`` at their stage; of the two directions, the one with the
   longer resultant of (peak − expected) is used.
2. *Origin*: 0 is where the G2/M curve falls most steeply after its peak: division, the start of G1. If only the S
   genes are seen, the peak of their curve is placed where it is expected.

A list's curve is the mean of its genes' *rates* (the exponential of the fitted log curves: amounts of transcript), each
in units of its own SD over the circle, weighted by how well it follows the angle. Rates, not logs: after division
transcripts decay about exponentially, which is steepest at its start, whereas their logarithm keeps falling throughout
G1; and a logarithmic curve of one harmonic is a cosine, always steepest a quarter of a turn after its peak.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sclatent.tl._cycle.states import BINS, GRID, Array, Ints

TURN = 2 * np.pi
EXPECTED = {"S": 0.42, "G2M": 0.80}
STAGES = {1: 0.35, 2: 0.50, 3: 0.70, 4: 0.85, 5: 0.95}
"""Expected peak in turns, by list and by rank of the stage (G1/S, S, G2, G2/M, M/G1)."""


@dataclass(frozen=True)
class Gauge:
    """Final bin of every fitted bin, and whether the circle was reflected."""

    bins: Ints
    reflected: bool

    def apply(self, q: Array) -> Array:
        """Return (cells, states) probabilities over the final bins; resting stays as it is."""
        out = q.copy()
        out[:, self.bins] = q[:, :BINS]
        return out

    def curves(self, values: Array) -> Array:
        """Return curves (BINS, G) on the final bins."""
        out = np.empty_like(values)
        out[self.bins] = values
        return out


def list_curve(values: Array, inside: Array, weight: Array) -> Array:
    """Return the mean rate (BINS,) of a list of genes with log curves `values` (BINS, G), scaled to [0, 1]."""
    part = np.exp(values[:, inside] - values[:, inside].mean(axis=0))
    part = (part - part.mean(axis=0)) / np.maximum(part.std(axis=0), 1e-12)
    mean = part @ weight[inside]
    return (mean - mean.min()) / max(float(np.ptp(mean)), 1e-12)


def second_peak(curve: Array) -> float:
    """Return how far the second highest peak of a closed curve (BINS,) stands out, as a share of the curve's range.

    0 if there is only one peak. The genes of a list are known to peak once in the cycle: a second peak means that the
    angle also follows something else, such as cell types that differ in these genes.
    """
    from scipy.signal import find_peaks

    opened = np.roll(curve, -int(curve.argmin()))
    _, found = find_peaks(np.append(opened, opened[0]), prominence=0)
    others = np.sort(found["prominences"])[:-1]
    return float(others[-1] / np.ptp(curve)) if len(others) else 0.0


def peaks(values: Array) -> Array:
    """Return (G,) where log curves (BINS, G) peak, radians: the argument of their first harmonic."""
    return np.asarray(np.angle(np.exp(1j * GRID) @ (values - values.mean(axis=0))), dtype=np.float64)


def find_gauge(values: Array, group: Ints, weight: Array, expected: Array, *, only_s: bool = False) -> Gauge:
    """Fix the gauge.

    Parameters
    ----------
    values
        (BINS, G) the genes' log curves on the fitted bins.
    group
        (G,) 0 for the S list, 1 for the G2/M list, 2 for others.
    weight
        (G,) how well each gene follows the angle.
    expected
        (G,) where in the cycle the gene is known to peak, in turns; NaN if unknown.
    only_s
        Whether only the S genes are seen: then the G2/M curve cannot locate division.
    """
    peak = peaks(values)
    known = np.isfinite(expected)
    target = np.exp(-1j * TURN * expected[known])
    forth = abs((weight[known] * np.exp(1j * peak[known]) * target).sum())
    back = abs((weight[known] * np.exp(-1j * peak[known]) * target).sum())
    reflected = bool(back > forth)
    bins = np.arange(BINS)
    if reflected:
        bins = -bins % BINS
    turned = np.empty_like(values)
    turned[bins] = values
    if only_s:
        zero = int(list_curve(turned, group == 0, weight).argmax()) - round(EXPECTED["S"] * BINS)
    else:
        g = list_curve(turned, group == 1, weight)
        slope = np.roll(g, -1) - np.roll(g, 1)
        after = (np.arange(BINS) - int(g.argmax())) % BINS
        zero = int(np.where(after <= BINS * 5 // 8, slope, np.inf).argmin())
    return Gauge((bins - zero) % BINS, reflected)
