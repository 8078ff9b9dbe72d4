"""The obs columns a dataset file names, checked: batch, covariates, labels, library size; and where they are kept."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data import slots
from sclatent.data.columns import as_categories, as_numbers, called, is_measured, same, set_aside
from sclatent.settings import InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

SHARES = (slots.PCT_MITO, slots.PCT_RIBO, slots.PCT_SPIKE_IN)
METRICS = (slots.N_GENES, slots.TOTAL_COUNTS, *SHARES, slots.DOUBLET_SCORE)
"""Quality metrics of the stage `prepare`."""


def need(obs: pd.DataFrame, column: str, key: str, file: str) -> pd.Series:
    """Return a column of `obs`, or say which there are."""
    if column not in obs:
        known = [str(c) for c in obs.columns]
        listed = ", ".join(known[:12]) + (" …" if len(known) > 12 else "")
        if "," in column and all(part.strip() in known for part in column.split(",")):
            raise InputError(f"{file}: {key}: no obs column '{column}': list several columns in brackets: [{column}]")
        ours = " came in (the pipeline writes one itself, later)" if column in slots.WRITTEN else ""
        raise InputError(
            f"{file}: {key}: no obs column '{column}'{ours or did_you_mean(column, known)}: available: "
            f"{listed or 'no column at all'}"
        )
    return obs[column]


def categories(obs: pd.DataFrame, column: str, key: str, file: str, *, missing: bool = False) -> pd.Series:
    """Return a column as unordered categories of text, without unused ones.

    Parameters
    ----------
    obs
        The cells that passed.
    column, key, file
        The column, and the key of the dataset file that names it.
    missing
        Whether cells may have no value.

    Raises
    ------
    InputError
        If the column is missing, has a gap where none may be, has one level only, or holds fractions.
    """
    values = need(obs, column, key, file)
    gaps = values.isna().to_numpy()
    if gaps.all() or (gaps.any() and not missing):
        raise InputError(
            f"{file}: {key}: column '{column}' has no value in {gaps.sum()} of {len(gaps)} cells "
            f"(such as '{obs.index[int(np.argmax(gaps))]}'): fill in the values, or choose another column"
        )
    if gaps.any():
        log.warning(
            "%s: column '%s' has no value in %d of %d cells: these cells are left out wherever labels are used",
            key,
            column,
            gaps.sum(),
            len(gaps),
        )
    _refuse_measured(values, column, key, file)
    found = as_categories(values)
    levels = list(found.cat.categories)
    if len(levels) < 2:
        raise InputError(
            f"{file}: {key}: column '{column}' has one level ('{levels[0]}') in all {len(obs)} cells: "
            f"there is nothing to compare; remove it{_other(obs, column)}"
        )
    if len(levels) == len(obs):
        raise InputError(
            f"{file}: {key}: column '{column}' has another value in each of the {len(obs)} cells: these are "
            f"names, not categories"
        )
    return found


def _refuse_measured(values: pd.Series, column: str, key: str, file: str) -> None:
    """Stop if a column of categories holds fractions or infinite values."""
    import pandas as pd

    if not pd.api.types.is_float_dtype(values):
        return
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    infinite = np.isinf(numbers).sum()
    if infinite:
        raise InputError(
            f"{file}: {key}: column '{column}' holds an infinite value in {infinite} of {len(values)} cells, "
            "which is not a category: replace it"
        )
    if is_measured(values):
        known = numbers[np.isfinite(numbers)]
        raise InputError(
            f"{file}: {key}: column '{column}' holds fractions (such as "
            f"{known[known != np.floor(known)][0]:g}), not categories: list it under "
            f"`covariates`{'' if key == 'batch' else ' or remove it'}"
        )


def _other(obs: pd.DataFrame, column: str) -> str:
    """Say that what came in under the name of a column is elsewhere."""
    spare = column + slots.INPUT_SUFFIX
    return f" (the column of that name that came in is '{spare}')" if spare in obs else ""


def covariate(obs: pd.DataFrame, column: str, file: str) -> np.ndarray:
    """Return a column of numbers as float64.

    Raises
    ------
    InputError
        If the column is missing, is not numeric, has missing values, or is constant.
    """
    numbers = _numbers(obs, column, "covariates", file)
    if np.ptp(numbers) == 0:
        raise InputError(
            f"{file}: covariates: column '{column}' is {numbers[0]:g} in all cells: nothing to condition on; remove it"
        )
    return numbers


def library_column(obs: pd.DataFrame, column: str, file: str) -> np.ndarray:
    """Return the library sizes of the column that ``library_size`` names, float64 (n_cells,)."""
    numbers = _numbers(obs, column, "library_size", file)
    if (numbers <= 0).any():
        at = int(np.argmax(numbers <= 0))
        raise InputError(
            f"{file}: library_size: column '{column}' is {numbers[at]:g} in cell '{obs.index[at]}': it must "
            f"be positive in every cell"
        )
    return numbers


def given_library(obs: pd.DataFrame, has_rna: np.ndarray, library_size: str, file: str) -> np.ndarray:
    """Return the library sizes of the column that is named, 0 in cells without RNA."""
    library = np.zeros(len(obs))
    library[has_rna] = library_column(obs[has_rna], library_size, file)
    return library


def check_library(library: np.ndarray, total: np.ndarray, cells: pd.Index, column: str | None, file: str) -> None:
    """Stop if a library size is smaller than the counts of the model's genes: the *rest* would be negative."""
    below = library < total
    if below.any():
        at = int(np.argmax(below))
        raise InputError(
            f"{file}: library_size: column '{column}' is {library[at]:g} in cell "
            f"'{cells[at]}', less than the "
            f"{total[at]:g} counts of its model genes (in {below.sum()} of {len(below)} cells): it must be a total "
            f"over at least these "
            "genes, untransformed"
        )


