"""Dense tables of counts: TSV, CSV and the like, gzipped or not, quoted or not, whichever way round."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from sclatent.data.blocks import CountStore, transposed
from sclatent.data.columns import MISSING_WORDS
from sclatent.data.gene_ids import folded
from sclatent.data.textfiles import MARKS, may_be_cut, open_text
from sclatent.io._counts import assemble, parsing
from sclatent.io._formats.layout import Layout, Rows, column_names, read_header
from sclatent.io._formats.orientation import orientation as way_round
from sclatent.io._rounding import Rounding
from sclatent.settings import InputError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

ENDINGS = (".csv", ".tsv", ".txt", ".tab")
_ENTRIES = 16_000_000
"""Entries that are parsed at once, so that a large table never stands in memory as a whole."""
_NO_COUNTS = frozenset(
    (
        *("ncountrna", "nfeaturerna", "ncounts", "ncount", "ngenes", "ngene", "numi", "ngenesbycounts", "totalcounts"),
        *("pctcountsmt", "pctcountsribo", "percentmt", "percentmito", "percentribo", "pctmt", "pctmito", "sizefactor"),
        *("origident", "seuratclusters", "leiden", "louvain", "cluster", "clusters", "clusterid", "celltype"),
        *("celltypes", "cellontologyclass", "sample", "sampleid", "batch", "donor", "donorid", "condition"),
        *("group", "groups", "label", "labels", "class", "patient", "patientid", "subject", "replicate", "plate"),
        *("plateid", "tissue", "species", "organ", "annotation", "annotations"),
        *("treatment", "phase", "sscore", "g2mscore", "doubletscore", "umap1", "umap2", "tsne1", "tsne2"),
        *("length", "genelength", "efflength", "effectivelength", "chr", "chrom", "chromosome", "start", "end"),
        *("strand", "entrezid", "total", "totals", "sum", "grandtotal"),
    )
)
"""Columns that people keep beside counts, in lower case without `_`, `.`, `-` and blanks; no gene is called so."""
_ROWS = 1 << 20
"""Rows that a table may have; a larger one has a row for every four bytes of its file at most."""


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
        layout = read_header(path)
        header = layout.header
        table = Rows(file, path, layout)
        rows: list[str] = []
        most = _ROWS + path.stat().st_size // 4
        store: CountStore | None = None
        width: list[str] = []
        try:
            # no word stands for a missing value: there are genes called NA and NAN
            reader = pd.read_csv(  # type: ignore[call-overload]
                table,
                sep=layout.separator,
                skipinitialspace=True,
                header=None,
                index_col=False,
                chunksize=min(max(1, _ENTRIES // len(header)), _ROWS),
                dtype={0: str},
                keep_default_na=False,
                low_memory=False,
            )
        except pd.errors.EmptyDataError:
            raise InputError(f"{path}: cannot be read as a table: a header and nothing below it") from None
        for block in _blocks(reader, layout, path):
            if len(rows) > most:
                raise InputError(f"{path}: unpacks to more rows than a table of its size holds: fetch it again")
            width = width or [name.strip() for name in column_names(header, block.shape[1], path)]
            rows += [name.strip() for name in block[0]]
            store = CountStore(len(width)) if store is None else store
            store.append(_numbers(block.iloc[:, 1:], list(block[0]), width, path))
    matrix = sparse.csr_matrix((0, len(width))) if store is None else store.matrix()
    _refuse_columns(rows, "row", path)
    _refuse_columns(width, "column", path)
    if orientation is None:
        short = len(header) == len(width)
        orientation, reason = way_round(rows, width, "" if short else header[0], matrix, short=short)
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


def _blocks(reader: Iterable[pd.DataFrame], layout: Layout, path: Path) -> Iterator[pd.DataFrame]:
    """Yield the blocks of a table; a row that is too long is an error."""
    import pandas as pd

    try:
        yield from reader
    except pd.errors.ParserError as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if found is None:
            raise
        usual, number, fields = map(int, found.groups())
        raise InputError(
            f"{path}: line {number + layout.skip} has {fields} fields, the rows above it have {usual}: every row needs "
            "as many"
        ) from None


def _refuse_columns(names: Sequence[str], side: str, path: Path) -> None:
    """Stop if a name is that of a column about cells or genes: its numbers would be read as counts."""
    if names and not names[0]:
        raise InputError(
            f"{path}: the first {side} below the header has no name: name it, or take it out if it is a second header"
            if side == "row"
            else f"{path}: the first column of counts has no name: name it, or take it out if it holds row numbers"
        )
    found = next((name for name in names if folded(name) in _NO_COUNTS), None)
    if found is not None:
        raise InputError(
            f"{path}: {side} '{found}' is neither a gene nor a cell, and would be read as counts: take it out of the "
            "table (what is known of each cell goes into a table of its own, `metadata`)"
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
            raise InputError(
                f"{path}: column '{columns[i]}', row '{rows[at]}': found '{value[:40]}', expected a count: "
                f"{_hint(value)}"
            )
    return sparse.csr_matrix(block.to_numpy(dtype=np.float64))


def _hint(value: str) -> str:
    """Say what to do about a field of a table that is no number."""
    if re.fullmatch(r"-?\d+(,\d+)+", value.strip()):
        return "write numbers without commas"
    if value == "nothing":
        return "fill it in, with 0 where nothing was counted; if the row is cut short, fetch the file again"
    if value.strip() in MISSING_WORDS:
        return "write 0 where nothing was counted"
    return (
        "the table must hold names in the first row and column and numbers elsewhere: take out columns of names, types "
        "or places (what is known of each cell goes into a table of its own, `metadata`)"
    )
