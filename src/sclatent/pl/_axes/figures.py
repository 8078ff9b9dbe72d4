"""Figures of the latent axes: the scores they correlate with, the genes they change, their stability over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sclatent.pl import _style as st
from sclatent.pl._axes.cards import card, response_panel
from sclatent.pl._axes.table import RULE, by_axis, left_out, row_label, shown, title
from sclatent.pl._paths import Path, path, paths, symbols_of
from sclatent.tl._axes.annotate import MAX_Q, MIN_EFFECT
from sclatent.tl._axes.strength import STRONG, WEAK

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

MAX_COLUMNS = 140
"""Genes in the heatmap of the loadings."""


@st.styled
def axes(
    latent: AnnData,
    axes: pd.DataFrame,
    *,
    map: AnnData | None = None,
    traversals: AnnData | None = None,
    stability: pd.DataFrame | None = None,
    weak: bool = False,
) -> st.Figures:
    """Draw which scores each latent axis correlates with and which genes it changes.

    Weak axes (column ``strength``) are rows of the heatmap and of the stability, below the strong ones, and no more.

    Parameters
    ----------
    latent
        ``latent.h5ad`` of the selected seed.
    axes
        ``axes.tsv`` of the same seed.
    map
        ``map.h5ad``, for the cells at both ends of each axis.
    traversals
        ``traversals.h5ad``, for the response curves.
    stability
        ``stability.tsv``.
    weak
        Whether weak axes are drawn like the others; they are where no axis is strong.

    Returns
    -------
    dict of Figure
        ``heatmap`` (axes × scores), ``loadings``, ``responses`` (a grid of response curves), ``stability`` (with more
        than one seed), and ``card_{axis}`` for every strong axis.
    """
    table = by_axis(axes)
    figures = {"heatmap": _heatmap(table)}
    drawn = shown(table, weak=weak)
    if drawn:
        figures["loadings"] = _loadings(latent, table, drawn, symbols_of(latent, traversals))
    views = {name: path(traversals, name) for name in paths(traversals)} if traversals is not None else {}
    open_views = {a: views[a] for a in drawn if a in views}
    if open_views:
        figures["responses"] = _responses(open_views, table)
    if stability is not None and len(stability) and stability["n_seeds"].max() > 0:
        figures["stability"] = _stability(stability, table)
    known = stability.set_index("axis") if stability is not None and "axis" in stability else None
    for name in drawn:
        figures[f"card_{name}"] = card(
            name,
            table.T[name],
            latent,
            map=map,
            view=views.get(name),
            stability=known.T[name] if known is not None and name in known.index else None,
            symbols=symbols_of(latent, traversals),
        )
    return figures


def effects(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return Spearman correlations, η², and q-values, each with the variables' names as columns."""

    def part(prefix: str) -> pd.DataFrame:
        chosen = [c for c in table.columns if c.startswith(prefix)]
        return table[chosen].astype(float).rename(columns=lambda c: c.removeprefix(prefix))

    return part("spearman_"), part("eta2_"), part("q_")


