"""Writing stage files: whole or not at all, the same bytes for the same content."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sclatent.data.atomic import atomic
from sclatent.io._counts import parsing

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def read_h5ad(path: str | Path, *, names_only: bool = False) -> AnnData:
    """Read a stage file.

    Parameters
    ----------
    path
        The file.
    names_only
        Leave the matrix on disk (anndata's backed mode), for who asks about cells and genes only.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    import anndata

    with parsing(path, "h5ad"):
        return anndata.read_h5ad(path, backed="r" if names_only else None)


def write_h5ad(adata: AnnData, path: str | Path) -> None:
    """Write an AnnData, compressed; `path` appears whole or not at all."""
    with atomic(path) as scratch:
        # level 1: about as small as the default for counts, in a third of the time
        adata.write_h5ad(scratch, compression="gzip", compression_opts=1)


def write_table(table: pd.DataFrame, path: str | Path, *, index: bool = False) -> None:
    """Write a TSV (gzipped if `path` ends in ``.gz``); numbers keep 8 significant digits, missing values are empty."""
    with atomic(path) as scratch:
        table.to_csv(scratch, sep="\t", index=index, float_format="%.8g", lineterminator="\n")


def write_json(content: Any, path: str | Path) -> None:
    """Write JSON that every parser reads: numpy numbers and arrays as plain ones, NaN and infinity as null."""
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
