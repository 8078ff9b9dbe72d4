"""Where counts come from: a few rows at a time, whatever holds them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from sclatent.model.kernels.sparse_rows import gene_sums, row_sums, take_rows


class Rows(NamedTuple):
    """Some rows with N counts: ``offsets`` (rows + 1,), ``rows`` and ``columns`` (N,) int64, ``values`` float32."""

    offsets: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, matrix: csr_matrix) -> Rows:
        """Return the rows of a CSR matrix.

        Parameters
        ----------
        matrix
            Rows × genes.

        Returns
        -------
        Rows
            Offsets and columns as int64, values as float32.
        """
        offsets = matrix.indptr.astype(np.int64)
        rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(offsets))
        return cls(offsets, rows, matrix.indices.astype(np.int64), matrix.data.astype(np.float32))


class Wrong(NamedTuple):
    """Values that are no counts: how many, and the first of them."""

    n: int
    cell: int
    gene: int
    value: float


class CountSource(ABC):
    """Counts of cells × genes. What is not in memory says only its ``shape``, `rows` and `fingerprint`."""

    at_once = 4096
    """Rows that are looked at together."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Number of cells and genes."""

    @abstractmethod
    def rows(self, index: np.ndarray) -> Rows:
        """Return the rows at positions `index`, in this order, repeats included; several threads may ask at once.

        Parameters
        ----------
        index
            (n,) positions of the cells, from 0 on.

        Returns
        -------
        Rows
            Offsets, columns and values of the rows.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a string that changes with every count: an interrupted training goes on only if it is the same.

        Returns
        -------
        str
            A hash.
        """

    def order(self, rng: np.random.Generator, cells: np.ndarray) -> np.ndarray:
        """Return `cells` in the random order in which an epoch of training asks for them.

        Parameters
        ----------
        rng
            What the order is drawn from.
        cells
            (n,) positions of the training cells.

        Returns
        -------
        ndarray
            (n,), the same positions.
        """
        return rng.permutation(cells)

    def arrays(self) -> dict[str, np.ndarray] | None:
        """Return offsets, columns and values of all rows if they are in memory, for a GPU to hold.

        Returns
        -------
        dict or None
            ``offsets`` (cells + 1,), ``columns`` and ``values`` (counts,); None: the counts are not in memory.
        """
        return None

    def take(self, index: np.ndarray) -> tuple[Any, ...]:
        """Return what `sparse_rows.take_rows` makes of the rows at positions `index`.

        Parameters
        ----------
        index
            (n,) positions of the cells, from 0 on.

        Returns
        -------
        tuple
            Offsets (n + 1,), columns, values and log(1 + values) (N,), and the logs by column: where each column starts
            (genes + 1,), rows and logs (N,).
        """
        offsets, _, columns, values = self.rows(index)
        return take_rows(np.arange(len(index)), offsets, columns, values, self.shape[1])

    @cached_property
    def row_sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Σ x and Σ log x! of every row, float64 (cells,) each."""
        total, log_factorial = np.zeros((2, self.shape[0]))
        for start, part in self._chunks(np.arange(self.shape[0])):
            stretch = slice(start, start + len(part.offsets) - 1)
            row_sums(part.offsets, part.values, total[stretch], log_factorial[stretch])
        return total, log_factorial

    def gene_sums(self, index: np.ndarray) -> np.ndarray:
        """Σ x of every gene over the rows `index`, float64 (genes,).

        Parameters
        ----------
        index
            (n,) positions of the cells, from 0 on.

        Returns
        -------
        ndarray
            (genes,), counts.
        """
        total = np.zeros(self.shape[1])
        for _, part in self._chunks(index):
            gene_sums(np.arange(len(part.offsets) - 1), part.offsets, part.columns, part.values, total)
        return total

    @property
    def n_values(self) -> int:
        """Number of counts that are held, above 0 as a rule."""
        return sum(len(part.values) for _, part in self._chunks(np.arange(self.shape[0])))

    def wrong(self) -> Wrong | None:
        """Return what is negative or not finite, if anything is.

        Returns
        -------
        Wrong or None
            The first such entry; None: there is none.
        """
        n, first = 0, None
        for start, part in self._chunks(np.arange(self.shape[0])):
            bad = np.flatnonzero(~np.isfinite(part.values) | (part.values < 0))
            n += len(bad)
            if len(bad) and first is None:
                at = bad[0]
                first = (start + int(part.rows[at]), int(part.columns[at]), float(part.values[at]))
        return None if first is None else Wrong(n, *first)

    def subset(self, index: np.ndarray) -> CountSource:
        """Return the rows at positions `index` as a source.

        Parameters
        ----------
        index
            (n,) positions of the cells, from 0 on.

        Returns
        -------
        CountSource
            These rows, in the order of `index`.
        """
        return _Subset(self, np.asarray(index))

    def _chunks(self, index: np.ndarray) -> Iterator[tuple[int, Rows]]:
        for start in range(0, len(index), self.at_once):
            yield start, self.rows(np.asarray(index[start : start + self.at_once], dtype=np.int64))


class _Subset(CountSource):
    """Some rows of another source."""

    at_once = 256  # around each of them a file brings more

    def __init__(self, source: CountSource, index: np.ndarray) -> None:
        self.source, self.index = source, np.flatnonzero(index) if index.dtype == bool else index

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells and genes."""
        return len(self.index), self.source.shape[1]

    def rows(self, index: np.ndarray) -> Rows:
        """Return the rows at positions `index`."""
        return self.source.rows(self.index[index])

    def fingerprint(self) -> str:
        """Return that of the source, with the positions."""
        return f"{self.source.fingerprint()} {hashlib.blake2b(np.ascontiguousarray(self.index).data).hexdigest()}"
