"""Reading stage files: what is large lies in scratch files, and files of the same cells share their names."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data import blocks, slots
from sclatent.data.blocks import csr_of, dense
from sclatent.data.blocks.names import LONGEST, Names
from sclatent.io._counts import parsing

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

_APART = 50
"""Columns of a table up to which each stays an array of its own."""
SHARED = 10_000
"""Cells from which the names of one file serve the next: those of a million take 110 MB in every file."""
COLUMN = 1 << 20
"""Bytes of a column up to which it is in memory, of files that are read `packed`."""
_OF_CELLS = ("/obs", f"/uns/{slots.UNS}/{slots.UNS_QC}")
"""Tables with a row for each cell."""
_last: Any = lambda: None  # noqa: E731
"""A weak reference to the names of the file that was read last."""


def read_h5ad(
    path: str | Path, *, names_only: bool = False, without: tuple[str, ...] = (), packed: bool = False
) -> AnnData:
    """Read a stage file.

    Parameters
    ----------
    path
        The file.
    names_only
        Leave out ``X``, ``layers`` and ``obsp``, for callers that need only what is known of cells and genes.
    without
        Further parts to leave out, such as ``obsm``.
    packed
        Keep what is known of cells small: their names in one piece of memory (`sclatent.data.blocks.names.Names`), a
        fifth of what Python's strings take, and long columns of numbers in scratch files. Other programs may not know
        this type.

    Returns
    -------
    AnnData
        The stage file: cells × genes. Counts of more than `sclatent.data.blocks.IN_MEMORY` bytes, and an array or
        a graph of cells of more than `sclatent.data.blocks.dense.IN_MEMORY`, lie in a scratch file (in ``$TMPDIR``)
        that is mapped into memory: they are like any other matrix or array, but cannot be written to.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    import anndata
    import h5py
    from anndata.experimental import read_dispatched

    global _last
    known = _last()
    left_out = {*without, *(("X", "layers", "obsp") if names_only else ())}

    def blockwise(read: Any, key: str, element: Any, *, iospec: Any) -> Any:
        nonlocal known
        if iospec.encoding_type == "csr_matrix" and isinstance(element, h5py.Group):
            return _read_csr(element, dense.IN_MEMORY if "/obsp/" in element.name else blocks.IN_MEMORY)
        if iospec.encoding_type == "array" and isinstance(element, h5py.Dataset) and element.ndim == 2:
            return _read_array(element)
        if iospec.encoding_type == "string-array" and isinstance(element, h5py.Dataset) and element.ndim == 1:
            table, _, name = element.name.rpartition("/")
            if element.parent.attrs.get("_index") != name:
                return _read_text(element, None)
            return _read_names(element, known) if packed and table in _OF_CELLS else _read_text(element, known)
        if packed and iospec.encoding_type == "array" and element.name.rpartition("/")[0] in _OF_CELLS:
            return _read_column(element)
        if iospec.encoding_type == "anndata":
            parts = [part for part in element if part not in left_out]
            return anndata.AnnData(**{part: read_dispatched(element[part], blockwise) for part in parts})
        if (iospec.encoding_type, iospec.encoding_version) == ("dataframe", "0.2.0") and len(element) <= _APART:
            table = _frame(element, {key: read_dispatched(element[key], blockwise) for key in element}, known)
            known = table.index if element.name == "/obs" else known
            return table
        return read(element)

    with parsing(path, "h5ad"), h5py.File(path, "r") as file:
        if file.attrs.get("encoding-type") != "anndata":  # an old file
            return anndata.read_h5ad(path)
        out = read_dispatched(file, blockwise)
    if out.n_obs >= SHARED:
        _last = weakref.ref(out.obs.index)
    return out


def _frame(group: Any, columns: dict[str, Any], known: pd.Index | None) -> pd.DataFrame:
    """Return a table of columns, as anndata does, but without a copy of them all; its index is `known` if equal."""
    import pandas as pd

    key, order = group.attrs["_index"], [str(name) for name in group.attrs["column-order"]]
    index = columns[key]
    if known is not None and index is known.values:
        index = known.view()
    table = pd.DataFrame({name: columns[name] for name in order}, index=index, columns=order or None, copy=False)
    table.index.name = None if key == "_index" else key
    return table


def _read_csr(group: Any, in_memory: int) -> csr_matrix:
    """Read a CSR matrix by stretches, so that one of more bytes than `in_memory` is never in memory as a whole."""
    data, indices, offsets = group["data"], group["indices"], np.asarray(group["indptr"][:])
    n_columns = int(group.attrs["shape"][1])
    if data.size * (data.dtype.itemsize + indices.dtype.itemsize) <= in_memory:
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


def _read_array(dataset: Any) -> np.ndarray:
    """Read an array, a large one by stretches."""
    if dataset.size * dataset.dtype.itemsize <= dense.IN_MEMORY:
        return np.asarray(dataset[()])
    return dense.by_rows(len(dataset), lambda part: dataset[part], rows=_rows_of(dataset))


def _read_column(dataset: Any) -> np.ndarray:
    """Read a column; a large one goes to a scratch file, since a stage works on some of the columns only."""
    store = blocks.ArrayStore(COLUMN)
    store.append(np.asarray(dataset[()]))
    return store.array(dataset.dtype)


def _read_text(dataset: Any, known: pd.Index | None) -> np.ndarray:
    """Read an array of text by stretches; return the array behind `known` if that says the same."""
    text, names = dataset.asstr(), np.empty(0) if known is None else known.values
    same = isinstance(names, np.ndarray) and names.dtype == object and len(names) == len(dataset)
    out = np.asarray(names) if same else np.empty(len(dataset), dtype=object)
    for part in dense.stretches(len(dataset), rows=_rows_of(dataset)):
        stretch = text[part]
        if same and not np.array_equal(stretch, out[part]):
            same, out = False, out.copy()
        if not same:
            out[part] = stretch
    return out


def _read_names(dataset: Any, known: pd.Index | None) -> Names | np.ndarray:
    """Read names by stretches, packed unless one is too long; return those behind `known` if that says the same."""
    names = None if known is None else known.array
    same = isinstance(names, Names) and len(names) == len(dataset)
    out = names.packed if isinstance(names, Names) and same else np.empty(len(dataset), dtype="S1")
    for part in dense.stretches(len(dataset), rows=_rows_of(dataset)):
        stretch = np.asarray(dataset[part]).astype(np.bytes_)
        stretch.tobytes().decode()  # what is no text ends here, as it does in `_read_text`
        if stretch.itemsize > LONGEST:
            return _read_text(dataset, None)
        if same and not np.array_equal(stretch, out[part]):
            same, out = False, out.copy()
        if not same:
            out = out.astype(max(out.dtype, stretch.dtype), copy=False)
            out[part] = stretch
    return names if isinstance(names, Names) and same else Names(out)


def _rows_of(dataset: Any) -> int:
    """Return about how many rows to read at once: whole chunks."""
    chunk = dataset.chunks[0] if dataset.chunks else 1
    return max(1, dense.ROWS // chunk) * chunk