def _heatmap(table: pd.DataFrame) -> st.Figure:
    """Axes × scores: signed rank correlation with numbers, share of variance by categories; KL on the left.

    Axes that are not active are only counted, unless there is no other. A line parts strong axes from weak ones.
    """
    idle = int((~table["active"]).sum())
    if idle < len(table):
        table = table[table["active"]]
    n_weak = int((table["strength"] == WEAK).sum())
    spearman, eta2, q = effects(table)
    n = len(table)
    row = 0.17 if n <= 40 else 0.135
    widths = [1.3, max(0.26 * spearman.shape[1], 0.3), max(0.26 * eta2.shape[1], 0.3)]
    names = [row_label(a, table) for a in table.index]
    left = 0.055 * max(len(name) for name in names)
    above = 0.06 * max((len(st.shorten(c, 22)) for c in [*spearman.columns, *eta2.columns]), default=0)
    # of few axes and scores the words below and the colour bars need more room than the cells
    fig = st.figure(max(left + sum(widths) + 1.9, 5.0), 1.2 + above + max(row * n, 1.2))
    panels = fig.subplots(1, 3, sharey=True, gridspec_kw={"width_ratios": widths, "wspace": 0.03})
    position = np.arange(n)
    strong = (table["strength"] == STRONG).to_numpy()
    colors = [st.BLUE if a else st.PALE for a in strong]
    panels[0].barh(position, table["kl"], color=colors, height=0.75)
    panels[0].set(xlabel="KL (nats per cell)", ylim=(n - 0.5, -0.5))
    panels[0].locator_params(axis="x", nbins=4)
    panels[0].set_yticks(position, names, fontsize=7 if n <= 40 else 6)
    for label, dark in zip(panels[0].get_yticklabels(), strong, strict=True):
        label.set_color(st.INK if dark else st.GREY)
    panels[0].tick_params(axis="y", length=0)
    for ax, values, signed in ((panels[1], spearman, True), (panels[2], eta2, False)):
        _cells(fig, ax, values, q, table, signed)
    if 0 < n_weak < n:
        for ax in panels:
            ax.axhline(n - n_weak - 0.5, color=st.INK, lw=0.8)
    lines = [
        f"• explains ≥ {MIN_EFFECT:.0%} of the axis' variance (ρ² or η²) and q ≤ {MAX_Q}",
        f"· q ≤ {MAX_Q} only;   box: the score that names the axis",
    ]
    if n_weak:
        lines.append(f"weak: {RULE}")
    if idle:
        lines.append(f"not active: {idle} axes")
    fig.supxlabel("\n".join(lines), fontsize=7)
    return fig


def _cells(fig: st.Figure, ax: Axes, values: pd.DataFrame, q: pd.DataFrame, table: pd.DataFrame, signed: bool) -> None:
    from matplotlib.patches import Rectangle

    if not values.shape[1]:
        ax.axis("off")
        return
    image = ax.imshow(
        values.to_numpy(),
        cmap=st.DIVERGING if signed else "Greens",
        vmin=-1 if signed else 0,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
    )
    ax.set_xticks(range(values.shape[1]), [st.shorten(c, 22) for c in values.columns], rotation=90)
    ax.xaxis.tick_top()
    ax.tick_params(length=0, labelleft=False)
    ax.spines[:].set_visible(False)
    shown = values.to_numpy(dtype=float)
    share = shown**2 if signed else shown
    small = len(values) > 40
    for i in np.flatnonzero(~table["active"].to_numpy()).tolist():
        ax.axhspan(i - 0.5, i + 0.5, color="white", alpha=0.75, lw=0)
    for j, variable in enumerate(values.columns):
        significant = (q[variable] <= MAX_Q).to_numpy() if variable in q else np.zeros(len(values), bool)
        for i in np.flatnonzero(significant).tolist():
            dark = abs(shown[i, j]) > 0.55
            mark = "•" if share[i, j] >= MIN_EFFECT else "·"
            ax.text(
                j,
                i,
                mark,
                ha="center",
                va="center_baseline",
                color="white" if dark else st.INK,
                fontsize=6 if small else 8,
            )
        for i in np.flatnonzero((table["evidence"] == variable).to_numpy()).tolist():
            ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, ec=st.INK, lw=1.2))
    fig.colorbar(
        image, ax=ax, location="bottom", label="Spearman ρ" if signed else "η²", shrink=0.9, aspect=12, pad=0.02
    ).ax.tick_params(labelsize=6)


