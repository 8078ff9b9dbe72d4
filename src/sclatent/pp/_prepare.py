"""The stage `prepare`: from counts to the cells and genes that everything later works on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data import slots
from sclatent.data.columns import add_column
from sclatent.data.gene_ids import gene_ids
from sclatent.data.normalise import cell_sums
from sclatent.io._numbers import to_counts
from sclatent.pp._columns import check_library, given, library_column, need, place_columns, settle
from sclatent.pp._genes import find_cycle, find_kept, gene_symbols
from sclatent.pp._pass import drop_silent, pass_cells, pass_genes, silent, subset
from sclatent.pp._quality import Filters, qc_metrics
from sclatent.pp._split import split_cells
from sclatent.pp._variable import FLAVOR, highly_variable
from sclatent.settings import DatasetSettings, InputError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)


def prepare(counts: AnnData, settings: DatasetSettings) -> AnnData:
    """Filter cells and genes, split the cells, choose the model's genes on training cells.

    Parameters
    ----------
    counts
        What `read_dataset` returns: whole-number counts in ``X``.
    settings
        The dataset.

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

    filters = Filters(settings.file)
    matrix = to_counts(counts.X, settings.file, list(counts.obs_names), list(counts.var_names))
    _check_columns(counts, settings)
    library = library_column(counts.obs, settings) if settings.library_size is not None else None
    symbols, symbol_source = gene_symbols(counts, settings)
    ids = gene_ids(counts.var)
    kept = find_kept(counts.var_names, symbols, ids, settings)
    metrics, gene_metrics = qc_metrics(AnnData(matrix, obs=counts.obs[[]], var=counts.var), symbols)
    spikes = gene_metrics[slots.SPIKE_IN].to_numpy()
    _tell_spikes(spikes, symbols)
    passed = pass_cells(matrix, counts.obs, metrics, settings, filters, bool(gene_metrics[slots.MITO].any()))
    genes = pass_genes(matrix, passed, counts.var_names, kept, settings, filters)

    prepared = AnnData(subset(matrix, passed, genes), obs=counts.obs[passed].copy(), var=counts.var[genes].copy())
    prepared.uns[slots.UNS] = {slots.UNS_READ: counts.uns.get(slots.UNS, {}).get(slots.UNS_READ, {})}
    drop_silent(
        prepared, filters, np.ones(prepared.n_vars, dtype=bool), "cells.no_counts", "no count in the genes left", passed
    )
    renamed = place_columns(prepared, metrics, settings)
    symbols = [symbol for symbol, stays in zip(symbols, genes, strict=True) if stays]
    ids = [gene for gene, stays in zip(ids, genes, strict=True) if stays]
    cycle = find_cycle(ids, symbols, gene_metrics[slots.TOTAL_COUNTS].to_numpy()[genes], settings)
    while True:
        variable, in_model, split = _select(prepared, settings, cycle, kept[genes], spikes[genes])
        if library is not None or not silent(prepared, in_model).any():
            break
        # a library of zero has no rate, so such cells go; the split is drawn anew, and the genes with it
        drop_silent(prepared, filters, in_model, "cells.no_model_counts", "no count in the model's genes", passed)
    prepared.obs[slots.SPLIT] = split
    given_size = None if library is None else library[passed]
    prepared.obs[slots.LIBRARY_SIZE] = _library_size(prepared, in_model, given_size, settings)
    settle(prepared, renamed, settings)

    described = {
        slots.SYMBOL: np.asarray(symbols, dtype=object),
        **{str(name): values.to_numpy() for name, values in gene_metrics[genes].items()},
        slots.HIGHLY_VARIABLE: variable,
        slots.CYCLE_GENE: cycle,
        slots.KEPT: kept[genes],
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
            "n_top": settings.genes.n_top,
            "symbols": symbol_source,
            "n_highly_variable": int(variable.sum()),
            "n_cycle": int(cycle.sum()),
            "n_kept": int(kept.sum()),
            "n_model": int(in_model.sum()),
            "n_read": counts.n_vars,
            "n_mitochondrial": int(gene_metrics[slots.MITO].sum()),
            "n_ribosomal": int(gene_metrics[slots.RIBO].sum()),
        },
        slots.UNS_PREPARED: {
            "library_size": settings.library_size or "sum over the model's genes",
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
    prepared: AnnData, in_model: np.ndarray, size: np.ndarray | None, settings: DatasetSettings
) -> np.ndarray:
    """Return the library sizes, float32 (n_cells,): those given, checked, or the counts of the model's genes."""
    total = cell_sums(prepared.X[:, np.flatnonzero(in_model)])
    if size is None:
        size = total
    else:
        check_library(size, total, prepared.obs_names, settings)
    rounded = size.astype(np.float32)
    # above 2^24 float32 may round down, to less than the counts: the next number up is as good a library size
    return np.where(rounded < total, np.nextafter(rounded, np.float32(np.inf)), rounded)


def _select(
    prepared: AnnData, settings: DatasetSettings, cycle: np.ndarray, kept: np.ndarray, spikes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, pd.Categorical]:
    """Split the cells, and choose genes on the training cells: highly variable, and all of the model."""
    split = split_cells(given(prepared, [settings.split.column]), settings)
    train = np.flatnonzero(np.asarray(split) == slots.TRAIN)
    batch = None
    if settings.batch:
        batch = given(prepared, settings.batch).astype(str).agg(" | ".join, axis=1).to_numpy()
    variable = highly_variable(prepared.X, settings.genes.n_top, batch, cells=train, genes=~spikes)
    in_model = variable | cycle | kept
    if in_model.sum() < 2:
        raise InputError(
            f"{settings.file}: {in_model.sum()} of {prepared.n_vars} gene(s) can be modelled: at least 2 are needed, "
            f"since rates are shares "
            "of a cell's counts"
        )
    return variable, in_model, split


def _check_columns(counts: AnnData, settings: DatasetSettings) -> None:
    """Look for every column that must come in, before minutes are spent."""
    for column in settings.batch:
        need(counts.obs, column, "batch", settings)
    if settings.split.column is not None:
        need(counts.obs, settings.split.column, "split.column", settings)
