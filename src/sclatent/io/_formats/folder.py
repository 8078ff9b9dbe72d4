"""Folders of a Matrix Market file and two lists of names: Cell Ranger, STARsolo, alevin-fry, kallisto and bustools."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sclatent.data.blocks import transposed
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
    kallisto and bustools (``cells_x_genes.mtx``) are read, too. The matrix may be genes × cells or cells × genes.
    """
    import pandas as pd

    mtx, barcodes, genes, symbols = _files(path)
    with parsing(mtx, "Matrix Market"):
        header = read_header(mtx)
    sides = (header.n_rows, header.n_columns)
    with parsing(genes, "a table of genes"):
        var = gene_table(genes, sides, symbols)
    if "feature_types" not in var and features not in (None, GENES):
        raise InputError(f"{path}: `features: {features}` does not apply: {genes.name} has no column of feature types")
    with parsing(barcodes, "a list of barcodes"):
        obs = pd.DataFrame(index=cell_names(barcodes, sides))
    if genome is not None:
        raise InputError(f"{path}: `genome: {genome}` applies to 10x h5 files only: give the folder of that genome")
    with parsing(mtx, "Matrix Market"):
        turned = _cells_in_rows(header, len(obs), len(var), by_cells=not mtx.name.removesuffix(".gz").endswith(_TENX))
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
    """Tell whether a folder holds a Matrix Market file under one of the names that the tools give it."""
    return bool(_matrices(path))


def _matrices(folder: Path) -> list[Path]:
    names = [name + packed for name in _SETS for packed in ("", ".gz")]
    return sorted(p for p in folder.iterdir() if p.is_file() and p.name.endswith(tuple(names)))


def _files(path: Path) -> tuple[Path, Path, Path, Path | None]:
    """Return the files of matrix, cells, genes and, where there is one, symbols."""
    folder = path if path.is_dir() else path.parent
    found = _matrices(path) if path.is_dir() else [path]
    ending = next((name for name in _SETS if found[0].name.removesuffix(".gz").endswith(name)), None)
    if ending is None:
        raise InputError(
            f"{path}: expected a name that ends in matrix.mtx or matrix.mtx.gz, beside barcodes.tsv and features.tsv "
            "(or genes.tsv) of the same prefix: rename the files"
        )
    prefixes = {p.name.removesuffix(".gz").removesuffix(ending) for p in found}
    if len(prefixes) > 1:
        listed = ", ".join(p.name for p in found[:4])
        raise InputError(f"{path}: holds {len(prefixes)} sets of files ({listed}): give the path of one matrix file")
    prefix = prefixes.pop()

    def there(*names: str) -> Path | None:
        packed = (folder / f"{prefix}{name}{end}" for name in names for end in (".gz", ""))
        lying = [candidate for candidate in packed if candidate.is_file()]
        if len(lying) > 1:
            log.warning("%s: holds %s: the first is read", folder, " and ".join(file.name for file in lying))
        return lying[0] if lying else None

    def one(*names: str) -> Path:
        if file := there(*names):
            return file
        other = "" if ending == _TENX else ": expected a name that ends in matrix.mtx, or the names of its tool"
        raise InputError(
            f"{folder}: no {' or '.join(prefix + n for n in names)} (gzipped or not) beside {found[0].name}{other}"
        )

    beside = _SETS[ending]
    return (
        found[0] if not path.is_dir() else one(ending),
        one(*beside.cells),
        one(*beside.genes),
        there(beside.symbols) if beside.symbols else None,
    )
