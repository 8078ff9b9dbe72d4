"""What a function of the library expects of the cells it is given, said in one line where they are others."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    if not issparse(matrix) or matrix.format != "csr":
        matrix = csr_matrix(matrix[: max(1, LOOKED_AT // max(1, cells.n_vars))])
    values = np.asarray(matrix.data[:LOOKED_AT])
    wrong = ~np.isfinite(values) | (values < 0) | (values != np.floor(values))
    if wrong.any():
        first = int(np.argmax(wrong))
        cell = cells.obs_names[int(np.searchsorted(matrix.indptr, first, side="right")) - 1]
        there = f": they are in layers['{slots.COUNTS}']" if slots.COUNTS in cells.layers else ""
        raise InputError(
            f"X holds {values[first]:g}, no count (cell '{cell}'): pass prepared cells, or cells whose X holds the "
            f"counts{there}"
        )


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
