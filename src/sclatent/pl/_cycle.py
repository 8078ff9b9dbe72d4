"""Figures of the cycle stage: scores, phases, angles, and the genes behind them."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from sclatent.data import slots
from sclatent.data.blocks import change_rows
from sclatent.pl import _style as st
from sclatent.pl._fourier import binned, design, smooth

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.projections.polar import PolarAxes

N_GENES = 12
_GRID = np.linspace(0, 2 * np.pi, 181)


@st.styled
def cycle(prepared: AnnData, cycle: AnnData) -> st.Figures:
    """Draw the S and G2/M scores, the cells around the cycle, and the genes that tell the angle.

    Parameters
    ----------
    prepared
        ``prepared.h5ad``, for the counts of the genes.
    cycle
        ``cycle.h5ad``.

    Returns
    -------
    dict of Figure
        ``scores`` always; ``polar``, ``scores_by_angle`` and ``genes`` where there is an angle.
    """
    obs = cycle.obs
    stage = cycle.uns.get(slots.UNS, {}).get("cycle", {})
    reason = str(stage.get("reason", "") or "")
    verdict = str(stage.get("verdict", "")).capitalize()
    words = f"{verdict}: {reason}" if reason else ""
    if obs[slots.S_SCORE].isna().all():
        return {"scores": st.note(words or "No cell-cycle scores.")}
    told = [str(name) for name in stage.get("phases", slots.PHASES)]
    figures = {"scores": _scores(obs, words, told)}
    used = _on_the_cycle(obs)
    if used.sum() < 2:
        return figures
    figures["polar"] = _polar(obs, used, verdict, told)
    figures["scores_by_angle"] = _scores_by_angle(obs, used)
    genes = _genes(prepared, cycle, used)
    if genes is not None:
        figures["genes"] = genes
    return figures


def _on_the_cycle(obs: pd.DataFrame) -> npt.NDArray[np.bool_]:
    return np.isfinite(obs[slots.CYCLE_ANGLE].to_numpy(dtype=float)) & obs[slots.CYCLING].to_numpy(dtype=bool)


def phase_colors(obs: pd.DataFrame) -> npt.NDArray[np.str_]:
    """Return the colour of each cell's phase, grey where there is none."""
    return obs[slots.PHASE].astype(str).map(st.PHASE_COLORS).fillna(st.RESTING).to_numpy(dtype=str)


def _scores(obs: pd.DataFrame, words: str, told: list[str]) -> st.Figure:
    """S against G2/M score, by phase and, where there is one, by angle; `words` above, if there are any."""
    angle = obs[slots.CYCLE_ANGLE].to_numpy(dtype=float)
    used = _on_the_cycle(obs)
    fig = st.figure(8.4 if used.any() else 4.4, 3.9)
    panels = fig.subplots(1, 2 if used.any() else 1, squeeze=False)[0]
    s, g2m = obs[slots.S_SCORE].to_numpy(dtype=float), obs[slots.G2M_SCORE].to_numpy(dtype=float)
    st.points(panels[0], s, g2m, phase_colors(obs))
    phases = obs[slots.PHASE].astype(str)
    for phase in told:
        n = int((phases == phase).sum())
        label = f"{st.PHASE_LABELS[phase]}: {n:,} ({n / len(obs):.0%})"
        panels[0].scatter([], [], color=st.PHASE_COLORS[phase], s=16, label=label)
    n = int((~phases.isin(slots.PHASES)).sum())
    if n:
        panels[0].scatter([], [], color=st.RESTING, s=16, label=f"no phase: {n:,} ({n / len(obs):.0%})")
    panels[0].legend(loc="upper left", bbox_to_anchor=(0, 1.0), handletextpad=0.2)
    panels[0].set_title("Phase")
    # head room, so that the legend covers no cell
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(low, high + 0.38 * (high - low))
    if used.any():
        size = st.dot_size(len(obs))
        st.points(panels[1], s[~used], g2m[~used], "#E4E4E4", size=size)
        drawn = st.points(
            panels[1], s[used], g2m[used], angle[used], size=size, cmap=st.cycle_cmap(), vmin=0, vmax=2 * np.pi
        )
        panels[1].set_title("Angle (pale: not cycling)")
        panels[1].set_ylim(panels[0].get_ylim())
        bar = fig.colorbar(drawn, ax=panels[1], label="cycle angle (radians)")
        bar.set_ticks(list(np.arange(5) * np.pi / 2), labels=["0", "π/2", "π", "3π/2", "2π"])
    for ax in panels:
        ax.set(xlabel="S score", ylabel="G2/M score")
    if words:
        fig.suptitle(fill(words, int(14 * fig.get_figwidth())), fontsize=8, color=st.VERMILLION)
    return fig


