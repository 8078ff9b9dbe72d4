"""What every reader begins and ends with: one line for a broken file, and a matrix that meets its names."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data import slots
from sclatent.data.blocks.names import NamesIndex
from sclatent.data.columns import check_text
from sclatent.data.gene_ids import raw_ids
from sclatent.data.normalise import cell_sums
from sclatent.io._formats.features import only_genes
from sclatent.io._formats.orientation import swapped
from sclatent.io._numbers import to_counts
from sclatent.io._rounding import Rounding, tell_multiples
from sclatent.settings import InputError
from sclatent.settings.words import LARGEST_EXACT

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

_NAMELESS = ("", "nan", "NaN", "NA", "None")
"""What stands for the symbol of a gene that has none."""


@contextlib.contextmanager
def parsing(path: str | Path, what: str, *, only_memory: bool = False) -> Iterator[None]:
    """Turn whatever a parser raises on a broken file into one line that names the file.

    Parsers raise nearly anything on damaged input (``OSError``, ``zlib.error``, ``KeyError``, ``struct.error`` …), so
    everything but a lack of memory is taken as the file's fault; the original error stays attached as the cause. With
    `only_memory` any other error passes: there it is no parser that speaks.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{path}: too little memory to read it as {what} ({str(error) or 'allocation failed'}): free some, or read "
            "it on a machine with more"
        ) from error
    except Exception as error:
        if only_memory:
            raise
        raise _broken(path, what, error) from error


def _broken(path: str | Path, what: str, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: no such file: {error.filename or path}")
    if isinstance(error, UnicodeDecodeError):
        return InputError(
            f"{path}: cannot be read as {what}: it is not UTF-8 text: save it as UTF-8 (in a spreadsheet: CSV UTF-8)"
        )
    said = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
    return InputError(
        f"{path}: cannot be read as {what} ({type(error).__name__}: {said}): "
        "the file is damaged, cut short or of another kind: fetch it again, or check the path"
    )


def fits(shape: Sequence[int], obs: Any, var: Any, path: str | Path, where: str) -> None:
    """Stop if a matrix of this shape has other cells and genes than there are names for; asked before it is read."""
    if tuple(shape) != (len(obs), len(var)):
        raise InputError(
            f"{path}: {where} is {' × '.join(map(str, shape))}, but there are names for {len(obs)} cells and "
            f"{len(var)} genes: the files do not belong together, or one is cut short"
        )


def assemble(
    matrix: Any,
    obs: pd.DataFrame,
    var: pd.DataFrame,
    path: str | Path,
    info: dict[str, Any],
    *,
    where: str = "X",
    other: Callable[[], str] = str,
    rounding: Rounding | None = None,
) -> AnnData:
    """Join a matrix with its names, checked: whole-number counts, no cell twice, gene names made unique.

    Genes that share a name are kept and told apart by a suffix (``TBCE``, ``TBCE-1``), as scanpy and Seurat do, with a
    line in the log. A cell that is listed twice is an error: it is not known which of the two is meant.
    """
    import pandas as pd
    from anndata import AnnData

    fits(matrix.shape, obs, var, path, where)
    obs, var = tidy(obs, path, "obs"), tidy(var, path, "var")
    matrix, var = only_genes(matrix, var, path)
    if not obs.index.is_unique:
        twice = obs.index[obs.index.duplicated()]
        raise InputError(
            f"{path}: {twice.nunique()} cell name(s) occur more than once, such as '{twice[0]}': cell names must be "
            "unique; if the file holds several samples, put the sample into the name"
        )
    # of a dense table the reader finds, or the user says, which way round it is
    gene = "" if "orientation" in info else swapped(list(obs.index), list(var.index))
    if gene:
        raise InputError(
            f"{path}: {where} has genes where cells should be ('{gene}', …): store it as cells × genes (`adata.T`)"
        )
    counts = to_counts(matrix, path, obs.index, var.index, where=where, other=other, rounding=rounding)
    tell_multiples(counts, path, where)
    total = float(cell_sums(counts).sum())
    repeated = _tell_apart(var, path)
    if repeated:
        # a join must not take the second TBCE of one sample for the second of another
        info = {**info, "repeated_names": repeated}
    adata = AnnData(counts, obs=obs, var=var)
    del obs
    # anndata asked whether a name is there twice, for which pandas made a table of all names: it is not needed again
    adata.obs.index = pd.Index(np.asarray(adata.obs.index), dtype=object)
    if rounding is not None:
        info = {**info, "round": rounding.told}
    info = {
        **info,
        "path": str(path),
        "n_cells": adata.n_obs,
        "n_genes": adata.n_vars,
        "total": total,
    }
    adata.uns[slots.UNS] = {slots.UNS_READ: info}
    size = (path, adata.n_obs, adata.n_vars, total, info["format"])
    log.info("%s: %d cells × %d genes, %.0f counts, read as %s", *size)
    return adata


def _tell_apart(var: pd.DataFrame, path: str | Path) -> list[str]:
    """Make the names of genes unique, in place, and return those that stood more than once.

    Genes without a name, of which there are several, go by their ids.
    """
    nameless = np.array([name in _NAMELESS for name in var.index]) & var.index.duplicated(keep=False)
    if nameless.any():
        ids = np.array(raw_ids(var), dtype=object)
        known = nameless & (ids != "")
        var.index = var.index.where(~known, ids)
        log.info("%s: %d gene(s) without a name, %d of them are named by their id", path, nameless.sum(), known.sum())
    repeated = var.index[var.index.duplicated()].unique()
    if len(repeated):
        log.warning(
            "%s: %d gene name(s) occur more than once, such as '%s': made unique by a suffix ('%s-1')",
            path,
            len(repeated),
            repeated[0],
            repeated[0],
        )
        var.index = unique(list(var.index))
    return sorted(map(str, repeated))


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

    table = table.copy(deep=False)  # columns are replaced, never changed
    if not isinstance(table.index, NamesIndex):
        names = table.index if table.index.inferred_type == "string" else table.index.astype(str)
        table.index = pd.Index(names.to_numpy(), dtype=object)
    # h5ad takes "/" for a path, and keeps `_index` to itself
    new = ["index" if column == "_index" else str(column).replace("/", "_") for column in table.columns]
    # a column that keeps its name has the first claim to it
    order = sorted(range(len(new)), key=lambda i: new[i] != table.columns[i])
    given = dict(zip(order, unique([new[i] for i in order]), strict=True))
    columns = [given[i] for i in range(len(new))]
    if columns != list(table.columns):
        changed = [f"'{old}' → '{new}'" for old, new in zip(table.columns, columns, strict=True) if old != new]
        log.info("%s: %s columns renamed, since h5ad cannot hold the names: %s", path, which, ", ".join(changed))
    table.columns = pd.Index(columns, dtype=object)
    for name in table.columns:
        column = table[name]
        plain = _plain_column(column)
        if plain is not column:
            table[name] = plain
    check_text(table, path, which)
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
