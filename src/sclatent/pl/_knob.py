"""Figures of the cell-cycle knob: what turning it does, where the cells are, and the evidence that it is a knob."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data import slots
from sclatent.data.blocks.dense import by_rows
from sclatent.pl import _style as st
from sclatent.pl._knob_evidence import evidence
from sclatent.pl._paths import CYCLE, Path, paths, symbols
from sclatent.pl._paths import path as read_path
from sclatent.pl._traversals import heat_map, position_axis, score_curves, step_edges

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

N_GENES = 60
LABEL = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}


@st.styled
def knob(
    knob: Mapping[str, Any],
    traversals: AnnData,
    *,
    path: AnnData | None = None,
    map: AnnData | None = None,
    latent: AnnData | None = None,
    cycle: AnnData | None = None,
) -> st.Figures:
    """Draw the cell-cycle knob, or why there is none.

    Parameters
    ----------
    knob
        ``knob.json``.
    traversals
        ``traversals.h5ad``; its path ``cycle`` is the knob.
    path
        ``knob.h5ad``, for the plane of the knob in the latent space.
    map, latent, cycle
        ``map.h5ad``, ``latent.h5ad`` and ``cycle.h5ad``, for the cells.

    Returns
    -------
    dict of Figure
        ``evidence`` always; ``traversal`` where there is a knob; ``cells`` where there are angles.
    """
    names = dict(zip(traversals.var_names.astype(str), symbols(traversals), strict=True))
    figures = {"evidence": evidence(knob, names)}
    if CYCLE in paths(traversals):
        figures["traversal"] = _traversal(read_path(traversals, CYCLE), cycle)
    cells = _cells(path, map, latent, cycle)
    if cells is not None:
        figures["cells"] = cells
    return figures


def _traversal(view: Path, cycle: AnnData | None) -> st.Figure:
    """Genes × steps in the order of the peak phase, phase bars and decoded scores above."""
    genes = view.in_order(view.changing(N_GENES))
    height = 0.125 * len(genes)
    fig = st.figure(6.8, 2.3 + height)
    scores, bar, heat = fig.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [1.1, 0.16, height], "hspace": 0.02}
    )
    score_curves(scores, view)
    scores.set_title("The knob, turned once")
    phase_bar(bar, view, cycle)
    mesh = heat_map(heat, view, genes, fontsize=6)
    heat.plot(view.peak()[genes], np.arange(len(genes)) + 0.5, ".", color=st.INK, ms=2.5)
    position_axis(heat, view)
    fig.colorbar(
        mesh,
        ax=heat,
        label="log₂ fold change over one turn's mean; dots: peak phase",
        fraction=0.04,
        pad=0.02,
        aspect=30,
    )
    return fig


def phase_bar(ax: Axes, view: Path, cycle: AnnData | None) -> None:
    """Draw which arc of the circle is which phase."""
    edges = step_edges(view.position)
    ax.set(yticks=[], xlim=(edges[0], edges[-1]), ylim=(0, 1))
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    if cycle is None:
        return
    arcs = phase_arcs(cycle)
    for phase, start, stop in arcs:
        # an arc may run over the end of the circle, and the first step begins before 0
        for shift in (-2 * np.pi, 0.0, 2 * np.pi):
            low, high = max(start + shift, edges[0]), min(stop + shift, edges[-1])
            if high > low:
                ax.axvspan(low, high, color=st.PHASE_COLORS[phase], lw=0)
                if high - low > 0.4:
                    ax.text(
                        (low + high) / 2,
                        0.5,
                        st.PHASE_LABELS[phase],
                        ha="center",
                        va="center",
                        fontsize=6.5,
                        color="white",
                        fontweight="bold",
                    )


def phase_arcs(cells: AnnData) -> list[tuple[str, float, float]]:
    """Return (phase, start, end) of the arcs of the circle, in radians; ``end`` is larger than ``start``.

    The borders are those of the cycle stage where `cells` carries them. Otherwise each angle has the phase of most
    cells around it: a cell's own phase is the arc with most of its posterior, so it may differ from that of its angle.
    """
    stage = cells.uns.get(slots.UNS, {}).get("cycle", {})
    if "s_start" in stage and "g2m_start" in stage:
        borders = [0.0, float(stage["s_start"]), float(stage["g2m_start"]), 2 * np.pi]
        return list(zip(slots.PHASES, borders[:-1], borders[1:], strict=True))
    told = [str(name) for name in stage.get("phases", slots.PHASES)]
    if len(told) == 1:  # a part of a cycle: the phase of the other cells is not known
        borders = [
            float(stage[f"{told[0].lower()}_{end}"]) for end in ("start", "end") if f"{told[0].lower()}_{end}" in stage
        ]
        if len(borders) < 2:
            return []
        return [(told[0], borders[0], borders[0] + (borders[1] - borders[0]) % (2 * np.pi))]
    angle = cells.obs[slots.CYCLE_ANGLE].to_numpy(dtype=float)
    phase = cells.obs[slots.PHASE].astype(str).to_numpy()
    known = np.isfinite(angle) & np.isin(phase, slots.PHASES)
    if not known.any():
        return []
    n = 360
    bins = np.minimum((angle[known] / (2 * np.pi) * n).astype(int), n - 1)
    counts = np.stack([np.bincount(bins[phase[known] == name], minlength=n) for name in slots.PHASES]).astype(float)
    distance = np.minimum(np.arange(n), n - np.arange(n))
    kernel = np.exp(-0.5 * (distance / 6) ** 2) + 1e-6
    smooth = np.fft.ifft(np.fft.fft(counts, axis=1) * np.fft.fft(kernel), axis=1).real
    best = smooth.argmax(axis=0)
    changes = np.flatnonzero(best != np.roll(best, 1))
    if not len(changes):
        return [(slots.PHASES[best[0]], 0.0, 2 * np.pi)]
    ends = [*changes[1:], changes[0] + n]
    return [(slots.PHASES[best[a]], a * 2 * np.pi / n, b * 2 * np.pi / n) for a, b in zip(changes, ends, strict=True)]


def _cells(
    path: AnnData | None, map: AnnData | None, latent: AnnData | None, cycle: AnnData | None
) -> st.Figure | None:
    """UMAP and the latent plane of the knob, coloured by angle."""
    from sclatent.tl._axes.circular import angle_axes
    from sclatent.tl._paths.space import Space

    if cycle is None:
        return None
    angle = cycle.obs[slots.CYCLE_ANGLE].to_numpy(dtype=float)
    used = np.isfinite(angle) & cycle.obs[slots.CYCLING].to_numpy(dtype=bool)
    if used.sum() < 2:
        return None
    panels: list[tuple[str, str, np.ndarray, np.ndarray | None]] = []
    if map is not None and slots.X_UMAP in map.obsm:
        panels.append(
            ("UMAP of the latent space", "UMAP", np.asarray(st.of_cells(map, cycle.obs_names).obsm[slots.X_UMAP]), None)
        )
    plane = _plane(path)
    if latent is not None and plane is not None and len(plane[0]) == 2:
        direction, center, curve = plane
        seen = st.of_cells(latent, cycle.obs_names)
        z = Space(angle_axes(seen)).means(seen)
        on_plane = by_rows(len(z), lambda rows: (z[rows].astype(float) - center) @ direction.T, z)
        panels.append(("Latent plane of the knob (line: the knob)", "knob", on_plane, curve @ direction.T))
    if not panels:
        return None
    fig = st.figure(4.6 * len(panels) + 0.5, 4.4)
    axes = fig.subplots(1, len(panels), squeeze=False)[0]
    for ax, (title, name, xy, line) in zip(axes, panels, strict=True):
        size = st.dot_size(len(xy))
        st.points(ax, xy[~used, 0], xy[~used, 1], "#DFDFDF", size=size)
        drawn = st.points(
            ax, xy[used, 0], xy[used, 1], angle[used], size=size, cmap=st.cycle_cmap(), vmin=0, vmax=2 * np.pi
        )
        if line is not None:
            ax.plot(*np.vstack([line, line[:1]]).T, color="white", lw=3.2)
            ax.plot(*np.vstack([line, line[:1]]).T, color=st.INK, lw=1.3)
            ax.plot(*line[0], "o", color=st.INK, ms=5)
            ax.annotate("0", line[0], xytext=(6, 6), textcoords="offset points", fontsize=8, bbox=LABEL)
        st.embedding_axes(ax, name)
        ax.set_title(title)
    bar = fig.colorbar(drawn, ax=axes, label="cycle angle (radians); pale: not cycling", aspect=30, pad=0.02)
    bar.set_ticks(list(np.arange(5) * np.pi / 2), labels=["0", "π/2", "π", "3π/2", "2π"])
    return fig


def _plane(path: AnnData | None) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return the main directions of the closed path (two, or one with a single axis), its centre, and a fine turn."""
    from sclatent.tl._paths.knob_file import has_knob
    from sclatent.tl._paths.knob_file import read_path as closed_path

    if path is None or not has_knob(path):
        return None
    found = closed_path(path)
    return found.plane, found.center, found.at(np.linspace(0, 2 * np.pi, 181)[:-1])
