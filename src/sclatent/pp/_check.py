"""The stage `check`: the columns and gene programs that a dataset file names, before minutes are spent."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sclatent.data import slots
from sclatent.data.columns import as_categories, as_text, is_measured, place_of, set_aside
from sclatent.data.expected import need_split
from sclatent.data.modalities import RNA, measured
from sclatent.data.programs import MIN_GENES, read_gmt
from sclatent.pp._columns import METRICS, categories, covariate, library_column, need
from sclatent.pp._genes import gene_symbols
from sclatent.settings import (
    NO_FILE,
    AxesSettings,
    GenesSettings,
    InputError,
    SampleSettings,
    SplitSettings,
    did_you_mean,
    takes_settings,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)


@takes_settings
def check_columns(
    counts: AnnData,
    *,
    batch: Sequence[str] = (),
    condition: Sequence[str] = (),
    covariates: Sequence[str] = (),
    labels: Sequence[str] = (),
    library_size: str | None = None,
    split: SplitSettings = SplitSettings(),
    sample: SampleSettings | None = None,
    file: str = NO_FILE,
) -> pd.DataFrame:
    """Check every obs column that the dataset file names.

    A stage of its own, so that other labels can be asked for without preparing and training anew.

    Parameters
    ----------
    counts
        What `read_dataset` returns; only its ``obs`` is looked at.
    batch, condition, covariates, labels, library_size, split, sample
        Keys of the dataset file; they name the columns, and levels of them.
    file
        What messages call the place of these settings.

    Returns
    -------
    DataFrame
        One row per column and role: ``column``, ``role`` (the key of the dataset file), ``kind`` (``categories`` or
        ``numbers``), ``levels`` (distinct values), ``missing`` (cells without a value). Where a column came in under a
        name that the pipeline writes itself (`slots.WRITTEN`), also ``called``: what each is called in the results.

    Raises
    ------
    InputError
        If a column is missing, has one level, or has gaps where none may be.
    """
    import pandas as pd

    obs = counts.obs
    rows = []
    aside = set_aside(obs.columns)
    for name, spare in aside.items():
        log.info("the pipeline writes a column '%s' itself: that of the input is '%s' in all results", name, spare)

    def add(column: str, role: str, kind: str) -> None:
        values = obs[column]
        rows.append((column, role, kind, int(values.nunique()), int(values.isna().sum())))

    for key, named in (("batch", batch), ("condition", condition)):
        for column in named:
            levels = list(categories(obs, column, key, file).cat.categories)
            add(column, key, "categories")
            level = None if sample is None else sample.given.get(column)
            if level is not None and level not in levels:
                raise InputError(
                    f"{file}: sample.given: column '{column}' has no level '{level}'{did_you_mean(level, levels)}: "
                    f"known: {', '.join(levels[:12])}{' …' if len(levels) > 12 else ''}"
                )
    _tell_confounded(obs, batch, condition)
    for column in covariates:
        if column in METRICS and column not in obs:
            continue  # may be named although it does not come in: `prepare` computes and checks it
        covariate(obs, column, file)
        add(column, "covariates", "numbers")
    for column in labels:
        values = need(obs, column, "labels", file)
        if is_measured(values) and values.nunique() > 1:
            add(column, "labels", "numbers")
        else:
            categories(obs, column, "labels", file, missing=True)
            add(column, "labels", "categories")
    if library_size is not None:
        library_column(obs[measured(counts, RNA)], library_size, file)
        add(library_size, "library_size", "numbers")
    if split.column is not None:
        need(obs, split.column, "split.column", file)
        add(split.column, "split.column", "categories")
    table = pd.DataFrame(rows, columns=["column", "role", "kind", "levels", "missing"])
    return table.assign(called=table["column"].replace(aside)) if aside else table


def _tell_confounded(obs: pd.DataFrame, batch: Sequence[str], condition: Sequence[str]) -> None:
    """Say in the log where every batch was measured under one condition only: nothing tells their effects apart."""
    for column in condition:
        for other in batch:
            if (as_categories(obs[column]).groupby(as_categories(obs[other]), observed=True).nunique() == 1).all():
                log.warning(
                    "every level of `batch` '%s' has one level of `condition` '%s' only: the data do not tell the two "
                    "effects apart, so counterfactuals and cells drawn for another '%s' rest on the model's priors",
                    other,
                    column,
                    column,
                )


@takes_settings
def check_given(
    prepared: AnnData,
    *,
    batch: Sequence[str] = (),
    condition: Sequence[str] = (),
    sample: SampleSettings | None = None,
    file: str = NO_FILE,
) -> pd.DataFrame:
    """Check that training cells have the levels of ``sample.given``: a model knows no other.

    Parameters
    ----------
    prepared
        What `prepare` or `model_counts` returns; only its ``obs`` is looked at.
    batch, condition, sample
        Keys of the dataset file.
    file
        What messages call the place of these settings.

    Returns
    -------
    DataFrame
        One row per level that is given: ``column``, ``level``, and the number of cells that have it, ``train``,
        ``validation`` and ``test``.

    Raises
    ------
    InputError
        If no training cell has a level.
    """
    import pandas as pd

    split = need_split(prepared)
    rows = []
    for key, column in (*(("batch", name) for name in batch), *(("condition", name) for name in condition)):
        level = None if sample is None else sample.given.get(column)
        if level is None:
            continue
        values = as_text(prepared.obs[place_of(prepared, column, key)])
        n = {part: int(((values == level) & (split == part)).sum()) for part in slots.SPLITS}
        if not n[slots.TRAIN]:
            levels = sorted(set(values[split == slots.TRAIN]))
            raise InputError(
                f"{file}: sample.given: no training cell has level '{level}' of column '{column}' ("
                + ", ".join(f"{count} {part}" for part, count in n.items())
                + " cells have it after the filters), so no model learns it: give a level of training cells "
                f"({', '.join(levels[:12])}{' …' if len(levels) > 12 else ''}), or change `split` or `cells`"
            )
        rows.append((column, level, *n.values()))
    return pd.DataFrame(rows, columns=["column", "level", *slots.SPLITS])


@takes_settings
def check_programs(
    counts: AnnData,
    *,
    axes: AxesSettings = AxesSettings(),
    genes: GenesSettings = GenesSettings(),
    file: str = NO_FILE,
) -> None:
    """Check that the GMT file of ``axes.programs``, if there is one, can be read and is about genes of the data.

    Parameters
    ----------
    counts
        What `read_dataset` returns; only its ``var`` is looked at.
    axes, genes
        Sections of the dataset file: ``axes.programs`` names the GMT file, ``genes.symbols`` says where symbols are.
    file
        What messages call the place of these settings.

    Raises
    ------
    InputError
        If the file cannot be read, or no program has enough genes in the data to be tested.
    """
    if axes.programs is None:
        return
    try:
        programs = read_gmt(axes.programs)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    known = set(gene_symbols(counts, genes.symbols, file)[0])
    found = programs[programs["target"].isin(known)]
    if found.groupby("source").size().max() >= MIN_GENES:
        return
    raise InputError(
        f"{file}: axes.programs: none of the {programs['source'].nunique()} programs of "
        f"{axes.programs} has {MIN_GENES} genes in the data ({len(found)} matches; the data have "
        f"{next(iter(counts.var_names))}, …, the file {programs['target'].iloc[0]}, …): symbols must be of the data's "
        "organism and spelling"
    )
