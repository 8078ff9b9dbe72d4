"""Which genes the model sees: those that vary most among training cells, cell-cycle genes, and those asked for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data.genes import cycle_genes, match_genes, symbol_column
from sclatent.settings import DatasetSettings, InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)


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


def find_kept(names: pd.Index, symbols: list[str], ids: list[str], settings: DatasetSettings) -> np.ndarray:
    """Return (n_genes,) which genes `genes.keep` asks for, by name, symbol or id.

    Raises
    ------
    InputError
        If one is not there.
    """
    kept = np.zeros(len(names), dtype=bool)
    wanted = list(dict.fromkeys(settings.genes.keep))
    found = match_genes(list(names), wanted)
    for others in (symbols, ids):
        found = np.where(found >= 0, found, match_genes(others, wanted))
    for gene, at in zip(wanted, found, strict=True):
        if at < 0:
            hint = did_you_mean(gene, symbols) or did_you_mean(gene, names)
            raise InputError(f"{settings.file}: genes.keep: no gene '{gene}' in the counts{hint}")
    kept[found] = True
    return kept


def find_cycle(ids: list[str], symbols: list[str], totals: np.ndarray, settings: DatasetSettings) -> np.ndarray:
    """Return (n_genes,) which genes are on the cell-cycle list of the dataset, by symbol or else by Ensembl id."""
    listed = cycle_genes(settings.organism, settings.cycle.genes)
    found = match_genes(
        symbols, list(listed["gene"]), aliases=list(listed["aliases"]), weights=totals, ignore_case=True
    )
    out = np.zeros(len(symbols), dtype=bool)
    # a list of one's own may hold ids where the built-in ones have a column of them
    for column in ("ensembl", "gene"):
        by_id = match_genes(ids, [str(gene) or "-" for gene in listed[column]], weights=totals)
        found = np.where(found >= 0, found, by_id)
    out[found[found >= 0]] = True
    log.info("cell-cycle genes: %d of %d on the list are there", out.sum(), len(listed))
    return out
