"""A small simulated multiome: the expression and open chromatin of the same cells, with a truth that both show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from sclatent.data import simulate, slots

if TYPE_CHECKING:
    from anndata import AnnData


def peak_names(n: int) -> list[str]:
    """Return names of peaks, in the order of the genome."""
    return [f"chr{1 + i * 3 // n}:{1000 * (i + 1)}-{1000 * (i + 1) + 300}" for i in range(n)]


def multiome(n_cells: int = 300, n_genes: int = 200, n_peaks: int = 240, *, seed: int = 1) -> tuple[AnnData, AnnData]:
    """Return RNA, and whole-number counts of peaks that open in one type of cell, or in all of them."""
    import anndata as ad

    rna = simulate(n_cells, n_genes, seed=seed)
    rng = np.random.default_rng(seed)
    types = rna.obs[slots.CELL_TYPE].astype("category").cat.codes.to_numpy()
    of_type = rng.integers(-1, types.max() + 1, n_peaks)  # -1: of none
    rate = rng.gamma(1.0, 0.15, n_peaks) * np.where(of_type[None] == types[:, None], 8.0, 1.0)
    rate *= rng.lognormal(0.0, 0.3, (n_cells, 1))
    counts = sparse.csr_matrix(rng.poisson(rate).astype(np.float32))
    var = pd.DataFrame({"of_type": of_type}, index=peak_names(n_peaks))
    return rna, ad.AnnData(counts, obs=rna.obs[[slots.CELL_TYPE, slots.BATCH]].copy(), var=var)
