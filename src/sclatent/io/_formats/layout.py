"""How a table of text is laid out: its header, what separates the fields, and rows that are what they look like."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

from sclatent.data.tables import NAMES_OF_ROWS
from sclatent.data.textfiles import GZIP, MARKS, is_for_spreadsheets, lines, open_text, starts_with
from sclatent.settings import InputError

_ROWS_LOOKED_AT = 5
_HEADER_RATIO, _HEADER_SLACK = 30, 1 << 20


class Layout(NamedTuple):
    """How a table is laid out."""

    header: list[str]
    separator: str
    """What separates the fields, as pandas takes it."""
    skip: int
    """Number of lines up to and with the header."""
    ends: str = ""
    """The separator that stands behind the last field of every row, if one does."""


class Rows:
    """The rows below the header, for pandas; a quote that its line does not close would swallow what follows.

    A separator behind the last field of a row is cut off, if the layout has it.
    """

    def __init__(self, file: IO[str], path: Path, layout: Layout) -> None:
        self.lines = lines(file, path)
        self.path, self.number, self.ends = path, layout.skip, layout.ends
        self.marks = layout.separator if len(layout.separator) == 1 else " \t"
        skip = layout.skip
        for _ in range(skip):
            next(self.lines)

    def read(self, size: int = -1) -> str:
        parts: list[str] = []
        read = 0
        for line in self.lines:
            self.number += 1
            if '"' in line:
                _closed(line, self.number, self.path, self.marks)
            if self.ends and (bare := line.rstrip("\r\n")).endswith(self.ends):
                line = bare.removesuffix(self.ends) + "\n"
            parts.append(line)
            read += len(line)
            if 0 <= size <= read:
                break
        return "".join(parts)

    def __iter__(self) -> Iterator[str]:
        return self.lines


def _closed(line: str, number: int, path: Path, marks: str = "\t,;") -> None:
    """Stop if a field of a line opens a quote that the line does not close."""
    left = re.sub(r'"[^"]*"', "", line)
    opened = re.search(rf'(?:^|[{marks}])"([^{marks}\r\n]*)', left) if '"' in left else None
    if opened:
        raise InputError(
            f"{path}: line {number}: the quote before '{opened.group(1)[:20]}' is not closed in its line: remove the "
            'mark (") or close it'
        )


def read_header(path: Path) -> Layout:
    """Return the fields of the header, what separates them, and where the rows begin.

    Lines that start with # or % are comments, unless the last of them has as many fields as the first row below it. A
    line ``sep=;`` is for spreadsheets.
    """
    comments: list[str] = []
    with open_text(path, zeros=True) as file:
        reader = lines(file, path)
        for line in reader:
            if line.strip() and not line.startswith(("#", "%")) and not is_for_spreadsheets(line):
                break
            comments.append(line)
        else:
            raise InputError(f"{path}: no header in it: the file is empty")
        below = [text for text in islice(reader, _ROWS_LOOKED_AT) if text.strip()]
    for number, text in enumerate([line, *below], len(comments) + 1):
        _closed(text, number, path)
    mark = _mark(line, below, path)
    if starts_with(path, GZIP) and len(line) > _HEADER_SLACK + _HEADER_RATIO * path.stat().st_size:
        raise InputError(
            f"{path}: the header unpacks to more than {_HEADER_RATIO} times the size of the file: these are not names"
        )
    fields = _fields(line, mark)
    widest = max((_width(row, mark) for row in below), default=0)
    if widest > len(fields) + 1 and not comments:
        # said before the fields are made: there may be millions of them
        column_names(fields, widest, path)
    separator = r"\s+" if mark == " " else mark
    if comments and comments[-1].startswith("#"):
        above = _fields(comments[-1].lstrip("# "), mark)
        if len(fields) > 2 and len(above) in (len(fields), len(fields) - 1):
            return Layout(above, separator, len(comments))
    ends = _ends(fields, below, mark)
    if ends and not fields[-1]:
        fields = fields[:-1]
    return Layout(fields, separator, len(comments) + 1, ends)


def _ends(header: list[str], below: list[str], mark: str) -> str:
    """Return the mark if it stands behind the last field of every row, and the header shows that no value lacks there.

    It does if it ends with the mark too, or if its first field stands above the names of the rows.
    """
    if mark == " " or not below or not all(row.rstrip("\r\n").endswith(mark) for row in below):
        return ""
    more = {_width(row, mark) - len(header) for row in below}
    named = not header[0] or NAMES_OF_ROWS.fullmatch(header[0]) is not None
    return mark if (more == {0} and not header[-1]) or (more == {1} and named) else ""


def _mark(header: str, below: list[str], path: Path) -> str:
    """Return what separates the fields: the mark that gives the header and the rows below it one number of fields."""
    bare = re.sub(r'"[^"]*"', "", header.strip("\r\n"))
    marks = [mark for mark in "\t,; " if mark in bare]
    if not marks:
        raise InputError(
            f"{path}: the first line has one field only: expected names separated by tabs, commas or semicolons"
        )
    # a space only counts where there is nothing else: names may hold spaces
    usual = max(marks, key=lambda m: (m != " ", bare.count(m)))
    if not below:
        return usual
    widths = {mark: {_width(row, mark) for row in below} for mark in "\t,; "}
    fitting = [
        mark
        for mark, found in widths.items()
        if len(found) == 1 and max(found) > 1 and max(found) - _width(header, mark) in (0, 1)
    ]
    if fitting:
        return max(fitting, key=lambda m: (m != " ", max(widths[m])))
    # the rows agree on another mark than the header: no number of fields would be a help
    other = [mark for mark in "\t,;" if mark != usual and widths[mark] != {1} and widths[usual] == {1}]
    if other:
        if usual == " ":
            raise InputError(
                f"{path}: the first line ('{header.strip()[:40]}') is no header of the rows below, which are separated "
                f"by {MARKS[other[0]]}: remove it if it is a title"
            )
        raise InputError(
            f"{path}: the header is separated by {MARKS[usual]} and the rows by {MARKS[other[0]]}: use one of them"
        )
    mixed = [mark for mark in "\t,;" if 1 in widths[mark] and len(widths[mark]) > 1]
    if len(mixed) > 1:
        raise InputError(
            f"{path}: some rows are separated by {MARKS[mixed[0]]}, others by {MARKS[mixed[1]]}: use one of them"
        )
    return usual


def _width(line: str, mark: str) -> int:
    """Return the number of fields of a line."""
    if mark == " ":
        return len(_fields(line, mark))
    return (re.sub(r'"[^"]*"', "", line) if '"' in line else line).count(mark) + 1


def _fields(line: str, mark: str) -> list[str]:
    line = line.rstrip("\r\n")
    if mark == " ":
        return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', line)]
    return next(csv.reader([line], delimiter=mark, skipinitialspace=True))


def column_names(header: list[str], n_fields: int, path: Path) -> list[str]:
    """Return the names of the columns below a header: it may lack the one of the column of names."""
    if len(header) == n_fields - 1:
        return header
    if len(header) == n_fields:
        return header[1:]
    raise InputError(
        f"{path}: the header has {len(header)} fields, the rows have {n_fields}: expected as many, or one fewer"
        + (f": remove the first line if it is a title ('{header[0][:40]}')" if 2 * len(header) < n_fields else "")
    )
