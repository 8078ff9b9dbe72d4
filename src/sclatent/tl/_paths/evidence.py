"""Evidence that a closed path through the latent space is a cell-cycle knob: pure functions on arrays.

Every test has an effect size as well as a p-value, since thousands of cells make any p-value tiny. The rule is in
``RULE``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
TURN = 2 * np.pi
EIGHTH = TURN / 8
"""How far from the peak of its phase a gene may peak and still count as being there."""


@dataclass(frozen=True)
class Rule:
    """What a path has to show to be called a knob."""

    fold: float = 1.25
    """Decoded S and G2/M list genes each change at least by this factor along the path, relative to their controls."""
    lag: float = TURN / 16
    """Decoded G2/M peaks at least this far behind decoded S: else it is one program."""
    lead: float = TURN * 7 / 16
    """Decoded S peaks at least this far behind the G2/M of the division before. Programs in antiphase, as where G1 is
    long or few genes are known, lie half a turn apart: noise alone takes their lag a little over it."""
    order: float = 0.95
    """Share of bootstrap samples of the cells in which this order holds."""
    held_out: float = 0.6
    """Share of held-out genes within an eighth of a turn of the peak of their phase; a random angle gets 0.25."""
    p_value: float = 0.01
    """Of the held-out genes' swing and of the path's share of the variance, against permuted angles."""
    literature_p: float = 0.05
    """Of the rank correlation between peaks and literature order (one-sided); asked for with at least 8 genes."""


RULE = Rule()
MIN_LITERATURE = 8


def apart(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """Return the distance between angles along the circle, in [0, π]."""
    return np.abs(np.angle(np.exp(1j * (np.asarray(a, dtype=float) - np.asarray(b, dtype=float)))))


def ahead(a: float, b: float) -> float:
    """Return how far `b` lies ahead of `a`, in [0, 2π)."""
    return float(np.mod(b - a, TURN))


def first_harmonic(curve: Array, position: Array) -> npt.NDArray[np.complex128]:
    """Return amplitude · exp(i · peak) of the first harmonic of curves (steps × genes) at evenly spaced positions."""
    return 2 * np.mean(curve * np.exp(1j * position)[:, None], axis=0)


def observed_harmonic(counts: Any, library: Array, angle: Array, bins: int = 12) -> npt.NDArray[np.complex128]:
    """Return the first harmonic of each gene's rate over the angle, straight from the counts.

    Parameters
    ----------
    counts
        (cells × genes) sparse counts.
    library
        (cells,) library sizes.
    angle
        (cells,) angles, radians.
    bins
        Cells are pooled in so many bins of equal width, so an uneven spread over the circle does not move the peaks.

    Returns
    -------
    (genes,) relative amplitude · exp(i · peak).
    """
    from scipy import sparse

    code = np.minimum((np.mod(angle, TURN) / TURN * bins).astype(int), bins - 1)
    pool = sparse.csr_matrix((np.ones(len(code)), (code, np.arange(len(code)))), shape=(bins, len(code)))
    total = pool @ library
    full = total > 0
    rate = np.asarray((pool @ counts).todense())[full] / total[full, None]
    middle = (np.flatnonzero(full) + 0.5) * TURN / bins
    mean = rate.mean(axis=0)
    wave = 2 * np.mean((rate - mean) * np.exp(1j * middle)[:, None], axis=0)
    return np.divide(wave, mean, out=np.zeros_like(wave), where=mean > 0)


def direction(harmonics: npt.NDArray[np.complex128]) -> float:
    """Return the angle of the sum of harmonics: their mean peak, weighted by amplitude."""
    return float(np.mod(np.angle(harmonics.sum()), TURN))


def order_of(position: Array, s: Array, g2m: Array) -> dict[str, float]:
    """Where the decoded scores (steps,) peak, how far G2/M lags behind S, and by what factor the genes change."""
    s_peak, g_peak = float(position[int(np.argmax(s))]), float(position[int(np.argmax(g2m))])
    return {
        "S_peak": s_peak,
        "G2M_peak": g_peak,
        "lag": ahead(s_peak, g_peak),
        "S_fold": float(np.exp(np.ptp(s))),
        "G2M_fold": float(np.exp(np.ptp(g2m))),
    }


def in_order(lag: float, rule: Rule = RULE) -> bool:
    """Return whether G2/M follows S by at least ``rule.lag``, and the next S follows it by at least ``rule.lead``."""
    return rule.lag <= lag <= TURN - rule.lead


def number_of_parts(n: Sequence[int], needed: int) -> int | None:
    """Return into how many parts (2 to 4) genes are to be split so that `needed` of each phase are left without one.

    `n` are the numbers of genes by phase; None if there are too few.
    """
    for parts in (2, 3, 4):
        if all(count - -(-count // parts) >= needed for count in n):
            return parts
    return None


def split_genes(genes: Sequence[str], phase: Sequence[str], parts: int) -> list[list[str]]:
    """Deal the genes of each phase, in alphabetical order, out to so many parts."""
    out: list[list[str]] = [[] for _ in range(parts)]
    for group in sorted(set(phase)):
        members = sorted(gene for gene, p in zip(genes, phase, strict=True) if p == group)
        for part in range(parts):
            out[part] += members[part::parts]
    return out


def rotation_between(angle: Array, reference: Array) -> float:
    """Return the rotation that brings `angle` closest to `reference` (cells,): their mean circular difference."""
    return float(np.angle(np.exp(1j * (reference - angle)).mean()))


def swing(harmonics: npt.NDArray[np.complex128], expected: Array) -> float:
    """Return the mean over genes of amplitude · cos(peak − expected peak): log rate gained at the known phase."""
    return float(np.mean((harmonics * np.exp(-1j * expected)).real))


def permutation_p(observed: float, null: npt.ArrayLike) -> float:
    """Return (1 + #{null ≥ observed}) / (1 + n)."""
    values = np.asarray(null, dtype=float)
    return float((1 + (values >= observed).sum()) / (1 + len(values)))


def literature(peaks: Array, rank: Array, start: float) -> dict[str, Any]:
    """Rank correlation between peak phases and literature order.

    Parameters
    ----------
    peaks
        (genes,) peak phases, radians.
    rank
        (genes,) stage of each gene, 1 … 5.
    start
        Where the circle is cut open.

    Returns
    -------
    ``n``, ``spearman`` and its one-sided ``p`` (None with fewer than 3 genes or one stage).
    """
    from scipy.stats import spearmanr

    if len(peaks) < 3 or len(np.unique(rank)) < 2:
        return {"n": len(peaks), "spearman": None, "p": None}
    found = spearmanr(np.mod(peaks - start, TURN), rank, alternative="greater")
    return {"n": len(peaks), "spearman": float(found.statistic), "p": float(found.pvalue)}


def judge(evidence: dict[str, Any], rule: Rule = RULE) -> tuple[bool, str, list[dict[str, Any]]]:
    """Apply the rule.

    Returns
    -------
    Whether the path is a knob, the reason in one line, and one entry per test: ``name``, ``passed``, ``found``,
    ``needed``.
    """
    order, held, share, books = evidence["order"], evidence["held_out"], evidence["path"], evidence["literature"]
    tests = [
        {
            "name": "the decoded S and G2/M genes change along the path",
            "passed": min(order["S_fold"], order["G2M_fold"]) >= rule.fold,
            "found": f"S {order['S_fold']:.2f}-fold, G2/M {order['G2M_fold']:.2f}-fold",
            "needed": f"{rule.fold:g}-fold each",
        },
        {
            "name": "decoded S peaks before decoded G2/M",
            "passed": in_order(order["lag"], rule) and order["bootstrap_share"] >= rule.order,
            "found": f"G2/M {order['lag'] / TURN:.2f} turns after S; in {order['bootstrap_share']:.0%} of bootstraps",
            "needed": f"{rule.lag / TURN:.2f} to {1 - rule.lead / TURN:.2f} turns, in {rule.order:.0%}",
        },
        {
            "name": "the path explains latent variance",
            "passed": share["variance_p"] < rule.p_value,
            "found": (
                f"{share['variance_share']:.1%} (permuted angles {share['variance_share_permuted']:.1%}), "
                f"p = {share['variance_p']:.2g}"
            ),
            "needed": f"p < {rule.p_value:g}",
        },
        {
            "name": "held-out genes peak at their known phase",
            "passed": held["n"] > 0 and held["share_within"] >= rule.held_out and held["p"] < rule.p_value,
            "found": (
                f"{held['share_within']:.0%} of {held['n']} within an eighth of a turn, p = {held['p']:.3g}"
                if held["n"]
                else held["reason"]
            ),
            "needed": f"{rule.held_out:.0%}, p < {rule.p_value:g}",
        },
    ]
    if books["n"] >= MIN_LITERATURE and books["p"] is not None:
        tests.append(
            {
                "name": "peaks follow the literature order",
                "passed": books["p"] < rule.literature_p,
                "found": f"rank correlation {books['spearman']:.2f} over {books['n']} genes, p = {books['p']:.2g}",
                "needed": f"p < {rule.literature_p:g}",
            }
        )
    failed = [test for test in tests if not test["passed"]]
    if failed:
        told = "; ".join(f"{t['name']} (found: {t['found']}; needed: {t['needed']})" for t in failed)
        reason = f"{len(failed)} of {len(tests)} tests failed: {told}"
        return False, reason, tests
    reason = (
        f"decoded S peaks {order['lag'] / TURN:.2f} turns before G2/M, and {held['share_within']:.0%} of {held['n']} "
        f"held-out genes peak within an eighth of a turn of their known phase (p = {held['p']:.2g})"
    )
    return True, reason, tests
