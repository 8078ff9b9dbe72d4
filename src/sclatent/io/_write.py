"""Writing stage files: whole or not at all, the same bytes for the same content."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data import blocks
from sclatent.data.atomic import atomic
from sclatent.data.blocks import dense, give_back, is_mapped, release
from sclatent.data.blocks.dense import in_file
from sclatent.data.blocks.names import Names
from sclatent.settings import checks_arguments

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix


COMPRESSION: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
"""Level 1 is about as small as the default, in a third of the time. To put equal bytes of all numbers side by side
first makes files of counts a quarter smaller still, and both writing and reading a quarter faster."""


@checks_arguments
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
        if in_file(content) and content.ndim > 1:
            _write_array(store, key, content)
            return
        if isinstance(getattr(getattr(content, "index", None), "array", None), Names):
            _write_frame(store, key, content, shuffled)
            return
        scalar = isinstance(content, str | bytes | int | float) or getattr(content, "ndim", 1) == 0
        write(store, key, content, dataset_kwargs={} if scalar else COMPRESSION)
        if in_file(content):  # a column
            give_back(content)

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
        for part in _stretches(len(array), on_disk.chunks[0], blocks.BLOCK):
            on_disk[part] = array[part]
            release(matrix)
    group.attrs["encoding-type"], group.attrs["encoding-version"] = "csr_matrix", "0.1.0"


def _write_array(store: Any, key: str, array: np.ndarray) -> None:
    """Write an array by stretches, as anndata does it in one go: to the same bytes."""
    on_disk = store.create_dataset(key, shape=array.shape, dtype=array.dtype, track_times=False, **COMPRESSION)
    for part in _stretches(len(array), on_disk.chunks[0], dense.ROWS):
        on_disk[part] = array[part]
        give_back(array)
    on_disk.attrs["encoding-type"], on_disk.attrs["encoding-version"] = "array", "0.2.0"


def _write_frame(store: Any, key: str, frame: pd.DataFrame, callback: Any) -> None:
    """Write a table with packed names, as anndata does it with strings: to the same bytes."""
    from anndata.experimental import write_dispatched

    group = store.require_group(key)
    group.attrs["column-order"] = [str(name) for name in frame.columns]
    group.attrs["_index"] = name = "_index" if frame.index.name is None else str(frame.index.name)
    _write_names(group, name, frame.index.array)
    group[name].attrs["encoding-type"], group[name].attrs["encoding-version"] = "string-array", "0.2.0"
    for column, values in frame.items():
        write_dispatched(group, str(column), values.values, callback=callback)
    group.attrs["encoding-type"], group.attrs["encoding-version"] = "dataframe", "0.2.0"


def _write_names(group: Any, key: str, names: Names) -> None:
    """Write packed names by stretches; HDF5 puts them into the file once its array is closed, as this returns."""
    import h5py

    on_disk = group.create_dataset(key, shape=len(names), dtype=h5py.string_dtype(), track_times=False, **COMPRESSION)
    for part in _stretches(len(names), on_disk.chunks[0], dense.ROWS):
        on_disk[part] = names.packed[part].astype(object)


def _stretches(n: int, chunk: int, about: int) -> Iterator[slice]:
    """Yield stretches of whole chunks, about so long."""
    step = max(1, about // chunk) * chunk
    for start in range(0, n, step):
        yield slice(start, start + step)


@checks_arguments
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


class _Sink(io.FileIO):
    """A file that remembers the first error of the system and takes what comes after it for written.

    HDF5 cannot close a file on a full disk: it tries again as the interpreter ends, and crashes it.
    """

    trouble: OSError | None = None

    def write(self, data: Any) -> int:
        return self._tried(super().write, data) or len(data)

    def truncate(self, size: int | None = None) -> int:
        return self._tried(super().truncate, size) or (size or 0)

    def flush(self) -> None:
        self._tried(super().flush)

    def _tried(self, do: Any, *arguments: Any) -> Any:
        if self.trouble is None:
            try:
                return do(*arguments)
            except OSError as error:
                self.trouble = OSError(error.errno, error.strerror, str(self.name))
        return None


@contextlib.contextmanager
def created(path: str | Path) -> Iterator[Any]:
    """Yield a new HDF5 file at `path`, closed at the end.

    Raises
    ------
    OSError
        If it could not be written to its end: the disk is full, say.
    """
    import h5py

    with _Sink(str(path), "w+b") as sink:
        try:
            with h5py.File(sink, "w") as file:
                yield file
        except Exception as error:
            if sink.trouble is not None:
                raise sink.trouble from error
            raise
        if sink.trouble is not None:
            raise sink.trouble
