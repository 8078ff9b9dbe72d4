"""Text files as people have them: gzipped or not whatever their names say, and not always complete."""

from __future__ import annotations

import gzip
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sclatent.settings.errors import InputError, check_file

GZIP, HDF5 = b"\x1f\x8b", b"\x89HDF\r\n\x1a\n"
MARKS = {"\t": "tabs", ",": "commas", ";": "semicolons", " ": "spaces"}
LONGEST_LINE = 1 << 27
"""Characters of one line: a row of twenty million cells is shorter."""
RATIO, SLACK = 100, 1 << 22
"""How many times larger than its gzipped file a text may be, and how many bytes more; real ones are three to thirty."""
_FOR_SPREADSHEETS = re.compile(r'\s*"?sep=(.|\\t)"?[,;\t]*\s*')


def starts_with(path: Path, magic: bytes) -> bool:
    """Tell whether a file starts with these bytes."""
    check_file(path)
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


class _Unpacked(gzip.GzipFile):
    """A gzipped file that ends with a line where it unpacks to more than a limit."""

    def __init__(self, path: Path, limit: float) -> None:
        super().__init__(path, "rb")
        self.limit, self.unpacked = limit, 0

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read1(1 << 20), b""))
        return self._counted(super().read(size))

    def read1(self, size: int = -1) -> bytes:
        return self._counted(super().read1(size))

    def _counted(self, data: bytes) -> bytes:
        self.unpacked += len(data)
        if self.unpacked > self.limit:
            raise InputError(
                f"{self.name}: unpacks to more than {RATIO} times its size, which real text does not: fetch it again"
            )
        return data


def open_text(path: Path, *, zeros: bool = False) -> IO[str]:
    """Open a file as UTF-8 text, unpacked if its content is gzip; a byte order mark is left out.

    Reading ends with `InputError` where more is unpacked than real text is packed to; not if there may be `zeros`
    mostly, as in a table of counts, which pack a thousandfold.
    """
    if starts_with(path, GZIP):
        limit = math.inf if zeros else SLACK + RATIO * path.stat().st_size
        return io.TextIOWrapper(_Unpacked(path, limit), encoding="utf-8-sig", newline="")  # type: ignore[arg-type]
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
            raise InputError(f"{path}: line {number} is longer than {LONGEST_LINE:,} characters: this is not a table")
        if "\x00" in line:
            raise InputError(f"{path}: line {number} holds a zero byte: it is damaged or not text: fetch it again")
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
