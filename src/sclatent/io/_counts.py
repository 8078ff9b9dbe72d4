"""What every reader ends with: a matrix becomes exact whole-number counts, or one line says why it cannot."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from sclatent.data import slots
from sclatent.data.genes import swapped
from sclatent.settings import InputError
from sclatent.settings.words import LARGEST_EXACT

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

LARGEST = 2**24
"""float32 holds every whole number up to here; the next one, 16,777,217, would silently become this one."""
_BLOCK = 1 << 22
_SAMPLE = 1_000_000
_ODD = {
    "missing": ("a value that is missing or infinite", "fill or remove it"),
    "negative": ("a negative value", "counts are never negative: these look like scaled or corrected values"),
    "fraction": (
        "a fraction",
        "counts are whole numbers: normalised or log values cannot be used, and estimated counts must be rounded",
    ),
    "large": ("a value above 16,777,216", "beyond it counts are not exact in float32: is this really one cell?"),
}


@contextlib.contextmanager
def parsing(path: str | Path, what: str) -> Iterator[None]:
    """Turn whatever a parser raises on a broken file into one line that names the file.

    Parsers raise nearly anything on damaged input (``OSError``, ``zlib.error``, ``KeyError``, ``struct.error`` …), so
    everything but a lack of memory is taken as the file's fault; the original error stays attached as the cause.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file: {error.filename or path}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: cannot be read as {what}: it is not UTF-8 text: save it as UTF-8 (in a spreadsheet: CSV UTF-8)"
        ) from error
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise InputError(
            f"{path}: cannot be read as {what} ({type(error).__name__}: {said}): "
            "the file is damaged, cut short or of another kind: fetch it again, or check the path"
        ) from error


def first_odd(values: np.ndarray) -> tuple[int, str] | None:
    """Return position and kind of the first value that is no count, or None.

    Works in blocks, so that no copy of a large matrix is made.
    """
    if values.dtype.kind in "bu" and values.dtype.itemsize < 4:
        return None
    for start in range(0, values.size, _BLOCK):
        block = values[start : start + _BLOCK]
        odd = None
        if block.dtype.kind == "f":
            odd = ~np.isfinite(block)
            if not odd.any():
                odd = block != np.floor(block)
        if odd is None or not odd.any():
            odd = (block < 0) | (block > LARGEST)
        if odd.any():
            at = int(np.argmax(odd))
            value = block[at]
            if not np.isfinite(value):
                return start + at, "missing"
            if value < 0:
                return start + at, "negative"
            return start + at, "large" if value > LARGEST else "fraction"
    return None


