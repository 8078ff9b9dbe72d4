"""The stage `prepare`: from counts to the cells and genes that everything later works on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sclatent.data import slots
from sclatent.data.columns import add_column
from sclatent.data.expected import in_memory
from sclatent.data.gene_ids import gene_ids
from sclatent.data.genes import cycle_genes
from sclatent.data.modalities import RNA, measured, slot
from sclatent.data.normalise import cell_sums
from sclatent.pp._columns import check_library, given, given_library, need, place_columns, settle
from sclatent.pp._genes import find_cycle, find_kept, gene_symbols
from sclatent.pp._pass import drop_silent, part_of, pass_cells, pass_genes, silent, whole_counts
from sclatent.pp._peaks import choose_peaks, pass_peaks
from sclatent.pp._quality import Filters, qc_metrics, tell_binary
from sclatent.pp._split import place_split, split_cells
from sclatent.pp._variable import FLAVOR, highly_variable
from sclatent.settings import (
    NO_FILE,
    CellsSettings,
    CycleSettings,
    GenesSettings,
    InputError,
    ModalitiesSettings,
    SplitSettings,
    takes_settings,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

_EMPTY = ("cells.no_counts", "no count in the genes left")
_SILENT = ("cells.no_model_counts", "no count in the model's genes")
"""The filter that takes cells without a library size, and why."""


@takes_settings
def prepare(
    counts: AnnData,
    *,
    modalities: ModalitiesSettings | None = None,
    organism: str = "human",
    batch: Sequence[str] = (),
    condition: Sequence[str] = (),
    covariates: Sequence[str] = (),
    library_size: str | None = None,
    split: SplitSettings = SplitSettings(),
    cells: CellsSettings = CellsSettings(),
    genes: GenesSettings = GenesSettings(),
    cycle: CycleSettings = CycleSettings(),
    file: str = NO_FILE,
) -> AnnData:
    """Filter cells and genes, split the cells, choose the model's genes on training cells.

    Doublets are scored by scrublet (Wolock et al. 2019) when asked for, see `score_doublets`; highly variable genes are
    chosen by Pearson residuals (Lause et al. 2021), see `highly_variable`.

    Parameters
    ----------
    counts
        What `read_dataset` returns: whole-number counts in ``X``.
    modalities, organism, batch, condition, covariates, library_size, split, cells, genes, cycle
        Keys of the dataset file; a section may be a mapping, such as ``genes={"n_top": 1000}``.
    file
        What messages call the place of these settings.

    Returns
    -------
    AnnData
        ``X``: counts of all genes that passed, CSR float32.

        ``obs``: every column that came in; the QC metrics (``n_genes_by_counts``, ``total_counts``, ``pct_counts_mt``,
        ``pct_counts_ribo``; ``pct_counts_spike_in`` where there are spike-ins; ``doublet_score``,
        ``predicted_doublet`` when asked for); ``split``; ``library_size`` (float32). Columns of text, and batch and
        condition columns whatever they hold, are categories of text; covariates are float64. A column that came in
        under a name of `slots.WRITTEN`, which the pipeline writes here or later, is ``{name}_input``, unless it holds
        what is written here.

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
    grouped = {"batch": batch, "condition": condition}
    counts = _checked(counts, grouped, split, file)
    matrix = whole_counts(counts, file)
    has_rna = measured(counts, RNA)
    library = None if library_size is None else given_library(counts.obs, has_rna, library_size, file)
    known = _know_genes(counts.var, *gene_symbols(counts, genes.symbols, file), genes.keep, file)
    metrics, known.metrics = qc_metrics(AnnData(matrix, obs=counts.obs[[]], var=counts.var), known.symbols)
    _tell_oddities(metrics[has_rna], known)
    passed = pass_cells(matrix, counts.obs, metrics, cells, batch, split.seed, filters, known.has_mito, ~has_rna)
    pass_peaks(counts, passed, modalities, filters)
    seen = pass_genes(matrix, passed, counts.var_names, known.kept, genes.min_cells, filters)

    prepared = part_of(counts, matrix, passed, seen)
    drop_silent(prepared, filters, np.ones(prepared.n_vars, dtype=bool), *_EMPTY, passed)
    renamed = place_columns(prepared, metrics[passed], grouped, covariates, file)
    left = known.of(seen)
    totals, spikes = (left.metrics[name].to_numpy() for name in (slots.TOTAL_COUNTS, slots.SPIKE_IN))
    of_cycle = find_cycle(left.ids, left.symbols, totals, cycle_genes(organism, cycle.genes))

    def choose() -> _Choice:
        part = split_cells(given(prepared, [split.column]), split, file)
        variable = _variable(prepared, part, batch, genes.n_top, spikes)
        return _Choice(part, variable, of_cycle, left.kept).checked(file)

    choice = choose()
    while library is None and silent(prepared, choice.in_model).any():
        # a library size of zero has no rate: such cells go, and split and genes are drawn and chosen again
        drop_silent(prepared, filters, choice.in_model, *_SILENT, passed)
        choice = choose()
    place_split(prepared, choice.split, given(prepared, [*batch, *condition]))
    prepared.obs[slots.LIBRARY_SIZE] = _library_size(prepared, choice.in_model, library, passed, library_size, file)
    settle(prepared, renamed, {*batch, *condition, *covariates})
    prepared.uns[slots.UNS] |= slot(choose_peaks(prepared, _groups(prepared, batch), modalities, filters))
    _describe_genes(prepared, left, choice)
    metrics["passed"] = passed
    uns: dict[str, Any] = {slots.UNS_FILTERS: filters.table(), slots.UNS_QC: metrics[has_rna]}
    uns |= {slots.UNS_GENES: _about_genes(known, choice, genes.n_top)}
    prepared.uns[slots.UNS] |= uns | {slots.UNS_PREPARED: _about_columns(library_size, renamed)}
    prepared.strings_to_categoricals()
    log.info("prepared: %d cells × %d genes, %d of them in the model", *prepared.shape, choice.in_model.sum())
    return prepared