def _polar(obs: pd.DataFrame, used: npt.NDArray[np.bool_], verdict: str, told: list[str]) -> st.Figure:
    """Histogram of the cycling cells around the cycle, stacked by phase; the verdict in the title."""
    fig = st.figure(4.6, 4.6)
    ax = cast("PolarAxes", fig.add_subplot(projection="polar"))
    polar_histogram(ax, obs, used)
    if "G2M" not in told:  # division is not seen
        ax.set_xticks(np.arange(4) * np.pi / 2, ["0", "π/2", "π", "3π/2"])
    rest = int((~used).sum())
    ax.set_title(
        f"{verdict or 'Cycle'}: {int(used.sum()):,} cycling cells, {rest:,} not cycling ({rest / len(obs):.0%})",
        pad=14,
        loc="center",
    )
    fig.supxlabel("rings: cells in an arc of 10°", fontsize=7)
    return fig


def polar_histogram(ax: PolarAxes, obs: pd.DataFrame, used: npt.NDArray[np.bool_], bins: int = 36) -> None:
    """Draw on a polar `ax` how many cells are where on the cycle; the area of a bar is its number of cells."""
    angle = obs[slots.CYCLE_ANGLE].to_numpy(dtype=float)[used]
    phase = obs[slots.PHASE].astype(str).to_numpy()[used]
    edges = np.linspace(0, 2 * np.pi, bins + 1)
    total = np.zeros(bins)
    for name in (*slots.PHASES, None):
        chosen = phase == name if name else ~np.isin(phase, slots.PHASES)
        if not chosen.any():
            continue
        count = np.histogram(angle[chosen], edges)[0]
        # radius = √count, so that twice the cells are twice the area
        inner, outer = np.sqrt(total), np.sqrt(total + count)
        color = st.PHASE_COLORS[name] if name else st.RESTING
        label = f"{st.PHASE_LABELS[name]}: {chosen.mean():.0%}" if name else f"no phase: {chosen.mean():.0%}"
        ax.bar(
            edges[:-1],
            outer - inner,
            width=np.diff(edges),
            bottom=inner,
            align="edge",
            color=color,
            label=label,
            linewidth=0,
        )
        total += count
    top = max(float(total.max()), 1.0)
    rings = [t for t in _round_steps(top) if t <= top]
    ax.set_theta_zero_location("N")
    ax.set_theta_direction(-1)
    ax.set_xticks(np.arange(4) * np.pi / 2, ["0\nstart of G1", "π/2", "π", "3π/2"])
    ax.set_yticks(np.sqrt(rings), [f"{t:,.0f}" for t in rings], fontsize=6)
    ax.set_rlabel_position(60)
    ax.set_ylim(0, np.sqrt(top) * 1.04)
    # the rings and their numbers of cells lie over the bars, which would hide them
    ax.set_axisbelow(False)
    ax.grid(color="white", linewidth=0.6, alpha=0.6)
    for number in ax.get_yticklabels():
        number.set(zorder=5, bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"})
    ax.legend(loc="upper left", bbox_to_anchor=(-0.12, 0.02), handlelength=0.8)


def _round_steps(top: float) -> list[float]:
    step = 10 ** np.floor(np.log10(max(top, 1)))
    return [step, 2 * step, 5 * step] if step <= top else [top]


def _scores_by_angle(obs: pd.DataFrame, used: npt.NDArray[np.bool_]) -> st.Figure:
    """Both scores against the angle: cells, means in bins, fitted series."""
    angle = obs[slots.CYCLE_ANGLE].to_numpy(dtype=float)[used]
    fig = st.figure(6.4, 4.6)
    panels = fig.subplots(2, 1, sharex=True)
    for ax, column, phase in zip(panels, (slots.S_SCORE, slots.G2M_SCORE), ("S", "G2M"), strict=True):
        values = obs[column].to_numpy(dtype=float)[used]
        color = st.PHASE_COLORS[phase]
        st.points(ax, angle, values, "#C4C4C4")
        fitted = smooth(angle, values, _GRID)
        ax.plot(_GRID, fitted, color=color, lw=2, label="fitted, 2 harmonics")
        centre, mean, error = binned(angle, values, 24)
        ax.errorbar(centre, mean, error, fmt="o", ms=3, color=color, mfc="white", lw=1, label="mean of cells ± SE")
        residual = values - smooth(angle, values, angle)
        explained = 1 - residual.var() / values.var() if values.var() > 0 else 0.0
        ax.set_ylabel(f"{st.PHASE_LABELS[phase]} score")
        ax.axvline(_GRID[fitted.argmax()], color=color, lw=0.8, ls=":")
        ax.set_title(f"{st.PHASE_LABELS[phase]} score peaks at {_GRID[fitted.argmax()]:.2f} (R² {explained:.2f})")
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1.0), ncols=2, borderaxespad=0)
    st.angle_axis(panels[1])
    return fig


