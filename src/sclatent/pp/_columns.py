"""The obs columns a dataset file names, checked: batch, covariates, labels, library size."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data import slots
from sclatent.settings import DatasetSettings, InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

SHARES = (slots.PCT_MITO, slots.PCT_RIBO, slots.PCT_SPIKE_IN)
METRICS = (slots.N_GENES, slots.TOTAL_COUNTS, *SHARES, slots.DOUBLET_SCORE)
"""Quality metrics of the stage `prepare`."""
_CYCLE = (slots.S_SCORE, slots.G2M_SCORE, slots.PHASE, slots.CYCLING_PROBABILITY)


def refuse_ours(column: str, key: str, settings: DatasetSettings) -> None:
    """Stop if a batch or label has the name of a column that the pipeline writes: its own would be used, unnoticed."""
    if column in (slots.SPLIT, slots.LIBRARY_SIZE, slots.PREDICTED_DOUBLET, *METRICS, *_CYCLE):
        raise InputError(
            f"{settings.file}: {key}: '{column}' is a column that the pipeline writes itself: give yours another name, "
            "so that the two are not mixed up"
        )


def need(obs: pd.DataFrame, column: str, key: str, settings: DatasetSettings) -> pd.Series:
    """Return a column of `obs`, or say which there are."""
    if column not in obs:
        known = [str(c) for c in obs.columns]
        listed = ", ".join(known[:12]) + (" …" if len(known) > 12 else "")
        raise InputError(
            f"{settings.file}: {key}: no obs column '{column}'{did_you_mean(column, known)}: there is "
            f"{listed or 'no column at all'}"
        )
    return obs[column]


def categories(
    obs: pd.DataFrame, column: str, key: str, settings: DatasetSettings, *, missing: bool = False
) -> pd.Series:
    """Return a column as unordered categories of text, without unused ones.

    Parameters
    ----------
    obs
        The cells that passed.
    column, key
        The column and the key of the dataset file that names it.
    missing
        Whether cells may have no value.

    Raises
    ------
    InputError
        If the column is missing or one of ours, has a gap where none may be, has one level only, or holds fractions.
    """
    import pandas as pd

    refuse_ours(column, key, settings)
    values = need(obs, column, key, settings)
    gaps = values.isna().to_numpy()
    if gaps.all() or (gaps.any() and not missing):
        raise InputError(
            f"{settings.file}: {key}: column '{column}' has no value in {gaps.sum()} of {len(gaps)} cells "
            f"(such as '{obs.index[int(np.argmax(gaps))]}'): fill it, or choose another column"
        )
    if gaps.any():
        log.warning(
            "%s: column '%s' has no value in %d of %d cells: they are left out where labels judge",
            key,
            column,
            gaps.sum(),
            len(gaps),
        )
    if pd.api.types.is_float_dtype(values):
        numbers = values.to_numpy(dtype=float, na_value=np.nan)[~gaps]
        if np.isinf(numbers).any():
            raise InputError(
                f"{settings.file}: {key}: column '{column}' holds an infinite value in {np.isinf(numbers).sum()} of "
                f"{len(gaps)} cells, which is no category: replace it"
            )
        if not np.array_equal(numbers, np.floor(numbers)):
            raise InputError(
                f"{settings.file}: {key}: column '{column}' holds fractions (such as "
                f"{numbers[numbers != np.floor(numbers)][0]:g}), not "
                f"categories: list it under `covariates`{'' if key == 'batch' else ' or remove it'}"
            )
        values = values.astype("Int64")
    text = values.astype(object).where(values.notna().to_numpy(), None)
    text = pd.Series([None if value is None else str(value) for value in text], index=obs.index, dtype=object)
    # an order the user gave stays; else by name
    known = (
        [str(c) for c in values.cat.categories]
        if isinstance(values.dtype, pd.CategoricalDtype)
        else sorted(text.dropna().unique())
    )
    there = set(text.dropna())
    levels = [level for level in known if level in there]
    if len(levels) < 2:
        raise InputError(
            f"{settings.file}: {key}: column '{column}' has one level ('{levels[0]}') in all {len(obs)} cells: "
            f"nothing to tell apart; remove it"
        )
    if len(levels) == len(obs):
        raise InputError(
            f"{settings.file}: {key}: column '{column}' has another value in each of the {len(obs)} cells: these are "
            f"names, not categories"
        )
    return pd.Series(pd.Categorical(text, categories=levels), index=obs.index)


def covariate(obs: pd.DataFrame, column: str, settings: DatasetSettings) -> np.ndarray:
    """Return a column of numbers as float64.

    Raises
    ------
    InputError
        If the column is missing, holds no numbers, has gaps, or is constant.
    """
    if column == slots.LIBRARY_SIZE:
        refuse_ours(column, "covariates", settings)
    numbers = _numbers(obs, column, "covariates", settings)
    if np.ptp(numbers) == 0:
        raise InputError(
            f"{settings.file}: covariates: column '{column}' is {numbers[0]:g} in all cells: nothing to condition on; "
            f"remove it"
        )
    return numbers


def library_column(obs: pd.DataFrame, settings: DatasetSettings) -> np.ndarray:
    """Return the library sizes of the column that ``library_size`` names, float64 (n_cells,)."""
    column = str(settings.library_size)
    numbers = _numbers(obs, column, "library_size", settings)
    if (numbers <= 0).any():
        at = int(np.argmax(numbers <= 0))
        raise InputError(
            f"{settings.file}: library_size: column '{column}' is {numbers[at]:g} in cell '{obs.index[at]}': it must "
            f"be positive in every cell"
        )
    return numbers


def check_library(library: np.ndarray, total: np.ndarray, cells: pd.Index, settings: DatasetSettings) -> None:
    """Stop if a library size is smaller than the counts of the model's genes: the *rest* would be negative."""
    below = library < total
    if below.any():
        at = int(np.argmax(below))
        raise InputError(
            f"{settings.file}: library_size: column '{settings.library_size}' is {library[at]:g} in cell "
            f"'{cells[at]}', less than the "
            f"{total[at]:g} counts of its model genes (in {below.sum()} of {len(below)} cells): it must be a total "
            f"over at least these "
            "genes, untransformed"
        )


def _numbers(obs: pd.DataFrame, column: str, key: str, settings: DatasetSettings) -> np.ndarray:
    import pandas as pd

    values = need(obs, column, key, settings)
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        example = values.dropna().iloc[0] if values.notna().any() else "nothing"
        advice = " (categories go under `batch`)" if key == "covariates" else ""
        raise InputError(f"{settings.file}: {key}: column '{column}' holds '{example}', not numbers{advice}")
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    bad = ~np.isfinite(numbers)
    if bad.any():
        raise InputError(
            f"{settings.file}: {key}: column '{column}' is missing or infinite in {bad.sum()} of {len(bad)} cells "
            f"(such as '{obs.index[int(np.argmax(bad))]}'): fill it, or choose another column"
        )
    return numbers
