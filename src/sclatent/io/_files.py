"""Text files, gzipped or not whatever their names say, read so that no line and no list can fill the memory."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sclatent.settings import InputError

GZIP, HDF5 = b"\x1f\x8b", b"\x89HDF\r\n\x1a\n"
LONGEST_LINE = 1 << 27
"""Characters of one line: a row of twenty million cells is shorter."""
_NAMES_RATIO = 100
"""How many times larger than its gzipped file a list of names may be; real ones are three to ten times larger."""
_NAMES_SLACK = 1 << 22


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


def name_table(path: Path) -> list[list[str]]:
    """Return the tab-separated fields of every line of a list of names; empty lines are left out."""
    limit = path.stat().st_size * (_NAMES_RATIO if starts_with(path, GZIP) else 1) + _NAMES_SLACK
    rows: list[list[str]] = []
    read = 0
    with open_text(path) as file:
        for line in lines(file, path):
            read += len(line)
            if read > limit:
                raise InputError(
                    f"{path}: unpacks to more than {_NAMES_RATIO} times its size: this is no list of names: "
                    "fetch it again"
                )
            if text := line.rstrip("\r\n"):
                rows.append(text.split("\t"))
    return rows
