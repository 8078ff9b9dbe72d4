"""Loom files (velocyto, loompy), read with h5py alone: genes in rows, names and columns as attributes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from sclatent.data.blocks import CountStore
from sclatent.data.gene_ids import folded
from sclatent.io._counts import assemble
from sclatent.io._formats.features import choose_features
from sclatent.io._formats.hdf5 import open_hdf5
from sclatent.io._numbers import looks_whole, plain_floats
from sclatent.io._rounding import Rounding
from sclatent.io._sizes import check_sizes, first_values, keys_of
from sclatent.settings import InputError, did_you_mean

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

CELL_NAMES = ("CellID", "cell_id", "CellIDs", "cell_names", "cell_name", "obs_names", "barcode", "barcodes", "cell")
GENE_NAMES = (
    "Gene",
    "Genes",
    "gene_names",
    "gene_name",
    "Symbol",
    "gene_symbol",
    "var_names",
    "Accession",
    "gene_ids",
    "gene_id",
)
_CELLS = 16_000_000
"""Entries of the dense matrix on disk that are held in memory at once."""


def read_loom(
    path: Path, *, layer: str | None, features: str | None = None, rounding: Rounding | None = None
) -> AnnData:
    """Read counts from a loom file.

    Attributes with one value per cell (gene) become columns of ``obs`` (``var``); an attribute of several columns
    becomes as many columns, numbered from 1. Where the file has no cell names they are ``cell1`` … in file order.
    """
    with open_hdf5(path, "loom") as file:
        dataset, where = _place(file, path, layer)
        if len(dataset.shape) != 2:
            raise InputError(f"{path}: {where} has {len(dataset.shape)} dimensions, expected genes × cells")
        check_sizes(dataset, path)
        n_genes, n_cells = dataset.shape
        obs = _attributes(file, "col_attrs", n_cells, path)
        var = _attributes(file, "row_attrs", n_genes, path)
        lengths = {item.shape[0] for item in file["row_attrs"].values() if getattr(item, "shape", ())}
        if n_genes not in lengths and n_cells in lengths:
            raise InputError(
                f"{path}: {where} is {n_genes} × {n_cells}, and the attributes of its rows have {n_cells} values: "
                "store it as genes × cells, its transpose"
            )
        # slabs of whole storage chunks, so that no chunk is decompressed twice
        wide = dataset.chunks[1] if dataset.chunks else 1
        step = max(wide, _CELLS // max(1, n_genes) // wide * wide)
        store = CountStore(n_genes)
        for at in range(0, n_cells, step):
            store.append(sparse.csr_matrix(plain_floats(np.asarray(dataset[:, at : at + step]), path).T))
        matrix, var = choose_features(store.matrix(), _gene_names(var, path), path, features=features, modality=None)
        return assemble(
            matrix,
            _cell_names(obs, n_cells, path),
            var,
            path,
            {"format": "loom", "layer": where},
            where=where,
            other=lambda: _other_places(file, path, layer),
            rounding=rounding,
        )


def _cell_names(obs: pd.DataFrame, n_cells: int, path: Path) -> pd.DataFrame:
    import pandas as pd

    cells = _named(obs, CELL_NAMES)
    if cells is not None:
        return obs.set_index(cells)
    log.warning(
        "%s: no cell names (looked for %s): cells are called cell1 … in file order", path, ", ".join(CELL_NAMES[:3])
    )
    return obs.set_axis(pd.Index([f"cell{i + 1}" for i in range(n_cells)]))


def _gene_names(var: pd.DataFrame, path: Path) -> pd.DataFrame:
    genes = _named(var, GENE_NAMES)
    if genes is None:
        raise InputError(
            f"{path}: no gene names among the row attributes ({', '.join(map(str, var)) or 'none'}): expected 'Gene'"
        )
    return var.set_index(genes)


def _named(table: pd.DataFrame, names: Sequence[str]) -> str | None:
    """Return the column of the first of these names that is there, as written or else in other capitals."""
    spelled = {folded(column): str(column) for column in reversed(list(table.columns))}
    return next(
        (name for name in names if name in table), next((spelled[n] for n in map(folded, names) if n in spelled), None)
    )


def _place(file: h5py.File, path: Path, layer: str | None) -> tuple[h5py.Dataset, str]:
    known = keys_of(file.get("layers"))
    if layer is None:
        return file["matrix"], "matrix"
    if layer not in known:
        listed = ", ".join(known) or "(none)"
        raise InputError(
            f"{path}: no layer '{layer}'{did_you_mean(layer, known)}: available: {listed}, and without `layer` the "
            "main matrix"
        )
    return file[f"layers/{layer}"], f"layers['{layer}']"


def _other_places(file: h5py.File, path: Path, layer: str | None) -> str:
    """Say which other matrices of the file hold whole numbers, for the case that the one asked for does not."""
    found = []
    if layer is not None and looks_whole(first_values(file["matrix"], path)):
        found.append("matrix holds whole numbers (remove `layer`)")
    for name in keys_of(file.get("layers")):
        if name != layer and looks_whole(first_values(file[f"layers/{name}"], path)):
            found.append(f"layers['{name}'] holds whole numbers (use `layer: {name}`)")
    return f"; {'; '.join(found)}" if found else "; no other matrix of the file holds whole numbers"


def _attributes(file: h5py.File, group: str, length: int, path: Path) -> pd.DataFrame:
    import h5py
    import pandas as pd

    columns: dict[str, Any] = {}
    for name, item in file.get(group, {}).items():
        if not hasattr(item, "shape") or not item.shape or item.shape[0] != length:
            log.info("%s: left out %s/%s, which does not have one value per name", path, group, name)
            continue
        if item.dtype.kind not in "biufSO" or (item.dtype.kind == "O" and not h5py.check_string_dtype(item.dtype)):
            log.info("%s: left out %s/%s, which holds neither text nor numbers", path, group, name)
            continue
        check_sizes(item, path)
        values = item.asstr(errors="replace")[:] if item.dtype.kind in "SO" else item[:]
        if values.ndim == 1:
            columns[name] = values
            continue
        values = values.reshape(length, -1)
        if values.shape[1] == 1:
            columns[name] = values[:, 0]
        else:
            columns |= {f"{name}_{i + 1}": values[:, i] for i in range(values.shape[1])}
    return pd.DataFrame(columns, index=range(length))
