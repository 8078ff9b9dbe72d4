"""Counts as a CSR matrix: in memory, or, where they are many, in a file that is mapped into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from sclatent.model.kernels.sparse_rows import gather_rows, gene_sums, row_sums, take_rows
from sclatent.model.source import CountSource, Rows, Wrong

RUN, RUNS = 128, 128
"""Training cells that are read together from disk, and how many such runs are shuffled together."""
PART = 1 << 14
"""Counts that come into memory together when one of them is read: 64 KB of columns, and as much of values."""
MOST = 3 << 8
"""Such parts that memory holds: 96 MB, about as many as a window of usual counts has."""


class _CSR(CountSource):
    """The arrays of a CSR matrix, of which nothing is copied."""

    def __init__(self, matrix: csr_matrix) -> None:
        self.matrix = matrix
        # above 2^31 non-zeros scipy's offsets and columns are 64-bit; offsets always are here
        self._offsets = matrix.indptr.astype(np.int64, copy=False)
        self._columns = matrix.indices
        self._values = matrix.data.astype(np.float32, copy=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells and genes."""
        return int(self.matrix.shape[0]), int(self.matrix.shape[1])

    @property
    def n_values(self) -> int:
        """Number of counts that are held."""
        return len(self._values)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return offsets, columns and values."""
        return {"offsets": self._offsets, "columns": self._columns, "values": self._values}

    def rows(self, index: np.ndarray) -> Rows:
        """Return the rows at positions `index`."""
        offsets = np.zeros(len(index) + 1, np.int64)
        np.cumsum(self._offsets[index + 1] - self._offsets[index], out=offsets[1:])
        n = int(offsets[-1])
        rows, columns, values = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.float32)
        gather_rows(index, self._offsets, self._columns, self._values, offsets, rows, columns, values)
        self._read(self._offsets[index], self._offsets[index + 1])
        return Rows(offsets, rows, columns, values)

    def take(self, index: np.ndarray) -> tuple[Any, ...]:
        """Return what `sparse_rows.take_rows` makes of the rows at positions `index`."""
        taken = take_rows(index, self._offsets, self._columns, self._values, self.shape[1])
        self._read(self._offsets[index], self._offsets[index + 1])
        return taken

    def fingerprint(self) -> str:
        """Return a hash of the matrix."""
        digest = hashlib.blake2b(repr(self.shape).encode(), digest_size=20)
        for array in (self.matrix.indptr, self.matrix.indices, self.matrix.data):
            digest.update(repr(array.dtype.str).encode())
            for start in range(0, len(array), PART):
                stretch = np.ascontiguousarray(array[start : start + PART])
                digest.update(stretch.view(np.uint8).data)
                self._read(start, start + len(stretch))
        return digest.hexdigest()

    def _read(self, starts: int | np.ndarray, ends: int | np.ndarray) -> None:
        """Be told which stretches of counts were read."""


class CSRCounts(_CSR):
    """A CSR matrix in memory, all of which can be looked at together."""

    @cached_property
    def row_sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Σ x and Σ log x! of every row."""
        total, log_factorial = np.zeros((2, self.shape[0]))
        row_sums(self._offsets, self._values, total, log_factorial)
        return total, log_factorial

    def gene_sums(self, index: np.ndarray) -> np.ndarray:
        """Σ x of every gene over the rows `index`."""
        total = np.zeros(self.shape[1])
        gene_sums(index, self._offsets, self._columns, self.matrix.data, total)
        return total

    def wrong(self) -> Wrong | None:
        """Return what is negative or not finite."""
        data = self.matrix.data
        bad = ~np.isfinite(data) | (data < 0)
        if not bad.any():
            return None
        at = int(np.flatnonzero(bad)[0])
        cell = int(np.searchsorted(self.matrix.indptr, at, side="right")) - 1
        return Wrong(int(bad.sum()), cell, int(self.matrix.indices[at]), float(data[at]))

    def subset(self, index: np.ndarray) -> CountSource:
        """Return the rows at positions `index`, copied."""
        return CSRCounts(self.matrix[index])


class MappedCounts(_CSR):
    """A CSR matrix in a file that is mapped into memory: memory holds what was read last.

    Training reads runs of neighbouring cells, many of which are shuffled together, since to jump from cell to cell
    would read the file many times over where it does not fit into memory.

    Parameters
    ----------
    matrix
        Cells × genes, its arrays mapped from a file.
    release
        Gives back the memory of what was read of a matrix.
    """

    def __init__(self, matrix: csr_matrix, release: Callable[[csr_matrix], None]) -> None:
        super().__init__(matrix)
        self._release = release
        self._touched = np.zeros(max(self.n_values, self.shape[0]) // PART + 1, bool)

    def order(self, rng: np.random.Generator, cells: np.ndarray) -> np.ndarray:
        """Return `cells` in random order: runs of neighbours are, and within many such runs all cells."""
        runs = np.array_split(np.sort(cells), max(1, -(-len(cells) // RUN)))
        runs = [runs[i] for i in rng.permutation(len(runs))]
        return np.concatenate([rng.permutation(np.concatenate(runs[i : i + RUNS])) for i in range(0, len(runs), RUNS)])

    def _read(self, starts: int | np.ndarray, ends: int | np.ndarray) -> None:
        for place in (starts, ends):
            self._touched[place // PART] = True
        if np.count_nonzero(self._touched) > MOST:
            self._touched[:] = False
            self._release(self.matrix)