def _loadings(latent: AnnData, table: pd.DataFrame, drawn: list[str], symbols: np.ndarray) -> st.Figure:
    """Axes × genes: the genes with the largest loadings of each axis, in the order of the axes."""
    loadings = np.nan_to_num(np.asarray(latent.varm["loadings"], dtype=float)[latent.var_names.get_indexer(drawn)])
    per_axis = max(MAX_COLUMNS // len(drawn), 1)
    picked: list[int] = []
    for k in range(len(drawn)):
        order = np.argsort(-loadings[k], kind="stable")
        up, down = -(-per_axis // 2), per_axis // 2
        some = [*order[: min(up, 5)], *(order[::-1][: min(down, 5)][::-1])]
        picked += [g for g in dict.fromkeys(some) if g not in picked]
    shown = loadings[:, picked]
    limit = max(float(np.quantile(np.abs(shown), 0.99)), 1e-3)
    labels = [row_label(a, table) for a in drawn]
    width, height = 1.6 + 0.055 * max(map(len, labels)) + 0.105 * len(picked), 1.5 + 0.15 * len(drawn)
    fig = st.figure(max(width, 5.0), max(height, 2.4))  # as much as the title and the colour bar need
    ax = fig.subplots()
    image = ax.imshow(shown, cmap=st.DIVERGING, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    ax.set_yticks(range(len(drawn)), labels)
    ax.set_xticks(range(len(picked)), [st.shorten(symbols[g], 14) for g in picked], rotation=90, fontsize=5.5)
    ax.tick_params(length=0)
    ax.set_title("Genes with the largest loadings of each axis")
    bar = fig.colorbar(image, ax=ax, pad=0.01, aspect=min(25, 6 + len(drawn)), fraction=0.02)
    bar.set_label("log-rate change\nper SD of the axis")
    return fig


def _responses(views: dict[str, Path], table: pd.DataFrame) -> st.Figure:
    """Return a grid of panels, one per axis: how the genes that change most respond."""
    n = len(views)
    fig, panels = st.panel_grid(n, min(n, 3 if n <= 12 else 5), 2.3, 1.3, left=0.4)
    for ax, (name, view) in zip(panels, views.items(), strict=True):
        response_panel(ax, view, each=3)
        ax.set_title(st.shorten(title(name, table), 32), fontsize=8)
    height = fig.get_size_inches()[1]
    words = "position on the axis (latent units)\nbands: ± 1 SD over posterior draws; hatched: no cells"
    missing = left_out(table, views)
    words += f"; {missing}" if missing else ""
    fig.text(0.5, 0.08 / height, words, ha="center", va="bottom", fontsize=8)
    fig.supylabel("log₂ fold change over the axis' mean" if height > 3 else "log₂ fold change", fontsize=8, x=0.01)
    return fig


def _stability(stability: pd.DataFrame, table: pd.DataFrame) -> st.Figure:
    """How well each axis comes back with another seed; those that are not active are only counted."""
    idle = int((~table["active"]).sum())
    if idle < len(table):
        table = table[table["active"]]
    rows = stability.set_index("axis")
    rows = rows.loc[[a for a in table.index if a in rows.index and np.isfinite(rows["n_returned"][a])]]
    labels = [
        f"{row_label(str(axis), table)}  {int(row['n_returned'])}/{int(row['n_seeds'])}"
        for axis, row in rows.iterrows()
    ]
    n = len(rows)
    fig = st.figure(5.0 + 0.055 * max(map(len, labels)), 1.6 + 0.17 * n)
    ax = fig.subplots()
    y = np.arange(n)
    stable = rows["stable"].astype(str).str.lower() == "true"
    ax.hlines(y, rows["worst_correlation"], rows["correlation"], color=st.PALE, lw=3, zorder=1)
    for mask, color, label in ((stable, st.BLUE, "comes back"), (~stable, st.VERMILLION, "does not")):
        ax.plot(
            rows["correlation"][mask], y[mask.to_numpy()], "o", color=color, ms=4.5, label=f"posterior means: {label}"
        )
    ax.plot(rows["loading_correlation"], y, "D", color="none", mec=st.INK, mew=0.7, ms=3.5, label="loadings")
    ax.set(
        ylim=(n - 0.5, -0.5),
        xlim=(-0.02, 1.02),
        xlabel="|correlation| with the matching axis\nmean of the other seeds; bar: down to the worst"
        + (f"\nnot active: {idle} axes" if idle else ""),
    )
    ax.set_yticks(y, labels)
    ax.grid(axis="x", color="#EEEEEE")
    fig.suptitle("Axes that come back with other seeds (in how many of them)", fontsize=9, fontweight="bold")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig
