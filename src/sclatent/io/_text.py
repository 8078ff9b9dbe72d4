"""Dense tables of counts: TSV, CSV and the like, gzipped or not, quoted or not, whichever way round."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from scipy import sparse

from sclatent.data.genes import clean_names, cycle_genes, look_like_ids
from sclatent.io._counts import assemble, parsing
from sclatent.io._files import lines, open_text
from sclatent.io._rounding import Rounding
from sclatent.settings import InputError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

ENDINGS = (".csv", ".tsv", ".txt", ".tab")
_ENTRIES = 16_000_000
"""Entries that are parsed at once, so that a large table never stands in memory as a whole."""
_ROWS_LOOKED_AT = 5
_MARKS = {"\t": "tabs", ",": "commas", ";": "semicolons", " ": "spaces"}
_BARCODE = re.compile(r"(.*[^A-Za-z])?[ACGTN]{8,}([^A-Za-z].*)?")
_USUAL = re.compile(
    r"MT-.+|RP[SL]\d+[AXYL]?|ACTB|GAPDH|B2M|MALAT1|CD\d+[A-Z]?|HLA-.+|COL\d+A\d+|S100A\d+", re.IGNORECASE
)


def read_text(path: Path, *, orientation: str | None, rounding: Rounding | None = None) -> AnnData:
    """Read a dense table with names in the first row and the first column.

    Parameters
    ----------
    path
        Table separated by tabs, commas, semicolons or spaces, gzipped or not. The header may be one field shorter than
        the rows (as R writes it).
    orientation
        ``genes_by_cells`` or ``cells_by_genes``; ``None``: whichever side's names look like genes. The choice and its
        reason are logged.
    rounding
        How fractions become counts, if at all.
    """
    import pandas as pd

    with parsing(path, "a table"), open_text(path) as file:
        header, separator, skip = _header(path)
        table = _Rows(file, path, skip, separator)
        rows: list[str] = []
        blocks: list[sparse.csr_matrix] = []
        width: list[str] = []
        try:
            # no word stands for a missing value: there are genes called NA and NAN
            reader = pd.read_csv(  # type: ignore[call-overload]
                table,
                sep=separator,
                header=None,
                index_col=False,
                chunksize=max(1, _ENTRIES // len(header)),
                dtype={0: str},
                keep_default_na=False,
                low_memory=False,
            )
        except pd.errors.EmptyDataError:
            raise InputError(f"{path}: cannot be read as a table: a header and nothing below it") from None
        for block in reader:
            width = width or _columns(header, block.shape[1], path)
            rows += list(block[0])
            blocks.append(_numbers(block.iloc[:, 1:], list(block[0]), width, path))
    matrix = sparse.vstack(blocks, format="csr")
    if orientation is None:
        orientation, reason = _orientation(rows, width, short=len(header) == len(width))
    else:
        reason = "as `orientation` says"
    log.info("%s: read as %s (%s)", path, orientation.replace("_", " "), reason)
    if orientation == "genes_by_cells":
        matrix, cells, genes = matrix.T.tocsr(), width, rows
    else:
        cells, genes = rows, width
    info = {"format": "dense text", "orientation": orientation, "orientation_reason": reason}
    return assemble(
        matrix,
        pd.DataFrame(index=cells),
        pd.DataFrame(index=genes),
        path,
        info,
        where="the table",
        rounding=rounding,
    )


class _Rows:
    """The rows below the header, for pandas; a quote that its line does not close would swallow what follows."""

    def __init__(self, file: IO[str], path: Path, skip: int, separator: str) -> None:
        self.lines = lines(file, path)
        self.path, self.number = path, skip
        self.marks = separator if len(separator) == 1 else " \t"
        for _ in range(skip):
            next(self.lines)

    def read(self, size: int = -1) -> str:
        parts: list[str] = []
        read = 0
        for line in self.lines:
            self.number += 1
            if '"' in line:
                _closed(line, self.number, self.path, self.marks)
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


def _header(path: Path) -> tuple[list[str], str, int]:
    """Return the fields of the header, what separates them, and the number of lines up to and with the header.

    Lines that start with # or % are comments, unless the last of them has as many fields as the first row below it.
    """
    comments: list[str] = []
    with open_text(path) as file:
        reader = lines(file, path)
        for line in reader:
            if line.strip() and not line.startswith(("#", "%")):
                break
            comments.append(line)
        else:
            raise InputError(f"{path}: no header in it: the file is empty")
        below = [text for text in islice(reader, _ROWS_LOOKED_AT) if text.strip()]
    for number, text in enumerate([line, *below], len(comments) + 1):
        _closed(text, number, path)
    mark = _mark(line, below, path)
    fields = _fields(line, mark)
    separator = r"\s+" if mark == " " else mark
    if comments and comments[-1].startswith("#"):
        above = _fields(comments[-1].lstrip("# "), mark)
        if len(fields) > 2 and len(above) in (len(fields), len(fields) - 1):
            return above, separator, len(comments)
    return fields, separator, len(comments) + 1


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
    widths = {mark: {len(_fields(row, mark)) for row in below} for mark in "\t,; "}
    fitting = [
        mark
        for mark, found in widths.items()
        if len(found) == 1 and max(found) > 1 and max(found) - len(_fields(header, mark)) in (0, 1)
    ]
    if fitting:
        return max(fitting, key=lambda m: (m != " ", max(widths[m])))
    # the rows agree on another mark than the header: no number of fields would be a help
    other = [mark for mark in "\t,;" if mark != usual and widths[mark] != {1} and widths[usual] == {1}]
    if other:
        raise InputError(
            f"{path}: the header is separated by {_MARKS[usual]} and the rows by {_MARKS[other[0]]}: use one of them"
        )
    mixed = [mark for mark in "\t,;" if 1 in widths[mark] and len(widths[mark]) > 1]
    if len(mixed) > 1:
        raise InputError(
            f"{path}: some rows are separated by {_MARKS[mixed[0]]}, others by {_MARKS[mixed[1]]}: use one of them"
        )
    return usual


def _fields(line: str, mark: str) -> list[str]:
    line = line.rstrip("\r\n")
    if mark == " ":
        return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', line)]
    return next(csv.reader([line], delimiter=mark))


def _columns(header: list[str], n_fields: int, path: Path) -> list[str]:
    if len(header) == n_fields - 1:
        return header
    if len(header) == n_fields:
        return header[1:]
    raise InputError(
        f"{path}: the header has {len(header)} fields, the rows have {n_fields}: expected as many, or one fewer"
    )


def _numbers(block: pd.DataFrame, rows: Sequence[str], columns: Sequence[str], path: Path) -> sparse.csr_matrix:
    for i, dtype in enumerate(block.dtypes):
        if dtype.kind not in "iuf":
            import pandas as pd

            at = int(np.argmax(pd.to_numeric(block.iloc[:, i].astype(str), errors="coerce").isna().to_numpy()))
            value = str(block.iloc[at, i]) or "nothing"
            other = next((mark for mark in "\t,;" if value == "nothing" and mark in rows[at]), None)
            if other is not None:
                raise InputError(
                    f"{path}: row '{rows[at][:40]}' is separated by {_MARKS[other]}, the rows above it are not: use "
                    "one separator"
                )
            hint = (
                "write numbers without commas"
                if re.fullmatch(r"-?\d+(,\d+)+", value.strip())
                else "the table must hold names in the first row and column and numbers elsewhere"
            )
            raise InputError(
                f"{path}: column '{columns[i]}', row '{rows[at]}': found '{value[:40]}', expected a count: {hint}"
            )
    return sparse.csr_matrix(block.to_numpy(dtype=np.float64))


def _orientation(rows: Sequence[str], columns: Sequence[str], *, short: bool) -> tuple[str, str]:
    by_row, by_column = _gene_likeness(rows), _gene_likeness(columns)
    if by_row != by_column:
        orientation, side = ("genes_by_cells", "rows") if by_row > by_column else ("cells_by_genes", "columns")
        return orientation, f"the names of the {side} look more like genes"
    log.warning(
        "neither rows nor columns have names that look like genes: taken as genes by cells; set `orientation` if that "
        "is wrong"
    )
    return "genes_by_cells", "the usual way round; the names do not tell" + (
        ", and the header is one field short" if short else ""
    )


def _gene_likeness(names: Sequence[str]) -> float:
    """Return the share of names that are genes for sure, minus the share that hold a barcode's run of A, C, G, T."""
    if look_like_ids(names):
        return 1.0
    known = {gene.upper() for organism in ("human", "mouse") for gene in cycle_genes(organism)["gene"]}
    clean = clean_names(names)
    genes = sum(name.upper() in known or _USUAL.fullmatch(name) is not None for name in clean)
    barcodes = sum(_BARCODE.fullmatch(name) is not None for name in clean)
    return (genes - barcodes) / max(1, len(names))
