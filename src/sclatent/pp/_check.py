"""The stage `check`: the columns and gene programs that a dataset file names, before minutes are spent."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sclatent.data.columns import is_measured, set_aside
from sclatent.data.programs import MIN_GENES, read_gmt
from sclatent.pp._columns import METRICS, categories, covariate, library_column, need
from sclatent.pp._genes import gene_symbols
from sclatent.settings import DatasetSettings, InputError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)


def check_columns(counts: AnnData, settings: DatasetSettings) -> pd.DataFrame:
    """Check every obs column that the dataset file names.

    A stage of its own, so that other labels can be asked for without preparing and training anew.

    Parameters
    ----------
    counts
        What `read_dataset` returns; only its ``obs`` is looked at.
    settings
        Names the columns: ``batch``, ``covariates``, ``labels``, ``library_size``, ``split.column``.

    Returns
    -------
    One row per column and role: ``column``, ``role`` (the key of the dataset file), ``kind`` (``categories`` or
    ``numbers``), ``levels`` (distinct values), ``missing`` (cells without a value). Where a column came in under a name
    that the pipeline writes itself (`slots.WRITTEN`), also ``called``: what each is called in the results.

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
        log.info("the pipeline writes a column '%s' itself: the one that came in is '%s' in all results", name, spare)

    def add(column: str, role: str, kind: str) -> None:
        values = obs[column]
        rows.append((column, role, kind, int(values.nunique()), int(values.isna().sum())))

    for column in settings.batch:
        categories(obs, column, "batch", settings)
        add(column, "batch", "categories")
    for column in settings.covariates:
        if column in METRICS and column not in obs:
            continue  # may be named although it does not come in: `prepare` computes and checks it
        covariate(obs, column, settings)
        add(column, "covariates", "numbers")
    for column in settings.labels:
        values = need(obs, column, "labels", settings)
        if is_measured(values) and values.nunique() > 1:
            add(column, "labels", "numbers")
        else:
            categories(obs, column, "labels", settings, missing=True)
            add(column, "labels", "categories")
    if settings.library_size is not None:
        library_column(obs, settings)
        add(settings.library_size, "library_size", "numbers")
    if settings.split.column is not None:
        need(obs, settings.split.column, "split.column", settings)
        add(settings.split.column, "split.column", "categories")
    table = pd.DataFrame(rows, columns=["column", "role", "kind", "levels", "missing"])
    return table.assign(called=table["column"].replace(aside)) if aside else table


def check_programs(counts: AnnData, settings: DatasetSettings) -> None:
    """Check that the GMT file of ``axes.programs``, if there is one, can be read and is about genes of the data.

    Parameters
    ----------
    counts
        What `read_dataset` returns; only its ``var`` is looked at.
    settings
        Names the file, and where gene symbols are.

    Raises
    ------
    InputError
        If the file cannot be read, or no program has enough genes in the data to be tested.
    """
    if settings.axes.programs is None:
        return
    try:
        programs = read_gmt(settings.axes.programs)
    except InputError as error:
        raise InputError(f"{settings.file}: {error}") from None
    known = set(gene_symbols(counts, settings)[0])
    found = programs[programs["target"].isin(known)]
    if found.groupby("source").size().max() >= MIN_GENES:
        return
    raise InputError(
        f"{settings.file}: axes.programs: none of the {programs['source'].nunique()} programs of "
        f"{settings.axes.programs} has {MIN_GENES} genes in the data ({len(found)} matches; the data have "
        f"{next(iter(counts.var_names))}, …, the file {programs['target'].iloc[0]}, …): symbols must be of the data's "
        "organism and spelling"
    )