def whole_numbers(group: Any) -> bool:
    """Tell whether a matrix on disk, dense or sparse, holds counts, judged by about its first million values."""
    if hasattr(group, "shape"):
        rows = max(1, _SAMPLE // max(1, group.shape[1] if len(group.shape) == 2 else 1))
        values = np.asarray(group[:rows]).ravel()
    else:
        values = np.asarray(group["data"][:_SAMPLE]) if "data" in group else np.array([np.nan])
    return values.dtype.kind in "buif" and values.size > 0 and first_odd(values) is None


def to_counts(
    matrix: Any, path: str | Path, cells: Sequence[str], genes: Sequence[str], *, where: str = "X", other: str = ""
) -> sparse.csr_matrix:
    """Return the matrix as CSR float32 with exact whole numbers, in canonical form and without stored zeros.

    Parameters
    ----------
    matrix
        (n_cells, n_genes), sparse or dense.
    path, where
        File, and place in the file, for the line.
    cells, genes
        Names, for the line.
    other
        What to add to the line when values are fractions: where whole numbers are to be found.

    Raises
    ------
    InputError
        If the matrix is empty, or holds a value that is missing, infinite, negative, fractional or above 2²⁴ (the
        largest count up to which float32 is exact).
    """
    if 0 in matrix.shape:
        raise InputError(f"{path}: {where} holds {matrix.shape[0]} cells and {matrix.shape[1]} genes: nothing to read")
    counts = matrix.tocsr() if sparse.issparse(matrix) else sparse.csr_matrix(np.asarray(matrix))
    # duplicates are summed in the type of the file: float32 could lose a unit here
    if not counts.has_canonical_format:
        counts = counts.copy() if counts is matrix else counts
        counts.sum_duplicates()
    if counts.dtype.kind not in "buif":
        raise InputError(f"{path}: {where} holds values of type {counts.dtype}, not numbers")
    found = first_odd(counts.data)
    if found is not None:
        at, kind = found
        row = int(np.searchsorted(counts.indptr, at, side="right") - 1)
        found_what, advice = _ODD[kind]
        place = f"{counts.data[at]:g} (cell '{cells[row]}', gene '{genes[int(counts.indices[at])]}')"
        raise InputError(
            f"{path}: {where} holds {found_what}, {place}: {advice}{other if kind in ('fraction', 'negative') else ''}"
        )
    # a matrix that is as it should be is handed back, not copied: it may fill most of the memory
    if counts.dtype != np.float32 or not isinstance(counts, sparse.csr_matrix):
        counts = sparse.csr_matrix(counts, dtype=np.float32)
    if np.count_nonzero(counts.data) < counts.nnz:
        counts = counts.copy()
        counts.eliminate_zeros()
    if counts.nnz == 0:
        raise InputError(f"{path}: {where} holds nothing but zeros ({counts.shape[0]} cells × {counts.shape[1]} genes)")
    return counts


def assemble(
    matrix: Any,
    obs: pd.DataFrame,
    var: pd.DataFrame,
    path: str | Path,
    info: dict[str, Any],
    *,
    where: str = "X",
    other: str = "",
) -> AnnData:
    """Join a matrix with its names, checked: whole-number counts, no cell twice, gene names made unique.

    Genes that share a name are kept and told apart by a suffix (``TBCE``, ``TBCE-1``), as scanpy and Seurat do, with a
    line in the log. A cell that is listed twice is an error: nobody can know which of the two is meant.
    """
    from anndata import AnnData

    if matrix.shape != (len(obs), len(var)):
        raise InputError(
            f"{path}: {where} is {matrix.shape[0]} × {matrix.shape[1]}, but there are names for {len(obs)} cells and "
            f"{len(var)} genes: the files do not belong together, or one is cut short"
        )
    obs, var = tidy(obs, path, "obs"), tidy(var, path, "var")
    twice = obs.index[obs.index.duplicated()]
    if len(twice):
        raise InputError(
            f"{path}: {twice.nunique()} cell name(s) stand more than once, such as '{twice[0]}': cell names must be "
            f"unique; "
            "if the file holds several samples, put the sample into the name"
        )
    # of a dense table the reader finds, or the user says, which way round it is
    gene = "" if "orientation" in info else swapped(list(obs.index), list(var.index))
    if gene:
        raise InputError(
            f"{path}: {where} has genes where cells should be ('{gene}', …): store it as cells × genes (`adata.T`)"
        )
    counts = to_counts(matrix, path, list(obs.index), list(var.index), where=where, other=other)
    repeated = var.index[var.index.duplicated()].unique()
    if len(repeated):
        log.warning(
            "%s: %d gene name(s) stand more than once, such as '%s': told apart by a suffix ('%s-1')",
            path,
            len(repeated),
            repeated[0],
            repeated[0],
        )
        var.index = unique(list(var.index))
    adata = AnnData(counts, obs=obs, var=var)
    info = {
        **info,
        "path": str(path),
        "n_cells": adata.n_obs,
        "n_genes": adata.n_vars,
        "total": float(counts.sum(dtype=np.float64)),
    }
    adata.uns[slots.UNS] = {slots.UNS_READ: info}
    log.info(
        "%s: %d cells × %d genes, %.0f counts, read as %s",
        path,
        adata.n_obs,
        adata.n_vars,
        info["total"],
        info["format"],
    )
    return adata


def unique(names: Sequence[str]) -> list[str]:
    """Tell repeated names apart by ``-1``, ``-2`` …; the first stays as it is and no new name meets an old one."""
    taken, seen, out = set(names), Counter[str](), []
    for name in names:
        if seen[name]:
            while (new := f"{name}-{seen[name]}") in taken:
                seen[name] += 1
            taken.add(new)
            out.append(new)
        else:
            out.append(name)
        seen[name] += 1
    return out


def tidy(table: pd.DataFrame, path: str | Path, which: str) -> pd.DataFrame:
    """Return `table` in a shape that h5ad can hold: text names, columns it has names for, one type per column."""
    import pandas as pd

    table = table.copy()
    table.index = pd.Index(table.index.astype(str), dtype=object)
    # h5ad takes "/" for a path, and keeps `_index` to itself
    columns = ["index" if column == "_index" else str(column).replace("/", "_") for column in table.columns]
    if columns != list(table.columns):
        changed = [f"'{old}' → '{new}'" for old, new in zip(table.columns, columns, strict=True) if old != new]
        log.info("%s: %s columns renamed, since h5ad cannot hold the names: %s", path, which, ", ".join(changed))
    table.columns = pd.Index(unique(columns), dtype=object)
    for name in table.columns:
        table[name] = _plain_column(table[name])
    return table


def _inexact(whole: pd.Series) -> bool:
    """Tell whether whole numbers are so large that they would change where a gap makes them float64."""
    return bool(((whole > LARGEST_EXACT) | (whole < -LARGEST_EXACT)).any())


def _plain_column(column: pd.Series) -> Any:
    """Return a column as numpy numbers or truth values, as categories, or as text without gaps."""
    import pandas as pd

    gaps = column.isna().to_numpy()
    if isinstance(column.dtype, pd.CategoricalDtype):
        categories = column.cat.categories
        if pd.api.types.is_string_dtype(categories) or pd.api.types.is_numeric_dtype(categories):
            return column
        return column.cat.rename_categories([str(value) for value in categories])
    ids = pd.api.types.is_integer_dtype(column) and _inexact(column[~gaps])
    if pd.api.types.is_numeric_dtype(column) and not ids and not (gaps.any() and pd.api.types.is_bool_dtype(column)):
        if isinstance(column.dtype, np.dtype):
            return column
        if gaps.any():
            return column.to_numpy(dtype=float, na_value=np.nan)
        nullable: Any = column.dtype
        return column.to_numpy(nullable.numpy_dtype)
    # text, dates, long ids and mixed objects: as text, so that writing and reading back gives the same
    text = [None if gap else str(value) for value, gap in zip(column, gaps, strict=True)]
    if gaps.all():
        return np.full(len(column), np.nan)
    # h5ad holds a gap in text only where the text is a category
    return pd.Categorical(text) if gaps.any() else pd.Series(text, index=column.index, dtype=object)
