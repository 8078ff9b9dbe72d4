"""Values that are counts, values that become counts, and values that cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from sclatent.data.blocks import change_rows, row_blocks
from sclatent.io._rounding import Rounder, Rounding, refuse_logs, refuse_rounded
from sclatent.settings import InputError

if TYPE_CHECKING:
    import pandas as pd

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
    distance = Distance()
    distance.add(values)
    return not distance.vanishing


@dataclass
class Distance:
    """How far values are from whole numbers, added up over blocks of them."""

    changed: int = 0
    largest: float = 0.0
    filled: int = 0
    gone: int = 0

    def add(self, values: np.ndarray) -> None:
        """Look at further values."""
        if values.dtype.kind != "f":
            return
        for start in range(0, values.size, _BLOCK):
            block = values[start : start + _BLOCK]
            whole = np.rint(block)
            away = np.abs(block - whole)
            moved = np.count_nonzero(away)
            self.filled += int(np.count_nonzero(block))
            if moved:
                self.changed += int(moved)
                self.largest = max(self.largest, float(away.max()))
                self.gone += int(np.count_nonzero(away[whole == 0]))

    @property
    def vanishing(self) -> bool:
        """Whether most of them are no zeros but become zeros when rounded, as shares of a whole do."""
        return self.gone > self.filled / 2


def to_counts(
    matrix: Any,
    path: str | Path,
    cells: Sequence[str] | pd.Index,
    genes: Sequence[str] | pd.Index,
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
    if not all(block.has_canonical_format for _, block in row_blocks(counts)):
        counts = change_rows(counts, _summed)
    found, distance = _look(counts, fractions=rounding is not None)
    if found is not None:
        at, kind = found
        row = int(np.searchsorted(counts.indptr, at, side="right") - 1)
        found_what, advice = _ODD[kind]
        place = f"{counts.data[at]:g} (cell '{cells[row]}', gene '{genes[int(counts.indices[at])]}')"
        elsewhere = other() if kind in ("fraction", "negative") else ""
        raise InputError(f"{path}: {where} holds {found_what}, {place}: {advice}{elsewhere}")
    change: Callable[[np.ndarray], np.ndarray] | None = np.rint if distance.changed else None
    rounder = None
    if rounding is not None:
        refuse_logs(counts, path, where)
        rounder = Rounder(rounding)
        change = rounder.round
    else:
        refuse_rounded(counts, path, where, other)
    if rounding is None and distance.changed:
        log.info(
            "%s: %d of the %d values of %s are whole but for a rounding error (at most %.2g): taken as whole",
            path,
            distance.changed,
            counts.nnz,
            where,
            distance.largest,
        )
    # a matrix that is as it should be is handed back, not copied: it may fill most of the memory
    if change is not None or counts.dtype != np.float32 or _zeros(counts):
        counts = change_rows(counts, partial(_plain, change))
    if rounder is not None:
        rounder.tell(path, where)
    if not isinstance(counts, sparse.csr_matrix):
        counts = sparse.csr_matrix(counts)
    if counts.nnz == 0:
        raise InputError(f"{path}: {where} holds nothing but zeros ({counts.shape[0]} cells × {counts.shape[1]} genes)")
    return counts


def _summed(_: slice, block: sparse.csr_matrix) -> sparse.csr_matrix:
    block = block.copy()
    block.sum_duplicates()
    return block


def _look(counts: sparse.csr_matrix, *, fractions: bool) -> tuple[tuple[int, str] | None, Distance]:
    """Return place and kind of the first value that is no count, and how far the values are from whole numbers."""
    distance, vanishing = Distance(), None
    for rows, block in row_blocks(counts):
        start = int(counts.indptr[rows.start])
        odd = first_odd(block.data, fractions=fractions)
        if odd is not None:
            return (start + odd[0], odd[1]), distance
        if not fractions:
            distance.add(block.data)
            gone = (block.data != 0) & (np.abs(block.data) <= WHOLE) if vanishing is None else np.zeros(0, bool)
            vanishing = start + int(np.argmax(gone)) if gone.any() else vanishing
    return ((vanishing, "fraction") if distance.vanishing and vanishing is not None else None), distance


def _zeros(counts: sparse.csr_matrix) -> bool:
    return not all(np.count_nonzero(block.data) == block.nnz for _, block in row_blocks(counts))


def _plain(change: Callable[[np.ndarray], np.ndarray] | None, _: slice, block: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return a block with its values changed, as float32 and without stored zeros."""
    values = block.data if change is None else change(block.data)
    block = sparse.csr_matrix((values.astype(np.float32), block.indices, block.indptr), shape=block.shape)
    if np.count_nonzero(block.data) < block.nnz:
        block = block.copy()
        block.eliminate_zeros()
    return block
