"""Calibration of the likelihoods at a glance: whether the spread of the counts is what the model says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.pl import _style as st

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Run = tuple[str, int]


def calibration(found: Mapping[Run, Mapping[str, Any]], models: pd.DataFrame) -> st.Figure:
    """Draw a row per model: randomised PIT, zero fraction and variance-to-mean ratio of every gene, model against data.

    Parameters
    ----------
    found
        (model, seed) → ``metrics["calibration"]``; the first seed of each model is drawn.
    models
        ``models.tsv``, for the likelihoods.
    """
    first: dict[str, Mapping[str, Any]] = {}
    for (model, _), values in found.items():
        first.setdefault(model, values)
    names = list(first)
    kind = (
        dict(zip(models["model"].astype(str), models["likelihood"].astype(str), strict=False))
        if "likelihood" in models
        else {}
    )
    fig = st.figure(9.0, 0.6 + 2.5 * len(names))
    grid = fig.subplots(len(names), 3, squeeze=False)
    for row, name in zip(grid, names, strict=True):
        values = first[name]
        _pit(row[0], values)
        row[0].set_title(
            f"{st.shorten(name, 24)}" + (f" ({kind[name]})" if name in kind and kind[name] != name else "")
        )
        _against(row[1], values, "zero_fraction", "share of cells without the gene", logarithmic=False)
        _against(row[2], values, "variance_to_mean", "variance / mean of the counts", logarithmic=True)
    grid[0][1].annotate(
        "Zeros",
        (0, 1),
        xytext=(0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        fontweight="bold",
        fontsize=9,
    )
    grid[0][2].annotate(
        "Spread",
        (0, 1),
        xytext=(0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        fontweight="bold",
        fontsize=9,
    )
    _same_limits(grid)
    fig.supxlabel(
        "Held-out cells. A calibrated model has a flat PIT and genes on the diagonals. "
        "PIT high at both ends: the counts spread more than the model says; high in the middle: less.",
        fontsize=7,
    )
    return fig


def _pit(ax: Axes, values: Mapping[str, Any]) -> None:
    pit = np.asarray(values["pit"], dtype=float)
    density = pit / pit.mean() if pit.mean() > 0 else pit
    edges = np.linspace(0, 1, len(density) + 1)
    ax.bar(edges[:-1], density, width=np.diff(edges), align="edge", color=st.SKY, edgecolor="white", linewidth=0.4)
    ax.axhline(1, color=st.INK, lw=0.9, ls="--")
    ax.set(xlim=(0, 1), xlabel="randomised PIT", ylabel="density (1 = calibrated)")
    off = float(np.abs(density - 1).mean())
    ax.text(
        0.98, 0.97, f"mean distance from flat {off:.3f}", transform=ax.transAxes, ha="right", va="top", fontsize=6.5
    )


def _against(ax: Axes, values: Mapping[str, Any], what: str, label: str, *, logarithmic: bool) -> None:
    """Scatter of one statistic per gene, model against data."""
    observed = np.asarray(values[f"{what}_observed"], dtype=float)
    expected = np.asarray(values[f"{what}_expected"], dtype=float)
    ok = np.isfinite(observed) & np.isfinite(expected)
    if logarithmic:
        ok &= (observed > 0) & (expected > 0)
    if not ok.any():
        ax.axis("off")
        return
    x, y = expected[ok], observed[ok]
    st.points(ax, x, y, st.BLUE, size=5, alpha=0.5)
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    ax.plot([low, high], [low, high], color=st.INK, lw=0.9, ls="--")
    if logarithmic:
        st.log_scale(ax)
    ratio = np.log(y / x) if logarithmic else y - x
    words = (
        f"median data / model {np.exp(np.median(ratio)):.2f}"
        if logarithmic
        else f"mean data − model {ratio.mean():+.4f}"
    )
    ax.text(0.03, 0.97, words, transform=ax.transAxes, ha="left", va="top", fontsize=6.5)
    ax.set(xlabel=f"model: {label}", ylabel=f"data: {label}")


def _same_limits(grid: Any) -> None:
    """Give the panels of a column one frame, so that rows can be compared by eye."""
    for column in (0, 1, 2):
        shown = [ax for ax in grid[:, column] if ax.axison]
        if not shown:
            continue
        low = min(ax.get_ylim()[0] for ax in shown)
        high = max(ax.get_ylim()[1] for ax in shown)
        for ax in shown:
            ax.set_ylim(low, high * (1.1 if column == 0 else 1.0))
        if column:
            left = min(ax.get_xlim()[0] for ax in shown)
            right = max(ax.get_xlim()[1] for ax in shown)
            for ax in shown:
                ax.set_xlim(left, right)
