"""Counts out of estimates: alevin, RSEM, kallisto, SoupX and CellBender write fractions of a count."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import sparse

from sclatent.data.blocks import row_blocks
from sclatent.settings import InputError

log = logging.getLogger(__name__)

_BLOCK = 1 << 22
_CELLS = 400
"""Cells that are looked at for whether values are logarithms or normalised."""
_FEWEST_CELLS = 5
_FEWEST_VALUES = 20
"""Values of a cell below which nothing can be said about how they were made."""
_FEWEST_COUNTS = 100
"""Counts below which a common divisor may be chance."""
_SMALL = 100
"""Values below which it can be told whether they are whole."""
_NEARLY = 0.01
"""How far sums of rounded shares may be off what they add up to."""
_OFTEN, _LEAST = 0.05, 3
"""Share and number of a cell's values that are its smallest, at least, where that is a count of 1."""
_EXACT = 1e-3
"""How far sums, or multiples of the smallest value, may be off and still count as one number (float32, and a log)."""


@dataclass
class Rounding:
    """How fractions become counts, and what that changed.

    Parameters
    ----------
    how
        ``nearest`` (halves to the even number), or ``stochastic``: up with the probability of the fraction, which
        keeps the mean of many small values.
    seed
        Of the draws.
    """

    how: Literal["nearest", "stochastic"]
    seed: int = 0
    told: dict[str, Any] = field(default_factory=dict)


class Rounder:
    """Makes whole numbers of values, block by block, and says at the end what that changed.

    Parameters
    ----------
    rounding
        How; what it changed is noted there.
    """

    def __init__(self, rounding: Rounding) -> None:
        self.rounding, self.rng = rounding, np.random.default_rng(rounding.seed)
        self.n = self.changed = self.lost = 0
        self.moved = self.largest = self.before = self.after = 0.0

    def round(self, values: np.ndarray) -> np.ndarray:
        """Return the next values as whole numbers, of the same type."""
        out = np.empty(values.size, values.dtype)
        for start in range(0, values.size, _BLOCK):
            block = values[start : start + _BLOCK].astype(np.float64)
            if self.rounding.how == "nearest":
                new = np.rint(block)
            else:
                new = np.floor(block)
                new += self.rng.random(block.size) < block - new
            new = np.maximum(new, 0)
            by = np.abs(new - block)
            self.changed += int(np.count_nonzero(by))
            self.lost += int(np.count_nonzero((new == 0) & (block != 0)))
            self.moved += float(by.sum())
            self.largest = max(self.largest, float(by.max(initial=0)))
            self.before += float(block.sum())
            self.after += float(new.sum())
            out[start : start + _BLOCK] = new
        self.n += values.size
        return out

    def tell(self, path: str | Path, where: str) -> None:
        """Note in `rounding` and in the log what was changed."""
        how = self.rounding.how
        self.rounding.told = {
            "how": how,
            **({"seed": self.rounding.seed} if how == "stochastic" else {}),
            "n_values": self.n,
            "n_changed": self.changed,
            "share_changed": self.changed / max(1, self.n),
            "n_to_zero": self.lost,
            "mean_change": self.moved / max(1, self.changed),
            "largest_change": self.largest,
            "sum_before": self.before,
            "sum_after": self.after,
        }
        if not self.changed:
            log.info("%s: `round: %s` had nothing to change: the values of %s are whole", path, how, where)
            return
        log.warning(
            "%s: `round: %s` changed %d of the %d values of %s that are not 0 (%.1f %%), by %.3g on average and %.3g "
            "at most; %d became 0; the sum was %.10g and is %.10g",
            path,
            how,
            self.changed,
            self.n,
            where,
            100 * self.changed / max(1, self.n),
            self.moved / max(1, self.changed),
            self.largest,
            self.lost,
            self.before,
            self.after,
        )


def refuse_logs(counts: sparse.csr_matrix, path: str | Path, where: str) -> None:
    """Stop if the values are surely no estimated counts but logarithms or roots of them, or normalised counts.

    They are where the cells, or the cells after undoing a logarithm or a root, all have one sum, or hold whole numbers,
    or whole multiples of their smallest value, which then was a count of 1.

    Raises
    ------
    InputError
        In these cases. Other transformed values cannot be told from estimated counts.
    """
    rows = np.unique(np.linspace(0, counts.shape[0] - 1, min(_CELLS, counts.shape[0])).astype(int))
    sample = sparse.csr_matrix(counts[rows], dtype=np.float64)
    sample.eliminate_zeros()
    if not np.any(np.abs(sample.data - np.rint(sample.data)) > _EXACT):
        return
    kinds: list[tuple[str, np.ndarray]] = [("normalised", sample.data)]
    kinds.append(("square roots: squared", np.square(sample.data)))
    if sample.data.max(initial=0) < 20:
        kinds.append(("logarithms: with log1p undone", np.expm1(sample.data)))
        kinds.append(("logarithms: with log2(x + 1) undone", np.exp2(sample.data) - 1))
        kinds.append(("logarithms: with log10(x + 1) undone", 10**sample.data - 1))
    for what, values in kinds:
        cells = [cell for cell in np.split(values, sample.indptr[1:-1]) if len(cell) >= _FEWEST_VALUES]
        found = _normalised(cells)
        if found:
            raise InputError(
                f"{path}: {where} cannot be rounded to counts: the values are {what}, {found}: give the matrix before "
                "it was transformed"
            )


