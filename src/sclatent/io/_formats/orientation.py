"""Which side of a matrix is the genes: by the names on both sides, by the corner of a table, by the counts."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from sclatent.data.gene_ids import clean_names, look_like_ids, parts
from sclatent.data.genes import all_cycle_genes
from sclatent.data.normalise import cell_sums, gene_sums

log = logging.getLogger(__name__)

_BARCODE = re.compile(r"(.*[^A-Za-z])?[ACGTN]{8,}([^A-Za-z].*)?")
_USUAL = re.compile(
    r"MT-.+|RP[SL]\d+[AXYL]?|ACTB|GAPDH|B2M|MALAT1|CD\d+[A-Z]?|HLA-.+|COL\d+A\d+|S100A\d+", re.IGNORECASE
)
_CALLED_GENE = re.compile(r"(gene|g|feature)[ _.-]?\d+", re.IGNORECASE)
_CALLED_CELL = re.compile(
    r"(.*[^A-Za-z])?(cell|nucleus|well|sample|droplet|barcode|bc|spot|[SED]R[RX]|GSM|SAM(N|EA))[ _.-]?\d+(\D.*)?|c\d+",
    re.IGNORECASE,
)
_WELL = re.compile(r"(.*[^A-Za-z])?[A-P](0[1-9]|1\d|2[0-4])([^0-9].*)?")
"""A well of a plate; there are genes such as H19 and F10, but few."""
_CORNER_GENE = re.compile(r"(ensembl|hgnc|mgi)?[ _.-]?(gene|feature|symbol)s?[ _.-]?(id|name|symbol)?s?", re.IGNORECASE)
_CORNER_CELL = re.compile(r"(cell|barcode|bc|well|nucleus|obs)s?[ _.-]?(id|name|barcode)?s?", re.IGNORECASE)
_FEW = 20
"""Rows or columns below which totals tell nothing."""
_SPREAD, _TIMES = 0.5, 1.5
"""Totals of genes spread (SD of their logarithm) by more than this, and by so many times more than those of cells."""


def swapped(cells: Sequence[str], genes: Sequence[str]) -> str:
    """Return a cell that is called like a gene if cells and genes are the wrong way round, else an empty string.

    They are if the cells have gene ids, or if five cell-cycle genes stand among them, and the genes have neither; or if
    more than half of the genes are barcodes and not one in ten cells is.
    """
    known = all_cycle_genes()

    def likely(names: Sequence[str]) -> list[str]:
        if look_like_ids(names):
            return list(names)
        return [str(name) for name in names if str(name).upper() in known]

    found = likely(cells)
    if len(found) >= 5 and len(likely(genes)) < 5:
        return found[0]
    return str(cells[0]) if _share(_BARCODE, genes) > 0.5 and _share(_BARCODE, cells) < 0.1 else ""


def orientation(
    rows: Sequence[str], columns: Sequence[str], corner: str, matrix: sparse.csr_matrix, *, short: bool
) -> tuple[str, str]:
    """Return ``genes_by_cells`` or ``cells_by_genes``, and why.

    Parameters
    ----------
    rows, columns
        Names on both sides.
    corner
        What stands above the names of the rows.
    matrix
        (rows, columns) counts.
    short
        Whether the header is one field short, as R writes it.
    """
    for tell, what in ((_by_names, "look more like genes"), (_by_wells, "look less like wells of a plate")):
        by_row, by_column = tell(rows), tell(columns)
        if by_row != by_column:
            genes_in_rows = by_row > by_column
            return _way(genes_in_rows), f"the names of the {_side(genes_in_rows)} {what}"
    for pattern, genes_in_rows in ((_CORNER_GENE, True), (_CORNER_CELL, False)):
        if pattern.fullmatch(corner.strip()):
            return _way(genes_in_rows), f"'{corner.strip()}' stands above the names of the rows"
    by_totals = rows_spread_like_genes(matrix)
    if by_totals is not None:
        log.warning(
            "neither rows nor columns have names that look like genes: the totals of the %s differ more, as those of "
            "genes do; set `orientation` if that is wrong",
            _side(by_totals),
        )
        return _way(by_totals), f"the totals of the {_side(by_totals)} differ more, as those of genes do"
    log.warning(
        "neither rows nor columns have names that look like genes: taken as genes by cells; set `orientation` if that "
        "is wrong"
    )
    return "genes_by_cells", "the usual way round; the names do not tell" + (
        ", and the header is one field short" if short else ""
    )


def rows_spread_like_genes(matrix: sparse.csr_matrix) -> bool | None:
    """Return whether the totals of the rows, or those of the columns, spread as those of genes; None: nothing tells."""
    if min(matrix.shape) < _FEW:
        return None
    rows, columns = (float(np.std(np.log1p(sums))) for sums in (cell_sums(matrix), gene_sums(matrix)))
    if max(rows, columns) > _SPREAD and max(rows, columns) > _TIMES * min(rows, columns):
        return rows > columns
    return None


def _way(genes_in_rows: bool) -> str:
    return "genes_by_cells" if genes_in_rows else "cells_by_genes"


def _side(rows: bool) -> str:
    return "rows" if rows else "columns"


def _by_names(names: Sequence[str]) -> float:
    """Return the share of names that are genes for sure, minus the share of names of cells (barcodes, runs)."""
    if look_like_ids(names) or parts(names) is not None:
        return 1.0
    known = all_cycle_genes()
    clean = clean_names(names)
    genes = sum(
        name.upper() in known or bool(_USUAL.fullmatch(name)) or bool(_CALLED_GENE.fullmatch(name)) for name in clean
    )
    cells = sum(bool(_BARCODE.fullmatch(name)) or bool(_CALLED_CELL.fullmatch(name)) for name in clean)
    return (genes - cells) / max(1, len(names))


def _by_wells(names: Sequence[str]) -> float:
    return -_share(_WELL, names)


def _share(pattern: re.Pattern[str], names: Sequence[str]) -> float:
    return sum(pattern.fullmatch(str(name)) is not None for name in names) / max(1, len(names))
