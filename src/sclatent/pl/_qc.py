"""Figures of quality control: what the filters saw and what they removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.data import slots
from sclatent.data.blocks import row_blocks
from sclatent.data.gene_ids import MANY_GENES
from sclatent.data.normalise import gene_moments
from sclatent.pl import _style as st

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from scipy import sparse

KEPT, TAKEN = st.BLUE, st.VERMILLION
# metric → label, logarithmic, and the filters that cut on it
_METRICS: dict[str, tuple[str, bool, tuple[str, ...]]] = {
    slots.TOTAL_COUNTS: ("counts per cell", True, ("cells.min_counts", "cells.max_counts", "cells.no_counts")),
    slots.N_GENES: ("genes seen per cell", True, ("cells.min_genes",)),
    slots.PCT_MITO: ("mitochondrial counts (%)", False, ("cells.max_percent_mito",)),
    slots.PCT_RIBO: ("ribosomal counts (%)", False, ()),
    slots.PCT_SPIKE_IN: ("spike-in counts (%)", False, ()),
    slots.DOUBLET_SCORE: ("doublet score (scrublet)", False, ("cells.doublets",)),
}


@st.styled
def qc(prepared: AnnData) -> st.Figures:
    """Draw the distributions that are filtered, with the cut-offs and what they removed, and how genes were chosen.

    Parameters
    ----------
    prepared
        ``prepared.h5ad``; it carries the metrics of *all* cells that were read, those taken out included.

    Returns
    -------
    dict of Figure
        ``cells`` and ``genes``.
    """
    entry = prepared.uns[slots.UNS]
    filters = entry[slots.UNS_FILTERS]
    return {
        "cells": _cells(entry[slots.UNS_QC], filters, _unknown(entry.get(slots.UNS_GENES, {}))),
        "genes": _genes(prepared, filters, entry.get(slots.UNS_GENES, {})),
    }


def _unknown(chosen: dict[str, Any]) -> list[str]:
    """Name the kinds of genes that cannot be recognised: a share of 0 % is not a measurement then."""
    n_read = int(chosen.get("n_read", 0))
    kinds = [kind for kind in ("mitochondrial", "ribosomal") if int(chosen.get(f"n_{kind}", 1)) == 0]
    return [f"no {kind} gene is known among {n_read:,}" for kind in kinds] if n_read >= MANY_GENES else []


def _cells(metrics: pd.DataFrame, filters: pd.DataFrame, unknown: list[str]) -> st.Figure:
    shown = [name for name in _METRICS if name in metrics and _varies(metrics[name].to_numpy(dtype=float))]
    n_panels = len(shown) + 2
    columns = 2 if n_panels == 4 else 3  # no empty places
    rows = -(-n_panels // columns)
    fig = st.figure(3.2 * columns, 2.7 * rows)
    panels = list(fig.subplots(rows, columns, squeeze=False).ravel())
    passed = metrics["passed"].to_numpy(dtype=bool)
    for ax, name in zip(panels, shown, strict=False):
        _histogram(ax, metrics[name].to_numpy(dtype=float), passed, filters, *_METRICS[name])
    scatter = panels[len(shown)]
    total, genes = (metrics[name].to_numpy(dtype=float) for name in (slots.TOTAL_COUNTS, slots.N_GENES))
    for mask, color, label in ((passed, KEPT, "kept"), (~passed, TAKEN, "taken")):
        if mask.any():
            st.points(
                scatter,
                total[mask] + 1,
                genes[mask] + 1,
                color,
                alpha=0.5,
                size=float(np.clip(12000 / len(total), 0.4, 10)),
            )
            scatter.scatter([], [], color=color, s=14, label=f"{label}: {int(mask.sum()):,}")
    st.log_scale(scatter)
    scatter.set(xlabel="counts per cell + 1", ylabel="genes seen + 1", title="Counts and genes")
    scatter.legend(loc="lower right", handletextpad=0.1)
    _table(panels[len(shown) + 1], filters[filters["unit"] == "cells"], len(metrics), int(passed.sum()), "cells")
    table = panels[len(shown) + 1]
    table.text(0.02, 0.0, "\n".join(unknown), transform=table.transAxes, fontsize=7.5, color=st.VERMILLION, va="bottom")
    for ax in panels[len(shown) + 2 :]:
        ax.axis("off")
    return fig


def _varies(values: npt.NDArray[np.float64]) -> bool:
    known = values[np.isfinite(values)]
    return bool(len(known) and known.max() > known.min())


def _histogram(
    ax: Axes,
    values: npt.NDArray[np.float64],
    passed: npt.NDArray[np.bool_],
    filters: pd.DataFrame,
    label: str,
    logarithmic: bool,
    keys: tuple[str, ...],
) -> None:
    """Draw one metric, kept cells over taken ones, and the cut-offs."""
    known = np.isfinite(values)
    low, high = values[known].min(), values[known].max()
    bins = int(np.clip(1.5 * np.sqrt(known.sum()), 10, 60))
    if logarithmic:
        # shifted by one, so that empty cells have a place
        edges = np.geomspace(low + 1, high + 1, bins + 1)
        values = values + 1
    else:
        edges = np.linspace(low, high, bins + 1)
    stack = [values[known & passed], values[known & ~passed]]
    ax.hist(stack, bins=list(edges), stacked=True, color=[KEPT, TAKEN], linewidth=0, label=["kept", "taken"])
    ax.set(xlabel=f"{label} + 1" if logarithmic else label, ylabel="cells", title=label[0].upper() + label[1:])
    low_y, high_y = ax.get_ylim()
    lines = []
    for _, row in filters[filters["filter"].isin(keys)].iterrows():
        key = str(row["filter"]).removeprefix("cells.")
        taken = int(row["taken"])
        if np.isfinite(row["cutoff"]):
            at = float(row["cutoff"]) + (1 if logarithmic else 0)
            inside = _near(at, edges, logarithmic=logarithmic)
            if inside:
                ax.axvline(at, color=st.INK, lw=1, ls="--")
            lines.append(f"{key} {row['cutoff']:g}{'' if inside else ' (out of view)'}: removed {taken:,}")
        else:
            lines.append(f"{key}: removed {taken:,}")
    if (known & passed).any():
        median = np.median(values[known & passed]) - (1 if logarithmic else 0)
        lines.append(f"median of kept: {median:,.0f}" if median >= 100 else f"median of kept: {median:.2g}")
    ax.set_ylim(low_y, high_y * (1 + 0.14 * len(lines)))
    if logarithmic:
        st.log_scale(ax, "x")
    words = ax.text(0.98, 0.98, "\n".join(lines), transform=ax.transAxes, ha="right", va="top", fontsize=6.5)
    words.set(linespacing=1.3, bbox={"color": "white", "pad": 1, "lw": 0})


def _near(cutoff: float, edges: npt.NDArray[np.float64], *, logarithmic: bool) -> bool:
    """Tell whether a cut-off is so near to the values that its line does not press them together."""
    low, high, at = (np.log(x) if logarithmic else x for x in (edges[0], edges[-1], max(cutoff, 1e-9)))
    return bool(low - (high - low) <= at <= high + (high - low))


def _table(ax: Axes, rows: pd.DataFrame, before: int, left: int, unit: str) -> None:
    """Write what each filter removed."""
    ax.axis("off")
    lines: list[tuple[str, Any]] = [(f"{unit} read", f"{before:,}")]
    for _, row in rows.iterrows():
        cutoff = f" ({row['cutoff']:g})" if np.isfinite(row["cutoff"]) else ""
        lines.append((f"{str(row['filter']).removeprefix(unit + '.')}{cutoff}", f"− {int(row['taken']):,}"))
    lines.append((f"{unit} left", f"{left:,}"))
    for i, (what, n) in enumerate(lines):
        weight = "bold" if i in (0, len(lines) - 1) else "normal"
        y = 0.92 - i * min(0.13, 0.9 / len(lines))
        ax.text(0.02, y, what, transform=ax.transAxes, fontsize=8, fontweight=weight, va="top")
        ax.text(0.98, y, n, transform=ax.transAxes, fontsize=8, fontweight=weight, va="top", ha="right")
    ax.set_title("What the filters removed")


def _genes(prepared: AnnData, filters: pd.DataFrame, chosen: dict[str, Any]) -> st.Figure:
    """Mean against variance of the genes that passed, and which of them the model sees."""
    from scipy import sparse

    counts = sparse.csr_matrix(prepared.X)
    n = counts.shape[0]
    var = prepared.var
    in_model = var[slots.IN_MODEL].to_numpy(dtype=bool)
    cycle = var[slots.CYCLE_GENE].to_numpy(dtype=bool) if slots.CYCLE_GENE in var else np.zeros(len(var), dtype=bool)
    fig = st.figure(9.6, 3.6)
    left, middle, right = fig.subplots(1, 3, width_ratios=[1.25, 1, 0.9])
    mean = _mean_variance(left, counts, in_model, cycle)
    _seen(middle, counts, in_model)
    rows = filters[filters["unit"] == "genes"]
    before = int(rows["taken"].iloc[0] + rows["left"].iloc[0]) if len(rows) else prepared.n_vars
    _table(right, rows, before, prepared.n_vars, "genes")
    words = [f"of these, the model sees {int(in_model.sum()):,}:"]
    if slots.HIGHLY_VARIABLE in var:
        words.append(
            f"  {int(var[slots.HIGHLY_VARIABLE].sum()):,} highly variable"
            + (f",\n    {str(chosen['flavor']).replace('_', ' ')}" if chosen.get("flavor") else "")
        )
    words.append(f"  {int(cycle.sum()):,} cell-cycle genes")
    if slots.KEPT in var and var[slots.KEPT].any():
        words.append(f"  {int(var[slots.KEPT].sum()):,} asked for (genes.keep)")
    words.append(f"  in all {mean[in_model].sum() / max(mean.sum(), 1 / n):.0%} of the counts")
    right.text(0.02, 0.4, "\n".join(words), transform=right.transAxes, fontsize=7.5, va="top", linespacing=1.5)
    return fig


def _mean_variance(
    ax: Axes, counts: sparse.csr_matrix, in_model: npt.NDArray[np.bool_], cycle: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Draw the variance of each gene against its mean, and return the means."""
    n_genes = counts.shape[1]
    mean, variance = gene_moments(counts)
    ok = (mean > 0) & (variance > 0)
    for mask, color, label in (
        (~in_model, st.PALE, "not in the model"),
        (in_model & ~cycle, st.BLUE, "in the model"),
        (in_model & cycle, st.VERMILLION, "cell-cycle gene"),
    ):
        if (mask & ok).any():
            st.points(
                ax,
                mean[mask & ok],
                variance[mask & ok],
                color,
                size=float(np.clip(20000 / n_genes, 1.5, 10)),
                alpha=0.8,
            )
            ax.scatter([], [], color=color, s=14, label=f"{label}: {int(mask.sum()):,}")
    grid = np.geomspace(mean[ok].min(), mean[ok].max(), 50)
    ax.plot(grid, grid, color=st.INK, lw=0.9, ls="--", label="Poisson: variance = mean")
    st.log_scale(ax)
    ax.set(xlabel="mean count per cell", ylabel="variance of the count", title="Genes that passed")
    ax.legend(loc="upper left", handletextpad=0.3)
    return mean


def _seen(ax: Axes, counts: sparse.csr_matrix, in_model: npt.NDArray[np.bool_]) -> None:
    """Draw in how many cells genes are seen."""
    n = counts.shape[0]
    seen = sum(block.getnnz(axis=0) for _, block in row_blocks(counts)) / n * 100
    # bins between whole numbers of cells, so that few cells do not make a comb
    edges = (np.unique(np.geomspace(1, n, 51).round()) - 0.5) / n * 100
    edges = np.append(edges, 100 + 50 / n)
    ax.hist(
        [seen[in_model], seen[~in_model]],
        bins=list(edges),
        stacked=True,
        color=[st.BLUE, st.PALE],
        label=["in the model", "not"],
    )
    ax.set_xlim(edges[0], edges[-1])
    st.log_scale(ax, "x")
    ax.set(xlabel="cells that show the gene (%)", ylabel="genes", title="How many cells show a gene")
    ax.legend(loc="upper left")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * 1.2)
