"""The card of one axis: everything known about it on one page."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from sclatent.data import slots
from sclatent.data.blocks.dense import column_of
from sclatent.pl import _style as st
from sclatent.pl._axes.table import RULE
from sclatent.pl._paths import Path
from sclatent.pl._traversals import mark_empty
from sclatent.tl._axes.strength import WEAK

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

ENDS = 0.05
"""Share of the cells that make one end of an axis."""
N_GENES = 10
N_SCORES = 10
UP, DOWN = st.VERMILLION, st.BLUE
LEVELS = (("levels_up", "high:"), ("levels_down", "low:"))
COLUMNS = ((0.5, 2.3), (3.65, 2.25), (7.2, 2.25))
"""Left edge and width of the panels, inches; between them is room for the names of genes and scores."""
ROWS = ((2.95, 1.9), (0.5, 1.7))
"""Their bottom edge and height."""


def card(
    name: str,
    row: pd.Series,
    latent: AnnData,
    *,
    map: AnnData | None,
    view: Path | None,
    stability: pd.Series | None,
    symbols: npt.NDArray[np.str_],
) -> st.Figure:
    """Draw the card of one axis: name, KL, cells at both ends, genes both ways, their responses, scores."""
    k = latent.var_names.get_loc(name)
    z = column_of(latent.X, k).astype(float)
    fig, panels = st.placed(9.6, 5.6, [(x, y, w, h) for y, h in ROWS for x, w in COLUMNS])
    top, bottom = panels[:3], panels[3:]
    fig.suptitle(textwrap.fill(_headline(name, row, stability), 140), x=0.01, y=0.99, ha="left", fontsize=9)
    _ends(top[0], z, map, latent)
    _genes(top[1], np.asarray(latent.varm["loadings"][k], dtype=float), symbols)
    _scores(top[2], row)
    bottom[0].hist(z, bins=int(np.clip(1.5 * np.sqrt(len(z)), 10, 60)), color=st.GREY)
    for limit, color in zip(np.quantile(z, [ENDS, 1 - ENDS]), (DOWN, UP), strict=True):
        bottom[0].axvline(limit, color=color, lw=1.2)
    bottom[0].set(title="Posterior means", xlabel=f"{name} (latent units)", ylabel="cells")
    for ax, up in ((bottom[1], True), (bottom[2], False)):
        if view is None:
            ax.axis("off")
            continue
        response_panel(ax, view, each=5, which="up" if up else "down")
        ax.set(xlabel=f"{name} (latent units)", ylabel="log₂ fold change")
        ax.set_title("Rising genes" if up else "Falling genes")
    return fig


def response_panel(ax: Axes, view: Path, each: int, which: str = "both") -> None:
    """Draw log fold change along a path, with bands, for the genes that rise and those that fall most."""
    change, sd = view.log_change(), view.log_sd()
    steps = np.flatnonzero(view.supported) if view.supported.any() else np.arange(len(view.position))
    ends = change[steps[-1]] - change[steps[0]]
    groups = []
    if which in ("both", "up"):
        groups.append((np.argsort(-ends, kind="stable")[:each], UP, "▲ "))
    if which in ("both", "down"):
        groups.append((np.argsort(ends, kind="stable")[:each], DOWN, "▼ "))
    if which != "both":
        shades = st.category_colors(each)
        for shade, g in zip(shades, groups[0][0], strict=False):
            ax.fill_between(
                view.position, change[:, g] - sd[:, g], change[:, g] + sd[:, g], color=shade, alpha=0.15, lw=0
            )
            ax.plot(view.position, change[:, g], color=shade, lw=1.3, label=st.shorten(view.genes[g], 16))
        ax.legend(loc="upper left" if which == "up" else "upper right", handlelength=1, fontsize=6.5, labelspacing=0.25)
    else:
        lines = []
        for genes, color, mark in groups:
            for g in genes:
                ax.fill_between(
                    view.position, change[:, g] - sd[:, g], change[:, g] + sd[:, g], color=color, alpha=0.12, lw=0
                )
                ax.plot(view.position, change[:, g], color=color, lw=1.0)
            lines.append((mark + ", ".join(st.shorten(view.genes[g], 11) for g in genes), color))
        for i, (text, color) in enumerate(lines):
            ax.text(0.02, 0.99 - 0.12 * i, text, transform=ax.transAxes, color=color, fontsize=6, va="top", zorder=5)
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + 0.4 * (high - low))
    ax.set_xlim(view.position[0], view.position[-1])
    mark_empty(ax, view)


def _headline(name: str, row: pd.Series, stability: pd.Series | None) -> str:
    title = name if row["name"] in ("", name) else f"{name}: {st.shorten(row['name'], 40)}"
    parts = [title, f"KL {row['kl']:.2f} nats"]
    effect = row.get("effect", np.nan)
    if row["evidence"]:
        parts.append(f"{st.shorten(row['evidence'], 24)} explains {float(effect):.0%} of it")
    if row["kind"] == "technical":
        parts.append("TECHNICAL")
    if row["strength"] == WEAK:
        parts.append(f"WEAK: {RULE}")
    if stability is not None and np.isfinite(stability["n_returned"]) and stability["n_seeds"] > 0:
        parts.append(f"came back in {int(stability['n_returned'])} of {int(stability['n_seeds'])} other seeds")
    ends = [f"{mark} {st.shorten(row[key], 44)}" for key, mark in LEVELS if row.get(key)]
    if ends:
        parts.append("   ".join(ends))
    if row["also"]:
        parts.append(f"also {_whole_items(row['also'], 40)}")
    return "  |  ".join(parts)


def _whole_items(text: str, length: int) -> str:
    """Return the first items of a list with commas, as many as fit, at least one."""
    items = text.split(", ")
    kept = [st.shorten(items[0], length)]
    for item in items[1:]:
        if len(", ".join([*kept, item])) > length:
            return f"{', '.join(kept)}, …"
        kept.append(item)
    return ", ".join(kept)


def _ends(ax: Axes, z: npt.NDArray[np.float64], map: AnnData | None, latent: AnnData) -> None:
    """Mark the cells at both ends of the axis on the UMAP."""
    if map is None or slots.X_UMAP not in map.obsm:
        ax.axis("off")
        return
    xy = np.asarray(st.of_cells(map, latent.obs_names).obsm[slots.X_UMAP])
    low, high = np.quantile(z, [ENDS, 1 - ENDS])
    st.points(ax, xy[:, 0], xy[:, 1], "#DDDDDD")
    for mask, color, label in ((z <= low, DOWN, "low end"), (z >= high, UP, "high end")):
        st.points(ax, xy[mask, 0], xy[mask, 1], color, size=max(4.0, min(14.0, 12000 / len(z))))
        ax.scatter([], [], color=color, s=14, label=f"{label} ({ENDS:.0%} of cells)")
    st.embedding_axes(ax)
    ax.set_title("Cells at both ends", pad=16)
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.985),
        ncols=2,
        handletextpad=0.1,
        columnspacing=0.8,
        fontsize=6.5,
        borderaxespad=0,
    )


def _genes(ax: Axes, loading: npt.NDArray[np.float64], symbols: npt.NDArray[np.str_]) -> None:
    """Bars of the largest loadings both ways."""
    loading = np.nan_to_num(loading)
    order = np.argsort(-loading, kind="stable")
    n = min(N_GENES, len(order) // 2)
    genes = [*order[:n], *order[len(order) - n :]]
    ax.barh(range(len(genes)), loading[genes], color=[UP if loading[g] > 0 else DOWN for g in genes], height=0.75)
    ax.set_yticks(range(len(genes)), [st.shorten(symbols[g], 16) for g in genes], fontsize=6)
    ax.set(ylim=(len(genes) - 0.5, -0.5), title="Top genes both ways", xlabel="loading: log-rate change per SD")
    ax.axvline(0, color=st.INK, lw=0.6)
    ax.locator_params(axis="x", nbins=4)  # 0.005 and the like are wide
    ax.tick_params(axis="y", length=0)


def _scores(ax: Axes, row: pd.Series) -> None:
    """Bars of the share of the axis' variance that each score explains."""
    found = {}
    for column in row.index:
        for prefix in ("spearman_", "eta2_"):
            if column.startswith(prefix) and np.isfinite(float(row[column])):
                value = float(row[column])
                found[column.removeprefix(prefix)] = (value**2, value) if prefix == "spearman_" else (value, np.nan)
    best = sorted(found, key=lambda v: -found[v][0])[:N_SCORES]
    share = [found[v][0] for v in best]
    q = [float(row.get(f"q_{v}", np.nan)) for v in best]
    ax.barh(range(len(best)), share, color=[st.BLUE if value <= 0.05 else st.PALE for value in q], height=0.75)
    labels = [
        st.shorten(v, 22) + ("" if np.isnan(found[v][1]) else (" (+)" if found[v][1] > 0 else " (−)")) for v in best
    ]
    ax.set_yticks(range(len(best)), labels, fontsize=6.5)
    ax.set(
        xlim=(0, 1),
        ylim=(max(len(best), 1) - 0.5, -0.5),
        title="What it goes with",
        xlabel="share of variance (ρ² or η²); pale: q > 0.05",
    )
    ax.tick_params(axis="y", length=0)
