"""Which cells train, which choose, which judge."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data import slots
from sclatent.pp._columns import need
from sclatent.settings import InputError, SplitSettings, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

FEWEST_CELLS = 4
"""Two cells to train on, one to choose by, one to judge by."""


def random_split(n_cells: int, settings: SplitSettings) -> np.ndarray:
    """Return (n_cells,) ``train`` / ``validation`` / ``test``, drawn from the seed.

    Of ``default_rng(seed).permutation(n)`` the first ``floor(test · n)`` cells are test cells, the next
    ``floor(validation · n)`` validation cells (at least one each), the others train.

    Parameters
    ----------
    n_cells
        Number of cells.
    settings
        Section ``split``: fractions and seed.

    Returns
    -------
    ndarray
        (n_cells,) str.
    """
    order = np.random.default_rng(settings.seed).permutation(n_cells)
    n_test, n_validation = (
        max(1, math.floor(fraction * n_cells + 1e-9)) for fraction in (settings.test, settings.validation)
    )
    split = np.full(n_cells, slots.TRAIN, dtype=object)
    split[order[:n_test]] = slots.TEST
    split[order[n_test : n_test + n_validation]] = slots.VALIDATION
    return split


def check_number(n_cells: int, file: str) -> None:
    """Stop if so few cells passed that no split of them trains, chooses and judges."""
    if n_cells < FEWEST_CELLS:
        raise InputError(
            f"{file}: {n_cells} cell(s) passed the filters: at least {FEWEST_CELLS} are needed to train, "
            "choose and judge a model"
        )


def split_cells(obs: pd.DataFrame, settings: SplitSettings, file: str) -> pd.Categorical:
    """Return the split of the cells that passed, drawn or from a column.

    Raises
    ------
    InputError
        If there are fewer than four cells; if the column is missing, has a gap or an unknown value, or leaves a part
        empty.
    """
    import pandas as pd

    check_number(len(obs), file)
    column = settings.column
    if column is None:
        values = random_split(len(obs), settings)
    else:
        given = need(obs, column, "split.column", file)
        if given.isna().any():
            cell = obs.index[int(np.argmax(given.isna().to_numpy()))]
            raise InputError(
                f"{file}: split: column '{column}' has no value in {given.isna().sum()} cells (such as "
                f"'{cell}'): fill it"
            )
        values = given.astype(str).to_numpy(dtype=object)
        unknown = sorted(set(values) - set(slots.SPLITS))
        if unknown:
            raise InputError(
                f"{file}: split: column '{column}' holds "
                f"'{unknown[0]}'{did_you_mean(unknown[0], slots.SPLITS)}: "
                f"the values must be {', '.join(slots.SPLITS)}"
            )
    sizes = {part: int((values == part).sum()) for part in slots.SPLITS}
    for part, size in sizes.items():
        fewest = 2 if part == slots.TRAIN else 1
        if size < fewest:
            where = f"column '{column}' has" if column else "the split leaves"
            raise InputError(
                f"{file}: split: {where} {size} {part} cell(s) of {len(obs)}, at least {fewest} needed: add "
                f"cells, or change the split"
            )
    log.info("split: %s", ", ".join(f"{size} {part}" for part, size in sizes.items()))
    return pd.Categorical(values, categories=list(slots.SPLITS))


def place_split(prepared: AnnData, split: pd.Categorical, columns: pd.DataFrame) -> None:
    """Write the split into ``obs``, and say which levels of the columns (cells × columns) no training cell has.

    The columns are those that a model is conditioned on: for such levels the decoder takes the average of those that it
    knows (`sclatent.model.network`).
    """
    prepared.obs[slots.SPLIT] = split
    train = np.asarray(split) == slots.TRAIN
    for name, values in columns.items():
        new = ~values.isin(values[train].unique()).to_numpy()
        if new.any():
            levels = sorted(values[new].astype(str).unique())
            listed = ", ".join(f"'{level}'" for level in levels[:5]) + (" …" if len(levels) > 5 else "")
            log.warning(
                "split: no training cell has %s in column '%s': in the %d cells that do, the model takes the average "
                "of the levels that it was trained with",
                listed,
                name,
                new.sum(),
            )
