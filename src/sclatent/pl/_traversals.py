"""Figures of the traversals: what the decoder does to every gene along a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sclatent.pl import _style as st
from sclatent.pl._axes.table import by_axis, left_out, shown, title
from sclatent.pl._paths import CYCLE, Path, path, paths

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

N_GENES = 40
"""Genes shown per path."""
N_OVERVIEW = 5
"""Genes per axis in the overview."""
LEFT, BOTTOM, WIDTH = 1.25, 0.5, 4.9
"""Inches beside and below the panels of one path, for names of genes and what is turned, and the width of these."""


@st.styled
def traversals(traversals: AnnData, axes: pd.DataFrame | None = None, *, weak: bool = False) -> st.Figures:
    """Draw every path: genes × steps, with the decoded scores above, and an overview of all axes.

    Weak axes (column ``strength`` of ``axes.tsv``) are left out: hardly a gene changes along them.

    Parameters
    ----------
    traversals
        ``traversals.h5ad``.
    axes
        ``axes.tsv``, for the names of the axes, and which are weak.
    weak
        Whether weak axes are drawn too; they are where no axis is strong.

    Returns
    -------
    dict of Figure
        ``overview`` and one figure per path, under the path's name.
    """
    names = paths(traversals)
    if not names:
        return {"overview": st.note("No axis is active, so there is nothing to traverse.")}
    table = None if axes is None else by_axis(axes)
    if table is not None:
        wanted = shown(table, weak=weak)
        names = [name for name in names if name == CYCLE] + [name for name in wanted if name in names]
    views = {name: path(traversals, name) for name in names}
    figures = {}
    open_paths = [views[name] for name in names if name != CYCLE]
    if open_paths:
        figures["overview"] = _overview(open_paths, table)
    for name, view in views.items():
        figures[name] = one_path(view, "cell cycle" if name == CYCLE else title(name, table))
    return figures


def one_path(view: Path, title: str, n_genes: int = N_GENES) -> st.Figure:
    """Draw one path: where the cells are, the decoded scores, and the genes that change most."""
    genes = view.in_order(view.changing(n_genes))
    tall = 0.135 * len(genes)
    boxes = [
        (LEFT, BOTTOM + tall + 0.13, WIDTH, 1.1),
        (LEFT, BOTTOM, WIDTH, tall),
        (LEFT + WIDTH + 0.1, BOTTOM, 0.18, tall),
    ]
    fig, (scores, heat, bar) = st.placed(LEFT + WIDTH + 0.95, BOTTOM + tall + 1.6, boxes)
    scores.sharex(heat)
    score_curves(scores, view)
    scores.set_title(st.shorten(title, 46))
    mappable = heat_map(heat, view, genes)
    position_axis(heat, view)
    scores.tick_params(labelbottom=False)
    fig.colorbar(mappable, cax=bar, label="log₂ fold change" + (" over the path's mean" if tall > 2.5 else ""))
    return fig


def score_curves(ax: Axes, view: Path) -> None:
    """Draw the decoded S and G2/M scores along a path over the density of the cells."""
    known = np.isfinite(view.s_score).any()
    if known:
        for values, sd, phase in ((view.s_score, view.s_sd, "S"), (view.g2m_score, view.g2m_sd, "G2M")):
            centred = values - np.nanmean(values)
            if np.isfinite(sd).any():
                ax.fill_between(
                    view.position, centred - sd, centred + sd, color=st.PHASE_COLORS[phase], alpha=0.18, lw=0
                )
            ax.plot(view.position, centred, color=st.PHASE_COLORS[phase], label=f"{st.PHASE_LABELS[phase]} score")
        ax.set_ylabel("decoded score\n(minus mean)")
        ax.margins(y=0.12)
    else:
        ax.set(yticks=[])
    behind = ax.twinx()
    behind.fill_between(view.position, view.density, color=st.PALE, linewidth=0, label="cells")
    behind.set(ylim=(0, 1.6), yticks=[])
    behind.spines[:].set_visible(False)
    ax.set_zorder(behind.get_zorder() + 1)
    ax.patch.set_visible(False)
    handles = [*ax.get_legend_handles_labels()[0], *behind.get_legend_handles_labels()[0]]
    labels = [*ax.get_legend_handles_labels()[1], *behind.get_legend_handles_labels()[1]]
    ax.legend(handles, labels, loc="lower right", bbox_to_anchor=(1, 1.01), ncols=3, borderaxespad=0, handlelength=1.2)
    mark_empty(ax, view)


def heat_map(
    ax: Axes, view: Path, genes: npt.NDArray[np.intp], limit: float | None = None, fontsize: float = 6.5
) -> ScalarMappable:
    """Draw genes × steps of log fold change; steps without cells are hatched."""
    change = view.log_change()[:, genes].T
    if limit is None:
        limit = colour_limit(change[:, view.supported] if view.supported.any() else change)
    edges = step_edges(view.position)
    mesh = ax.pcolormesh(
        edges,
        np.arange(len(genes) + 1),
        change,
        cmap=st.DIVERGING,
        vmin=-limit,
        vmax=limit,
        rasterized=True,
    )
    ax.invert_yaxis()
    ax.set_yticks(np.arange(len(genes)) + 0.5, [st.shorten(g, 18) for g in view.genes[genes]], fontsize=fontsize)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(edges[0], edges[-1])
    mark_empty(ax, view)
    return mesh


def colour_limit(change: npt.NDArray[np.float64]) -> float:
    """Return a symmetric colour limit that a few extreme genes do not set."""
    return float(max(np.quantile(np.abs(change), 0.98), 0.1)) if change.size else 1.0


def step_edges(position: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the borders half way between the steps."""
    if len(position) == 1:
        return np.array([position[0] - 0.5, position[0] + 0.5])
    middle = (position[1:] + position[:-1]) / 2
    return np.concatenate([[2 * position[0] - middle[0]], middle, [2 * position[-1] - middle[-1]]])


