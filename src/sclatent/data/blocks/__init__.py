"""Counts that need not fit into memory: few are held there, many lie in a scratch file that is mapped into memory.

Both are a scipy CSR matrix, so that there is one way to work with them: by blocks of rows (`row_blocks`). The scratch
file has no name, so nothing is left of it however the process ends. What a block has touched is given back before the
next one comes, so that memory does not grow with the cells.
"""

from __future__ import annotations

import contextlib
import mmap
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from sclatent.settings import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

IN_MEMORY = 1 << 28
"""Bytes of counts (as a rule 8 for each that is not 0) that are held in memory; more lie in a scratch file."""
BLOCK = 1 << 22
"""Counts that are worked on at once."""
_MOST_ROWS = 1 << 15
_TOGETHER = 512
_WRITTEN = 1 << 16
"""Bytes that are written to a scratch file at once. Linux keeps up to 2 MB that were written together in one piece and
maps the whole piece when one byte of it is read: rows from here and there would take many times their own memory."""
_MOST_PARTS = 200
"""Parts that entries are sorted into: each may have three scratch files open."""


@contextlib.contextmanager
def _scratch() -> Iterator[None]:
    """Turn what the disk of scratch files refuses into one line: readers would take it for the fault of their file."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{tempfile.gettempdir()}: a scratch file for counts cannot be written ({error.strerror or error}): it "
            "takes about 8 bytes for each count that is not 0: free some space, or set TMPDIR to a folder with more"
        ) from error


class ArrayStore:
    """Stretches of one array on their way to the whole, which may be larger than memory.

    Parameters
    ----------
    in_memory
        Bytes up to which the array stays in memory; by default half of `IN_MEMORY`, since a matrix has two.
    """

    def __init__(self, in_memory: int | None = None) -> None:
        self.in_memory = IN_MEMORY // 2 if in_memory is None else in_memory
        self._parts: list[np.ndarray] = []
        self._file: IO[bytes] | None = None
        self._bytes = 0

    def append(self, stretch: np.ndarray) -> None:
        """Add what follows; all stretches are of one type."""
        self._parts.append(stretch)
        self._bytes += stretch.nbytes
        if self._bytes <= self.in_memory:
            return
        with _scratch():
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115
                self._type = self._parts[0].dtype
            for part in self._parts:
                whole = np.ascontiguousarray(part, dtype=self._type).view(np.uint8)
                for start in range(0, len(whole), _WRITTEN):
                    self._file.write(whole[start : start + _WRITTEN].data)
        self._parts.clear()

    def array(self, dtype: npt.DTypeLike) -> np.ndarray:
        """Return the whole, of type `dtype` if nothing was added; one in a scratch file cannot be written to."""
        if self._file is None:
            parts, self._parts = self._parts or [np.zeros(0, dtype)], []
            return parts[0] if len(parts) == 1 else np.concatenate(parts)
        with self._file as file, _scratch():  # the mapping holds on to the file
            file.flush()
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=self._type)


class CountStore:
    """Blocks of rows on their way to one CSR matrix, which may be larger than memory.

    Parameters
    ----------
    n_columns
        Number of genes.
    in_memory
        Bytes up to which the counts stay in memory; by default `IN_MEMORY`.
    """

    def __init__(self, n_columns: int, in_memory: int | None = None) -> None:
        self.n_columns = n_columns
        half = (IN_MEMORY if in_memory is None else in_memory) // 2
        self._columns, self._values = ArrayStore(half), ArrayStore(half)
        self._lengths: list[np.ndarray] = []

    def append(self, block: sparse.csr_matrix) -> None:
        """Add rows below those that are there; all blocks hold values of one type."""
        self._lengths.append(np.diff(block.indptr).astype(np.int64))
        self._columns.append(block.indices.astype(np.int32, copy=False))
        self._values.append(block.data)

    def matrix(self) -> sparse.csr_matrix:
        """Return all rows as a CSR matrix; one in a scratch file cannot be written to."""
        offsets = np.cumsum(np.concatenate([np.zeros(1, np.int64), *self._lengths]))
        return csr_of(self._values.array(np.float32), self._columns.array(np.int32), offsets, self.n_columns)


class RowSorter:
    """Entries in any order on their way to one CSR matrix, which may be larger than memory; those at one place add up.

    Parameters
    ----------
    shape
        Rows and columns of the matrix.
    n_values
        Number of entries, about; it decides into how many parts they are sorted.
    in_memory
        Bytes up to which they stay in memory; by default `IN_MEMORY`.
    """

    def __init__(self, shape: tuple[int, int], n_values: int, in_memory: int | None = None) -> None:
        self.shape, self._in_memory = shape, in_memory
        parts = min(_MOST_PARTS, n_values // BLOCK + 1)
        self._rows = max(1, -(-shape[0] // parts))
        n = max(1, -(-shape[0] // self._rows))
        most = IN_MEMORY if in_memory is None else in_memory
        self._parts = [[ArrayStore(most // n // 3) for _ in range(3)] for _ in range(n)]

    def add(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        """Add entries; all values are of one type."""
        part = rows // self._rows
        order = np.argsort(part, kind="stable")
        ends = np.searchsorted(part[order], np.arange(len(self._parts) + 1))
        arrays = rows.astype(np.int32), columns.astype(np.int32), values
        for i in np.flatnonzero(np.diff(ends)):
            some = order[ends[i] : ends[i + 1]]
            for store, array in zip(self._parts[i], arrays, strict=True):
                store.append(array[some])

    def matrix(self) -> sparse.csr_matrix:
        """Return the matrix."""
        out = CountStore(self.shape[1], self._in_memory)
        for i, stores in enumerate(self._parts):
            rows, columns, values = (store.array(dtype) for store, dtype in zip(stores, "iif", strict=True))
            n = min(self._rows, self.shape[0] - i * self._rows)
            out.append(sparse.csr_matrix((values, (rows - i * self._rows, columns)), shape=(n, self.shape[1])))
            stores.clear()
        return out.matrix()


def transposed(matrix: sparse.csr_matrix, in_memory: int | None = None) -> sparse.csr_matrix:
    """Return the transpose of a CSR matrix as one, in memory up to so many bytes."""
    sorter = RowSorter(matrix.shape[::-1], matrix.nnz, in_memory)
    for rows, block in row_blocks(matrix):
        sorter.add(block.indices, np.repeat(np.arange(rows.start, rows.stop), np.diff(block.indptr)), block.data)
    return sorter.matrix()


def csr_of(values: np.ndarray, columns: np.ndarray, offsets: np.ndarray, n_columns: int) -> sparse.csr_matrix:
    """Return a CSR matrix of these arrays without a copy, though scipy wants offsets and columns of one type."""
    shape = (len(offsets) - 1, n_columns)
    if columns.dtype not in (np.int32, np.int64):
        columns = columns.astype(np.int32)
    if offsets[-1] <= np.iinfo(np.int32).max or columns.dtype == np.int64:
        return sparse.csr_matrix((values, columns, offsets.astype(columns.dtype)), shape=shape)
    out = sparse.csr_matrix(shape, dtype=values.dtype)
    out.data, out.indices, out.indptr = values, columns, offsets
    return out


def row_blocks(matrix: sparse.csr_matrix, size: int | None = None) -> Iterator[tuple[slice, sparse.csr_matrix]]:
    """Yield the rows of a CSR matrix a few thousand at a time, without a copy.

    Parameters
    ----------
    matrix
        In memory, or in a scratch file: of the latter memory holds one block.
    size
        Counts of a block, at least one row of them; by default `BLOCK`.

    Yields
    ------
    rows, block
        Which rows, and their counts.
    """
    size = BLOCK if size is None else size
    offsets, n = matrix.indptr, matrix.shape[0]
    start = 0
    while start < n:
        end = int(np.searchsorted(offsets, int(offsets[start]) + size, side="right")) - 1
        end = min(max(end, start + 1), start + _MOST_ROWS, n)
        part = slice(int(offsets[start]), int(offsets[end]))
        arrays = (matrix.data[part], matrix.indices[part], offsets[start : end + 1] - offsets[start])
        block = sparse.csr_matrix(arrays, shape=(end - start, matrix.shape[1]))
        yield slice(start, end), block
        release(matrix)
        start = end


def change_rows(
    matrix: sparse.csr_matrix,
    change: Callable[[slice, sparse.csr_matrix], sparse.csr_matrix],
    n_columns: int | None = None,
    in_memory: int | None = None,
) -> sparse.csr_matrix:
    """Return a matrix of what `change` makes of every block of rows.

    Parameters
    ----------
    matrix
        What is read.
    change
        Takes which rows, and their counts; returns as many or fewer rows.
    n_columns
        Genes of the result; by default as many as there are.
    in_memory
        As for `CountStore`.
    """
    store = CountStore(matrix.shape[1] if n_columns is None else n_columns, in_memory)
    for rows, block in row_blocks(matrix):
        store.append(change(rows, block))
    return store.matrix()


def change_values(
    matrix: sparse.csr_matrix, change: Callable[[slice, sparse.csr_matrix], np.ndarray]
) -> sparse.csr_matrix:
    """Return a matrix with the values that `change` returns for every block of rows; it shares the columns."""
    store = ArrayStore()
    for rows, block in row_blocks(matrix):
        store.append(change(rows, block))
    out = sparse.csr_matrix(matrix.shape, dtype=np.float32)
    out.data, out.indices, out.indptr = store.array(np.float32), matrix.indices, matrix.indptr
    return out


def subset(matrix: sparse.csr_matrix, cells: np.ndarray, genes: np.ndarray) -> sparse.csr_matrix:
    """Return the rows and columns (masks) asked for; `matrix` itself if these are all."""
    if genes.all() and cells.all():
        return matrix
    place = np.cumsum(genes, dtype=matrix.indices.dtype) - 1

    def take(rows: slice, block: sparse.csr_matrix) -> sparse.csr_matrix:
        here = cells[rows]
        stays = genes[block.indices]
        stays &= np.repeat(here, np.diff(block.indptr))
        left = np.diff(np.concatenate([[0], np.cumsum(stays)])[block.indptr])[here]
        offsets = np.concatenate([[0], np.cumsum(left)])
        return sparse.csr_matrix(
            (block.data[stays], place[block.indices[stays]], offsets), shape=(len(left), int(genes.sum()))
        )

    return change_rows(matrix, take, int(genes.sum()))


def rows_at(matrix: sparse.csr_matrix, rows: np.ndarray) -> sparse.csr_matrix:
    """Return the rows at these positions, in memory.

    Around each row of a scratch file the system maps some more, so a few hundred come at a time.
    """
    if not is_mapped(matrix) or not len(rows):
        return sparse.csr_matrix(matrix[rows])
    parts = []
    for start in range(0, len(rows), _TOGETHER):
        parts.append(matrix[rows[start : start + _TOGETHER]])
        release(matrix)
    return sparse.vstack(parts, format="csr")


def is_mapped(matrix: Any) -> bool:
    """Tell whether a matrix lies in a scratch file."""
    return sparse.isspmatrix_csr(matrix) and any(
        mapping_of(array) is not None for array in (matrix.data, matrix.indices)
    )


def release(matrix: sparse.csr_matrix) -> None:
    """Give back the memory of what was read of a matrix in a scratch file; of others nothing changes."""
    give_back(matrix.data)
    give_back(matrix.indices)


def give_back(array: np.ndarray) -> None:
    """Give back the memory of what was read of an array in a scratch file; of others nothing changes."""
    mapping = mapping_of(array)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def mapping_of(array: Any) -> mmap.mmap | None:
    """Return the mapped scratch file that an array is part of; None for one in memory."""
    while isinstance(array, np.ndarray):
        array = array.base
    array = array.obj if isinstance(array, memoryview) else array
    return array if isinstance(array, mmap.mmap) else None
