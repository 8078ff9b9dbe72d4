"""Writing stage files: whole or not at all, the same bytes for the same content."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data import blocks
from sclatent.data.atomic import atomic
from sclatent.data.blocks import csr_of, is_mapped, release
from sclatent.io._counts import parsing
from sclatent.io._hdf5 import created

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix


COMPRESSION: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
"""Level 1 is about as small as the default, in a third of the time. To put equal bytes of all numbers side by side
first makes files of counts a quarter smaller still, and both writing and reading a quarter faster."""


def read_h5ad(path: str | Path, *, names_only: bool = False) -> AnnData:
    """Read a stage file.

    Parameters
    ----------
    path
        The file.
    names_only
        Leave out ``X``, ``layers`` and ``obsp``, for callers that need only what is known of cells and genes.

    Returns
    -------
    AnnData
        The stage file: cells × genes. A CSR matrix of more than
        `sclatent.data.blocks.IN_MEMORY` bytes lies in a scratch file (in ``$TMPDIR``) that is mapped into memory: it is
        a scipy matrix like any other, but cannot be written to.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    import anndata
    import h5py
    from anndata.experimental import read_dispatched

    def blockwise(read: Any, key: str, element: Any, *, iospec: Any) -> Any:
        if iospec.encoding_type == "csr_matrix" and isinstance(element, h5py.Group):
            return _read_csr(element)
        if iospec.encoding_type == "anndata":
            parts = [part for part in element if not (names_only and part in ("X", "layers", "obsp"))]
            return anndata.AnnData(**{part: read_dispatched(element[part], blockwise) for part in parts})
        return read(element)

    with parsing(path, "h5ad"), h5py.File(path, "r") as file:
        if file.attrs.get("encoding-type") != "anndata":  # an old file
            return anndata.read_h5ad(path)
        return read_dispatched(file, blockwise)


def _read_csr(group: Any) -> csr_matrix:
    """Read a CSR matrix by stretches, so that a large one is never in memory as a whole."""
    data, indices, offsets = group["data"], group["indices"], np.asarray(group["indptr"][:])
    n_columns = int(group.attrs["shape"][1])
    if data.size * (data.dtype.itemsize + indices.dtype.itemsize) <= blocks.IN_MEMORY:
        return csr_of(data[:], indices[:], offsets, n_columns)
    store = blocks.CountStore(n_columns, in_memory=0)
    start, n = 0, len(offsets) - 1
    while start < n:
        end = int(np.searchsorted(offsets, int(offsets[start]) + blocks.BLOCK, side="right")) - 1
        end = min(max(end, start + 1), n)
        part = slice(int(offsets[start]), int(offsets[end]))
        store.append(csr_of(data[part], indices[part], offsets[start : end + 1] - offsets[start], n_columns))
        start = end
    return store.matrix()


def write_h5ad(adata: AnnData, path: str | Path) -> None:
    """Write an AnnData, compressed; `path` appears whole or not at all.

    Parameters
    ----------
    adata
        Cells × genes, or whatever a stage file holds in their place.
    path
        The file; missing folders are made.
    """
    from anndata.experimental import write_dispatched

    def shuffled(write: Any, store: Any, key: str, content: Any, *, dataset_kwargs: Any, iospec: Any) -> None:
        if key.strip("/") == "raw" and content is None:
            return  # anndata's own writer leaves it out too: readers take a `raw` for counts
        if is_mapped(content):
            _write_csr(store, key, content)
            return
        scalar = isinstance(content, str | bytes | int | float) or getattr(content, "ndim", 1) == 0
        write(store, key, content, dataset_kwargs={} if scalar else COMPRESSION)

    adata.strings_to_categoricals()  # as anndata's own writer does, which cannot be told to shuffle
    with atomic(path) as scratch, created(scratch) as file:
        write_dispatched(file, "/", adata, callback=shuffled)


def _write_csr(store: Any, key: str, matrix: csr_matrix) -> None:
    """Write a CSR matrix by stretches, as anndata does it in one go: to the same bytes."""
    group = store.require_group(key)
    group.attrs["shape"] = matrix.shape
    for name in ("data", "indices", "indptr"):
        array = getattr(matrix, name)
        on_disk = group.create_dataset(
            name, shape=array.shape, dtype=array.dtype, maxshape=(None,), track_times=False, **COMPRESSION
        )
        for part in _stretches(len(array), on_disk.chunks[0]):
            on_disk[part] = array[part]
            release(matrix)
    group.attrs["encoding-type"], group.attrs["encoding-version"] = "csr_matrix", "0.1.0"


def _stretches(n: int, chunk: int) -> Iterator[slice]:
    """Yield stretches of whole chunks."""
    step = max(1, blocks.BLOCK // chunk) * chunk
    for start in range(0, n, step):
        yield slice(start, start + step)


def write_table(table: pd.DataFrame, path: str | Path, *, index: bool = False) -> None:
    """Write a TSV (gzipped if `path` ends in ``.gz``); numbers keep 8 significant digits, missing values are empty.

    Parameters
    ----------
    table
        One row per line of the file.
    path
        The file; it appears whole or not at all.
    index
        Write the index as the first column.
    """
    with atomic(path) as scratch:
        table.to_csv(scratch, sep="\t", index=index, float_format="%.8g", lineterminator="\n")


def write_json(content: Any, path: str | Path) -> None:
    """Write JSON that every parser reads: numpy numbers and arrays as plain ones, NaN and infinity as null.

    Parameters
    ----------
    content
        Mappings, sequences, strings, numbers, numpy scalars and arrays.
    path
        The file; it appears whole or not at all.
    """
    with atomic(path) as scratch:
        scratch.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value
