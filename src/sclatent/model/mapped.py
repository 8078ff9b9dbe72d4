"""Counts in a file that is mapped into memory: what training reads when they are many."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from sclatent.model.source import HELD, CountSource, CSRCounts, Rows, Wrong

RUN, RUNS = 128, 128
"""Training cells that are read together from disk, and how many such runs are shuffled together."""
AROUND = 4096
"""Counts that come into memory with every row: the system maps some pages around what is touched."""


class MappedCounts(CSRCounts):
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
        self._release, self._held = release, 0

    def order(self, rng: np.random.Generator, cells: np.ndarray) -> np.ndarray:
        """Return `cells` in random order: runs of neighbours are, and within many such runs all cells."""
        runs = np.array_split(np.sort(cells), max(1, -(-len(cells) // RUN)))
        runs = [runs[i] for i in rng.permutation(len(runs))]
        return np.concatenate([rng.permutation(np.concatenate(runs[i : i + RUNS])) for i in range(0, len(runs), RUNS)])

    def _read(self, n: int) -> None:
        self._held += n
        if self._held > HELD:
            self._held = 0
            self._release(self.matrix)

    def rows(self, index: np.ndarray) -> Rows:
        """Return the rows at positions `index`."""
        rows = super().rows(index)
        self._read(len(rows.values) + AROUND * len(index))
        return rows

    def take(self, index: np.ndarray) -> tuple[Any, ...]:
        """Return what `sparse_rows.take_rows` makes of the rows at positions `index`."""
        taken = super().take(index)
        self._read(int(taken[0][-1]) + AROUND * len(index))
        return taken

    @cached_property
    def row_sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Σ x and Σ log x! of every row."""
        return self._row_sums()

    def gene_sums(self, index: np.ndarray) -> np.ndarray:
        """Σ x of every gene over the rows `index`."""
        return CountSource.gene_sums(self, index)

    def wrong(self) -> Wrong | None:
        """Return what is negative or not finite."""
        return CountSource.wrong(self)

    def subset(self, index: np.ndarray) -> CountSource:
        """Return the rows at positions `index` as a source, not copied."""
        return CountSource.subset(self, index)
