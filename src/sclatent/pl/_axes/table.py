"""The table of the axes as figures need it: which axes are shown in full, in which order, and what each is called."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from sclatent.pl import _style as st
from sclatent.tl._axes.strength import INACTIVE, STRONG, STRONG_FOLD, STRONG_INFORMATION, WEAK

RULE = f"information below {STRONG_INFORMATION:g} nats, and no gene changes {STRONG_FOLD:g}-fold from end to end"
"""What makes an active axis a weak one."""
_TEXT = ("name", "kind", "evidence", "also", "genes_up", "genes_down", "levels_up", "levels_down")
_ORDER = (STRONG, WEAK, INACTIVE)


def by_axis(axes: pd.DataFrame) -> pd.DataFrame:
    """Return ``axes.tsv`` indexed by axis, strong axes first; empty strings where the file had nothing."""
    table = axes.set_index("axis") if "axis" in axes else axes.copy()
    for column in _TEXT:
        table[column] = table[column].astype(object).fillna("").astype(str) if column in table else ""
    table["active"] = table["active"].astype(str).str.lower() == "true"
    if "strength" in table:
        table["strength"] = table["strength"].astype(str)
    else:  # a table from before there was the column
        table["strength"] = table["active"].map({True: STRONG, False: INACTIVE})
    return table.iloc[np.argsort(table["strength"].map(_ORDER.index), kind="stable")]


def shown(table: pd.DataFrame, *, weak: bool = False) -> list[str]:
    """Return the axes that are shown in full: the strong ones; with `weak`, or where none is strong, the weak ones too.

    Parameters
    ----------
    table
        From `by_axis`.
    weak
        Whether weak axes are asked for.
    """
    active = table[table["active"]]
    strong = active[active["strength"] == STRONG]
    return [str(axis) for axis in (active if weak or strong.empty else strong).index]


def left_out(table: pd.DataFrame, drawn: Collection[str]) -> str:
    """Return a line about the weak axes that are not among those `drawn`; empty if there are none."""
    missing = sum(axis not in drawn for axis in table.index[table["strength"] == WEAK])
    return f"left out on purpose: {missing} weak {'axis' if missing == 1 else 'axes'} ({RULE})" if missing else ""


def title(axis: str, table: pd.DataFrame | None) -> str:
    """Return 'axis_3 · cell cycle: S', and say so if the axis is weak."""
    if table is None or axis not in table.index:
        return axis
    name = _name(axis, table)
    return _marked(f"{axis} · {name}" if name else axis, axis, table)


def row_label(axis: str, table: pd.DataFrame) -> str:
    """Return the label of a row, the name before the axis: 'cell cycle: S · axis_3'."""
    name = _name(axis, table)
    return _marked(f"{st.shorten(name, 26)} · {axis}" if name else axis, axis, table)


def _name(axis: str, table: pd.DataFrame) -> str:
    """Return what the axis is called, empty if it earned no name."""
    name = str(table["name"][axis])
    return "" if name in ("unnamed", "inactive", axis) else name


def _marked(words: str, axis: str, table: pd.DataFrame) -> str:
    return f"{words} (weak)" if table["strength"][axis] == WEAK else words
