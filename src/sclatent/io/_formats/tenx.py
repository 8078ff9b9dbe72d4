"""10x Genomics HDF5 of Cell Ranger 2 and 3+, and which of the rows of 10x output are wanted."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data.blocks.names import pack
from sclatent.io._counts import assemble, fits
from sclatent.io._formats.features import GENES, keep_genes, no_features
from sclatent.io._formats.hdf5 import open_hdf5
from sclatent.io._rounding import Rounding
from sclatent.io._sizes import check_sizes, keys_of, read_sparse
from sclatent.settings import InputError, did_you_mean

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)


def read_10x_h5(path: Path, *, genome: str | None, features: str | None, rounding: Rounding | None = None) -> AnnData:
    """Read ``filtered_feature_bc_matrix.h5`` (one group ``matrix``) or the older form (one group per genome).

    Files of other tools in this form (CellBender) may lack the feature types and hold groups of their own.
    """
    import pandas as pd

    with open_hdf5(path, "10x h5") as file:
        if "features" in keys_of(file.get("matrix")):
            group, version = file["matrix"], 3
            check_sizes(group, path)
            table = group["features"]
            if not keys_of(table):
                raise InputError(f"{path}: matrix/features is not a table of genes: it is damaged: fetch it again")
            var = _columns(table, path, name="name", gene_ids="id", feature_types="feature_type", genome="genome")
        else:
            group, version = file[_genome(file, path, genome)], 2
            check_sizes(group, path)
            var = _columns(group, path, name="gene_names", gene_ids="genes")
        obs = pd.DataFrame(index=pack(pd.Index(_text(group["barcodes"]))))
        n_genes, n_cells = (int(n) for n in group["shape"][:2])
        # genes × cells by columns is, read the other way, cells × genes by rows
        fits((n_cells, n_genes), obs, var, path, "the matrix")
        matrix = read_sparse(group, (n_cells, n_genes), "csr", path, "the matrix")
    if version == 2 and features not in (None, GENES):
        raise InputError(
            f"{path}: `features: {features}` does not apply: Cell Ranger 2 files hold gene expression only"
        )
    matrix, var = choose(matrix, var, path, genome=genome if version == 3 else None, features=features)
    if genome is None and "genome" in var and var["genome"].nunique() > 1:
        counts = ", ".join(f"{n} of {name}" for name, n in var["genome"].value_counts().items())
        log.warning("%s: holds genes of several genomes (%s): all are read; `genome` keeps those of one", path, counts)
    info = {"format": f"10x h5 v{version}", **({"genome": genome} if genome else {})}
    return assemble(matrix, obs, var, path, info, where="the matrix", rounding=rounding)


def _columns(group: h5py.Group, path: Path, *, name: str, **columns: str) -> pd.DataFrame:
    """Return the genes of a 10x file: names, else ids, as index, and those of the columns that are there."""
    import pandas as pd

    found = {column: _text(group[key]) for column, key in columns.items() if key in group}
    names = _text(group[name]) if name in group else found.get("gene_ids")
    if names is None:
        raise InputError(f"{path}: no names of genes in it ({name}): this is not a 10x file, or it is damaged")
    return pd.DataFrame(found, index=names)


def _genome(file: h5py.File, path: Path, genome: str | None) -> str:
    known = [name for name in file if "barcodes" in keys_of(file.get(name))]
    if not known:
        raise InputError(f"{path}: no 10x matrix in it (found: {', '.join(file) or 'nothing'})")
    if genome is None and len(known) > 1:
        raise InputError(f"{path}: holds {len(known)} genomes: set `genome` to one of {', '.join(known)}")
    if genome is not None and genome not in known:
        raise InputError(f"{path}: no genome '{genome}'{did_you_mean(genome, known)}: available: {', '.join(known)}")
    return genome or known[0]


def choose(
    matrix: Any, var: pd.DataFrame, path: Path, *, genome: str | None, features: str | None
) -> tuple[Any, pd.DataFrame]:
    """Keep the rows of one feature type and, if asked, of one genome."""
    keep = np.ones(len(var), dtype=bool)
    if matrix.shape[1] != len(var):
        return matrix, var  # `assemble` says so
    for column, wanted, key in (
        ("feature_types", features or GENES, "features"),
        ("genome", genome, "genome"),
    ):
        if wanted is None:
            continue
        if column not in var:
            if key == "genome":
                raise InputError(f"{path}: `genome: {genome}` does not apply: the file names no genomes")
            if features not in (None, GENES):
                raise InputError(f"{path}: `features: {features}` does not apply: the file names no feature types")
            continue
        known = list(dict.fromkeys(var[column]))
        if wanted not in known:
            raise no_features(path, key, wanted, known)
        keep &= (var[column] == wanted).to_numpy()
    if keep.all():
        return matrix, var
    by = "genome" if genome is not None or "feature_types" not in var else "feature_types"
    kinds = ", ".join(f"{n} {kind}" for kind, n in var[by][~keep].value_counts().items())
    log.info("%s: kept %d of %d rows; left out: %s", path, keep.sum(), len(keep), kinds)
    return keep_genes(matrix, var, keep)


def _text(dataset: h5py.Dataset) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in dataset[:]]
