"""Tables of text (CSV, TSV and their kin) as the text that stands in them: nothing is guessed, no row is lost."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sclatent.data.textfiles import MARKS, is_for_spreadsheets, may_be_cut, open_text
from sclatent.settings.errors import InputError

NAMES_OF_ROWS = re.compile(
    r"(cell|barcode|bc|nucleus|well|obs|row|index|gene)?[ _.-]?(id|name|barcode|index)?s?", re.IGNORECASE
)
"""What a column of names is called, usually."""


@dataclass
class Table:
    """A table of text.

    Parameters
    ----------
    names
        One per column; the first may be empty.
    rows
        As many fields each; an empty field is an empty string.
    remarks
        What was done about odd lines; the caller, which knows what the table is, logs it.
    separator
        What separates the fields.
    """

    names: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    separator: str = ","


@dataclass
class _Record:
    fields: list[str]
    first: int
    """Number of its first line."""
    last: int


@dataclass
class _Reading:
    """What the lines are with one separator."""

    table: Table
    place: int
    """Where the separator first stands in the first row."""
    wrong: str
    """What does not fit; empty if all does."""


def read_text_table(path: str | Path) -> Table:
    """Read a table with a header, separated by tabs, commas or semicolons (else spaces), gzipped or not.

    The separator is the one with which header and rows agree. Fields may be quoted, and then hold separators and line
    breaks; a quote inside a field is text. Empty lines, comments (``#``) and separators at the ends of lines are left
    out. The header may be one field shorter than the rows (as R writes it).

    Returns
    -------
    Table
        Without rows if there is nothing below the header, without names if the file is empty.

    Raises
    ------
    InputError
        One line with the number of the line that does not fit.
    OSError, UnicodeDecodeError
        What reading a broken file raises.
    """
    path = Path(path)
    with open_text(path) as file:
        lines = list(file)
    broken = next((number for number, line in enumerate(lines, 1) if "\0" in line), None)
    if broken is not None:
        raise InputError(f"{path}: line {broken} holds a NUL byte: this is not text, or not UTF-8: save it as UTF-8")
    below = (i for i, line in enumerate(lines) if line.strip() and line[0] != "#" and not is_for_spreadsheets(line))
    start = next(below, None)
    if start is None:
        return Table()
    head = "".join(lines[max(0, start - 1) : start + 2])
    for marks in ("\t,;", " "):
        tried = [_read(lines, start, mark) for mark in marks if mark in head]
        wide = [one for one in tried if len(one.table.names) > 1]
        if wide:
            # names of cells hold no separators, so of several that fit it is the one that comes first
            best = min([one for one in wide if not one.wrong] or wide, key=lambda one: one.place)
            if best.wrong:
                raise InputError(f"{path}: {best.wrong}")
            best.table.remarks += [cut] if (cut := may_be_cut(path)) else []
            return best.table
    raise InputError(
        f"{path}: the header has one field only: expected a column of names and further ones, separated by tabs or "
        "commas"
    )


def _read(lines: list[str], start: int, mark: str) -> _Reading:
    remarks: list[str] = []
    try:
        records = list(_records(lines, start, mark))
        wrong = _swallowed(records, lines, mark)
    except csv.Error:
        # a quote that does not close, or has text behind it: each line for itself then, and such quotes are text
        records, wrong = list(_by_line(lines, start, mark, remarks)), ""
    names, records = _header(records, lines[start - 1] if start else "", mark)
    if not records:
        return _Reading(Table(names), 0, "")
    bare = re.sub(r'"[^"]*"', "", lines[records[0].first - 1])
    place = bare.find(mark) if mark in bare else len(bare)
    names, width, ends = _cut_ends(names, records)
    wrong = wrong or ends or _misfit(names, records, width, mark)
    if len(names) == width - 1:
        names = ["", *names]
    names = [names[0], *(name or f"column_{i}" for i, name in enumerate(names[1:], 2))]
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice and not wrong:
        wrong = f"{names.count(twice[0])} columns are called '{twice[0]}': give them different names"
    return _Reading(Table(names, [record.fields for record in records], remarks, mark), place, wrong)


def _records(lines: list[str], start: int, mark: str) -> Iterator[_Record]:
    """Yield the records by the rules of CSV, but empty ones.

    Raises
    ------
    csv.Error
        If a quote does not close, or text follows a closing quote.
    """
    reader = csv.reader(lines[start:], delimiter=mark, skipinitialspace=mark == " ", strict=True)
    first = start + 1
    for fields in reader:
        last = start + reader.line_num
        if any(fields):
            yield _Record(fields, first, last)
        first = last + 1


def _by_line(lines: list[str], start: int, mark: str, remarks: list[str]) -> Iterator[_Record]:
    """Yield a record per line; in a line whose quotes do not pair, they are text."""
    odd = []
    for number, line in enumerate(lines[start:], start + 1):
        fields, paired = _fields(line, mark)
        if any(fields):
            yield _Record(fields, number, number)
            odd += [] if paired else [number]
    if odd:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        remarks.append(f"line {odd[0]}{more}: a quote that does not close, or has text behind it, is taken as text")


def _fields(line: str, mark: str) -> tuple[list[str], bool]:
    """Return the fields of a line for itself, and whether its quotes pair."""
    line = line.rstrip("\r\n")
    try:
        return next(csv.reader([line], delimiter=mark, skipinitialspace=mark == " ", strict=True), []), True
    except csv.Error:
        fields = line.split(mark)
        return [f[1:-1] if len(f) > 1 and f[0] == f[-1] == '"' else f for f in fields], False


def _swallowed(records: list[_Record], lines: list[str], mark: str) -> str:
    """Say where a quoted field goes over lines that look like rows of their own; else return nothing."""
    long = [record for record in records if record.first < record.last]
    if not long:
        return ""
    alone = [record for record in records if record.first == record.last]
    width = _usual(alone or records, len(records[0].fields))
    shapes = {_shape(record.fields[0]) for record in alone[1:]}
    for record in long:
        inside = [_fields(line, mark)[0] for line in lines[record.first : record.last] if line.strip()]
        like = shapes | {_shape(record.fields[0])}
        rows = [fields for fields in inside if len(fields) == width and fields[0] and _shape(fields[0]) in like]
        if rows:
            return (
                f"line {record.first}: a quote opens that closes in line {record.last} only, and what looks like a row "
                f"('{rows[0][0]}') lies in between: remove the quote, or the line break in the field"
            )
    return ""


def _shape(text: str) -> str:
    """Return what a name looks like: a run of letters as ``a``, of digits as ``0``."""
    return re.sub(r"[0-9]+", "0", re.sub(r"[A-Za-z]+", "a", text.strip()))


def _usual(records: list[_Record], expected: int = 0) -> int:
    """Return how many fields most records have; of several such numbers the expected one, if it is among them."""
    count = Counter(len(record.fields) for record in records)
    return max(count, key=lambda n: (count[n], n == expected))


def _header(records: list[_Record], above: str, mark: str) -> tuple[list[str], list[_Record]]:
    """Return the names of the columns, and the rows: without comments, that is lines with # that are no rows.

    The header is the first record, unless the comment above it has as many fields, or one fewer.
    """
    if above.startswith("#") and (mark == "\t" or not above.startswith("# ")):
        fields = _fields(above.lstrip("# "), mark)[0]
        if len(fields) > 1 and len(fields) in (len(records[0].fields), len(records[0].fields) - 1):
            records = [_Record(fields, 0, 0), *records]
    names, rows = [name.strip() for name in records[0].fields], records[1:]
    if rows:
        width = _usual(rows, len(names))
        rows = [row for row in rows if len(row.fields) == width or not row.fields[0].startswith("#")]
    return names, rows


def _cut_ends(names: list[str], records: list[_Record]) -> tuple[list[str], int, str]:
    """Cut off empty fields where lines end with a separator; return names, fields per row, and what is not clear."""

    def empty_from(width: int) -> bool:
        return not any(any(record.fields[width:]) for record in records)

    while len(names) > 1 and not names[-1] and empty_from(len(names) - 1):
        names = names[:-1]
    width = len(names)
    if any(len(record.fields) > width for record in records) and empty_from(width):
        # either separators behind the last column, or a last column without values under a header as R writes it
        if all(len(record.fields) == width + 1 for record in records) and not NAMES_OF_ROWS.fullmatch(names[0]):
            return names, width + 1, "every row ends with a separator, the header does not: name the first column too"
        for record in records:
            del record.fields[width:]
    return names, _usual(records, width), ""


def _misfit(names: list[str], records: list[_Record], width: int, mark: str) -> str:
    """Say what has another number of fields than most rows; else return nothing."""
    if len(names) not in (width, width - 1):
        return f"the header has {len(names)} fields, the rows have {width}: expected as many, or one fewer"
    other = next((mark for mark in "\t,;" if len(names) < width == len(mark.join(names).split(mark))), "")
    if other and not any(other in text for record in records for text in record.fields):
        return f"the header is separated by {MARKS[other]}, the rows by {MARKS[mark]}: use one separator"
    for record in records:
        if len(record.fields) != width:
            return (
                f"line {record.first} has {len(record.fields)} fields, the other rows have {width}, separated by "
                f"{MARKS[mark]}: quote a field that holds a separator, and fill up a short line"
            )
    return ""