@dataclass(frozen=True)
class _Choice:
    """The split (cells,), and of the genes that passed (genes,) those that the model sees, by reason."""

    split: pd.Categorical
    variable: np.ndarray
    cycle: np.ndarray
    kept: np.ndarray

    @property
    def in_model(self) -> np.ndarray:
        return self.variable | self.cycle | self.kept

    def checked(self, file: str) -> _Choice:
        """Return this choice, or stop where it leaves nothing to model."""
        n = int(self.in_model.sum())
        if n < 2:
            raise InputError(
                f"{file}: {n} of {len(self.kept)} gene(s) can be modelled: at least 2 are needed, since rates are "
                "shares of a cell's counts"
            )
        return self


@dataclass
class _Known:
    """What is known of each gene: names, where they come from, whether it was asked for, and its metrics."""

    symbols: list[str]
    source: str
    ids: list[str]
    kept: np.ndarray
    metrics: pd.DataFrame

    @property
    def has_mito(self) -> bool:
        return bool(self.metrics[slots.MITO].any())

    def of(self, genes: np.ndarray) -> _Known:
        """Return what is known of some genes (mask)."""
        symbols, ids = (list(compress(names, genes)) for names in (self.symbols, self.ids))
        return _Known(symbols, self.source, ids, self.kept[genes], self.metrics[genes])


def _know_genes(var: pd.DataFrame, symbols: list[str], source: str, keep: Sequence[str], file: str) -> _Known:
    ids = gene_ids(var)
    return _Known(symbols, source, ids, find_kept(var.index, symbols, ids, keep, file), var[[]])


