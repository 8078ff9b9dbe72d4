"""Loom files (velocyto, loompy), read with h5py alone: genes in rows, names and columns as attributes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from sclatent.io._counts import assemble, first_odd, parsing, whole_numbers
from sclatent.settings import InputError, did_you_mean

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

CELL_NAMES = ("CellID", "cell_id", "CellIDs", "cell_names", "obs_names", "barcode", "barcodes", "Barcode")
GENE_NAMES = ("Gene", "gene_names", "GeneName", "gene_name", "Symbol", "var_names", "Accession", "gene_ids")
_CELLS = 16_000_000
"""Entries of the dense matrix on disk that are held in memory at once."""


def read_loom(path: Path, *, layer: str | None) -> AnnData:
    """Read counts from a loom file.

    Attributes with one value per cell (gene) become columns of ``obs`` (``var``); an attribute of several columns
    becomes as many columns, numbered from 1. Where the file has no cell names they are ``cell1`` … in file order.
    """
    import h5py
    import pandas as pd

    with parsing(path, "loom"), h5py.File(path, "r") as file:
        dataset, where = _place(file, path, layer)
        n_genes, n_cells = dataset.shape
        obs = _attributes(file, "col_attrs", n_cells, path)
        var = _attributes(file, "row_attrs", n_genes, path)
        # slabs of whole storage chunks, so that no chunk is decompressed twice
        wide = dataset.chunks[1] if dataset.chunks else 1
        step = max(wide, _CELLS // max(1, n_genes) // wide * wide)
        slabs = [sparse.csr_matrix(np.asarray(dataset[:, at : at + step]).T) for at in range(0, n_cells, step)]
        matrix = sparse.vstack(slabs, format="csr") if slabs else np.zeros((n_cells, n_genes))
        other = _other_places(file, layer) if slabs and first_odd(np.asarray(matrix.data)) else ""
    cells = next((name for name in CELL_NAMES if name in obs), None)
    if cells is None:
        log.warning(
            "%s: no cell names (looked for %s): cells are called cell1 … in file order", path, ", ".join(CELL_NAMES[:3])
        )
        obs.index = pd.Index([f"cell{i + 1}" for i in range(n_cells)])
    else:
        obs = obs.set_index(cells)
    genes = next((name for name in GENE_NAMES if name in var), None)
    if genes is None:
        raise InputError(
            f"{path}: no gene names among the row attributes ({', '.join(map(str, var)) or 'none'}): expected 'Gene'"
        )
    return assemble(
        matrix, obs, var.set_index(genes), path, {"format": "loom", "layer": where}, where=where, other=other
    )


def _place(file: h5py.File, path: Path, layer: str | None) -> tuple[h5py.Dataset, str]:
    known = list(file["layers"]) if "layers" in file else []
    if layer is None:
        return file["matrix"], "matrix"
    if layer not in known:
        listed = ", ".join(known) or "(none)"
        raise InputError(
            f"{path}: no layer '{layer}'{did_you_mean(layer, known)}: there is {listed}, and without `layer` the main "
            f"matrix"
        )
    return file[f"layers/{layer}"], f"layers['{layer}']"


def _other_places(file: h5py.File, layer: str | None) -> str:
    """Say which other matrices of the file hold whole numbers, for the case that the one asked for does not."""
    found = []
    if layer is not None and whole_numbers(file["matrix"]):
        found.append("matrix holds whole numbers (remove `layer`)")
    for name in file.get("layers", ()):
        if name != layer and whole_numbers(file[f"layers/{name}"]):
            found.append(f"layers['{name}'] holds whole numbers (use `layer: {name}`)")
    return f"; {'; '.join(found)}" if found else "; no other matrix of the file holds whole numbers"


def _attributes(file: h5py.File, group: str, length: int, path: Path) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, Any] = {}
    for name, item in file.get(group, {}).items():
        if not hasattr(item, "shape") or not item.shape or item.shape[0] != length:
            log.info("%s: left out %s/%s, which has not one value per name", path, group, name)
            continue
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
