"""What a column of ``obs`` is: the categories or the numbers that the dataset file says, whatever its type and gaps.

And what it is called where it came in under a name that the pipeline writes itself.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data import slots
from sclatent.settings import InputError, did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

MISSING_WORDS = frozenset(
    ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN", "None", "none", "null", "NULL", "Null", "-", ".", "?")
)
"""What stands among numbers for a value that is missing; among names each of these is a name."""
_WHOLE = re.compile(r"0|-?[1-9][0-9]*")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def as_text(column: pd.Series) -> pd.Series:
    """Return a column as text (object), None where there is no value; the whole number 3 is ``3``, never ``3.0``."""
    import pandas as pd

    codes, words = _words(column)
    return pd.Series(np.array([*words, None], dtype=object)[codes], index=column.index, name=column.name, dtype=object)


def _words(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Return the text of each value of a column, and which of them each cell has (-1 where there is none)."""
    import pandas as pd

    codes, found = pd.factorize(column)
    values = np.asarray(found)
    if column.dtype == np.float32:
        values = values.astype(np.float32)  # else 0.1 is 0.10000000149
    return codes, list(map(_word, values))


def _word(value: Any) -> str:
    if isinstance(value, float | np.floating) and np.isfinite(value) and value == np.floor(value):
        return str(int(value))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def as_categories(column: pd.Series) -> pd.Series:
    """Return a column as unordered categories of text without unused ones: what `labels` and `batch` are, everywhere.

    Parameters
    ----------
    column
        Text, whole numbers (as float64 too, which they are where one is missing), truth values, categories of these.

    Returns
    -------
    Series of categories; the order of given categories stays, else by name; by value if all are whole numbers and no
    other order was given.
    """
    import pandas as pd

    codes, words = _words(column)
    there = set(words)
    given = list(map(_word, column.cat.categories)) if isinstance(column.dtype, pd.CategoricalDtype) else sorted(there)
    levels = [level for level in dict.fromkeys(given) if level in there]
    if levels == sorted(levels) and all(_WHOLE.fullmatch(level) for level in levels):
        levels.sort(key=int)
    place = {level: k for k, level in enumerate(levels)}
    of_cells = np.array([*(place[word] for word in words), -1])[codes]
    return pd.Series(pd.Categorical.from_codes(of_cells, pd.Index(levels)), index=column.index, name=column.name)


def is_measured(column: pd.Series) -> bool:
    """Tell whether a label is a measured number (a pseudotime, an angle): a column of numbers, not all of them whole.

    Whole numbers, whether or not one is missing, are names of groups.
    """
    import pandas as pd

    if not pd.api.types.is_float_dtype(column):
        return False
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    values = values[np.isfinite(values)]
    return bool((values != np.floor(values)).any())


def as_numbers(column: pd.Series) -> tuple[npt.NDArray[np.float64], str | None]:
    """Return a column as numbers: what `covariates` are, everywhere.

    Parameters
    ----------
    column
        Numbers, text or categories.

    Returns
    -------
    (n_cells,) float64, NaN where there is no value; and the first value that is not a number, or None.
    """
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan), None
    codes, values = pd.factorize(column)
    known = np.full(len(values) + 1, np.nan)
    for at, value in enumerate(values):
        text = str(value).strip()
        if isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_):
            known[at] = float(value)
        elif _FLOAT.fullmatch(text):
            known[at] = float(text)
        elif text not in MISSING_WORDS:
            return np.full(len(column), np.nan), str(value)
    return known[codes], None


def set_aside(columns: Iterable[Any]) -> dict[str, str]:
    """Return where columns go that came in under a name the pipeline writes: `name` → ``{name}_input``.

    Every such column moves, whether or not it holds what the pipeline will find: one rule for all of `slots.WRITTEN`.
    """
    taken = set(map(str, columns))
    out = {}
    for name in slots.WRITTEN:
        if name in taken:
            out[name] = spare_name(name, taken)
            taken.add(out[name])
    return out


def spare_name(name: str, taken: Iterable[str]) -> str:
    """Return ``{name}_input``, or with a number behind it the first that is free."""
    taken = set(taken)
    spare, number = name + slots.INPUT_SUFFIX, 1
    while spare in taken:
        number += 1
        spare = f"{name}{slots.INPUT_SUFFIX}_{number}"
    return spare


def called(prepared: AnnData, name: str) -> str:
    """Return what the column is called in `prepared`, the results and the atlas that the dataset file calls `name`."""
    known = prepared.uns.get(slots.UNS, {}).get(slots.UNS_PREPARED, {}).get(slots.RENAMED, {})
    return str(known.get(name, name))


def place_of(cells: AnnData, name: str, key: str) -> str:
    """Return what `called` does, or stop if there is no such column.

    Parameters
    ----------
    cells
        Prepared cells.
    name, key
        The column, and the keyword that names it.

    Raises
    ------
    InputError
        If ``obs`` has no such column.
    """
    there = called(cells, name)
    if there not in cells.obs:
        known = [str(column) for column in cells.obs.columns]
        raise InputError(f"{key}: obs has no column '{name}'{did_you_mean(name, known)}")
    return there


def add_column(obs: pd.DataFrame, name: str, values: Any, source: str) -> None:
    """Put a column into `obs`; one of that name that came in and differs is kept as ``{name}_input``, and logged."""
    if name in obs and not same(obs[name], values):
        spare = spare_name(name, map(str, obs.columns))
        obs[spare] = obs[name]
        log.info("column '%s' of the input differs from that of %s: it is kept as '%s'", name, source, spare)
    obs[name] = values


def same(old: pd.Series, new: Any) -> bool:
    """Tell whether two columns hold the same; numbers but for the rounding of float32, unless both are whole."""
    import pandas as pd

    new = pd.Series(new, index=old.index)
    numeric = [pd.api.types.is_numeric_dtype(x) and not pd.api.types.is_bool_dtype(x) for x in (old, new)]
    if all(numeric) and not all(pd.api.types.is_integer_dtype(x) for x in (old, new)):
        a, b = (x.to_numpy(dtype=float, na_value=np.nan) for x in (old, new))
        return bool(np.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True))
    return as_text(old).equals(as_text(new))


def check_text(table: pd.DataFrame, path: str | Path, which: str) -> None:
    """Stop at text that HDF5 cannot write: it ends a text at its first NUL byte.

    Raises
    ------
    InputError
        If there is a NUL byte in a name of `which` (``obs`` or ``var``) of the file at `path`, or in a column of text.
    """
    import pandas as pd

    texts: dict[str, Iterable[Any]] = {"the names": table.index, "the names of columns": table.columns}
    for name, column in table.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            texts[f"column '{name}'"] = column.cat.categories
        elif column.dtype == object:
            texts[f"column '{name}'"] = column
    for where, values in texts.items():
        bad = next((value for value in values if isinstance(value, str) and "\x00" in value), None)
        if bad is not None:
            raise InputError(
                f"{path}: {which}: {where} hold '{bad[:80]}', with a NUL byte, which no text can hold: the file is "
                "damaged: fetch it again, or write it again from its source"
            )
