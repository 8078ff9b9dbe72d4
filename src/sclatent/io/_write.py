"""Writing stage files: whole or not at all, the same bytes for the same content."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sclatent.data.atomic import atomic
from sclatent.io._counts import parsing
from sclatent.io._hdf5 import created

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


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
        Leave the matrix on disk (anndata's backed mode), for callers that need only the names of cells and genes.

    Returns
    -------
    AnnData
        The stage file; with `names_only` its ``X`` is backed by the file.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    import anndata

    with parsing(path, "h5ad"):
        return anndata.read_h5ad(path, backed="r" if names_only else None)


def write_h5ad(adata: AnnData, path: str | Path) -> None:
    """Write an AnnData, compressed; `path` appears whole or not at all.

    Parameters
    ----------
    adata
        What is written.
    path
        The file; missing folders are made.
    """
    from anndata.experimental import write_dispatched

    def shuffled(write: Any, store: Any, key: str, content: Any, *, dataset_kwargs: Any, iospec: Any) -> None:
        if key.strip("/") == "raw" and content is None:
            return  # anndata's own writer leaves it out too: readers take a `raw` for counts
        scalar = isinstance(content, str | bytes | int | float) or getattr(content, "ndim", 1) == 0
        write(store, key, content, dataset_kwargs={} if scalar else COMPRESSION)

    adata.strings_to_categoricals()  # as anndata's own writer does, which cannot be told to shuffle
    with atomic(path) as scratch, created(scratch) as file:
        write_dispatched(file, "/", adata, callback=shuffled)


def write_table(table: pd.DataFrame, path: str | Path, *, index: bool = False) -> None:
    """Write a TSV (gzipped if `path` ends in ``.gz``); numbers keep 8 significant digits, missing values are empty.

    Parameters
    ----------
    table
        The table.
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