def refuse_rounded(counts: sparse.csr_matrix, path: str | Path, where: str, other: Callable[[], str]) -> None:
    """Stop if whole numbers are surely shares of a total that someone rounded (TPM, CPM, counts per 10,000).

    They are where all cells have a sum of nearly one million; or where the smallest value of a cell stands for a count
    of 1: it is larger than 1, is frequent, and differs between cells. `other` says what else the file holds.

    Raises
    ------
    InputError
        In these cases. What was scaled by less than 1.5 cannot be told from counts.
    """
    rows = np.unique(np.linspace(0, counts.shape[0] - 1, min(_CELLS, counts.shape[0])).astype(int))
    sample = sparse.csr_matrix(counts[rows])
    cells = [cell for cell in np.split(sample.data, sample.indptr[1:-1]) if len(cell) >= _FEWEST_VALUES]
    if len(cells) < _FEWEST_CELLS:
        return
    sums = np.array([cell.sum(dtype=np.float64) for cell in cells])
    found = ""
    if np.ptp(sums) > 0 and (np.abs(sums / 1e6 - 1) < _NEARLY).all():
        found = "every cell has a sum of nearly 1,000,000, as TPM and CPM have"
    ones = [float(cell.min()) for cell in cells]
    least = [max(_LEAST, _OFTEN * len(cell)) for cell in cells]
    often = [one > 1 and (cell == one).sum() >= n for one, n, cell in zip(ones, least, cells, strict=True)]
    if np.mean(often) > 0.9 and len(set(ones)) >= _FEWEST_CELLS:
        found = (
            f"in the cells a frequent value of {min(ones):g} to {max(ones):g} is the smallest, which was a count of 1"
        )
    if found:
        raise InputError(
            f"{path}: {where} holds whole numbers that are no counts but were normalised and rounded: {found}: give "
            f"the matrix before it was normalised{other()}"
        )


def tell_multiples(counts: sparse.csr_matrix, path: str | Path, where: str) -> None:
    """Warn if all counts are multiples of a number above 1: no gene was counted once, so they were multiplied."""
    common, n = 0, 0
    for _, block in row_blocks(counts):
        n += block.nnz
        common = int(np.gcd(common, np.gcd.reduce(block.data.astype(np.int64), initial=0)))
        if common == 1:
            return
    if common > 1 and n >= _FEWEST_COUNTS:
        log.warning(
            "%s: all of the %d counts of %s that are not 0 are multiples of %d, as if they were multiplied by it: the "
            "model then takes noise for signal: give the counts as they were before, or divide them by %d",
            path,
            n,
            where,
            common,
            common,
        )


def _normalised(cells: list[np.ndarray]) -> str:
    """Say what shows that these are whole counts, or such counts over a number per cell; empty if nothing does."""
    if len(cells) < _FEWEST_CELLS:
        return ""
    sums = np.array([cell.sum() for cell in cells])
    if np.ptp(sums) <= _EXACT * sums.mean():
        return f"every cell has the sum {np.median(sums):.6g}"
    # of large values a thousandth may be half a count: they tell nothing
    every = np.concatenate(cells)
    every = every[every < _SMALL]
    if len(every) >= _FEWEST_VALUES and (np.abs(every - np.rint(every)) <= _EXACT * np.maximum(every, 1)).all():
        return "all of them are whole numbers"
    # the unit of normalised counts differs from cell to cell; halves and thirds of split reads do not
    units = [round(float(cell.min()), 6) for cell in cells if _multiples(cell)]
    if len(units) > 0.9 * len(cells) and len(set(units)) >= max(_FEWEST_CELLS, 0.3 * len(cells)):
        return "all values of a cell are whole multiples of its smallest"
    return ""


def _multiples(cell: np.ndarray) -> bool:
    """Tell whether a cell's values are whole multiples of its smallest, that is not 1 itself, and several of them."""
    unit = float(cell.min())
    ratio = cell / unit
    off = np.abs(ratio - np.rint(ratio)) / np.maximum(ratio, 1)
    return abs(unit - 1) > _EXACT and len(np.unique(np.rint(ratio))) > 2 and bool((off < _EXACT).all())
