"""Panels that the figures of drawn cells share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sclatent.pl import _style as st

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Row = Mapping[str, float]
"""One row of the table of `sclatent.tl.check_samples`."""
Table = Mapping[str, Row]
"""Its rows by measure."""
REAL, DRAWN = st.GREY, st.BLUE


def by_measure(table: pd.DataFrame) -> Table:
    """Return the rows of a table by measure."""
    values = table.drop(columns="modality", errors="ignore").set_index("measure")
    return {str(name): {str(key): float(value) for key, value in row.items()} for name, row in values.iterrows()}


def told_apart(ax: Axes, rows: Mapping[str, Row]) -> None:
    """Draw the AUROC of drawn and of training cells, by what the classifier was shown; the title has the first."""
    ax.axvline(0.5, color=st.PALE, lw=1)
    ticks, labels = [], []
    for k, (shown, row) in enumerate(reversed(list(rows.items()))):
        bar = [[row["drawn"] - row["low"]], [row["high"] - row["drawn"]]]
        ax.errorbar(row["drawn"], 2 * k + 1, xerr=bar, fmt="o", color=DRAWN, ms=5)
        if np.isfinite(row["training"]):
            ax.plot(row["training"], 2 * k, "o", color=REAL, ms=5)
        ticks += [2 * k, 2 * k + 1]
        labels += [f"{kind} cells{f', {shown}' if shown else ''}" for kind in ("training", "drawn")]
    ax.set_yticks(ticks, labels)
    ax.set(xlim=(0.3, 1.02), ylim=(-0.6, ticks[-1] + 0.6), xlabel="AUROC (0.5: cannot tell; bar: 95 %)")
    first = next(iter(rows.values()))
    ax.set_title(f"Told from held-out cells: {first['drawn']:.2f}")


def diagonal(ax: Axes, real: npt.ArrayLike, drawn: npt.ArrayLike, low: float, high: float, title: str) -> None:
    """Draw the same numbers of real and drawn cells against each other."""
    ax.plot([low, high], [low, high], color=st.PALE, lw=1)
    st.points(ax, real, drawn, DRAWN)
    ax.set(xlabel="real cells", ylabel="drawn cells", title=title)


def histograms(ax: Axes, real: npt.ArrayLike, drawn: npt.ArrayLike, xlabel: str, title: str) -> None:
    """Draw how a number of each cell, from 0 on, is distributed among real and drawn cells (log10)."""
    logged = [np.log10(np.maximum(values, 1.0)) for values in (real, drawn)]
    both = np.concatenate(logged)
    bins = np.linspace(both.min(), both.max() + 1e-9, 26)
    for values, color, name in zip(logged, (REAL, DRAWN), ("real", "drawn"), strict=True):
        ax.hist(values, list(bins), density=True, histtype="step", color=color, lw=1.5, label=name)
    ax.set(xlabel=xlabel, ylabel="density", title=title)
    ax.legend(loc="upper left")


def others(ax: Axes, lines: Sequence[tuple[str, Row]]) -> None:
    """Write further rows of the table, each with its words."""
    ax.axis("off")
    ax.set_title("Other measures")
    columns = {"drawn": 0.66, "training": 0.86, "ideal": 1.0}
    for name, x in columns.items():
        ax.text(x, 0.95, name, ha="right", fontsize=7, color=st.INK, transform=ax.transAxes)
    for line, (words, row) in enumerate(lines):
        y = 0.84 - 0.115 * line
        ax.text(-0.2, y, words, fontsize=6.5, color=st.INK, transform=ax.transAxes)
        for name, x in columns.items():
            value = float(row[name])
            text = f"{value:.2f}" if np.isfinite(value) else "–"
            ax.text(x, y, text, ha="right", fontsize=6.5, transform=ax.transAxes)
