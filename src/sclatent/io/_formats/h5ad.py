"""Counts out of AnnData files (h5ad and zarr): ``X``, a layer, or ``raw``.

Only the names and the one matrix asked for are read, so layers and embeddings cost no memory.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from sclatent.data.blocks import CountStore
from sclatent.data.blocks.names import pack
from sclatent.data.gene_ids import gene_ids
from sclatent.io._counts import assemble, fits, parsing
from sclatent.io._formats.features import choose_features
from sclatent.io._formats.hdf5 import check_attributes, open_hdf5
from sclatent.io._numbers import looks_whole, plain_floats
from sclatent.io._rounding import Rounding
from sclatent.io._sizes import check_chunks, check_sizes, first_values, keys_of, read_sparse
from sclatent.settings import InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

_ROWS = 16_000_000
"""Entries of a dense matrix on disk that are held in memory at once."""


def read_anndata(
    path: Path,
    *,
    layer: str | None,
    features: str | None = None,
    modality: str | None = None,
    rounding: Rounding | None = None,
) -> AnnData:
    """Read counts from an open-format AnnData file.

    Parameters
    ----------
    path
        ``.h5ad`` file or ``.zarr`` folder.
    layer
        A layer, or ``raw`` for ``raw.X`` with its own genes; ``None`` for ``X``.
    features, modality
        Which features to keep, where ``var`` names their types; see `choose_features`.
    rounding
        How fractions become counts, if at all.
    """
    if path.is_dir():
        import zarr

        with parsing(path, "zarr"):
            # consolidated metadata is a copy, which may be stale and holds one of two names that differ in case only
            file = zarr.open_group(str(path), mode="r", use_consolidated=False)
            return read_group(file, path, layer, "zarr", rounding, features=features, modality=modality)
    import h5py

    with open_hdf5(path, "h5ad") as file:
        if isinstance(file.get("obs"), h5py.Dataset):
            check_sizes(file, path)
            return _read_legacy(path, layer, rounding, features=features, modality=modality)
        return read_group(file, path, layer, "h5ad", rounding, features=features, modality=modality)


def read_group(
    file: Any,
    path: Path,
    layer: str | None,
    kind: str,
    rounding: Rounding | None,
    *,
    features: str | None = None,
    modality: str | None = None,
) -> AnnData:
    """Read counts from the group of one AnnData: a whole file, or a table of a MuData file."""
    for name in ("obs", "var"):
        if name not in file:
            raise InputError(f"{path}: no '{name}' in it: this is no {kind} file of cells × genes")
    if "mod" in file:
        kinds = ", ".join(_group(file, "mod"))
        raise InputError(f"{path}: MuData in zarr, with several tables of counts ({kinds}): write it as h5mu")
    group, where = _place(file, path, layer)
    obs = read_table(file["obs"], path)
    obs.index = pack(obs.index)
    var = read_table(file["var"], path)
    if "var" in _group(file, "raw"):
        raw = read_table(file["raw/var"], path)
        var = with_known(raw, var, path) if where == "raw" else with_known(var, raw, path)
    left = [
        name
        for name in ("obsm", "varm", "obsp", "layers", "raw")
        if name in file and name != where and _filled(file[name])
    ]
    if left:
        log.info("%s: left out what is not needed: %s", path, ", ".join(left))
    matrix = _matrix(group, obs, var, path, where)
    matrix, var = choose_features(matrix, var, path, features=features, modality=modality)
    return assemble(
        matrix,
        obs,
        var,
        path,
        {"format": kind, "layer": where},
        where=where,
        other=lambda: _other_places(file, path, where),
        rounding=rounding,
    )


def _group(file: Any, name: str) -> list[str]:
    """Return what is in a group; nothing if it is not there, or an empty place that anndata wrote for None."""
    return keys_of(file[name]) if name in file else []


def read_table(group: Any, path: Path) -> pd.DataFrame:
    """Return a table of anndata."""
    from anndata.io import read_elem

    check_sizes(group, path)
    name = str(group.name).strip("/")
    if group.attrs.get("encoding-type") != "dataframe":
        raise InputError(f"{path}: {name} is not a table that anndata wrote: write the file again with a newer anndata")
    named = [str(column) for column in (group.attrs["_index"], *group.attrs["column-order"])]
    strange = [column for column in named if column.startswith("/") or ".." in column.split("/")]
    if strange:
        raise InputError(f"{path}: {name} names a column outside of it ('{strange[0]}'): the file is damaged")
    index = group[group.attrs["_index"]]
    check_chunks(index["values"] if "values" in keys_of(index) else index, path, f"the names in {name}")
    return read_elem(group)


def with_known(var: pd.DataFrame, other: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Add to a table of genes what another table of the same file knows of them.

    ``var`` and ``raw.var`` describe overlapping genes, and either may be bare. Genes are matched by name, else by
    Ensembl id; a gene that stands twice in one of the tables is matched to none.
    """
    import pandas as pd

    for mine, theirs in (
        (var.index.astype(str), other.index.astype(str)),
        (pd.Index(gene_ids(var)), pd.Index(gene_ids(other))),
    ):
        single = theirs[~theirs.duplicated(keep=False) & (theirs != "")]
        at = pd.Series(np.flatnonzero(theirs.isin(single)), index=theirs[theirs.isin(single)])
        place = at.reindex(mine).where(~mine.duplicated(keep=False)).to_numpy()
        known = ~np.isnan(place)
        if known.any():
            break
    else:
        return var
    rows = place[known].astype(int)
    out = var.copy()
    added = []
    for name in other.columns:
        values = other[name].iloc[rows].set_axis(out.index[known])
        if name not in out:
            out[name] = pd.Series(_spread(values, known), index=out.index)
            added.append(str(name))
    if added:
        log.info("%s: %d of %d genes also have %s", path, known.sum(), len(var), ", ".join(added))
    return out