def _genes(prepared: AnnData, cycle: AnnData, used: npt.NDArray[np.bool_]) -> st.Figure | None:
    """Counts of the genes that follow the angle best, with the curves that the cycle stage fitted to them."""
    import scipy.sparse as sp

    known = cycle.var_names.intersection(prepared.var_names, sort=False)
    harmonics = sum(f"b{h}" in cycle.var for h in range(1, 10))
    if not len(known) or not harmonics:
        return None
    angle = cycle.obs[slots.CYCLE_ANGLE].to_numpy(dtype=float)[used]
    library = prepared.obs[slots.LIBRARY_SIZE].to_numpy(dtype=float)
    middle = float(np.median(library))
    best = np.argsort(-cycle.var.loc[known, "r2"].to_numpy(dtype=float), kind="stable")[:N_GENES]
    best = best[np.argsort(cycle.var.loc[known[best], "peak"].to_numpy(dtype=float), kind="stable")]
    known = known[best]
    columns = prepared.var_names.get_indexer(known)
    counts = change_rows(sp.csr_matrix(prepared.X), lambda rows, block: block[:, columns][used[rows]], len(columns))
    counts, factor = counts.tocsc(), (middle / np.maximum(library, 1))[used]
    terms = ["a0", *(f"{letter}{h}" for h in range(1, harmonics + 1) for letter in "ab")]
    curve = design(_GRID, harmonics) @ cycle.var.loc[known, terms].to_numpy(dtype=float).T
    # the curves are means of logs where counts are deep, and logs of mean rates where they are shallow
    of_logs = cycle.uns[slots.UNS]["cycle"].get("law") == "log-normal"
    if not of_logs:
        curve = np.log1p(np.exp(curve) * middle)
    rows = -(-len(known) // 4)
    fig = st.figure(8.4, 0.5 + 1.7 * rows)
    grid = fig.subplots(rows, 4, sharex=True, squeeze=False)
    names = prepared.var[slots.SYMBOL] if slots.SYMBOL in prepared.var else prepared.var_names.to_series()
    for ax, (g, gene) in zip(grid.ravel(), enumerate(known), strict=False):
        phase = str(cycle.var.loc[gene, "phase"]) if "phase" in cycle.var else ""
        color = st.PHASE_COLORS.get(phase, st.PURPLE)
        rate = counts[:, [g]].toarray()[:, 0].astype(float) * factor
        logged = np.log1p(rate)
        st.points(ax, angle, logged, "#C4C4C4", size=2)
        ax.plot(_GRID, curve[:, g], color=color, lw=1.8)
        centre, mean, _ = binned(angle, logged if of_logs else rate)
        ax.plot(centre, mean if of_logs else np.log1p(mean), "o", ms=2.8, color=color, mfc="white", mew=0.9)
        ax.set_title(st.shorten(names[gene], 16), color=color)
        st.angle_axis(ax, label="")
    for ax in grid.ravel()[len(known) :]:
        ax.axis("off")
    fig.supxlabel(
        "cycle angle (radians); line: fitted curve; circles: means of cells; orange: S genes, blue: G2/M, pink: others",
        fontsize=7.5,
    )
    fig.supylabel("log(1 + count / library · median library)", fontsize=8)
    return fig
