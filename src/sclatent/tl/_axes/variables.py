"""What is known of every cell, gathered from the stage files, with the role it plays in naming an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sclatent.data import slots
from sclatent.data.columns import as_categories, as_numbers, called, is_measured
from sclatent.settings import InputError, did_you_mean
from sclatent.tl._axes.association import Variable

if TYPE_CHECKING:
    import anndata as ad

WORDS = {
    slots.S_SCORE: "cell cycle: S",
    slots.G2M_SCORE: "cell cycle: G2M",
    slots.CYCLING_PROBABILITY: "cell cycle: cycling",
    slots.LIBRARY_SIZE: "depth",
    slots.N_GENES: "depth",
    slots.TOTAL_COUNTS: "depth",
    slots.PCT_MITO: "mitochondrial",
    slots.PCT_RIBO: "ribosomal",
    slots.PCT_SPIKE_IN: "spike-ins",
    slots.DOUBLET_SCORE: "doublets",
    slots.SAMPLE: "sample",
}
"""What an axis is called that goes with a column of ours; other columns lend their own name."""

TECHNICAL = frozenset({"depth", "quality", "batch", "covariate"})
"""Roles of variables that say how a cell was measured, not what it is."""


def gather(
    prepared: ad.AnnData,
    cycle: ad.AnnData | None,
    asked: Mapping[str, Sequence[str]],
    cells: np.ndarray,
    file: str,
) -> list[Variable]:
    """Gather the variables that axes are compared with.

    Parameters
    ----------
    prepared
        Its ``obs``: quality metrics, library size, batch, covariates, labels.
    cycle
        Its ``obs``: cycle scores and phase; None where there are none.
    asked
        The columns of each role, ``batch``, ``covariate`` and ``label``.
    cells
        Positions of the cells to use.
    file
        What messages call the place of the settings.

    Returns
    -------
    Variables that take at least two values among these cells.
    """
    wanted: list[tuple[pd.DataFrame, str, str]] = []
    if cycle is not None:
        if not cycle.obs_names.equals(prepared.obs_names):
            cycle = cycle[prepared.obs_names]
        names = (slots.S_SCORE, slots.G2M_SCORE, slots.CYCLING_PROBABILITY, slots.PHASE)
        wanted += [(cycle.obs, name, "cycle") for name in names if name in cycle.obs]
    ours = [(slots.LIBRARY_SIZE, "depth"), (slots.N_GENES, "depth")]
    quality = (slots.PCT_MITO, slots.PCT_RIBO, slots.PCT_SPIKE_IN, slots.DOUBLET_SCORE)
    ours += [(name, "quality") for name in quality]
    wanted += [(prepared.obs, name, role) for name, role in ours if name in prepared.obs]
    batch, covariates, labels = asked["batch"], asked["covariate"], asked["label"]
    columns = [(c, "batch") for c in batch] + [(c, "covariate") for c in covariates]
    if slots.SAMPLE in prepared.obs and slots.SAMPLE not in (*batch, *labels):
        columns.append((slots.SAMPLE, "batch"))
    columns += [(c, "label") for c in labels if c not in batch and c not in covariates]
    seen = {name for _, name, _ in wanted}
    for name, role in ((called(prepared, name), role) for name, role in columns):
        if name not in prepared.obs:
            hint = did_you_mean(name, list(prepared.obs.columns))
            raise InputError(f"{file}: column '{name}' is not in the obs of the prepared counts{hint}")
        if name not in seen:
            wanted.append((prepared.obs, name, role))
            seen.add(name)
    variables = [_variable(pd.Series(frame[name].array[cells]), name, role) for frame, name, role in wanted]
    return [v for v in variables if len(np.unique(v.values[v.known])) > 1]


def _variable(column: pd.Series, name: str, role: str) -> Variable:
    grouped = role == "batch" or name == slots.PHASE or (role == "label" and not is_measured(column))
    if not grouped:
        values, odd = as_numbers(column)
        if odd is not None:
            raise InputError(f"{role}: column '{name}' holds '{odd}', not numbers (categories go under `batch`)")
        return Variable(name, values, None, role)
    category = as_categories(column).cat
    return Variable(name, category.codes.to_numpy(), tuple(category.categories), role)


def strata(variables: list[Variable], n_cells: int) -> np.ndarray:
    """Return the group of each cell inside which cells are exchangeable: the combinations of all batch columns."""
    columns = [v.values for v in variables if v.role == "batch" and v.levels is not None]
    if not columns:
        return np.zeros(n_cells, np.int64)
    return np.unique(np.column_stack(columns), axis=0, return_inverse=True)[1].ravel()