def _numbers(obs: pd.DataFrame, column: str, key: str, file: str) -> np.ndarray:
    numbers, odd = as_numbers(need(obs, column, key, file))
    if odd is not None:
        advice = " (categories go under `batch`)" if key == "covariates" else ""
        raise InputError(f"{file}: {key}: column '{column}' holds '{odd}', not numbers{advice}")
    bad = ~np.isfinite(numbers)
    if bad.any():
        raise InputError(
            f"{file}: {key}: column '{column}' is missing or infinite in {bad.sum()} of {len(bad)} cells "
            f"(such as '{obs.index[int(np.argmax(bad))]}'): fill in the values, or choose another column"
        )
    return numbers


def place_columns(
    prepared: AnnData,
    computed: pd.DataFrame,
    grouped: Mapping[str, Sequence[str]],
    covariates: Sequence[str],
    file: str,
) -> dict[str, str]:
    """Give columns that came in the type that the dataset file says, and their place; add the quality metrics.

    `computed` are the metrics of these cells, `grouped` the columns of categories, by the key that names them.

    Returns
    -------
    Which columns have another name now, since the pipeline writes theirs.
    """
    obs = prepared.obs
    for key, columns in grouped.items():
        for column in columns:
            obs[column] = categories(obs, column, key, file)
    for column in covariates:
        if column in obs or column not in METRICS:
            obs[column] = covariate(obs, column, file)
        else:
            covariate(computed, column, file)
    renamed = set_aside(obs.columns)
    obs = obs.rename(columns=renamed)
    for name, values in computed.items():
        obs[str(name)] = values.to_numpy()
    prepared.obs = obs
    prepared.uns[slots.UNS][slots.UNS_PREPARED] = {slots.RENAMED: renamed}
    return renamed


def given(prepared: AnnData, names: Iterable[str | None]) -> pd.DataFrame:
    """Return columns under the names that the dataset file has for them, as far as they are there."""
    wanted = {called(prepared, name): name for name in names if name is not None}
    return prepared.obs[[name for name in wanted if name in prepared.obs]].rename(columns=wanted)


def settle(prepared: AnnData, renamed: dict[str, str], named: Container[str]) -> None:
    """Drop what came in and is the same as what was written, unless it is `named`; say where the rest is."""
    for name, spare in list(renamed.items()):
        if name not in named and name in prepared.obs and same(prepared.obs[spare], prepared.obs[name].to_numpy()):
            del prepared.obs[spare], renamed[name]
        else:
            log.info("the pipeline writes a column '%s' itself: that of the input is kept as '%s'", name, spare)
