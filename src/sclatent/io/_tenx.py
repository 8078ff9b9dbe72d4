"""10x Genomics output of Cell Ranger 2 and 3+: folders of three files, and HDF5."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from sclatent.data.genes import look_like_ids
from sclatent.io._counts import assemble, fits, parsing
from sclatent.io._files import name_table
from sclatent.io._mtx import Header, read_header, read_mtx
from sclatent.io._rounding import Rounding
from sclatent.io._sizes import check_sizes, read_sparse
from sclatent.settings import InputError, did_you_mean

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

DEFAULT_FEATURES = "Gene Expression"
_TENX = "matrix.mtx"
# the matrix, and what lies beside it: names of cells, and of genes
_SETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    _TENX: (("barcodes.tsv",), ("features.tsv", "genes.tsv")),
    "quants_mat.mtx": (("quants_mat_rows.txt",), ("quants_mat_cols.txt",)),
    "cells_x_genes.mtx": (("cells_x_genes.barcodes.txt",), ("cells_x_genes.genes.txt",)),
}


def read_10x_h5(path: Path, *, genome: str | None, features: str | None, rounding: Rounding | None = None) -> AnnData:
    """Read ``filtered_feature_bc_matrix.h5`` (one group ``matrix``) or the older form (one group per genome).

    Files of other tools in this form (CellBender) may lack the feature types and hold groups of their own.
    """
    import h5py
    import pandas as pd

    with parsing(path, "10x h5"), h5py.File(path, "r") as file:
        if "matrix" in file and "features" in file["matrix"]:
            group, version = file["matrix"], 3
            table = group["features"]
            check_sizes(table, path)
            var = _columns(table, path, name="name", gene_ids="id", feature_types="feature_type", genome="genome")
        else:
            group, version = file[_genome(file, path, genome)], 2
            var = _columns(group, path, name="gene_names", gene_ids="genes")
        check_sizes(group["barcodes"], path)
        obs = pd.DataFrame(index=_text(group["barcodes"]))
        n_genes, n_cells = (int(n) for n in group["shape"][:2])
        # genes × cells by columns is, read the other way, cells × genes by rows
        fits((n_cells, n_genes), obs, var, path, "the matrix")
        matrix = read_sparse(group, (n_cells, n_genes), "csr", path, "the matrix")
    if version == 2 and features not in (None, DEFAULT_FEATURES):
        raise InputError(
            f"{path}: `features: {features}` does not apply: Cell Ranger 2 files hold gene expression only"
        )
    matrix, var = _choose(matrix, var, path, genome=genome if version == 3 else None, features=features)
    info = {"format": f"10x h5 v{version}", **({"genome": genome} if genome else {})}
    return assemble(matrix, obs, var, path, info, where="the matrix", rounding=rounding)


def _columns(group: h5py.Group, path: Path, *, name: str, **columns: str) -> pd.DataFrame:
    """Return the genes of a 10x file: names, else ids, as index, and those of the columns that are there."""
    import pandas as pd

    for key in (name, *columns.values()):
        if key in group:
            check_sizes(group[key], path)
    found = {column: _text(group[key]) for column, key in columns.items() if key in group}
    names = _text(group[name]) if name in group else found.get("gene_ids")
    if names is None:
        raise InputError(f"{path}: no names of genes in it ({name}): this is no 10x file, or it is damaged")
    return pd.DataFrame(found, index=names)


def read_10x_folder(
    path: Path, *, genome: str | None, features: str | None, rounding: Rounding | None = None
) -> AnnData:
    """Read a folder of matrix, barcodes and genes (gzipped or not), or one such set by its matrix file.

    File names may carry a prefix, as in GEO (``GSM123_matrix.mtx.gz``). The sets of alevin (``quants_mat.mtx``) and of
    kallisto and bustools (``cells_x_genes.mtx``) are read, too. The matrix may be genes × cells or cells × genes.
    """
    import pandas as pd

    mtx, barcodes, genes = _three_files(path)
    with parsing(genes, "a table of genes"):
        var = _gene_table(genes)
    if "feature_types" not in var and features not in (None, DEFAULT_FEATURES):
        raise InputError(f"{path}: `features: {features}` does not apply: {genes.name} has no column of feature types")
    with parsing(barcodes, "a list of barcodes"):
        obs = pd.DataFrame(index=[row[0] for row in name_table(barcodes)])
    if genome is not None:
        raise InputError(f"{path}: `genome: {genome}` applies to 10x h5 files only: give the folder of that genome")
    with parsing(mtx, "Matrix Market"):
        header = read_header(mtx)
        turned = _cells_in_rows(header, len(obs), len(var), by_cells=not mtx.name.removesuffix(".gz").endswith(_TENX))
        shape = (header.n_rows, header.n_columns) if turned else (header.n_columns, header.n_rows)
        fits(shape, obs, var, path, mtx.name)
        matrix = read_mtx(mtx)
        matrix = matrix if turned else sparse.csr_matrix(matrix.T)
    log.info("%s: read as %s", mtx, "cells × genes" if turned else "genes × cells")
    matrix, var = _choose(matrix, var, path, genome=None, features=features)
    info = {"format": f"10x folder v{3 if 'feature_types' in var else 2}"}
    return assemble(matrix, obs, var, path, info, where=mtx.name, rounding=rounding)


def _cells_in_rows(header: Header, n_cells: int, n_genes: int, *, by_cells: bool) -> bool:
    """Tell whether the rows of the matrix are cells: by the numbers of names, else as the tool of this name writes."""
    rows, columns = header.n_rows, header.n_columns
    if n_cells != n_genes and (rows, columns) in ((n_cells, n_genes), (n_genes, n_cells)):
        return rows == n_cells
    return by_cells


def _gene_table(path: Path) -> pd.DataFrame:
    """Return the genes of a features file: id and symbol, or names alone; feature types where there are any."""
    import pandas as pd

    rows = name_table(path)
    widths = {len(row) for row in rows}
    if widths == {1}:
        names = [row[0] for row in rows]
        if sum(mark in name for name in names for mark in ",; ") > len(names) / 2:
            raise InputError(
                f"{path}: found one column, such as '{names[0][:60]}', expected id and symbol separated by tabs"
            )
        return pd.DataFrame({"gene_ids": names} if look_like_ids(names) else {}, index=names)
    short = min(widths, default=0)
    if len(widths) > 1 and short < 3:
        number = next(i for i, row in enumerate(rows, 1) if len(row) == short)
        raise InputError(
            f"{path}: row {number} has {short} fields, others have {max(widths)}, separated by tabs: expected as many "
            "in every row"
        )
    table: dict[str, list[str]] = {"gene_ids": [row[0] for row in rows]}
    if short > 2:
        table["feature_types"] = [row[2] for row in rows]
    return pd.DataFrame(table, index=[row[1] for row in rows])


def is_10x_folder(path: Path) -> bool:
    """Tell whether a folder holds a Matrix Market file under one of the names that the tools give it."""
    return bool(_matrices(path))


def _matrices(folder: Path) -> list[Path]:
    names = [name + packed for name in _SETS for packed in ("", ".gz")]
    return sorted(p for p in folder.iterdir() if p.is_file() and p.name.endswith(tuple(names)))


def _three_files(path: Path) -> tuple[Path, Path, Path]:
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

    def one(*names: str) -> Path:
        for name in names:
            for candidate in (folder / f"{prefix}{name}.gz", folder / f"{prefix}{name}"):
                if candidate.is_file():
                    return candidate
        other = "" if ending == _TENX else ": expected a name that ends in matrix.mtx, or the names of its tool"
        raise InputError(
            f"{folder}: no {' or '.join(prefix + n for n in names)} (gzipped or not) beside {found[0].name}{other}"
        )

    barcodes, genes = _SETS[ending]
    return found[0] if not path.is_dir() else one(ending), one(*barcodes), one(*genes)


def _genome(file: h5py.File, path: Path, genome: str | None) -> str:
    known = [name for name in file if hasattr(file[name], "keys") and "barcodes" in file[name]]
    if not known:
        raise InputError(f"{path}: no 10x matrix in it (found: {', '.join(file) or 'nothing'})")
    if genome is None and len(known) > 1:
        raise InputError(f"{path}: holds {len(known)} genomes: set `genome` to one of {', '.join(known)}")
    if genome is not None and genome not in known:
        raise InputError(f"{path}: no genome '{genome}'{did_you_mean(genome, known)}: there is {', '.join(known)}")
    return genome or known[0]


def _choose(
    matrix: Any, var: pd.DataFrame, path: Path, *, genome: str | None, features: str | None
) -> tuple[Any, pd.DataFrame]:
    """Keep the rows of one feature type and, if asked, of one genome."""
    keep = np.ones(len(var), dtype=bool)
    if matrix.shape[1] != len(var):
        return matrix, var  # `assemble` says so
    for column, wanted, key in (
        ("feature_types", features or DEFAULT_FEATURES, "features"),
        ("genome", genome, "genome"),
    ):
        if wanted is None:
            continue
        if column not in var:
            if key == "genome":
                raise InputError(f"{path}: `genome: {genome}` does not apply: the file names no genomes")
            if features not in (None, DEFAULT_FEATURES):
                raise InputError(f"{path}: `features: {features}` does not apply: the file names no feature types")
            continue
        known = list(dict.fromkeys(var[column]))
        if wanted not in known:
            raise InputError(
                f"{path}: no {key} '{wanted}'{did_you_mean(wanted, known)}: set `{key}` to one of {', '.join(known)}"
            )
        keep &= (var[column] == wanted).to_numpy()
    if keep.all():
        return matrix, var
    by = "feature_types" if "feature_types" in var else "genome"
    kinds = ", ".join(f"{n} {kind}" for kind, n in var[by][~keep].value_counts().items())
    log.info("%s: kept %d of %d rows; left out: %s", path, keep.sum(), len(keep), kinds)
    return matrix[:, np.flatnonzero(keep)], var[keep]


def _text(dataset: h5py.Dataset) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in dataset[:]]
