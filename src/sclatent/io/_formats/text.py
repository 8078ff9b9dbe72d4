"""Dense tables of counts: TSV, CSV and the like, gzipped or not, quoted or not, whichever way round."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from sclatent.data.blocks import CountStore, transposed
from sclatent.data.genes import clean_names, cycle_genes, look_like_ids
from sclatent.data.textfiles import MARKS, may_be_cut, open_text
from sclatent.io._counts import assemble, parsing
from sclatent.io._formats.layout import Rows, column_names, read_header
from sclatent.io._rounding import Rounding
from sclatent.settings import InputError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

ENDINGS = (".csv", ".tsv", ".txt", ".tab")
_ENTRIES = 16_000_000
"""Entries that are parsed at once, so that a large table never stands in memory as a whole."""
_ROWS = 1 << 20
"""Rows that a table may have; a larger one has a row for every four bytes of its file at most."""
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

    with parsing(path, "a table"), open_text(path, zeros=True) as file:
        header, separator, skip = read_header(path)
        table = Rows(file, path, skip, separator)
        rows: list[str] = []
        most = _ROWS + path.stat().st_size // 4
        store: CountStore | None = None
        width: list[str] = []
        try:
            # no word stands for a missing value: there are genes called NA and NAN
            reader = pd.read_csv(  # type: ignore[call-overload]
                table,
                sep=separator,
                header=None,
                index_col=False,
                chunksize=min(max(1, _ENTRIES // len(header)), _ROWS),
                dtype={0: str},
                keep_default_na=False,
                low_memory=False,
            )
        except pd.errors.EmptyDataError:
            raise InputError(f"{path}: cannot be read as a table: a header and nothing below it") from None
        for block in reader:
            if len(rows) > most:
                raise InputError(f"{path}: unpacks to more rows than a table of its size holds: fetch it again")
            width = width or column_names(header, block.shape[1], path)
            rows += list(block[0])
            store = CountStore(len(width)) if store is None else store
            store.append(_numbers(block.iloc[:, 1:], list(block[0]), width, path))
    matrix = sparse.csr_matrix((0, len(width))) if store is None else store.matrix()
    if orientation is None:
        orientation, reason = _orientation(rows, width, short=len(header) == len(width))
    else:
        reason = "as `orientation` says"
    log.info("%s: read as %s (%s)", path, orientation.replace("_", " "), reason)
    if remark := may_be_cut(path):
        log.info("%s: %s", path, remark)
    if orientation == "genes_by_cells":
        matrix, cells, genes = transposed(matrix), width, rows
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


def _numbers(block: pd.DataFrame, rows: Sequence[str], columns: Sequence[str], path: Path) -> sparse.csr_matrix:
    for i, dtype in enumerate(block.dtypes):
        if dtype.kind not in "iuf":
            import pandas as pd

            at = int(np.argmax(pd.to_numeric(block.iloc[:, i].astype(str), errors="coerce").isna().to_numpy()))
            value = str(block.iloc[at, i]) or "nothing"
            other = next((mark for mark in "\t,;" if value == "nothing" and mark in rows[at]), None)
            if other is not None:
                raise InputError(
                    f"{path}: row '{rows[at][:40]}' is separated by {MARKS[other]}, the rows above it are not: use "
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
