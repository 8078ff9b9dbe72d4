"""Which genes the model sees: those that vary most among training cells, cell-cycle genes, and those asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data.gene_ids import parts
from sclatent.data.genes import match_genes, symbol_column
from sclatent.settings import InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)


def gene_symbols(adata: AnnData, column: str | None, file: str) -> tuple[list[str], str]:
    """Return the symbol of every gene and where it comes from.

    The source is the var column of ``genes.symbols`` if set, else a guess where the names are ids or numbers, else the
    part of the names that is no id (``ENSG00000141510_TP53``), else the names themselves. A gene without a symbol keeps
    its name.
    """
    if column is None:
        column = symbol_column(adata.var)
        if column is None:
            both = parts(list(adata.var_names))
            if both is None:
                return [str(name) for name in adata.var_names], "names"
            log.info("gene names hold symbols beside ids or places, such as '%s': taken apart", adata.var_names[0])
            return both[1], "names"
        log.info(
            "gene names are ids or numbers: symbols taken from the var column '%s' (set `genes.symbols` if that is "
            "wrong)",
            column,
        )
    elif column not in adata.var:
        known = [str(c) for c in adata.var.columns]
        raise InputError(
            f"{file}: genes.symbols: no var column '{column}'{did_you_mean(column, known)}: available: "
            f"{', '.join(known) or 'none'}"
        )
    values, names = adata.var[column], adata.var_names
    gap = (values.isna() | (values.astype(str).str.strip() == "")).to_numpy()
    return [str(name) if none else str(value) for value, name, none in zip(values, names, gap, strict=True)], column


def find_kept(names: pd.Index, symbols: list[str], ids: list[str], keep: Sequence[str], file: str) -> np.ndarray:
    """Return (n_genes,) which genes `genes.keep` asks for, by name, symbol or id.

    Raises
    ------
    InputError
        If one is not there.
    """
    kept = np.zeros(len(names), dtype=bool)
    wanted = list(dict.fromkeys(keep))
    found = match_genes(list(names), wanted)
    for others in (symbols, ids):
        found = np.where(found >= 0, found, match_genes(others, wanted))
    for gene, at in zip(wanted, found, strict=True):
        if at < 0:
            hint = did_you_mean(gene, symbols) or did_you_mean(gene, names)
            raise InputError(f"{file}: genes.keep: no gene '{gene}' in the counts{hint}")
    kept[found] = True
    return kept


def find_cycle(ids: list[str], symbols: list[str], totals: np.ndarray, listed: pd.DataFrame) -> np.ndarray:
    """Return (n_genes,) which genes are on a list of cell-cycle genes (`cycle_genes`), by symbol or else by id."""
    found = match_genes(
        symbols, list(listed["gene"]), aliases=list(listed["aliases"]), weights=totals, ignore_case=True
    )
    out = np.zeros(len(symbols), dtype=bool)
    # a user's list may hold ids where the built-in lists have a column of them
    for column in ("ensembl", "gene"):
        by_id = match_genes(ids, [str(gene) or "-" for gene in listed[column]], weights=totals)
        found = np.where(found >= 0, found, by_id)
    out[found[found >= 0]] = True
    log.info("cell-cycle genes: %d of %d on the list are there", out.sum(), len(listed))
    return out
