"""What a function of the library expects of the cells it is given, said in one line where they are others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix, issparse

from sclatent.data import slots
from sclatent.settings import InputError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

LOOKED_AT = 100_000
"""Values that are looked at: logarithms and normalised values show in the first cell, and more would take long."""


def need_counts(cells: AnnData) -> None:
    """Stop if ``X`` holds no counts, as that of an atlas, which holds logarithms of normalised counts.

    Raises
    ------
    InputError
        If one of the first values is no whole number or below zero, or if there is no ``X``.
    """
    matrix = cells.X
    if matrix is None:
        raise InputError("the cells have no X: pass cells whose X holds the counts")
    if (found := _no_count(matrix)) is not None:
        row, value = found
        there = f": they are in layers['{slots.COUNTS}']" if slots.COUNTS in cells.layers else ""
        raise InputError(
            f"X holds {value:g}, no count (cell '{cells.obs_names[row]}'): pass prepared cells, or cells whose X holds "
            f"the counts{there}"
        )


def where_counts_are(cells: AnnData) -> str:
    """Say which layers hold whole numbers, after a semicolon; nothing if none does."""
    whole = [f"layers['{name}']" for name, layer in cells.layers.items() if _no_count(layer) is None]
    if cells.raw is not None and _no_count(cells.raw.X) is None:
        whole.append("raw.X")
    return f"; whole numbers are in {' and '.join(whole)}: make the counts X" if whole else ""


def _no_count(matrix: Any) -> tuple[int, float] | None:
    """Return the row and the value of the first of the `LOOKED_AT` values that is no count; None if all are."""
    if not issparse(matrix) or matrix.format != "csr":
        matrix = csr_matrix(matrix[: max(1, LOOKED_AT // max(1, matrix.shape[1]))])
    values = np.asarray(matrix.data[:LOOKED_AT])
    wrong = ~np.isfinite(values) | (values < 0) | (values != np.floor(values))
    if not wrong.any():
        return None
    first = int(np.argmax(wrong))
    return int(np.searchsorted(matrix.indptr, first, side="right")) - 1, float(values[first])


def need_split(cells: AnnData) -> pd.Series:
    """Return which cells train, choose and judge, or stop if the cells were not prepared."""
    if slots.SPLIT not in cells.obs:
        raise InputError(f"obs has no column '{slots.SPLIT}': pass prepared cells, as sl.pp.prepare returns them")
    split: pd.Series = cells.obs[slots.SPLIT]
    return split


def in_memory(cells: AnnData) -> AnnData:
    """Return cells that can be worked with: in memory, with names that occur once.

    Raises
    ------
    InputError
        If there is no ``X``, or a name of a cell or a gene occurs twice.
    """
    if cells.X is None:
        raise InputError("the cells have no X: pass cells whose X holds the counts")
    for names, which, unique in ((cells.obs_names, "cell", "obs"), (cells.var_names, "gene", "var")):
        if not names.is_unique:
            twice = names[names.duplicated()]
            raise InputError(
                f"{twice.nunique()} {which} name(s) occur more than once, such as '{twice[0]}': make them unique "
                f"(adata.{unique}_names_make_unique())"
            )
    return cells.to_memory() if cells.isbacked else cells
