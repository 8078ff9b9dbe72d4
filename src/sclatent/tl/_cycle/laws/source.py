"""All the counts of a dataset, and the law of any part of them."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from sclatent.data.blocks import release, rows_at
from sclatent.tl._cycle.laws.counts import CountLaw, highest, winsorize
from sclatent.tl._cycle.laws.log import LogLaw
from sclatent.tl._cycle.states import Array, Ints, Law


class Source:
    """All the counts, and the law of any part of them.

    Parameters
    ----------
    counts
        (cells, genes) counts.
    library, batch
        (cells,) library sizes and batch codes.
    """

    def __init__(self, counts: sp.csr_matrix, library: Array, batch: Ints) -> None:
        self.counts, self.library, self.batch = counts, np.asarray(library, np.float64), batch
        self.n_batches = int(batch.max()) + 1
        self.middle = float(np.median(self.library))

    def part(self, rows: Ints) -> Source:
        """Return the counts of some cells, normalised like those of all cells."""
        some = Source(rows_at(self.counts, rows), self.library[rows], self.batch[rows])
        some.n_batches, some.middle = self.n_batches, self.middle
        return some

    def breadth(self, listed: Ints) -> Array:
        """Return (cells, 3) the powers 0, 1 and 2 of the log number of genes seen, without the listed ones; scaled."""
        seen = self.counts > 0
        every, of_lists = (np.asarray(part.sum(axis=1), dtype=np.float64).ravel() for part in (seen, seen[:, listed]))
        number = np.log1p(every - of_lists)
        return np.vander((number - number.mean()) / max(float(number.std()), 1e-12), 3, increasing=True)

    def law(self, rows: Ints, columns: Ints, *, deep: bool, caps: Array | None = None, capture: bool = True) -> Law:
        """Return the law of some cells and genes.

        `caps` (G,) are relative counts beyond which shallow counts are cut; `capture` says whether the law for deep
        ones knows that cells differ in it.
        """
        if deep:
            return self.log_law(rows, columns, capture=capture)
        part, library = self._dense(rows, columns), self.library[rows]
        part = winsorize(part, library, highest(part / library[:, None]) if caps is None else caps)
        return CountLaw(part, library, self.batch[rows], self.n_batches)

    def log_law(self, rows: Ints, columns: Ints, *, capture: bool = True) -> LogLaw:
        """Return the law of log-normalised counts, whatever the depth."""
        y = np.log1p(self._dense(rows, columns) * (self.middle / self.library[rows])[:, None])
        return LogLaw(y, self.batch[rows], self.n_batches, capture=capture)

    def _dense(self, rows: Ints, columns: Ints) -> Array:
        dense = np.asarray(self.counts[rows][:, columns].todense(), dtype=np.float64)
        release(self.counts)
        return dense
