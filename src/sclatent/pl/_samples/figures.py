"""Figures of drawn cells beside held-out real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sclatent.pl import _style as st
from sclatent.tl._samples.judge import Look, correlated_genes, correlations, look

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

REAL, DRAWN = st.GREY, st.BLUE
MEASURES = {
    "zero_fraction_error": "zero fraction, error over genes",
    "mean_error": "mean, error (log2)",
    "variance_error": "variance, error (log2)",
    "library_size_distance": "library size, distance",
    "correlation_agreement": "gene–gene correlations, agreement",
    "correlation_strength": "gene–gene correlations, strength",
    "neighbour_distance": "distance to the nearest real cell",
}
"""The measures that the table in the figure shows, in words."""


@st.styled
def samples(real: AnnData, drawn: AnnData, table: pd.DataFrame) -> st.Figures:
    """Draw how drawn cells compare with held-out real ones.

    Parameters
    ----------
    real, drawn
        Cells × genes: what `sclatent.tl.check_samples` compared.
    table
        The table from `sclatent.tl.check_samples`.

    Returns
    -------
    dict of Figure
        ``samples``: whether a classifier can tell them apart, with the other measures; zeros, mean and variance of the
        genes; library sizes; gene–gene correlations.
    """
    truth, other = look(real, drawn.var_names, "real"), look(drawn, drawn.var_names, "drawn")
    fig = st.figure(9.6, 5.6)
    panels = fig.subplots(2, 3)
    _told_apart(panels[0, 0], table)
    _zeros(panels[0, 1], truth, other)
    _mean_variance(panels[0, 2], truth, other)
    _library(panels[1, 0], truth, other)
    _correlations(panels[1, 1], truth, other)
    _others(panels[1, 2], table)
    return {"samples": fig}


def _told_apart(ax: Axes, table: pd.DataFrame) -> None:
    row = table.set_index("measure").loc["auroc"]
    ax.axvline(0.5, color=st.PALE, lw=1)
    ax.errorbar(
        row["drawn"], 1, xerr=[[row["drawn"] - row["low"]], [row["high"] - row["drawn"]]], fmt="o", color=DRAWN, ms=5
    )
    if np.isfinite(row["training"]):
        ax.plot(row["training"], 0, "o", color=REAL, ms=5)
    ax.set_yticks([0, 1], ["training cells", "drawn cells"])
    ax.set(xlim=(0.3, 1.02), ylim=(-0.6, 1.6), xlabel="AUROC (0.5: cannot tell; bar: 95 %)")
    ax.set_title(f"Told from held-out cells: {row['drawn']:.2f}")


def _zeros(ax: Axes, real: Look, drawn: Look) -> None:
    ax.plot([0, 1], [0, 1], color=st.PALE, lw=1)
    st.points(ax, real.zero, drawn.zero, DRAWN)
    ax.set(xlabel="real cells", ylabel="drawn cells", title="Share of zeros, by gene")


def _mean_variance(ax: Axes, real: Look, drawn: Look) -> None:
    for cells, color, name in ((real, REAL, "real"), (drawn, DRAWN, "drawn")):
        mean, variance = cells.counts.mean(axis=0), cells.counts.var(axis=0)
        seen = (mean > 0) & (variance > 0)
        st.points(ax, mean[seen], variance[seen], color, label=name)
    st.log_scale(ax)
    ax.set(xlabel="mean count", ylabel="variance", title="Mean and variance, by gene")
    ax.legend(loc="upper left", markerscale=2)


def _library(ax: Axes, real: Look, drawn: Look) -> None:
    both = np.log10(np.maximum(np.concatenate([real.total, drawn.total]), 1.0))
    bins = np.linspace(both.min(), both.max() + 1e-9, 26)
    for cells, color, name in ((real, REAL, "real"), (drawn, DRAWN, "drawn")):
        values = np.log10(np.maximum(cells.total, 1.0))
        ax.hist(values, list(bins), density=True, histtype="step", color=color, lw=1.5, label=name)
    ax.set(xlabel="counts of a cell (log10)", ylabel="density", title="Library size")
    ax.legend(loc="upper left")


def _correlations(ax: Axes, real: Look, drawn: Look) -> None:
    top = correlated_genes(real)
    first, second = (correlations(cells, top) for cells in (real, drawn))
    ax.plot([-1, 1], [-1, 1], color=st.PALE, lw=1)
    st.points(ax, first, second, DRAWN)
    ax.set(xlabel="real cells", ylabel="drawn cells", title=f"Correlation of {len(top)} genes, by pair")


def _others(ax: Axes, table: pd.DataFrame) -> None:
    rows = table.set_index("measure")
    ax.axis("off")
    ax.set_title("Other measures")
    columns = {"drawn": 0.66, "training": 0.86, "ideal": 1.0}
    for name, x in columns.items():
        ax.text(x, 0.95, name, ha="right", fontsize=7, color=st.INK, transform=ax.transAxes)
    for line, (measure, words) in enumerate(MEASURES.items()):
        y = 0.84 - 0.115 * line
        ax.text(-0.2, y, words, fontsize=6.5, color=st.INK, transform=ax.transAxes)
        for name, x in columns.items():
            value = float(rows[name][measure])
            text = f"{value:.2f}" if np.isfinite(value) else "–"
            ax.text(x, y, text, ha="right", fontsize=6.5, transform=ax.transAxes)
