"""Counts out of AnnData files (h5ad and zarr): ``X``, a layer, or ``raw``.

Only the names and the one matrix asked for are read, so layers and embeddings cost no memory.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from sclatent.io._counts import assemble, first_odd, parsing, whole_numbers
from sclatent.settings import InputError, did_you_mean

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger(__name__)

_ROWS = 16_000_000
"""Entries of a dense matrix on disk that are held in memory at once."""


def read_anndata(path: Path, *, layer: str | None) -> AnnData:
    """Read counts from an open-format AnnData file.

    Parameters
    ----------
    path
        ``.h5ad`` file or ``.zarr`` folder.
    layer
        A layer, or ``raw`` for ``raw.X`` with its own genes; ``None`` for ``X``.
    """
    if path.is_dir():
        import zarr

        with parsing(path, "zarr"):
            return _read(zarr.open_group(str(path), mode="r"), path, layer, "zarr")
    import h5py

    with parsing(path, "h5ad"), h5py.File(path, "r") as file:
        if isinstance(file.get("obs"), h5py.Dataset):
            return _read_legacy(path, layer)
        return _read(file, path, layer, "h5ad")


def _read(file: Any, path: Path, layer: str | None, kind: str) -> AnnData:
    from anndata.io import read_elem

    for name in ("obs", "var"):
        if name not in file:
            raise InputError(f"{path}: no '{name}' in it: this is no {kind} file of cells × genes")
    group, where = _place(file, path, layer)
    obs = read_elem(file["obs"])
    var = read_elem(file["raw/var"] if where == "raw" else file["var"])
    left = [
        name
        for name in ("obsm", "varm", "obsp", "layers", "raw")
        if name in file and name != where and _filled(file[name])
    ]
    if left:
        log.info("%s: left out what counts do not need: %s", path, ", ".join(left))
    matrix = _matrix(group, read_elem)
    other = _other_places(file, where) if first_odd(_values(matrix)) else ""
    return assemble(matrix, obs, var, path, {"format": kind, "layer": where}, where=where, other=other)


def _read_legacy(path: Path, layer: str | None) -> AnnData:
    """Read a file from before anndata 0.7, whose tables are plain HDF5 compounds."""
    import anndata

    adata = anndata.read_h5ad(path)
    if layer is None or layer == "X":
        return assemble(adata.X, adata.obs, adata.var, path, {"format": "h5ad", "layer": "X"})
    if layer == "raw" and adata.raw is not None:
        return assemble(adata.raw.X, adata.obs, adata.raw.var, path, {"format": "h5ad", "layer": "raw"}, where="raw")
    if layer in adata.layers:
        where = f"layers['{layer}']"
        return assemble(
            adata.layers[layer], adata.obs, adata.var, path, {"format": "h5ad", "layer": layer}, where=where
        )
    raise _no_layer(
        path, layer, [*(["raw"] if adata.raw is not None else []), *(name for name in adata.layers if name)]
    )


def _place(file: Any, path: Path, layer: str | None) -> tuple[Any, str]:
    """Return the group of the matrix asked for and what to call it."""
    places = {name: f"layers['{name}']" for name in file.get("layers", ())}
    if "raw" in file and "X" in file["raw"]:
        places["raw"] = "raw"
    if layer is None or layer == "X":
        if "X" not in file or file["X"].attrs.get("encoding-type") == "null":
            raise InputError(
                f"{path}: no X in it: set `layer` to one of {', '.join(places) or '(there is no layer either)'}"
            )
        return file["X"], "X"
    if layer not in places:
        raise _no_layer(path, layer, list(places))
    return (file["raw/X"], "raw") if layer == "raw" else (file[f"layers/{layer}"], places[layer])


def _no_layer(path: Path, layer: str, known: list[str]) -> InputError:
    return InputError(
        f"{path}: no layer '{layer}'{did_you_mean(layer, known)}: there is X{''.join(', ' + k for k in known)}"
    )


def _matrix(group: Any, read_elem: Any) -> Any:
    """Read a matrix; a dense one comes in blocks of rows that are made sparse one by one."""
    if not hasattr(group, "shape") or len(group.shape) != 2:
        return read_elem(group)
    rows = max(1, _ROWS // max(1, group.shape[1]))
    blocks = [sparse.csr_matrix(np.asarray(group[at : at + rows])) for at in range(0, group.shape[0], rows)]
    return sparse.vstack(blocks, format="csr") if blocks else np.zeros(group.shape)


def _values(matrix: Any) -> np.ndarray:
    return matrix.data if sparse.issparse(matrix) else np.asarray(matrix).ravel()


def _filled(group: Any) -> bool:
    return hasattr(group, "keys") and len(list(group.keys())) > 0


def _other_places(file: Any, where: str) -> str:
    """Say which other matrices of the file hold whole numbers, judged by their first values."""
    places = {"X": ("X", "remove `layer`")}
    places |= {f"layers/{name}": (f"layers['{name}']", f"`layer: {name}`") for name in file.get("layers", ())}
    places["raw/X"] = ("raw", "`layer: raw`")
    found = []
    for key, (name, advice) in places.items():
        if name == where or key not in file:
            continue
        if whole_numbers(file[key]):
            found.append(f"{name} holds whole numbers (use {advice})")
    return f"; {'; '.join(found)}" if found else "; no other matrix of the file holds whole numbers"
