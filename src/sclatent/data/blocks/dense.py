"""Arrays with a row for each cell: small ones are in memory, large ones lie in a scratch file, as large counts do.

Both are numpy arrays; one in a scratch file cannot be written to. What has been read of it stays in memory until it is
given back, so code that reads all of it works by stretches of rows (`stretches`, `by_rows`) or a column at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data.blocks import ArrayStore, change_rows, give_back, is_mapped, mapping_of

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_matrix

IN_MEMORY = 1 << 26
"""Bytes of an array that are held in memory; larger ones lie in a scratch file."""
ROWS = 1 << 16
"""Cells that are worked on at once."""
_TOGETHER = 1 << 9
"""Scattered rows that are read from a scratch file before their memory is given back: the system maps some more around
each."""


def stretches(n: int, *arrays: np.ndarray, rows: int | None = None) -> Iterator[slice]:
    """Yield the rows of all cells a part at a time; after each, give back the memory of those `arrays` in a file."""
    size = ROWS if rows is None else rows
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
        for array in arrays:
            give_back(array)


class Rows:
    """Stretches of rows on their way to one array, which lies in a scratch file if it is larger than `IN_MEMORY`.

    Parameters
    ----------
    n
        Number of rows of the whole, by which the first stretch tells how large it will be.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._store: ArrayStore | None = None
        self._last = np.zeros(0)

    def append(self, rows: np.ndarray) -> None:
        """Add what follows; all stretches are of one type, and there is one at least."""
        if self._store is None:
            row = rows.itemsize * math.prod(rows.shape[1:])
            self._store = ArrayStore(IN_MEMORY if row * self._n <= IN_MEMORY else 0)
        self._last = rows
        self._store.append(np.ascontiguousarray(rows).reshape(-1))

    def array(self) -> np.ndarray:
        """Return all rows; an array in a scratch file cannot be written to."""
        assert self._store is not None
        return self._store.array(self._last.dtype).reshape(self._n, *self._last.shape[1:])


def by_rows(n: int, make: Callable[[slice], np.ndarray], *read: np.ndarray, rows: int | None = None) -> np.ndarray:
    """Return what `make` returns for each stretch of rows, as one array.

    Parameters
    ----------
    n
        Number of cells.
    make
        Takes which rows, and returns an array with so many rows; all of one type.
    read
        Arrays that `make` reads, whose memory is given back after each stretch.
    rows
        Cells of a stretch; by default `ROWS`.

    Returns
    -------
    ndarray
        (n, …), in memory, or in a scratch file if it is larger than `IN_MEMORY`.
    """
    store = Rows(n)
    for part in stretches(max(n, 1), *read, rows=rows):
        store.append(make(slice(part.start, min(part.stop, n))))
    return store.array()


def column_of(array: np.ndarray, k: int) -> np.ndarray:
    """Return a copy (n,) of one column."""
    if mapping_of(array) is None:
        return np.ascontiguousarray(array[:, k])
    out = np.empty(len(array), dtype=array.dtype)
    for part in stretches(len(array), array):
        out[part] = array[part, k]
    return out


def rows_at(array: np.ndarray, cells: np.ndarray, dtype: npt.DTypeLike | None = None) -> np.ndarray:
    """Return a copy of the rows at these positions; in another type, if one is given."""
    if mapping_of(array) is None:
        return np.asarray(array[cells], dtype=dtype)
    out = np.empty((len(cells), *array.shape[1:]), dtype=array.dtype if dtype is None else dtype)
    for part in stretches(len(cells), array, rows=_TOGETHER):
        out[part] = array[cells[part]]
    return out


def mean_and_variance(array: np.ndarray, cells: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the variance (columns,) of an array, or of the rows at some positions, in double precision.

    They are what numpy returns for all rows at once.
    """
    n = len(array) if cells is None else len(cells)

    def doubles(part: slice) -> np.ndarray:
        if cells is None:
            return np.asarray(array[part], dtype=np.float64)
        return rows_at(array, cells[part], np.float64)

    total = np.zeros((2, *array.shape[1:]))
    for part in stretches(n, array):
        total[0] = added(total[0], doubles(part))
    mean = total[0] / max(n, 1)
    for part in stretches(n, array):
        total[1] = added(total[1], np.square(doubles(part) - mean))
    return mean, total[1] / max(n, 1)


def added(total: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the total (columns,) plus all rows in double precision, added in the order in which numpy adds up rows."""
    return np.asarray(np.add.reduce(np.concatenate([total[None], rows], dtype=np.float64), axis=0))


def in_file(array: Any) -> bool:
    """Tell whether an array lies in a scratch file."""
    return isinstance(array, np.ndarray) and mapping_of(array) is not None


def set_aside(matrix: csr_matrix, in_memory: int) -> csr_matrix:
    """Return the same matrix, in a scratch file if it is larger than so many bytes."""
    if is_mapped(matrix) or matrix.data.nbytes + matrix.indices.nbytes <= in_memory:
        return matrix
    return change_rows(matrix, lambda _, block: block, in_memory=0)
