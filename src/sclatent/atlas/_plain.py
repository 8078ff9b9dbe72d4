"""What can be written into ``uns`` and comes back as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def plain(value: Any) -> Any:
    """Return a value that h5ad can hold: dicts, numbers, text and arrays of one type.

    "/" in a key would nest, so it becomes "_"; entries that are None are left out; lists become arrays, and lists of
    anything but numbers, truth values or text become JSON.
    """
    import json

    if isinstance(value, dict):
        return {str(key).replace("/", "_"): plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        kinds = {type(item) for item in value}
        if kinds <= {int, float, bool, type(None)} and kinds != {type(None)}:
            return np.array([np.nan if item is None else item for item in value])
        if kinds == {str}:
            return np.array(value, dtype=object)
        return json.dumps(value)
    if isinstance(value, np.generic):
        return value.item()
    return value


def table(frame: pd.DataFrame, *, index: str) -> pd.DataFrame:
    """Return a table that h5ad can hold, rows named by a column.

    Text columns hold "" where a value is missing; truth values with gaps become nullable ones; "/" in column names
    becomes "_".
    """
    import pandas as pd

    out = frame.set_index(index, drop=True)
    out.index = pd.Index(out.index.astype(str), name=index)
    out.columns = pd.Index([str(column).replace("/", "_") for column in out.columns])
    for column in out.columns:
        values = out[column]
        if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
            continue
        known = values.dropna()
        if len(known) and all(isinstance(item, bool | np.bool_) for item in known):
            out[column] = values.astype("boolean")
        else:
            out[column] = values.astype(object).where(values.notna(), "").astype(str)
    return out
