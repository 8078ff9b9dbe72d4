"""Values that are counts, values that become counts, and values that cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from sclatent.io._rounding import Rounding, refuse_logs, round_counts
from sclatent.settings import InputError

log = logging.getLogger(__name__)

LARGEST = 2**24
"""float32 holds every whole number up to here; the next one, 16,777,217, would silently become this one."""
_HALF = 2**11
"""The same for float16."""
WHOLE = 1e-3
"""What lies nearer than this to a whole number is that number: it went through a division and back."""
_BLOCK = 1 << 22
_ODD = {
    "missing": ("a value that is missing or infinite", "fill or remove it"),
    "negative": ("a negative value", "counts are never negative: these look like scaled or corrected values"),
    "fraction": (
        "a fraction",
        "counts are whole numbers: normalised or log values cannot be used; estimated counts (alevin, RSEM, kallisto, "
        "SoupX, CellBender) need `round: nearest` or `round: stochastic`",
    ),
    "large": ("a value above 16,777,216", "beyond it counts are not exact in float32: is this really one cell?"),
}


def first_odd(values: np.ndarray, *, fractions: bool = False) -> tuple[int, str] | None:
    """Return position and kind of the first value that is no count, or None.

    Works in blocks, so that no copy of a large matrix is made. What is within 0.001 of a whole number counts as one;
    with `fractions` any fraction does.
    """
    if values.dtype.kind in "bu" and values.dtype.itemsize < 4:
        return None
    for start in range(0, values.size, _BLOCK):
        block = values[start : start + _BLOCK]
        lowest = -WHOLE if block.dtype.kind == "f" else 0
        odd = (block < lowest) | (block > LARGEST)
        if block.dtype.kind == "f":
            odd |= ~np.isfinite(block)
            if not fractions and not odd.any():
                odd = np.abs(block - np.rint(block)) > WHOLE
        if odd.any():
            at = int(np.argmax(odd))
            value = block[at]
            if not np.isfinite(value):
                return start + at, "missing"
            if value < lowest:
                return start + at, "negative"
            return start + at, "large" if value > LARGEST else "fraction"
    return None


def plain_floats(values: np.ndarray, path: str | Path) -> np.ndarray:
    """Return numbers of a type that scipy can hold: single precision for half, the bytes in the machine's order."""
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if values.dtype != np.float16:
        return values
    if values.size and values.max() > _HALF:
        log.warning(
            "%s: values in half precision, up to %g: above 2,048 it does not hold every whole number, so the larger "
            "counts were rounded when the file was written",
            path,
            values.max(),
        )
    return values.astype(np.float32)


def looks_whole(values: np.ndarray) -> bool:
    """Tell whether these values may be counts: whole, or whole but for rounding, and not shares that all are near 0."""
    if values.dtype.kind not in "buif" or not values.size or first_odd(values) is not None:
        return False
    return not _distance(values).vanishing


class Distance(NamedTuple):
    """How far values are from whole numbers."""

    changed: int
    largest: float
    vanishing: bool
    """Most of them are no zeros but become zeros when rounded, as shares of a whole do."""


def _distance(values: np.ndarray) -> Distance:
    if values.dtype.kind != "f":
        return Distance(0, 0.0, False)
    changed = filled = gone = 0
    largest = 0.0
    for start in range(0, values.size, _BLOCK):
        block = values[start : start + _BLOCK]
        whole = np.rint(block)
        away = np.abs(block - whole)
        moved = np.count_nonzero(away)
        filled += int(np.count_nonzero(block))
        if moved:
            changed += int(moved)
            largest = max(largest, float(away.max()))
            gone += int(np.count_nonzero(away[whole == 0]))
    return Distance(changed, largest, gone > filled / 2)


def to_counts(
    matrix: Any,
    path: str | Path,
    cells: Sequence[str],
    genes: Sequence[str],
    *,
    where: str = "X",
    other: Callable[[], str] = str,
    rounding: Rounding | None = None,
) -> sparse.csr_matrix:
    """Return the matrix as CSR float32 with exact whole numbers, in canonical form and without stored zeros.

    Values that are whole but for 0.001 are rounded, with a line in the log.

    Parameters
    ----------
    matrix
        (n_cells, n_genes), sparse or dense.
    path, where
        File, and place in the file, for the line.
    cells, genes
        Names, for the line.
    other
        Says what to add to the line when values are fractions: where whole numbers are to be found.
    rounding
        How to make counts of fractions, if at all; it notes what it changed.

    Raises
    ------
    InputError
        If the matrix is empty, or holds a value that is missing, infinite, negative, fractional (without `rounding`,
        or if the values are logarithms or normalised) or above 2²⁴ (the largest count up to which float32 is exact).
    """
    if 0 in matrix.shape:
        raise InputError(f"{path}: {where} holds {matrix.shape[0]} cells and {matrix.shape[1]} genes: nothing to read")
    if matrix.dtype.kind not in "buif":
        raise InputError(f"{path}: {where} holds values of type {matrix.dtype}, not numbers")
    counts = matrix.tocsr() if sparse.issparse(matrix) else sparse.csr_matrix(plain_floats(np.asarray(matrix), path))
    # duplicates are summed in the type of the file: float32 could lose a unit here
    if not counts.has_canonical_format:
        counts = counts.copy() if counts is matrix else counts
        counts.sum_duplicates()
    found = first_odd(counts.data, fractions=rounding is not None)
    distance = _distance(counts.data) if found is None and rounding is None else Distance(0, 0.0, False)
    if distance.vanishing:
        found = int(np.argmax((counts.data != 0) & (np.abs(counts.data) <= WHOLE))), "fraction"
    if found is not None:
        at, kind = found
        row = int(np.searchsorted(counts.indptr, at, side="right") - 1)
        found_what, advice = _ODD[kind]
        place = f"{counts.data[at]:g} (cell '{cells[row]}', gene '{genes[int(counts.indices[at])]}')"
        elsewhere = other() if kind in ("fraction", "negative") else ""
        raise InputError(f"{path}: {where} holds {found_what}, {place}: {advice}{elsewhere}")
    if rounding is not None:
        refuse_logs(counts, path, where)
        counts = _with(counts, round_counts(counts.data, path, where, rounding))
    elif distance.changed:
        log.info(
            "%s: %d of the %d values of %s are whole but for a rounding error (at most %.2g): taken as whole",
            path,
            distance.changed,
            counts.nnz,
            where,
            distance.largest,
        )
        counts = _with(counts, np.rint(counts.data))
    # a matrix that is as it should be is handed back, not copied: it may fill most of the memory
    if counts.dtype != np.float32 or not isinstance(counts, sparse.csr_matrix):
        counts = sparse.csr_matrix(counts, dtype=np.float32)
    if np.count_nonzero(counts.data) < counts.nnz:
        counts = counts.copy()
        counts.eliminate_zeros()
    if counts.nnz == 0:
        raise InputError(f"{path}: {where} holds nothing but zeros ({counts.shape[0]} cells × {counts.shape[1]} genes)")
    return counts


def _with(counts: sparse.csr_matrix, values: np.ndarray) -> sparse.csr_matrix:
    return sparse.csr_matrix((values, counts.indices, counts.indptr), shape=counts.shape)
