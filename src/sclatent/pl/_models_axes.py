"""How many axes the models have, use and need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from sclatent.pl import _style as st
from sclatent.pl._axes.table import by_axis
from sclatent.tl._axes.strength import INACTIVE, STRONG, WEAK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Run = tuple[str, int]


def axes_in_use(models: pd.DataFrame, axes: Mapping[Run, pd.DataFrame], names: list[str]) -> st.Figure:
    """KL per axis; with several runs axes in use; with several numbers of axes the held-out fit over them."""
    colors = dict(zip(names, st.category_colors(len(names)), strict=True))
    n_latent = models["n_latent"].to_numpy(dtype=float)
    wanted = ["kl"] if axes else []
    if len(models) > 1 or not axes:
        wanted.append("in use")
    if "test_marginal" in models and len(np.unique(n_latent)) > 1:
        wanted.append("held out")
    fig = st.figure(1.0 + 3.2 * max(len(wanted), 1.4), 3.3)
    panels = dict(zip(wanted, fig.subplots(1, len(wanted), squeeze=False)[0], strict=True))
    if "kl" in panels:
        _kl_per_axis(panels["kl"], axes, colors)
    top = max(float(np.nanmax(n_latent)), 1.0)
    counts = {"n_strong": "o", "n_active": "_"} if "n_strong" in models else {"n_active": "o"}
    for name in names:
        rows = (models["model"].astype(str) == name).to_numpy()
        if "in use" in panels:
            for column, marker in counts.items():
                values = models[column].to_numpy(dtype=float)[rows]
                panels["in use"].plot(n_latent[rows], values, marker, ms=5 if marker == "o" else 9, color=colors[name])
        if "held out" in panels:
            values = models["test_marginal"].to_numpy(dtype=float)[rows]
            panels["held out"].plot(n_latent[rows], values, "o", ms=5, color=colors[name])
    if "in use" in panels:
        panels["in use"].plot([0, top * 1.05], [0, top * 1.05], color=st.PALE, lw=1, ls="--", zorder=0)
        panels["in use"].set(
            xlim=(0, top * 1.1),
            ylim=(0, top * 1.1),
            xlabel="axes of the model (dashed: all of them)",
            ylabel="axes in use",
            title="Axes in use" + (" (dots: strong, bars: active)" if len(counts) > 1 else ""),
        )
    if "held out" in panels:
        panels["held out"].set(
            xlim=(0, top * 1.1),
            xlabel="axes of the model",
            ylabel="test log-likelihood (nats per cell)",
            title="Held-out fit over the number of axes",
        )
        _join_families(panels["held out"], models, "test_marginal", colors)
    if len(names) > 1:
        handles = [Line2D([], [], marker="o", ls="", ms=5, color=colors[name]) for name in names[:16]]
        labels = [st.shorten(name, 22) for name in names[:16]]
        fig.legend(handles, labels, loc="outside lower center", ncols=min(len(handles), 4))
    return fig


def _kl_per_axis(ax: Axes, axes: Mapping[Run, pd.DataFrame], colors: Mapping[str, Any]) -> None:
    """Draw the KL of the axes of each run in falling order: strong ones filled, weak ones open, the others grey."""
    for (model, _seed), axis_table in axes.items():
        table = by_axis(axis_table)
        order = np.argsort(-table["kl"].to_numpy(dtype=float), kind="stable")
        rank, kl = np.arange(1, len(order) + 1), table["kl"].to_numpy(dtype=float)[order]
        strength = table["strength"].to_numpy(dtype=str)[order]
        color = colors.get(model, st.GREY)
        ax.plot(rank, kl, lw=0.9, color=color)
        for which, face, edge in ((STRONG, color, color), (WEAK, "white", color), (INACTIVE, st.PALE, st.PALE)):
            ax.plot(rank[strength == which], kl[strength == which], "o", ms=3.5, mfc=face, mec=edge, mew=0.8)
    ax.set(xlabel="axis, sorted by KL", ylabel="KL (nats per cell)", title="KL per axis", ylim=(0, None))
    for words, face, edge in (("strong", st.INK, st.INK), ("weak", "white", st.INK), ("not active", st.PALE, st.PALE)):
        ax.plot([], [], "o", ms=3.5, mfc=face, mec=edge, label=words)
    ax.legend(loc="upper right")


def _join_families(ax: Axes, models: pd.DataFrame, column: str, colors: Mapping[str, Any]) -> None:
    """Join models that differ in the number of axes only, so that the choice is a curve."""
    if column not in models or not {"likelihood", "decoder"} <= set(models.columns):
        return
    for _, rows in models.groupby(["likelihood", "decoder"], sort=False):
        mean = rows.groupby("n_latent")[column].mean()
        if len(mean) > 1:
            ax.plot(mean.index, mean.to_numpy(), color=colors[str(rows["model"].iloc[0])], lw=1, alpha=0.6, zorder=0)
