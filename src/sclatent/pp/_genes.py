"""Which genes the model sees: those that vary most among training cells, cell-cycle genes, and those asked for."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data.genes import cycle_genes, match_genes, symbol_column
from sclatent.settings import DatasetSettings, InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

log = logging.getLogger(__name__)

FLAVOR = "pearson_residuals"
"""Analytic Pearson residuals of the counts (Lause, Berens and Kobak 2021, Genome Biology 22:258), as in scanpy."""
THETA = 100.0
FEWEST_PER_BATCH = 30
"""Training cells below which a batch has no vote on which genes vary."""


def gene_symbols(adata: AnnData, settings: DatasetSettings) -> tuple[list[str], str]:
    """Return the symbol of every gene and where it comes from.

    The source is ``genes.symbols`` if set, else a guess where the names are Ensembl ids, else the names themselves. A
    gene without a symbol keeps its name.
    """
    column = settings.genes.symbols
    if column is None:
        column = symbol_column(adata.var)
        if column is None:
            return [str(name) for name in adata.var_names], "names"
        log.info(
            "gene names are Ensembl ids: symbols taken from the var column '%s' (set `genes.symbols` if that is wrong)",
            column,
        )
    elif column not in adata.var:
        known = [str(c) for c in adata.var.columns]
        raise InputError(
            f"{settings.file}: genes.symbols: no var column '{column}'{did_you_mean(column, known)}: there is "
            f"{', '.join(known) or 'none'}"
        )
    values, names = adata.var[column], adata.var_names
    gap = (values.isna() | (values.astype(str).str.strip() == "")).to_numpy()
    return [str(name) if none else str(value) for value, name, none in zip(values, names, gap, strict=True)], column


def find_kept(names: pd.Index, symbols: list[str], settings: DatasetSettings) -> np.ndarray:
    """Return (n_genes,) which genes `genes.keep` asks for, by name or symbol.

    Raises
    ------
    InputError
        If one is not there.
    """
    kept = np.zeros(len(names), dtype=bool)
    wanted = list(dict.fromkeys(settings.genes.keep))
    by_name, by_symbol = match_genes(list(names), wanted), match_genes(symbols, wanted)
    found = np.where(by_name >= 0, by_name, by_symbol)
    for gene, at in zip(wanted, found, strict=True):
        if at < 0:
            hint = did_you_mean(gene, symbols) or did_you_mean(gene, names)
            raise InputError(f"{settings.file}: genes.keep: no gene '{gene}' in the counts{hint}")
    kept[found] = True
    return kept


def find_cycle(names: list[str], symbols: list[str], totals: np.ndarray, settings: DatasetSettings) -> np.ndarray:
    """Return (n_genes,) which genes are on the cell-cycle list of the dataset, by symbol or else by Ensembl id."""
    listed = cycle_genes(settings.organism, settings.cycle.genes)
    found = match_genes(
        symbols, list(listed["gene"]), aliases=list(listed["aliases"]), weights=totals, ignore_case=True
    )
    out = np.zeros(len(symbols), dtype=bool)
    by_id = match_genes(names, [str(gene) or "-" for gene in listed["ensembl"]], weights=totals)
    found = np.where(found >= 0, found, by_id)
    out[found[found >= 0]] = True
    log.info("cell-cycle genes: %d of %d on the list are there", out.sum(), len(listed))
    return out


def highly_variable(counts: csr_matrix, n_top: int, batch: np.ndarray | None = None) -> np.ndarray:
    """Return (n_genes,) bool: the `n_top` genes whose Pearson residuals vary most.

    The residuals are those of counts against a negative binomial with one mean per gene and depth per cell (θ = 100).
    With batches, genes are ranked within each one, and those that are among the top in most batches come first, ties
    broken by the median rank. It works on counts without making them dense.

    Parameters
    ----------
    counts
        (n_cells, n_genes) of the cells to choose on.
    n_top
        How many; all genes that vary at all if there are no more.
    batch
        (n_cells,) the batch of each cell. Batches of fewer than 30 cells have no vote, unless none is larger: then all
        cells vote as one.
    """
    import pandas as pd
    import scanpy as sc
    from anndata import AnnData

    chosen = np.zeros(counts.shape[1], dtype=bool)
    varies = _varies(counts)
    if varies.sum() <= n_top:
        return varies
    rows = np.asarray(counts.sum(axis=1)).ravel() > 0
    key = None
    if batch is not None:
        _, codes, sizes = np.unique(np.asarray(batch, dtype=str)[rows], return_inverse=True, return_counts=True)
        large = sizes >= FEWEST_PER_BATCH
        if large.sum() > 1:
            key = "batch"
            voting = np.zeros(len(rows), dtype=bool)
            voting[np.flatnonzero(rows)[large[codes]]] = True
            rows = voting
        if not large.all():
            log.info(
                "highly variable genes: %d batch(es) with fewer than %d training cells have no vote of their own",
                (~large).sum(),
                FEWEST_PER_BATCH,
            )
    genes = np.flatnonzero(varies)
    work = AnnData(counts[rows][:, genes])
    if key is not None and batch is not None:
        work.obs["batch"] = pd.Categorical(np.asarray(batch, dtype=str)[rows])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.experimental.pp.highly_variable_genes(
            work, flavor=FLAVOR, n_top_genes=n_top, theta=THETA, batch_key=key, check_values=False
        )
    chosen[genes[work.var["highly_variable"].to_numpy(dtype=bool)]] = True
    return chosen


def _varies(counts: csr_matrix) -> np.ndarray:
    """Return which genes are not the same in all cells."""
    low = np.asarray(counts.min(axis=0).todense()).ravel()
    high = np.asarray(counts.max(axis=0).todense()).ravel()
    return high > low
