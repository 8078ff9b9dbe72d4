"""How noisy the gradient of each objective is, at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sclatent.pl import _style as st

if TYPE_CHECKING:
    import pandas as pd


@st.styled
def gradient_variance(table: pd.DataFrame) -> st.Figure:
    """Draw the variance of each objective's gradient per decoded cell, over that of the pathwise ELBO of one draw.

    Parameters
    ----------
    table
        From `sclatent.tl.gradient_variance`.

    Returns
    -------
    A panel for each group of parameters, with 90 % intervals; open points belong to the importance-weighted bound,
    whose gradient is another one.
    """
    groups = list(dict.fromkeys(table["group"]))
    names = list(dict.fromkeys(table["objective"]))
    fig = st.figure(4.6 * len(groups), 1.2 + 0.28 * len(names))
    panels = fig.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    for ax, group in zip(panels, groups, strict=True):
        rows = table[table["group"] == group].set_index("objective").loc[names]
        y = np.arange(len(names))
        ax.hlines(y, rows["low"], rows["high"], color=st.GREY, lw=1.2, zorder=1)
        for weighted, face in ((False, st.BLUE), (True, "white")):
            some = ((rows["bound"] == "weighted") == weighted).to_numpy()
            ax.scatter(rows["relative"][some], y[some], s=22, facecolor=face, edgecolor=st.BLUE, zorder=2)
        ax.axvline(1, color=st.INK, lw=0.8, ls="--")
        ax.set_xscale("log")
        ax.set_yticks(y, names)
        ax.set(title=group, xlabel="variance per decoded cell,\nover the pathwise ELBO")
    panels[0].invert_yaxis()
    return fig