def _about_genes(known: _Known, choice: _Choice, n_top: int | str) -> dict[str, Any]:
    """Return how the genes were chosen, and how many there are of each kind."""
    return {
        "flavor": "" if n_top == "all" else FLAVOR,  # nothing was ranked
        "n_top": n_top,
        "symbols": known.source,
        "n_highly_variable": int(choice.variable.sum()),
        "n_cycle": int(choice.cycle.sum()),
        "n_kept": int(known.kept.sum()),
        "n_model": int(choice.in_model.sum()),
        "n_read": len(known.ids),
        "n_mitochondrial": int(known.metrics[slots.MITO].sum()),
        "n_ribosomal": int(known.metrics[slots.RIBO].sum()),
    }


def _about_columns(library_size: str | None, renamed: dict[str, str]) -> dict[str, Any]:
    """Return what ``library_size`` is, and which columns that came in have another name."""
    what = library_size or "sum over the model's genes"
    return {"library_size": what, "rest": library_size is not None, slots.RENAMED: renamed}


def _checked(counts: AnnData, grouped: Mapping[str, Sequence[str]], split: SplitSettings, file: str) -> AnnData:
    """Return the counts in memory, with every column that must come in: looked for before minutes are spent."""
    obs = counts.obs
    for key, columns in grouped.items():
        for column in columns:
            need(obs, column, key, file)
    if split.column is not None:
        need(obs, split.column, "split.column", file)
    return in_memory(counts)


def _describe_genes(prepared: AnnData, known: _Known, choice: _Choice) -> None:
    """Add to ``var`` what is known of each gene, and why the model sees it."""
    described = {
        slots.SYMBOL: np.asarray(known.symbols, dtype=object),
        **{str(name): values.to_numpy() for name, values in known.metrics.items()},
        slots.HIGHLY_VARIABLE: choice.variable,
        slots.CYCLE_GENE: choice.cycle,
        slots.KEPT: choice.kept,
        slots.IN_MODEL: choice.in_model,
    }
    for name, values in described.items():
        add_column(prepared.var, name, values, "gene selection")


def _tell_oddities(metrics: pd.DataFrame, known: _Known) -> None:
    """Say in the log that there are spike-ins, or no counts above 1."""
    tell_binary(metrics)
    spikes, symbols = known.metrics[slots.SPIKE_IN].to_numpy(), known.symbols
    if spikes.any():
        log.info(
            "%d spike-ins (%s, …) are among the genes: the model does not see them, and their share of each cell's "
            "counts is in obs['%s']",
            spikes.sum(),
            symbols[int(np.argmax(spikes))],
            slots.PCT_SPIKE_IN,
        )


def _library_size(
    prepared: AnnData,
    in_model: np.ndarray,
    library: np.ndarray | None,
    passed: np.ndarray,
    column: str | None,
    file: str,
) -> np.ndarray:
    """Return the library sizes, float32 (n_cells,): those given for all cells, checked, or the model's counts."""
    total = cell_sums(prepared.X, in_model)
    size = total if library is None else library[passed]
    if library is not None:
        check_library(size, total, prepared.obs_names, column, file)
    rounded = size.astype(np.float32)
    # above 2^24 float32 may round down, to less than the counts: the next number up is as good a library size
    return np.where(rounded < total, np.nextafter(rounded, np.float32(np.inf)), rounded)


def _variable(
    prepared: AnnData, split: pd.Categorical, batch: Sequence[str], n_top: int | Literal["all"], spikes: np.ndarray
) -> np.ndarray:
    """Return which genes are highly variable among the training cells; spike-ins never are."""
    train = np.flatnonzero(np.asarray(split) == slots.TRAIN)
    return highly_variable(prepared.X, n_top, _groups(prepared, batch), cells=train, genes=~spikes)


def _groups(prepared: AnnData, batch: Sequence[str]) -> np.ndarray | None:
    """Return the batch of each cell, of all batch columns together; None if there is none."""
    if not batch:
        return None
    columns = given(prepared, batch)
    groups = columns.groupby(list(columns), observed=True, sort=False, dropna=False)
    called = groups.head(1).astype(str).agg(" | ".join, axis=1).to_numpy(dtype=object)
    return called[groups.ngroup().to_numpy()]
