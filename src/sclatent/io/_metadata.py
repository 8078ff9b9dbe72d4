"""The table of per-cell columns: what is text in it and what a number, and how it joins the cells."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data import slots
from sclatent.data.columns import MISSING_WORDS, add_column, same
from sclatent.data.tables import read_text_table
from sclatent.io._counts import parsing, tidy
from sclatent.settings import InputError
from sclatent.settings.words import numbers

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

_DECIMAL = re.compile(r"-?\d+(,\d+)?([eE][-+]?\d+)?")
_TRUTH = ({"True": True, "False": False}, {"TRUE": True, "FALSE": False}, {"true": True, "false": False})


def read_metadata(path: str | Path) -> pd.DataFrame:
    """Read a table of per-cell columns (TSV or CSV, gzipped or not); the first column holds the barcodes.

    A column is text unless every value is written like a number (`sclatent.settings.words.numbers`), or all are truth
    values of one spelling. An empty field is missing; words such as ``NA`` are missing among numbers and truth values,
    and names among names. What was taken as missing is said in the log.

    Parameters
    ----------
    path
        A TSV or CSV file, gzipped or not.

    Returns
    -------
    DataFrame
        One row per cell, the barcodes as its index.

    Raises
    ------
    InputError
        If there is no such file, no cell in it, or a line does not fit.
    """
    import pandas as pd

    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file (metadata)")
    with parsing(path, "a table of metadata"):
        table = read_text_table(path)
    for remark in table.remarks:
        log.warning("%s: %s", path, remark)
    if not table.rows:
        raise InputError(f"{path}: no cell in it: expected a header and one row per cell")
    index, *fields = zip(*table.rows, strict=True)
    missing: list[str] = []
    columns = {}
    for name, texts in zip(table.names[1:], fields, strict=True):
        columns[name], said = _typed(texts, guess=name != slots.SAMPLE)
        if table.separator == ";" and name != slots.SAMPLE and _decimal_commas(texts):
            points, lack = _typed(tuple(text.replace(",", ".") for text in texts), guess=True)
            if points.dtype.kind == "f":
                columns[name], said = points, lack
                log.info("%s: the commas in '%s' are decimal points, since semicolons separate fields", path, name)
        missing += [f"{said} in '{name}'"] if said else []
    if missing:
        log.info("%s: taken as missing: %s", path, "; ".join(missing))
    names = pd.Index([text.strip() for text in index], dtype=object)
    frame = pd.DataFrame(columns, index=names)
    _say_names(frame, path)
    return tidy(frame, path, "metadata")


def _decimal_commas(texts: Sequence[str]) -> bool:
    """Tell whether a column holds numbers such as ``0,5``, at most one comma in each."""
    words = {text.strip() for text in texts} - MISSING_WORDS
    return any("," in word for word in words) and all(_DECIMAL.fullmatch(word) for word in words)


def _typed(texts: tuple[str, ...], *, guess: bool) -> tuple[np.ndarray, str]:
    """Return a column as float64, int64, truth values or text (None: missing), and what was taken as missing."""
    import pandas as pd

    codes, words = pd.factorize(np.array(texts, dtype=object))
    bare = [str(word).strip() for word in words]
    values = [word for word in bare if word not in MISSING_WORDS]
    found: dict[str, Any] | None = None
    if guess and values:
        found = numbers(values) or next((truth for truth in _TRUTH if truth.keys() >= set(values)), None)
    if found is None:
        gap = [str(word) == "" for word in words]
        column = np.array([None if none else word for word, none in zip(words, gap, strict=True)], dtype=object)[codes]
    else:
        gap = [word in MISSING_WORDS for word in bare]
        of_word = [None if none else found[word] for word, none in zip(bare, gap, strict=True)]
        if any(isinstance(value, bool) for value in found.values()):
            column = np.array(of_word, dtype=object if any(gap) else bool)[codes]
        else:
            whole = not any(gap) and all(isinstance(value, int) for value in found.values())
            filled = [np.nan if value is None else value for value in of_word]
            column = np.array(filled, dtype=np.int64 if whole else np.float64)[codes]
    count: Counter[str] = Counter()
    for word, none, n in zip(bare, gap, np.bincount(codes, minlength=len(words)), strict=True):
        if none:
            count[f"'{word}'" if word else "empty"] += int(n)
    return column, ", ".join(f"{n} {word}" for word, n in count.items())


def _say_names(frame: pd.DataFrame, path: Path) -> None:
    """Say which words that mean *missing* elsewhere are names here, and which names look the same."""
    from pandas.api.types import is_numeric_dtype

    said = []
    for name in frame.columns:
        if not is_numeric_dtype(frame[name]):  # text is `object` or, from pandas 3 on, `str`
            known = frame[name][frame[name].isin(MISSING_WORDS)].value_counts()
            said += [f"'{word}' in '{name}' ({n} rows)" for word, n in known.items()]
            texts = frame[name].dropna().unique()
            stripped = Counter(str(text).strip() for text in texts)
            if len(stripped) < len(texts):
                word = max(stripped, key=lambda text: stripped[text])
                log.warning("%s: names in '%s' differ in blanks at their ends only, such as '%s'", path, name, word)
    if said:
        log.info("%s: kept as names: %s: leave a field empty where there is no value", path, ", ".join(said))


def join_metadata(adata: AnnData, path: Path) -> dict[str, Any]:
    """Join the table to the cells of `adata`, in place, and return how many matched.

    Raises
    ------
    InputError
        If no cell matches, or one stands twice in the table.
    """
    table = read_metadata(path)
    cells = adata.obs_names.str.strip()
    matched = cells.isin(table.index)
    if not matched.any() and slots.SAMPLE in table and slots.SAMPLE in adata.obs:
        # plain barcodes beside a sample column: name the cells as the joined samples do
        table.index = table.index + "-" + table[slots.SAMPLE].astype(str)
        matched = cells.isin(table.index)
    if not matched.any() and slots.SAMPLE in adata.obs:
        cells = _plain(cells, adata.obs[slots.SAMPLE], table.index, path)
        matched = cells.isin(table.index)
    if not matched.any():
        raise InputError(
            f"{path}: no barcode matches the counts: the table has '{table.index[0]}', the counts have "
            f"'{adata.obs_names[0]}': "
            f"make the first column the cell names of the counts{_where(table, cells)}"
        )
    _refuse_shifted(table.index, cells, path)
    twice = table.index[table.index.duplicated() & table.index.isin(cells)]
    if len(twice):
        raise InputError(f"{path}: the barcode '{twice[0]}' occurs more than once: keep one row per cell")
    table = table[~table.index.duplicated()]
    rate = float(matched.mean())
    say = log.info if rate == 1 else log.warning
    say(
        "%s: %d of %d cells matched (%.1f %%); %d rows of the table match none",
        path,
        matched.sum(),
        len(matched),
        100 * rate,
        len(table) - matched.sum(),
    )
    for name, values in table.reindex(cells).items():
        if name in adata.obs and same(adata.obs[name][matched], values[matched].to_numpy()):
            continue  # says nothing new, and has gaps where a cell is not in the table
        add_column(adata.obs, str(name), values.to_numpy(), str(path))
    return {"path": str(path), "matched": int(matched.sum()), "cells": len(matched), "rows": len(table)}


def _plain(cells: pd.Index, samples: pd.Series, rows: pd.Index, path: Path) -> pd.Index:
    """Return the names of cells without that of their sample, which a joined dataset puts after the barcode.

    Raises
    ------
    InputError
        If a row of the table is the barcode of cells of several samples.
    """
    import pandas as pd

    ends = [f"-{sample}" for sample in samples.astype(str)]
    plain = pd.Index([name.removesuffix(end) for name, end in zip(cells, ends, strict=True)], dtype=object)
    twice = plain[plain.duplicated() & plain.isin(rows)]
    if len(twice):
        of = ", ".join(f"'{sample}'" for sample in samples[plain == twice[0]].astype(str))
        raise InputError(
            f"{path}: the barcode '{twice[0]}' is that of cells of several samples ({of}): give the table a column "
            f"'{slots.SAMPLE}' with their names, or write '{cells[int((plain == twice[0]).argmax())]}'"
        )
    return plain


def _where(table: pd.DataFrame, cells: pd.Index) -> str:
    """Say which other column of the table holds the names of cells, if one does."""
    name = next((name for name in table.columns if table[name].isin(cells).any()), None)
    return "" if name is None else f", which are in its column '{name}'"


def _refuse_shifted(rows: pd.Index, cells: pd.Index, path: Path) -> None:
    """Stop if both sides are numbered, one from 0 and the other from 1: each cell would get the row of another."""
    first = []
    for names in (rows, cells):
        if not all(name.isdecimal() for name in names):
            return
        numbers = sorted(map(int, names))
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            return
        first.append(numbers[0])
    if len(rows) == len(cells) and set(first) == {0, 1}:
        raise InputError(
            f"{path}: its rows are numbered from {first[0]}, the cells of the counts from {first[1]}: each cell would "
            "get the row of another: make the first column the cell names of the counts"
        )
