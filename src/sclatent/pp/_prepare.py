"""The stage `prepare`: from counts to the cells and genes that everything later works on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data import slots
from sclatent.data.columns import add_column
from sclatent.data.gene_ids import gene_ids
from sclatent.data.genes import cycle_genes
from sclatent.data.normalise import cell_sums
from sclatent.io._numbers import to_counts
from sclatent.pp._columns import check_library, given, library_column, need, place_columns, settle
from sclatent.pp._genes import find_cycle, find_kept, gene_symbols
from sclatent.pp._pass import drop_silent, pass_cells, pass_genes, silent, subset
from sclatent.pp._quality import Filters, qc_metrics
from sclatent.pp._split import split_cells
from sclatent.pp._variable import FLAVOR, highly_variable
from sclatent.settings import (
    NO_FILE,
    CellsSettings,
    CycleSettings,
    GenesSettings,
    InputError,
    SplitSettings,
    takes_settings,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)


@takes_settings
def prepare(
    counts: AnnData,
    *,
    organism: str = "human",
    batch: Sequence[str] = (),
    covariates: Sequence[str] = (),
    library_size: str | None = None,
    split: SplitSettings = SplitSettings(),
    cells: CellsSettings = CellsSettings(),
    genes: GenesSettings = GenesSettings(),
    cycle: CycleSettings = CycleSettings(),
    file: str = NO_FILE,
) -> AnnData:
    """Filter cells and genes, split the cells, choose the model's genes on training cells.

    Parameters
    ----------
    counts
        What `read_dataset` returns: whole-number counts in ``X``.
    organism, batch, covariates, library_size, split, cells, genes, cycle
        Keys of the dataset file; a section may be a mapping, such as ``genes={"n_top": 1000}``.
    file
        What messages call the place of these settings.

    Returns
    -------
    AnnData
        ``X``: counts of all genes that passed, CSR float32.

        ``obs``: every column that came in; the QC metrics (``n_genes_by_counts``, ``total_counts``, ``pct_counts_mt``,
        ``pct_counts_ribo``; ``pct_counts_spike_in`` where there are spike-ins; ``doublet_score``,
        ``predicted_doublet`` when asked for); ``split``; ``library_size`` (float32). Columns of text, and batch columns
        whatever they hold, are categories of text; covariates are float64. A column that came in under a name of
        `slots.WRITTEN`, which the pipeline writes here or later, is ``{name}_input``, unless it holds what is written
        here.

        ``var``: every column that came in; ``symbol``, ``mt``, ``ribo``, ``spike_in``, ``n_cells_by_counts``,
        ``total_counts`` (over all cells that were read); ``highly_variable`` (never a spike-in), ``cycle_gene``,
        ``kept`` and their union ``in_model``.

        ``uns["sclatent"]``: ``filters`` (DataFrame: filter, cutoff, unit, taken, left), ``qc`` (DataFrame of the
        metrics of *all* cells, with ``passed``, for the QC figure), ``genes`` (how the genes were chosen), ``prepared``
        (what ``library_size`` is, and ``renamed``: which columns that came in have another name now), ``read``.

    Raises
    ------
    InputError
        One line for what is wrong with the dataset file or the counts.
    """
    from anndata import AnnData

    filters = Filters(file)
    matrix = to_counts(counts.X, file, list(counts.obs_names), list(counts.var_names))
    for column in batch:
        need(counts.obs, column, "batch", file)
    if split.column is not None:
        need(counts.obs, split.column, "split.column", file)
    library = library_column(counts.obs, library_size, file) if library_size is not None else None
    symbols, symbol_source = gene_symbols(counts, genes.symbols, file)
    ids = gene_ids(counts.var)
    kept = find_kept(counts.var_names, symbols, ids, genes.keep, file)
    metrics, gene_metrics = qc_metrics(AnnData(matrix, obs=counts.obs[[]], var=counts.var), symbols)
    spikes = gene_metrics[slots.SPIKE_IN].to_numpy()
    _tell_spikes(spikes, symbols)
    has_mito = bool(gene_metrics[slots.MITO].any())
    passed = pass_cells(matrix, counts.obs, metrics, cells, batch, split.seed, filters, has_mito)
    seen = pass_genes(matrix, passed, counts.var_names, kept, genes.min_cells, filters)

    prepared = AnnData(subset(matrix, passed, seen), obs=counts.obs[passed].copy(), var=counts.var[seen].copy())
    prepared.uns[slots.UNS] = {slots.UNS_READ: counts.uns.get(slots.UNS, {}).get(slots.UNS_READ, {})}
    drop_silent(
        prepared, filters, np.ones(prepared.n_vars, dtype=bool), "cells.no_counts", "no count in the genes left", passed
    )
    renamed = place_columns(prepared, metrics, batch, covariates, file)
    symbols = [symbol for symbol, stays in zip(symbols, seen, strict=True) if stays]
    ids = [gene for gene, stays in zip(ids, seen, strict=True) if stays]
    listed = cycle_genes(organism, cycle.genes)
    of_cycle = find_cycle(ids, symbols, gene_metrics[slots.TOTAL_COUNTS].to_numpy()[seen], listed)
    while True:
        part = split_cells(given(prepared, [split.column]), split, file)
        variable = _variable(prepared, part, batch, genes.n_top, spikes[seen])
        in_model = variable | of_cycle | kept[seen]
        if in_model.sum() < 2:
            raise InputError(
                f"{file}: {in_model.sum()} of {prepared.n_vars} gene(s) can be modelled: at least 2 are needed, since "
                "rates are shares of a cell's counts"
            )
        if library is not None or not silent(prepared, in_model).any():
            break
        # a library of zero has no rate, so such cells go; the split is drawn anew, and the genes with it
        drop_silent(prepared, filters, in_model, "cells.no_model_counts", "no count in the model's genes", passed)
    prepared.obs[slots.SPLIT] = part
    given_size = None if library is None else library[passed]
    prepared.obs[slots.LIBRARY_SIZE] = _library_size(prepared, in_model, given_size, library_size, file)
    settle(prepared, renamed, {*batch, *covariates})

    described = {
        slots.SYMBOL: np.asarray(symbols, dtype=object),
        **{str(name): values.to_numpy() for name, values in gene_metrics[seen].items()},
        slots.HIGHLY_VARIABLE: variable,
        slots.CYCLE_GENE: of_cycle,
        slots.KEPT: kept[seen],
        slots.IN_MODEL: in_model,
    }
    for name, values in described.items():
        add_column(prepared.var, name, values, "gene selection")
    metrics["passed"] = passed
    prepared.uns[slots.UNS] = {
        **prepared.uns[slots.UNS],
        slots.UNS_FILTERS: filters.table(),
        slots.UNS_QC: metrics,
        slots.UNS_GENES: {
            "flavor": FLAVOR,
            "n_top": genes.n_top,
            "symbols": symbol_source,
            "n_highly_variable": int(variable.sum()),
            "n_cycle": int(of_cycle.sum()),
            "n_kept": int(kept.sum()),
            "n_model": int(in_model.sum()),
            "n_read": counts.n_vars,
            "n_mitochondrial": int(gene_metrics[slots.MITO].sum()),
            "n_ribosomal": int(gene_metrics[slots.RIBO].sum()),
        },
        slots.UNS_PREPARED: {
            "library_size": library_size or "sum over the model's genes",
            "rest": library is not None,
            slots.RENAMED: renamed,
        },
    }
    prepared.strings_to_categoricals()
    log.info(
        "prepared: %d cells × %d genes, of which the model sees %d", prepared.n_obs, prepared.n_vars, in_model.sum()
    )
    return prepared


def model_counts(prepared: AnnData) -> AnnData:
    """Return the counts that the model sees, and what is known of their cells and genes.

    Parameters
    ----------
    prepared
        What `prepare` returns.

    Returns
    -------
    AnnData of the genes with ``var["in_model"]``: ``X``, ``obs`` and ``var`` as in `prepared`, of ``uns`` only what the
    columns are called. The stages that ask a model about cells take it instead of `prepared`, which is several times
    larger.
    """
    from anndata import AnnData

    genes = prepared.var[slots.IN_MODEL].to_numpy(dtype=bool)
    return AnnData(
        subset(prepared.X, np.ones(prepared.n_obs, dtype=bool), genes),
        obs=prepared.obs,
        var=prepared.var[genes],
        uns={slots.UNS: {slots.UNS_PREPARED: prepared.uns[slots.UNS][slots.UNS_PREPARED]}},
    )


def _tell_spikes(spikes: np.ndarray, symbols: list[str]) -> None:
    """Say in the log that there are spike-ins."""
    if spikes.any():
        log.info(
            "%d spike-ins (%s, …) are among the genes: the model does not see them, and their share of each cell's "
            "counts is in obs['%s']",
            spikes.sum(),
            symbols[int(np.argmax(spikes))],
            slots.PCT_SPIKE_IN,
        )


def _library_size(
    prepared: AnnData, in_model: np.ndarray, size: np.ndarray | None, column: str | None, file: str
) -> np.ndarray:
    """Return the library sizes, float32 (n_cells,): those given, checked, or the counts of the model's genes."""
    total = cell_sums(prepared.X[:, np.flatnonzero(in_model)])
    if size is None:
        size = total
    else:
        check_library(size, total, prepared.obs_names, column, file)
    rounded = size.astype(np.float32)
    # above 2^24 float32 may round down, to less than the counts: the next number up is as good a library size
    return np.where(rounded < total, np.nextafter(rounded, np.float32(np.inf)), rounded)


def _variable(
    prepared: AnnData, split: pd.Categorical, batch: Sequence[str], n_top: int, spikes: np.ndarray
) -> np.ndarray:
    """Return which genes are highly variable among the training cells; spike-ins never are."""
    groups = None
    if batch:
        groups = given(prepared, batch).astype(str).agg(" | ".join, axis=1).to_numpy()
    train = np.flatnonzero(np.asarray(split) == slots.TRAIN)
    return highly_variable(prepared.X, n_top, groups, cells=train, genes=~spikes)