def _spread(values: pd.Series, known: np.ndarray) -> Any:
    """Return one value per gene: these where they are known, and a gap (of a mark: False) elsewhere."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(values.dtype):
        out = np.zeros(len(known), dtype=bool)
        out[known] = values.to_numpy(dtype=bool, na_value=False)
        return out
    return values.set_axis(np.flatnonzero(known)).reindex(range(len(known))).array


def _read_legacy(
    path: Path, layer: str | None, rounding: Rounding | None, *, features: str | None, modality: str | None
) -> AnnData:
    """Read a file from before anndata 0.7, whose tables are plain HDF5 compounds."""
    import anndata

    adata = anndata.read_h5ad(path)
    var = adata.var
    if layer is None or layer == "X":
        matrix, where = adata.X, "X"
    elif layer == "raw" and adata.raw is not None:
        matrix, where = adata.raw.X, "raw"
    elif layer in adata.layers:
        matrix, where = adata.layers[layer], f"layers['{layer}']"
    else:
        raise _no_layer(
            path, layer, [*(["raw"] if adata.raw is not None else []), *(name for name in adata.layers if name)]
        )
    if adata.raw is not None:
        var = with_known(adata.raw.var, var, path) if where == "raw" else with_known(var, adata.raw.var, path)
    matrix, var = choose_features(matrix, var, path, features=features, modality=modality)
    return assemble(matrix, adata.obs, var, path, {"format": "h5ad", "layer": where}, where=where, rounding=rounding)


def _place(file: Any, path: Path, layer: str | None) -> tuple[Any, str]:
    """Return the group of the matrix asked for and what to call it."""
    places = {name: f"layers['{name}']" for name in _group(file, "layers")}
    if "X" in _group(file, "raw"):
        places["raw"] = "raw"
    if layer is None or layer == "X":
        if "X" in file:
            check_attributes(file["X"], path)
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
        f"{path}: no layer '{layer}'{did_you_mean(layer, known)}: available: X{''.join(', ' + k for k in known)}"
    )


def _matrix(group: Any, obs: pd.DataFrame, var: pd.DataFrame, path: Path, where: str) -> Any:
    """Read a matrix once its sizes fit the names; a dense one comes in blocks of rows, made sparse one by one."""
    if hasattr(group, "shape"):
        fits(group.shape, obs, var, path, where)
        check_sizes(group, path)
        absent = getattr(group, "nchunks", 0) - getattr(group, "nchunks_initialized", 0)
        if absent:
            log.warning("%s: %d chunks of %s are missing: zarr reads them as zeros", path, absent, where)
        rows = max(1, _ROWS // max(1, group.shape[1]))
        store = CountStore(group.shape[1])
        for at in range(0, group.shape[0], rows):
            store.append(sparse.csr_matrix(plain_floats(np.asarray(group[at : at + rows]), path)))
        return store.matrix()
    check_attributes(group, path)
    about = group.attrs
    # `h5sparse_*` is what anndata wrote before 0.7
    form = str(about.get("encoding-type", about.get("h5sparse_format", "")))
    shape = tuple(int(n) for n in about.get("shape", about.get("h5sparse_shape", ())))
    by = form.removesuffix("_matrix")
    if by not in ("csr", "csc") or len(shape) != 2:
        raise InputError(f"{path}: {where} is stored as '{form or 'unknown'}': expected a dense, CSR or CSC matrix")
    fits(shape, obs, var, path, where)
    return read_sparse(group, (shape[0], shape[1]), by, path, where)


def _filled(group: Any) -> bool:
    return len(keys_of(group)) > 0


def _other_places(file: Any, path: Path, where: str) -> str:
    """Say which other matrices of the file hold whole numbers, judged by their first values."""
    places = {"X": ("X", "remove `layer`")}
    places |= {f"layers/{name}": (f"layers['{name}']", f"`layer: {name}`") for name in _group(file, "layers")}
    if "X" in _group(file, "raw"):
        places["raw/X"] = ("raw", "`layer: raw`")
    found = []
    for key, (name, advice) in places.items():
        if name == where or key not in file:
            continue
        if looks_whole(first_values(file[key], path)):
            found.append(f"{name} holds whole numbers (use {advice})")
    return f"; {'; '.join(found)}" if found else "; no other matrix of the file holds whole numbers"
