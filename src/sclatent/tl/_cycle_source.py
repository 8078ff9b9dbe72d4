"""All the counts of a dataset, and the law of any part of them."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from sclatent.tl._cycle_counts import CountLaw, winsorize
from sclatent.tl._cycle_log import LogLaw
from sclatent.tl._cycle_states import Array, Ints, Law


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

    def law(self, rows: Ints, columns: Ints, *, deep: bool, caps: Array | None = None) -> Law:
        """Return the law of some cells and genes; `caps` (G,) are relative counts beyond which counts are cut."""
        part = np.asarray(self.counts[rows][:, columns].todense(), dtype=np.float64)
        library, batch = self.library[rows], self.batch[rows]
        if deep:
            return LogLaw(np.log1p(part * (self.middle / library)[:, None]), batch, self.n_batches)
        if caps is None:
            part = winsorize(part, library)
        else:
            part = np.minimum(part, np.maximum(caps * library[:, None], 3.0))
        return CountLaw(part, library, batch, self.n_batches)
