"""Text files as people have them: gzipped or not whatever their names say, and not always complete."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sclatent.settings.errors import InputError

GZIP, HDF5 = b"\x1f\x8b", b"\x89HDF\r\n\x1a\n"
MARKS = {"\t": "tabs", ",": "commas", ";": "semicolons", " ": "spaces"}
LONGEST_LINE = 1 << 27
"""Characters of one line: a row of twenty million cells is shorter."""
_FOR_SPREADSHEETS = re.compile(r'\s*"?sep=(.|\\t)"?[,;\t]*\s*')


def starts_with(path: Path, magic: bytes) -> bool:
    """Tell whether a file starts with these bytes."""
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def open_text(path: Path) -> IO[str]:
    """Open a file as UTF-8 text, unpacked if its content is gzip; a byte order mark is left out."""
    if starts_with(path, GZIP):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def lines(file: IO[str], path: Path) -> Iterator[str]:
    """Yield the lines of a text file.

    Raises
    ------
    InputError
        If a line is longer than any row of counts, or holds a zero byte.
    """
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise InputError(f"{path}: line {number} is longer than {LONGEST_LINE:,} characters: this is no such table")
        if "\x00" in line:
            raise InputError(f"{path}: line {number} holds a zero byte: the file is damaged or no text: fetch it again")
        yield line


def is_for_spreadsheets(line: str) -> bool:
    """Tell whether a line is the first of a table for a spreadsheet (``sep=;``), which is no row."""
    return _FOR_SPREADSHEETS.fullmatch(line) is not None


def may_be_cut(path: Path) -> str:
    """Return a remark if the last line of a text file has no end, as where a download broke off; else nothing.

    A gzipped file says itself whether it is complete.
    """
    if path.stat().st_size == 0 or starts_with(path, GZIP):
        return ""
    with path.open("rb") as file:
        file.seek(-1, 2)
        ended = file.read(1) in (b"\n", b"\r")
    return "" if ended else "the last line has no line end: if the file was cut short, its last value may be wrong"
