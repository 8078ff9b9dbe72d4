"""How noisy the gradient of each objective is, at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sclatent.pl import _style as st

if TYPE_CHECKING:
    import pandas as pd

WHEN = {"start": "at the start", "tenth": "after a tenth", "end": "at the end"}
FROM = {"cells": "which cells", "dropout": "dropout masks", "draws": "draws ε of the codes"}
BOUNDS = {
    False: (st.BLUE, "gradient of the ELBO"),
    True: ("white", "gradient of the importance-weighted bound, which is another one"),
}
SOURCE_COLORS = {"cells": st.GREY, "dropout": st.ORANGE, "draws": st.BLUE}


@st.styled
def gradient_variance(table: pd.DataFrame) -> st.Figure:
    """Draw the variance of each objective's gradient per decoded cell, over that of the pathwise ELBO of one draw.

    Parameters
    ----------
    table
        From `sclatent.tl.gradient_variance`.

    Returns
    -------
    Figure
        A panel for each moment and group of parameters, with 90 % intervals; open points belong to the
        importance-weighted bound, whose gradient is another one.
    """
    groups, moments = list(dict.fromkeys(table["group"])), list(dict.fromkeys(table["moment"]))
    names = list(dict.fromkeys(table["objective"]))
    fig = st.figure(4.6 * len(groups), (1.0 + 0.36 * len(names)) * len(moments))
    panels = fig.subplots(len(moments), len(groups), squeeze=False, sharey=True, sharex="col")
    y = np.arange(len(names))
    for line, moment in zip(panels, moments, strict=True):
        for ax, group in zip(line, groups, strict=True):
            inside = table[(table["group"] == group) & (table["moment"] == moment)]
            rows = inside.set_index("objective").loc[names]
            ax.hlines(y, rows["low"], rows["high"], color=st.GREY, lw=1.2, zorder=1)
            for weighted, (face, label) in BOUNDS.items():
                some = ((rows["bound"] == "weighted") == weighted).to_numpy()
                color = {"facecolor": face, "edgecolor": st.BLUE}
                ax.scatter(rows["relative"][some], y[some], s=22, label=label, zorder=2, **color)
            ax.axvline(1, color=st.INK, lw=0.8, ls="--")
            if (rows["relative"] > 0).any():  # a gradient without chance has no ratio
                st.log_scale(ax, "x")
            ax.set_yticks(y, [name.replace(" ", "\n", 1) for name in names])
            ax.set(title=f"{group}, {WHEN.get(moment, moment)}")
    for ax in panels[-1]:
        ax.set_xlabel("variance per decoded cell,\nover the pathwise ELBO")
    panels[0][0].invert_yaxis()
    fig.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return fig


@st.styled
def gradient_noise(table: pd.DataFrame) -> st.Figure:
    """Draw where the noise of a training step's gradient comes from.

    Parameters
    ----------
    table
        From `sclatent.tl.gradient_noise`.

    Returns
    -------
    Figure
        A panel for each group of parameters; at each moment the shares of the cells of the minibatch, of the dropout
        masks and of the draws of the codes, with 90 % intervals.
    """
    groups, moments = list(dict.fromkeys(table["group"])), list(dict.fromkeys(table["moment"]))
    sources = list(dict.fromkeys(table["source"]))
    fig = st.figure(3.4 * len(groups), 2.8)
    panels = fig.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    width = 0.8 / len(sources)
    for ax, group in zip(panels, groups, strict=True):
        for k, source in enumerate(sources):
            rows = table[(table["group"] == group) & (table["source"] == source)].set_index("moment").loc[moments]
            x = np.arange(len(moments)) + (k - (len(sources) - 1) / 2) * width
            share = rows["share"].to_numpy()
            ax.bar(
                x, share, width=0.9 * width, color=SOURCE_COLORS.get(source, st.GREY), label=FROM.get(source, source)
            )
            ax.vlines(x, rows["low"], rows["high"], color=st.INK, lw=1)
        ax.set_xticks(np.arange(len(moments)), [WHEN.get(moment, moment) for moment in moments])
        ax.set(title=group, ylim=(0, 1))
    panels[0].set_ylabel("share of the gradient's variance")
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(sources), frameon=False)
    return fig