def mark_empty(ax: Axes, view: Path) -> None:
    """Grey out the steps of a path near which there are no cells."""
    edges = step_edges(view.position)
    for step in np.flatnonzero(~view.supported):
        st.no_cells(ax, edges[step], edges[step + 1])


def position_axis(ax: Axes, view: Path) -> None:
    """Label the x axis with what is turned."""
    if view.closed:
        edges = step_edges(view.position)
        st.angle_axis(ax)
        ax.set_xlim(edges[0], edges[-1])
    else:
        ax.set_xlabel(f"position on {view.name} ({view.unit})")


def _overview(views: list[Path], table: pd.DataFrame | None) -> st.Figure:
    """Draw a strip per axis: its most changing genes, one colour scale for all axes."""
    columns = 1 if len(views) == 1 else 2 if len(views) <= 12 else 4
    picked = [view.in_order(view.changing(N_OVERVIEW)) for view in views]
    shown = [v.log_change()[:, g][v.supported].ravel() for v, g in zip(views, picked, strict=True)]
    limit = colour_limit(np.concatenate(shown))
    fig, panels = st.panel_grid(len(views), columns, 3.2 if columns < 4 else 2.6, 0.7, left=1.0)
    for ax, view, genes in zip(panels, views, picked, strict=True):
        mesh = heat_map(ax, view, genes, limit, fontsize=6.5)
        ax.locator_params(axis="x", nbins=6)
        ax.set_title(st.shorten(title(view.name, table), 38 if columns < 4 else 32), fontsize=8)
        if np.isfinite(view.s_score).any():
            text = "   ".join(
                f"{st.PHASE_LABELS[p]} {np.ptp(v[view.supported] if view.supported.any() else v):.2f}"
                for p, v in (("S", view.s_score), ("G2M", view.g2m_score))
            )
            ax.set_title(text, loc="right", fontsize=6.5, fontweight="normal", color=st.GREY)
    width, height = fig.get_size_inches()
    units = ", ".join(dict.fromkeys(view.unit for view in views))
    words = f"position on the axis ({units})\ngrey numbers: range of the decoded S and G2/M scores"
    missing = "" if table is None else left_out(table, [view.name for view in views])
    words += f"; {missing}" if missing else ""
    fig.text(0.5, 0.08 / height, words, ha="center", va="bottom", fontsize=8)
    tall = min(height - 0.8, 3.0)
    place = fig.add_axes((1 - 0.85 / width, (height - 0.3 - tall) / height, 0.14 / width, tall / height))
    label = "log₂ fold change" if tall < 2 else "log₂ fold change over the axis' mean"
    fig.colorbar(mesh, cax=place, label=label)
    return fig
