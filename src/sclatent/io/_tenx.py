"""10x Genomics output of Cell Ranger 2 and 3+: folders of three files, and HDF5."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from sclatent.io._counts import assemble, parsing
from sclatent.settings import InputError, did_you_mean

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

DEFAULT_FEATURES = "Gene Expression"


def read_10x_h5(path: Path, *, genome: str | None, features: str | None) -> AnnData:
    """Read ``filtered_feature_bc_matrix.h5`` (one group ``matrix``) or the older form (one group per genome)."""
    import h5py
    import pandas as pd

    with parsing(path, "10x h5"), h5py.File(path, "r") as file:
        if "matrix" in file:
            group, version = file["matrix"], 3
            table = group["features"]
            var = pd.DataFrame(
                {"gene_ids": _text(table["id"]), "feature_types": _text(table["feature_type"])},
                index=_text(table["name"]),
            )
            if "genome" in table:
                var["genome"] = _text(table["genome"])
        else:
            group, version = file[_genome(file, path, genome)], 2
            var = pd.DataFrame({"gene_ids": _text(group["genes"])}, index=_text(group["gene_names"]))
        obs = pd.DataFrame(index=_text(group["barcodes"]))
        n_genes, n_cells = (int(n) for n in group["shape"][:])
        # genes × cells by columns is, read the other way, cells × genes by rows
        matrix = sparse.csr_matrix(
            (group["data"][:], group["indices"][:], group["indptr"][:]), shape=(n_cells, n_genes)
        )
        matrix.check_format()
    if version == 2 and features not in (None, DEFAULT_FEATURES):
        raise InputError(
            f"{path}: `features: {features}` does not apply: Cell Ranger 2 files hold gene expression only"
        )
    matrix, var = _choose(matrix, var, path, genome=genome if version == 3 else None, features=features)
    info = {"format": f"10x h5 v{version}", **({"genome": genome} if genome else {})}
    return assemble(matrix, obs, var, path, info, where="the matrix")


def read_10x_folder(path: Path, *, genome: str | None, features: str | None) -> AnnData:
    """Read a folder of matrix, barcodes and genes/features (gzipped or not), or one such set by its matrix file.

    File names may carry a prefix, as in GEO (``GSM123_matrix.mtx.gz``).
    """
    import pandas as pd
    from scipy.io import mmread

    mtx, barcodes, genes = _three_files(path)
    with parsing(genes, "a table of genes"):
        table = pd.read_csv(genes, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=3)
    if table.shape[1] < 2:
        raise InputError(f"{genes}: found {table.shape[1]} column, expected at least two (id, symbol)")
    var = pd.DataFrame({"gene_ids": table[0].to_numpy()}, index=table[1].to_numpy())
    if table.shape[1] > 2:
        var["feature_types"] = table[2].to_numpy()
    elif features not in (None, DEFAULT_FEATURES):
        raise InputError(f"{path}: `features: {features}` does not apply: {genes.name} has no column of feature types")
    with parsing(barcodes, "a list of barcodes"):
        names = pd.read_csv(barcodes, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=3)[0]
    with parsing(mtx, "Matrix Market"):
        matrix = sparse.csr_matrix(mmread(mtx).T)
    if genome is not None:
        raise InputError(f"{path}: `genome: {genome}` applies to 10x h5 files only: give the folder of that genome")
    matrix, var = _choose(matrix, var, path, genome=None, features=features)
    info = {"format": f"10x folder v{3 if 'feature_types' in var else 2}"}
    return assemble(matrix, pd.DataFrame(index=names.to_numpy()), var, path, info, where=mtx.name)


def is_10x_folder(path: Path) -> bool:
    """Tell whether a folder holds a Matrix Market file under the name that Cell Ranger gives it."""
    return any(path.glob("*matrix.mtx*"))


def _three_files(path: Path) -> tuple[Path, Path, Path]:
    folder = path if path.is_dir() else path.parent
    found = (
        sorted(p for p in folder.glob("*matrix.mtx*") if p.name.endswith((".mtx", ".mtx.gz")))
        if path.is_dir()
        else [path]
    )
    if "matrix.mtx" not in found[0].name:
        raise InputError(
            f"{path}: expected a name that ends in matrix.mtx or matrix.mtx.gz, beside barcodes.tsv and features.tsv "
            "(or genes.tsv) of the same prefix: rename the files"
        )
    prefixes = {p.name.split("matrix.mtx")[0] for p in found}
    if len(prefixes) > 1:
        listed = ", ".join(p.name for p in found[:4])
        raise InputError(f"{path}: holds {len(prefixes)} sets of files ({listed}): give the path of one matrix file")
    prefix = prefixes.pop()

    def one(*names: str) -> Path:
        for name in names:
            for candidate in (folder / f"{prefix}{name}.gz", folder / f"{prefix}{name}"):
                if candidate.is_file():
                    return candidate
        raise InputError(
            f"{folder}: no {' or '.join(prefix + n for n in names)} (gzipped or not) beside {found[0].name}"
        )

    return found[0] if not path.is_dir() else one("matrix.mtx"), one("barcodes.tsv"), one("features.tsv", "genes.tsv")


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
            continue
        known = list(dict.fromkeys(var[column]))
        if wanted not in known:
            raise InputError(
                f"{path}: no {key} '{wanted}'{did_you_mean(wanted, known)}: set `{key}` to one of {', '.join(known)}"
            )
        keep &= (var[column] == wanted).to_numpy()
    if keep.all():
        return matrix, var
    kinds = ", ".join(f"{n} {kind}" for kind, n in var["feature_types"][~keep].value_counts().items())
    log.info("%s: kept %d of %d rows; left out: %s", path, keep.sum(), len(keep), kinds)
    return matrix[:, np.flatnonzero(keep)], var[keep]


def _text(dataset: h5py.Dataset) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in dataset[:]]
