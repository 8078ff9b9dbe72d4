"""Folders of a Matrix Market file and two lists of names: Cell Ranger, STARsolo, alevin-fry, kallisto and bustools."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sclatent.data.blocks import transposed
from sclatent.data.blocks.names import pack
from sclatent.data.textfiles import may_be_cut
from sclatent.io._counts import assemble, fits, parsing
from sclatent.io._formats.features import GENES
from sclatent.io._formats.mtx import Header, read_header, read_mtx
from sclatent.io._formats.names import cell_names, gene_table
from sclatent.io._formats.orientation import rows_spread_like_genes
from sclatent.io._formats.tenx import choose
from sclatent.io._rounding import Rounding
from sclatent.settings import InputError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

_TENX = "matrix.mtx"


class _Set(NamedTuple):
    """What lies beside a matrix: names of cells, of genes, and symbols line by line with the genes."""

    cells: tuple[str, ...]
    genes: tuple[str, ...]
    symbols: str | None = None


class _Files(NamedTuple):
    """What is read together."""

    matrix: Path
    cells: Path
    genes: Path
    symbols: Path | None
    by_cells: bool
    """Whether the rows are cells, as this tool writes it."""


_SETS = {
    _TENX: _Set(("barcodes.tsv",), ("features.tsv", "genes.tsv")),
    "quants_mat.mtx": _Set(("quants_mat_rows.txt",), ("quants_mat_cols.txt",)),
    "cells_x_genes.mtx": _Set(
        ("cells_x_genes.barcodes.txt",), ("cells_x_genes.genes.txt",), "cells_x_genes.genes.names.txt"
    ),
}


def read_10x_folder(
    path: Path, *, genome: str | None, features: str | None, rounding: Rounding | None = None
) -> AnnData:
    """Read a folder of matrix, barcodes and genes (gzipped or not), or one such set by its matrix file.

    File names may carry a prefix, as in GEO (``GSM123_matrix.mtx.gz``). The sets of alevin (``quants_mat.mtx``) and of
    kallisto and bustools (``cells_x_genes.mtx``) are read, too. A matrix of another name is read if it is the only one,
    or named, with the lists of names beside it. The matrix may be genes × cells or cells × genes.
    """
    import pandas as pd

    mtx, barcodes, genes, symbols, by_cells = _files(path)
    with parsing(mtx, "Matrix Market"):
        header = read_header(mtx)
    sides = (header.n_rows, header.n_columns)
    with parsing(genes, "a table of genes"):
        var = gene_table(genes, sides, symbols)
    if "feature_types" not in var and features not in (None, GENES):
        raise InputError(f"{path}: `features: {features}` does not apply: {genes.name} has no column of feature types")
    with parsing(barcodes, "a list of barcodes"):
        obs = pd.DataFrame(index=pack(pd.Index(cell_names(barcodes, sides))))
    if genome is not None:
        raise InputError(f"{path}: `genome: {genome}` applies to 10x h5 files only: give the folder of that genome")
    with parsing(mtx, "Matrix Market"):
        turned = _cells_in_rows(header, len(obs), len(var), by_cells=by_cells)
        fits(sides if turned else sides[::-1], obs, var, path, mtx.name)
        _refuse_spliced(var, genes)
        matrix = read_mtx(mtx, turned=not turned)
        if len(obs) == len(var) and rows_spread_like_genes(matrix):
            log.warning(
                "%s: as many cells as genes: taken the other way round than %s has it as a rule, because totals differ "
                "more between its %s",
                mtx,
                mtx.name,
                "rows" if turned else "columns",
            )
            matrix, turned = transposed(matrix), not turned
    log.info("%s: read as %s", mtx, "cells × genes" if turned else "genes × cells")
    for file in (mtx, genes, barcodes):
        if remark := may_be_cut(file):
            log.info("%s: %s", file, remark)
    matrix, var = choose(matrix, var, path, genome=None, features=features)
    info = {"format": f"10x folder v{3 if 'feature_types' in var else 2}"}
    return assemble(matrix, obs, var, path, info, where=mtx.name, rounding=rounding)


def _cells_in_rows(header: Header, n_cells: int, n_genes: int, *, by_cells: bool) -> bool:
    """Tell whether the rows of the matrix are cells: by the numbers of names, else as the tool of this name writes."""
    rows, columns = header.n_rows, header.n_columns
    if n_cells != n_genes and (rows, columns) in ((n_cells, n_genes), (n_genes, n_cells)):
        return rows == n_cells
    return by_cells


def _refuse_spliced(var: pd.DataFrame, path: Path) -> None:
    """Stop if every gene occurs three times (spliced, ``-U`` unspliced, ``-A`` ambiguous), as alevin-fry has it."""
    names = set(var.index)
    unspliced = [name for name in names if name.endswith("-U") and {name[:-2], f"{name[:-2]}-A"} <= names]
    if unspliced and 3 * len(unspliced) == len(names):
        raise InputError(
            f"{path}: every gene occurs three times, as spliced, unspliced and ambiguous ('{min(unspliced)}'): add up "
            "those that you want (pyroe's load_fry does), and give the result as h5ad"
        )


def is_10x_folder(path: Path) -> bool:
    """Tell whether a folder holds a Matrix Market file."""
    return bool(_matrices(path))


def _matrices(folder: Path) -> list[Path]:
    """Return the matrices under one of the names that the tools give them, else all that there are."""
    lying = sorted(p for p in folder.iterdir() if p.name.removesuffix(".gz").endswith(".mtx") and p.is_file())
    return [p for p in lying if p.name.removesuffix(".gz").endswith(tuple(_SETS))] or lying


def _files(path: Path) -> _Files:
    """Return the files that belong together, of a folder or of a matrix in it."""
    folder = path if path.is_dir() else path.parent
    found = _matrices(path) if path.is_dir() else [path]
    stems = {p.name.removesuffix(".gz") for p in found}
    if len(stems) > 1:
        listed = ", ".join(p.name for p in found[:4]) + (" …" if len(found) > 4 else "")
        raise InputError(f"{path}: holds {len(stems)} matrices ({listed}): give the path of the one with the counts")
    stem = stems.pop()

    def there(*names: str) -> Path | None:
        packed = (folder / f"{name}{end}" for name in names for end in (".gz", ""))
        lying = [candidate for candidate in packed if candidate.is_file()]
        if len(lying) > 1:
            log.warning("%s: holds %s: the first is read", folder, " and ".join(file.name for file in lying))
        return lying[0] if lying else None

    def beside(prefix: str, lists: _Set) -> tuple[Path | None, Path | None]:
        cells, genes = (there(*(prefix + name for name in names)) for names in (lists.cells, lists.genes))
        return cells, genes

    matrix = path if not path.is_dir() else there(stem)
    assert matrix is not None
    ending = next((name for name in _SETS if stem.endswith(name)), None)
    tried = [(stem.removesuffix(ending), ending)] if ending else _lists_of(stem)
    for prefix, ending in tried:
        lists = _SETS[ending]
        cells, genes = beside(prefix, lists)
        if cells and genes:
            symbols = there(prefix + lists.symbols) if lists.symbols else None
            return _Files(matrix, cells, genes, symbols, by_cells=ending != _TENX)
    prefix, ending = tried[-1]
    cells, _ = beside(prefix, _SETS[ending])
    missing = _SETS[ending].genes if cells else _SETS[ending].cells
    raise InputError(
        f"{folder}: no {' or '.join(prefix + name for name in missing)} (gzipped or not) beside {matrix.name}"
        + ("" if ending == _TENX else ": expected a name that ends in matrix.mtx, or the names of its tool")
    )


def _lists_of(stem: str) -> list[tuple[str, str]]:
    """Return the prefixes and sets of lists that may belong to a matrix of no usual name, the most likely first.

    STARsolo's ``UniqueAndMult-EM.mtx`` and ``spliced.mtx`` lie beside ``barcodes.tsv``, kallisto's
    ``cells_x_genes.mature.mtx`` beside ``cells_x_genes.barcodes.txt``, and ``GSM1_counts.mtx`` beside
    ``GSM1_barcodes.tsv``.
    """
    prefixes = ["", *(stem[: mark.end()] for mark in re.finditer("[-_.]", stem.removesuffix(".mtx")))]
    tools = [name for name in _SETS if stem.startswith(name.removesuffix("mtx"))]
    return [("", name) for name in tools] or [(prefix, _TENX) for prefix in prefixes[::-1]]
