"""The lists of names beside a Matrix Market file, in the dresses that tools and spreadsheets give them."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sclatent.data.gene_ids import look_like_ids
from sclatent.data.textfiles import lines, open_text
from sclatent.settings import InputError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_HEADER = re.compile(
    r"x|v\d+|(cell|bc|barcode|gene|feature|ensembl|index|id|name|symbol)s?([ _.-]?(id|name|barcode|symbol|type)s?)?",
    re.IGNORECASE,
)
"""What stands above a list of names in files that have a header."""


def cell_names(path: Path, sides: tuple[int, int]) -> list[str]:
    """Return the names of cells: the first field of every line.

    Parameters
    ----------
    path
        The list.
    sides
        Rows and columns of the matrix: where the list is one longer, and begins like a header, that is left out.
    """
    return [row[0] for row in _table(path, sides)]


def gene_table(path: Path, sides: tuple[int, int], symbols: Path | None = None) -> pd.DataFrame:
    """Return the genes of a features file: id and symbol, or names alone; feature types where there are any.

    Parameters
    ----------
    path, sides
        As of `cell_names`.
    symbols
        A list of symbols for names that stand alone.

    Raises
    ------
    InputError
        If rows are short, or are not separated by tabs.
    """
    import pandas as pd

    rows = _table(path, sides)
    widths = {len(row) for row in rows}
    if widths == {1}:
        names = [row[0] for row in rows]
        if sum(mark in name for name in names for mark in ",; ") > len(names) / 2:
            raise InputError(
                f"{path}: found one column, such as '{names[0][:60]}', expected id and symbol separated by tabs"
            )
        ids = {"gene_ids": names} if look_like_ids(names) else {}
        listed = cell_names(symbols, sides) if symbols is not None else []
        return pd.DataFrame(ids, index=listed if len(listed) == len(names) else names)
    short = min(widths, default=0)
    if len(widths) > 1 and short < 3:
        number = next(i for i, row in enumerate(rows, 1) if len(row) == short)
        raise InputError(
            f"{path}: row {number} has {short} fields, others have {max(widths)}, separated by tabs: expected as many "
            "in every row"
        )
    ids_, names = ([row[i] for row in rows] for i in (0, 1))
    if look_like_ids(names) and not look_like_ids(ids_):
        log.info("%s: the second column holds the ids, the first the symbols", path)
        ids_, names = names, ids_
    table: dict[str, list[str]] = {"gene_ids": ids_}
    if short > 2:
        table["feature_types"] = [row[2] for row in rows]
    return pd.DataFrame(table, index=names)


def _table(path: Path, sides: tuple[int, int]) -> list[list[str]]:
    """Return the fields of every line, without a header and without the row numbers that R writes."""
    rows = _fields(path, 10 * max(sides) + 1000)
    longer = len(rows) - 1 in sides and len(rows) not in sides
    if longer and all(_HEADER.fullmatch(field) for field in rows[0] if field):
        log.info("%s: the first line is a header ('%s')", path, " ".join(rows[0])[:60])
        rows = rows[1:]
    numbered = len(rows) > 1 and any(
        all(len(row) > 1 and row[0] == str(i) for i, row in enumerate(rows, first)) for first in (0, 1)
    )
    return [row[1:] for row in rows] if numbered else rows


def _fields(path: Path, most: int) -> list[list[str]]:
    """Return the tab-separated fields of at most so many lines of a list of names; empty lines are left out."""
    rows: list[list[str]] = []
    with open_text(path) as file:
        for line in lines(file, path):
            if len(rows) > most:
                raise InputError(f"{path}: holds more than {most} names, many more than the matrix has rows or columns")
            if text := line.rstrip("\r\n"):
                rows.append([field.strip() for field in _unquoted(text.split("\t"), text)])
    return rows


def _unquoted(fields: Sequence[str], text: str) -> list[str]:
    """Return fields without the quotes around them; R quotes names, and separates by blanks or commas where told so."""
    if text[0] != '"' and '\t"' not in text:
        return list(fields)
    if len(fields) == 1 and (found := re.fullmatch(r'"[^"]*"([ ,])"[^"]*"(\1"[^"]*")*', text)):
        return next(csv.reader([text], delimiter=found[1]))
    return [field[1:-1] if len(field) > 1 and field[0] == field[-1] == '"' else field for field in fields]
