"""The figure that says whether the knob is one: every test of ``knob.json`` with what it was judged by."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.pl import _style as st

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TURN = 2 * np.pi
_NEAR = 2.6
"""Eighths of a turn up to which there is room for a name beside a gene, away from zero."""


def evidence(knob: Mapping[str, Any], symbols: Mapping[str, str] | None = None) -> st.Figure:
    """Draw the verdict, the tests, and the evidence behind them.

    Parameters
    ----------
    knob
        ``knob.json``.
    symbols
        Gene name → symbol, where they differ.
    """
    verdict, reason = str(knob["verdict"]), str(knob.get("reason") or "")
    tests = knob.get("tests") or []
    path, held, books = (knob.get(key) or {} for key in ("path", "held_out", "literature"))
    if not tests and not path:
        return st.note(f"{verdict[0].upper() + verdict[1:]}.\n\n{reason[:1].upper() + reason[1:]}", 7.0, 2.0)
    known = dict(symbols or {})
    fig = st.figure(10.0, 6.6)
    top, bottom = np.asarray(fig.subfigures(2, 1, height_ratios=[1.0, 1.25]))
    table, scores = top.subplots(1, 2, width_ratios=[1.55, 1])
    first, second, third = bottom.subplots(1, 3, width_ratios=[1.3, 0.9, 1.2])
    _tests(table, verdict, tests)
    _decoded(scores, path, knob.get("order") or {})
    _held_out(first, held, known)
    _null(second, held)
    _literature(third, books, known)
    fig.suptitle(textwrap.fill(reason, 150, max_lines=3, placeholder=" …"), fontsize=8, x=0.01, ha="left")
    return fig


def _tests(ax: Axes, verdict: str, tests: list[Mapping[str, Any]]) -> None:
    """Write each test with what was found and what was needed."""
    ax.axis("off")
    ax.set_title(f"Verdict: {verdict}", fontsize=11)
    for i, test in enumerate(tests):
        y = 0.97 - i * 0.2
        passed = bool(test["passed"])
        color = st.BLUE if passed else st.VERMILLION
        ax.text(
            0.0, y, "passed" if passed else "failed", color=color, fontweight="bold", transform=ax.transAxes, va="top"
        )
        ax.text(0.12, y, str(test["name"]), fontweight="bold", transform=ax.transAxes, va="top")
        words = textwrap.fill(f"{test['found']}  (needed: {test['needed']})", 84, max_lines=2, placeholder=" …")
        ax.text(0.12, y - 0.075, words, transform=ax.transAxes, va="top", fontsize=7, color="#444444")


def _decoded(ax: Axes, path: Mapping[str, Any], order: Mapping[str, Any]) -> None:
    """Decoded scores along the path, with their peaks."""
    ax.set_title("Decoded scores along the path")
    if not path:
        _empty(ax, "no path")
        return
    position = np.asarray(path["position"], dtype=float)
    for key, phase in (("S", "S"), ("G2M", "G2M")):
        values = np.asarray(path[f"{key}_score"], dtype=float)
        values = values - values.mean()
        color = st.PHASE_COLORS[phase]
        ax.plot(
            np.append(position, TURN),
            np.append(values, values[0]),
            color=color,
            label=f"{st.PHASE_LABELS[phase]} score (minus mean)",
        )
        if f"{key}_peak" in order:
            # up to where the legend begins
            ax.axvline(float(order[f"{key}_peak"]), ymax=0.8, color=color, lw=0.9, ls=":")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.25 * (high - low))
    density = np.asarray(path.get("density", np.zeros_like(position)), dtype=float)
    if density.max() > 0:
        behind = ax.twinx()
        shape = np.append(density, density[0]) / density.max()
        behind.fill_between(np.append(position, TURN), shape, color=st.PALE, lw=0)
        behind.set(ylim=(0, 2), yticks=[])
        behind.spines[:].set_visible(False)
        ax.set_zorder(behind.get_zorder() + 1)
        ax.patch.set_visible(False)
    step = TURN / len(position)
    for at in position[~np.asarray(path.get("supported", np.ones_like(position)), dtype=bool)]:
        st.no_cells(ax, at - step / 2, at + step / 2)
    st.angle_axis(ax, label="cycle angle (grey: cells; hatched: none)")
    ax.legend(loc="upper left", ncols=2, handlelength=1)


def _held_out(ax: Axes, held: Mapping[str, Any], symbols: Mapping[str, str]) -> None:
    """Peak of every held-out gene around the peak of its phase."""
    genes = held.get("genes") or []
    ax.set_title("Held-out genes: where they peak")
    if not genes:
        _empty(ax, str(held.get("reason") or "no gene was held out"))
        return
    eighths = np.arange(-4, 5)
    ax.axvspan(-1, 1, color="#EEEEEE", lw=0, zorder=0)
    ax.axvline(0, color=st.GREY, lw=0.8)
    rows = {"S": 1.0, "G2M": 0.0}
    for phase, base in rows.items():
        some = [g for g in genes if g["phase"] == phase]
        if not some:
            continue
        off = np.array([float(np.angle(np.exp(1j * (g["peak"] - g["expected"])))) / (TURN / 8) for g in some])
        height = (
            base + np.linspace(-0.36, 0.36, len(some))[np.argsort(np.argsort(off, kind="stable"))]
            if len(some) > 1
            else np.array([base])
        )
        size = np.array([float(g.get("amplitude") or 0.3) for g in some])
        ax.scatter(off, height, s=6 + 34 * size / max(size.max(), 1e-9), color=st.PHASE_COLORS[phase], alpha=0.75, lw=0)
        inside = np.mean([bool(g["within"]) for g in some])
        ax.text(
            -3.95,
            base + 0.44,
            f"{st.PHASE_LABELS[phase]}: {inside:.0%} of {len(some)} inside",
            color=st.PHASE_COLORS[phase],
            fontsize=7,
            va="bottom",
        )
        far = np.flatnonzero(np.abs(off) > 1)
        # one name at each end: those next to it would be written over one another
        for at in {int(far[off[far].argmin()]), int(far[off[far].argmax()])} if len(far) else ():
            name = st.shorten(symbols.get(str(some[at]["gene"]), some[at]["gene"]), 12)
            # outwards, where no other gene is, unless it would leave the figure
            right = (off[at] > 0) == (abs(off[at]) < _NEAR)
            ax.annotate(
                name,
                (off[at], height[at]),
                xytext=(7 if right else -7, 0),
                textcoords="offset points",
                ha="left" if right else "right",
                va="center",
                fontsize=6,
            )
    ax.set(xlim=(-4, 4), ylim=(-0.55, 1.75), yticks=[])
    ax.set_xticks(eighths)
    ax.set_xlabel("peak − expected peak of its phase (eighths of a turn)\nsize: amplitude; grey: counted as inside")
    ax.spines["left"].set_visible(False)


def _null(ax: Axes, held: Mapping[str, Any]) -> None:
    """Gain of the held-out genes at their phase, against permuted angles."""
    ax.set_title("Against permuted angles")
    null = np.asarray(held.get("swing_null") or [], dtype=float)
    if not len(null) or held.get("swing") is None:
        _empty(ax, "not measured")
        return
    swing = float(held["swing"])
    low, high = min(null.min(), swing), max(null.max(), swing)
    ax.hist(
        null,
        bins=list(np.linspace(low - 0.05 * (high - low), high, 41)),
        color=st.GREY,
        label=f"{len(null)} permutations",
    )
    ax.axvline(swing, color=st.VERMILLION, lw=2, label=f"found: {swing:.2g}")
    ax.set(
        xlabel="log-rate gain of held-out genes\nat their phase",
        ylabel="permutations",
        xlim=(low - 0.08 * (high - low), high + 0.08 * (high - low)),
    )
    ax.legend(loc="upper center", title=f"p = {held['p']:.2g}", title_fontsize=7)
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom, top * 1.45)


def _literature(ax: Axes, books: Mapping[str, Any], symbols: Mapping[str, str]) -> None:
    """Peak phase against the order in the literature."""
    ax.set_title("Against the literature order")
    genes = books.get("genes") or []
    if not genes:
        _empty(ax, "no gene of known order")
        return
    rank = np.array([float(g["rank"]) for g in genes])
    peak = np.mod(np.array([float(g["peak"]) for g in genes]) - float(books.get("cut") or 0.0), TURN)
    jitter = np.random.default_rng(0).uniform(-0.22, 0.22, len(genes))
    ax.scatter(rank + jitter, peak, s=12, color=st.PURPLE, lw=0)
    for stage in np.unique(rank):
        inside = np.flatnonzero(rank == stage)
        ax.hlines(np.median(peak[inside]), stage - 0.32, stage + 0.32, color=st.INK, lw=1.3)
        # a name or two per stage, those nearest the middle
        for at in inside[np.argsort(np.abs(peak[inside] - np.median(peak[inside])))[:1]]:
            name = symbols.get(str(genes[at]["gene"]), str(genes[at]["gene"]))
            ax.annotate(
                st.shorten(name, 10),
                (rank[at] + jitter[at], peak[at]),
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=6,
                bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.7},
            )
    stages = ["G1/S", "S", "G2", "G2/M", "M/G1"]
    shown = [int(r) for r in np.unique(rank)]
    ax.set_xticks(shown, [stages[r - 1] if 1 <= r <= len(stages) else str(r) for r in shown])
    ax.set_yticks(np.arange(5) * np.pi / 2, ["0", "π/2", "π", "3π/2", "2π"])
    # head room for the words at the top
    ax.set(ylim=(0, 1.1 * TURN), xlabel="stage in the literature", ylabel="peak along the path,\nfrom mid G1 (radians)")
    if books.get("spearman") is not None:
        ax.text(
            0.02,
            0.98,
            f"ρ = {books['spearman']:.2f}, p = {books['p']:.1g}, {len(genes)} genes",
            transform=ax.transAxes,
            va="top",
            fontsize=7,
        )


def _empty(ax: Axes, why: str) -> None:
    ax.axis("off")
    ax.text(
        0.5, 0.5, textwrap.fill(why, 40), ha="center", va="center", transform=ax.transAxes, fontsize=8, color=st.GREY
    )
