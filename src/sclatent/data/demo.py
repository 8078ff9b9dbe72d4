"""The two demo datasets, neither of which needs a network: simulated cells with known truth, and real blood cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data import slots
from sclatent.data.simulate import simulate
from sclatent.settings import InputError, checks_arguments, did_you_mean

if TYPE_CHECKING:
    from anndata import AnnData

DEMOS = ("demo", "pbmc68k")


@checks_arguments
def demo(name: str = "demo") -> AnnData:
    """Return a demo dataset.

    Parameters
    ----------
    name
        ``demo``: `simulate` with its defaults (2,000 cells × 1,000 genes). ``pbmc68k``: 700 real blood cells × 765
        genes.

    Returns
    -------
    AnnData
        Whole-number counts, cells × genes, CSR float32 in ``X``; the truth of simulated cells in ``obs`` and ``var``.

    Raises
    ------
    InputError
        If there is no demo of that name.
    """
    if name == "demo":
        return simulate()
    if name == "pbmc68k":
        return pbmc68k()
    raise InputError(f"no demo is called '{name}'{did_you_mean(name, DEMOS)}: available: {', '.join(DEMOS)}")


@checks_arguments
def write_demo(name: str, path: str | Path) -> Path:
    """Write a demo dataset as h5ad and return the path; it appears whole or not at all.

    Parameters
    ----------
    name
        ``demo`` or ``pbmc68k``, see `demo`.
    path
        Where to write; missing folders are made.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If there is no demo of that name.
    """
    from sclatent.data.atomic import atomic

    adata = demo(name)
    with atomic(path) as scratch:
        adata.write_h5ad(scratch, compression="gzip")
    return Path(path)


def pbmc68k() -> AnnData:
    """Return the 700 blood cells that ship inside scanpy as whole-number counts (no network).

    ``scanpy.datasets.pbmc68k_reduced().raw`` holds y = log(1 + 10,000 · x / n) with 3 decimals, and ``obs["n_counts"]``
    the total n over all genes; so x = n (exp(y) − 1) / 10,000, which lies within 0.1 of a whole number everywhere.

    Returns
    -------
    AnnData
        ``X``: counts, CSR float32, 700 × 765. ``obs``: ``bulk_labels`` (cell type by bulk profiles),
        ``n_umi_all_genes`` (the library size over the whole transcriptome), ``percent_mito``.

    References
    ----------
    Zheng et al. 2017, Nature Communications 8:14049; 10x Genomics (CC BY 4.0).
    """
    import pandas as pd
    import scanpy as sc
    from anndata import AnnData
    from scipy import sparse

    source = sc.datasets.pbmc68k_reduced()
    total = source.obs["n_counts"].to_numpy(dtype=np.float64)
    logged = sparse.csr_matrix(source.raw.X).astype(np.float64)
    exact = sparse.diags(total / 1e4) @ logged.expm1()
    counts = sparse.csr_matrix(exact)
    rounded = np.round(counts.data)
    if np.abs(rounded - counts.data).max() > 0.1:
        raise RuntimeError(
            "the blood cells inside scanpy are not what they were: counts cannot be recovered by rounding"
        )
    counts.data = rounded.astype(np.float32)
    counts = sparse.csr_matrix(counts, dtype=np.float32)
    counts.eliminate_zeros()
    counts.sort_indices()
    obs = pd.DataFrame(
        {
            "bulk_labels": source.obs["bulk_labels"],
            "n_umi_all_genes": np.round(total),
            "percent_mito": source.obs["percent_mito"],
        },
        index=source.obs_names,
    )
    adata = AnnData(counts, obs=obs, var=pd.DataFrame(index=source.raw.var_names))
    adata.uns[slots.UNS] = {
        "source": "10x Genomics 68k PBMC, 700 cells and 765 genes as shipped inside scanpy, CC BY 4.0"
    }
    return adata
