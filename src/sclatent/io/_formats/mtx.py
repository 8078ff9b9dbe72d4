"""Matrix Market files.

scipy's fast reader ends the interpreter on some last lines and asks for the memory that the header declares; here the
entries come in blocks, are held against the header, and memory grows with what is really there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from scipy import sparse

from sclatent.data.blocks import RowSorter
from sclatent.data.textfiles import GZIP, open_text, starts_with
from sclatent.settings import InputError

_BLOCK = 4_000_000
"""Entries that are parsed at once."""
_HEADER_LINE = 1 << 16
_GZIP_RATIO = 1040
"""gzip packs no better than this."""
_FIELDS = ("integer", "unsigned-integer", "real", "double", "pattern")


class Header(NamedTuple):
    """What a Matrix Market file declares."""

    dense: bool
    field: str
    symmetric: bool
    n_rows: int
    n_columns: int
    n_entries: int


def read_header(path: Path) -> Header:
    """Return what the file declares, after holding it against the size of the file.

    Raises
    ------
    InputError
        If the header is not one, or declares more entries than the file has bytes for.
    """
    with open_text(path) as file:
        return _header(file, path)


def read_mtx(path: Path, *, turned: bool = False) -> sparse.csr_matrix:
    """Read a Matrix Market file, gzipped or not, as it stands (rows × columns), or `turned` (columns × rows).

    Entries that are listed twice are added up. Blanks at the end of a line, and a last line without an end, are fine.

    Raises
    ------
    InputError
        If the header is not one; if there are more or fewer entries than it declares, or one is out of range.
    """
    with open_text(path) as file:
        header = _header(file, path)
        shape = (header.n_rows, header.n_columns)
        sorter = RowSorter(shape[::-1] if turned else shape, header.n_entries)
        for rows, columns, values in _dense(file, header, path) if header.dense else _entries(file, header, path):
            sorter.add(*((columns, rows) if turned else (rows, columns)), values)
            if header.symmetric:
                off = rows != columns
                sorter.add(columns[off], rows[off], values[off])
    return sorter.matrix()


def _header(file: IO[str], path: Path) -> Header:
    first = file.readline(_HEADER_LINE).split()
    words = [word.lower() for word in first]
    if len(words) != 5 or words[0] != "%%matrixmarket" or words[1] != "matrix":
        raise InputError(
            f"{path}: the first line is not a Matrix Market header ('{' '.join(first)[:40]}'): expected "
            "'%%MatrixMarket matrix coordinate integer general'"
        )
    layout, field, symmetry = words[2:]
    if layout not in ("coordinate", "array") or field not in _FIELDS or symmetry not in ("general", "symmetric"):
        raise InputError(
            f"{path}: a Matrix Market file of kind '{layout} {field} {symmetry}' holds no counts: expected "
            "coordinate or array; integer, real or pattern; general or symmetric"
        )
    wanted = 3 if layout == "coordinate" else 2
    sizes: list[str] = []
    while not sizes:
        line = file.readline(_HEADER_LINE)
        if not line:
            raise InputError(f"{path}: cannot be read as Matrix Market: it ends before the line of its sizes")
        sizes = [] if line.lstrip().startswith("%") else line.split()
    if len(sizes) != wanted or not all(size.isascii() and size.isdigit() for size in sizes):
        raise InputError(
            f"{path}: the line of sizes is '{' '.join(sizes)[:60]}': expected {wanted} whole numbers (rows, columns"
            f"{', entries' if wanted == 3 else ''})"
        )
    n_rows, n_columns = int(sizes[0]), int(sizes[1])
    n_entries = int(sizes[2]) if wanted == 3 else n_rows * n_columns
    # the shortest entry is "1 1 1", or "1 1" of a pattern, or "1" of an array, and the end of the line
    shortest = 2 if layout == "array" else 4 if field == "pattern" else 6
    held = path.stat().st_size * (_GZIP_RATIO if starts_with(path, GZIP) else 1)
    if (n_entries - 1) * shortest > held or max(n_rows, n_columns) >= 2**31:
        raise InputError(
            f"{path}: the header declares {n_rows} × {n_columns} with {n_entries} entries, more than a file of "
            f"{path.stat().st_size} bytes can hold: it is damaged or cut short: fetch it again"
        )
    symmetric = symmetry == "symmetric"
    if symmetric and (n_rows != n_columns or layout == "array"):
        raise InputError(
            f"{path}: declared symmetric, but it is {n_rows} × {n_columns}, {layout}: export it as general"
        )
    return Header(layout == "array", field, symmetric, n_rows, n_columns, n_entries)


def _blocks(file: IO[str], n_fields: int, header: Header, path: Path) -> Iterator[list[Any]]:
    """Yield the numbers below the header in blocks, one array per field, and check how many there are."""
    import pandas as pd

    seen = 0
    try:
        blocks = pd.read_csv(  # type: ignore[call-overload]
            _Text(file, path),
            sep=r"\s+",
            header=None,
            # positions are whole numbers; what follows is the value, or the only field of an array
            dtype={0: np.float64} if n_fields == 1 else {0: np.int64, 1: np.int64, 2: np.float64},
            chunksize=_BLOCK,
            keep_default_na=False,
            na_values=["nan", "NaN", "NA"],
            quoting=3,
            float_precision="high",
        )
    except pd.errors.EmptyDataError:
        blocks = []
    for block in blocks:
        if block.shape[1] != n_fields:
            raise InputError(
                f"{path}: the entries have {block.shape[1]} fields, expected {n_fields}, since the header says "
                f"'{header.field}': the file is damaged"
            )
        seen += len(block)
        if seen > header.n_entries:
            break
        yield [block[i].to_numpy() for i in range(n_fields)]
    if seen != header.n_entries:
        raise InputError(
            f"{path}: the header declares {header.n_entries} entries, but there are "
            f"{'more' if seen > header.n_entries else seen}: the file is cut short or damaged: fetch it again"
        )


def _entries(file: IO[str], header: Header, path: Path) -> Iterator[tuple[Any, Any, Any]]:
    pattern = header.field == "pattern"
    for rows, columns, *values in _blocks(file, 2 if pattern else 3, header, path):
        for at, size, what in ((rows, header.n_rows, "row"), (columns, header.n_columns, "column")):
            bad = (at < 1) | (at > size)
            if bad.any():
                raise InputError(
                    f"{path}: an entry is in {what} {at[bad.argmax()]}, but there are {size} {what}s, counted from 1: "
                    "the file is damaged"
                )
        # half the memory of the positions as they are parsed
        yield (rows - 1).astype(np.int32), (columns - 1).astype(np.int32), np.ones(len(rows)) if pattern else values[0]


def _dense(file: IO[str], header: Header, path: Path) -> Iterator[tuple[Any, Any, Any]]:
    start = 0
    for (values,) in _blocks(file, 1, header, path):
        at = np.flatnonzero(values)
        # column by column
        columns, rows = np.divmod(at + start, header.n_rows)
        yield rows.astype(np.int32), columns.astype(np.int32), values[at]
        start += len(values)


class _Text:
    """A text file for pandas that refuses zero bytes, which its parser takes for the end of a number."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self.file, self.path = file, path

    def read(self, size: int = -1) -> str:
        text = self.file.read(size)
        if "\x00" in text:
            raise InputError(f"{self.path}: holds a zero byte: the file is damaged or not text: fetch it again")
        return text

    def __iter__(self) -> Iterator[str]:
        return iter(self.file)
