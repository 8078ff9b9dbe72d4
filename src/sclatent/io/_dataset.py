"""From the `counts` and `metadata` of a dataset file to one AnnData: samples joined, metadata joined."""

from __future__ import annotations

import gzip
import logging
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data import slots
from sclatent.io._counts import parsing, tidy
from sclatent.io._download import fetch
from sclatent.io._join import join_samples
from sclatent.io._read import read_counts
from sclatent.settings import DatasetSettings, InputError, Sample

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)


def read_dataset(settings: DatasetSettings) -> AnnData:
    """Read all samples of a dataset, join them, and join the metadata table.

    Several samples get cell names ``{barcode}-{sample}`` and a ``sample`` column; further keys of a sample become
    columns.

    Parameters
    ----------
    settings
        The dataset; ``counts``, ``join`` and ``metadata`` are looked at.

    Returns
    -------
    AnnData
        The content of ``counts.h5ad``: ``X`` whole-number counts (CSR float32), ``obs``, ``var``, and
        ``uns["sclatent"]["read"]``.

    Raises
    ------
    InputError
        One line for everything that is wrong with the files.
    """
    samples = [_read_sample(sample) for sample in settings.counts]
    adata = samples[0] if len(samples) == 1 else join_samples(samples, settings)
    reads = {
        s.name or "counts": a.uns[slots.UNS][slots.UNS_READ] for s, a in zip(settings.counts, samples, strict=True)
    }
    info: dict[str, Any] = {"samples": reads, "join": settings.join}
    if settings.metadata is not None:
        info["metadata"] = _join_metadata(adata, Path(settings.metadata))
    adata.obs = tidy(adata.obs, settings.file, "obs")
    adata.uns = {slots.UNS: {slots.UNS_READ: info}}
    return adata


def add_column(obs: pd.DataFrame, name: str, values: Any, source: str) -> None:
    """Put a column into `obs`; one of that name that came in and differs is kept as ``{name}_input``, and logged."""
    if name in obs and not _same(obs[name], values):
        spare = next(s for i in range(1, len(obs.columns) + 2) if (s := _spare(name, i)) not in obs)
        obs[spare] = obs[name]
        log.info("the column '%s' that came in differs from that of %s: it is kept as '%s'", name, source, spare)
    obs[name] = values


def _spare(name: str, i: int) -> str:
    return name + slots.INPUT_SUFFIX + (f"_{i}" if i > 1 else "")


def _same(old: pd.Series, new: Any) -> bool:
    import pandas as pd

    new = pd.Series(new, index=old.index)
    if pd.api.types.is_numeric_dtype(old) and pd.api.types.is_numeric_dtype(new):
        return bool(
            np.allclose(old.to_numpy(dtype=float), new.to_numpy(dtype=float), rtol=1e-5, atol=1e-6, equal_nan=True)
        )
    return bool((old.astype(str) == new.astype(str)).all())


def _read_sample(sample: Sample) -> AnnData:
    path = fetch(sample.path, url=sample.url, sha256=sample.sha256)
    adata = read_counts(
        path,
        layer=sample.layer,
        genome=sample.genome,
        features=sample.features,
        orientation=sample.orientation,
        round=sample.round,
        round_seed=sample.round_seed,
    )
    columns = dict(sample.columns)
    if sample.name is not None:
        columns[slots.SAMPLE] = sample.name
    for name, value in columns.items():
        add_column(adata.obs, name, [value] * adata.n_obs, "the dataset file")
    return adata


def read_metadata(path: Path) -> pd.DataFrame:
    """Read a table of per-cell columns (TSV or CSV, gzipped or not); the first column holds the barcodes."""
    import csv

    import pandas as pd

    if not path.exists():
        raise InputError(f"{path}: no such file (metadata)")
    opened = gzip.open if path.suffix == ".gz" else open
    with parsing(path, "a table of metadata"):
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:  # type: ignore[operator]
            head = list(islice((text for line in file if (text := line.rstrip("\r\n"))), 2))
        if len(head) < 2:
            raise InputError(f"{path}: no cell in it: expected a header and one row per cell")
        separator = max("\t,;", key=head[0].count)
        if separator not in head[0] and separator not in head[1]:
            raise InputError(
                f"{path}: the header has one field only: expected a barcode column and further ones, separated by "
                f"tabs or commas"
            )
        header, row = (next(csv.reader([line], delimiter=separator)) for line in head)
        names = header if len(header) == len(row) else ["barcode", *header]
        if len(names) != len(row):
            raise InputError(
                f"{path}: the header has {len(header)} fields, the rows have {len(row)}: expected as many, or one fewer"
            )
        twice = [name for name, n in Counter(names).items() if n > 1]
        if twice:
            raise InputError(
                f"{path}: {names.count(twice[0])} columns are called '{twice[0]}': give them different names"
            )
        table = pd.read_csv(
            path, sep=separator, header=0, names=names, index_col=False, dtype={names[0]: str}, encoding="utf-8-sig"
        )
    table = table.set_index(names[0])
    table.index = pd.Index(table.index.astype(str).str.strip(), dtype=object)
    return tidy(table, path, "metadata")


def _join_metadata(adata: AnnData, path: Path) -> dict[str, Any]:
    table = read_metadata(path)
    matched = adata.obs_names.isin(table.index)
    if not matched.any() and slots.SAMPLE in table and slots.SAMPLE in adata.obs:
        # plain barcodes beside a sample column: name the cells as the joined samples do
        table.index = table.index + "-" + table[slots.SAMPLE].astype(str)
        matched = adata.obs_names.isin(table.index)
    if not matched.any():
        raise InputError(
            f"{path}: no barcode matches the counts: the table has '{table.index[0]}', the counts have "
            f"'{adata.obs_names[0]}': "
            "make the first column the cell names of the counts"
        )
    twice = table.index[table.index.duplicated() & table.index.isin(adata.obs_names)]
    if len(twice):
        raise InputError(f"{path}: the barcode '{twice[0]}' stands more than once: keep one row per cell")
    table = table[~table.index.duplicated()]
    rate = float(matched.mean())
    say = log.info if rate == 1 else log.warning
    say(
        "%s: %d of %d cells matched (%.1f %%); %d rows of the table match none",
        path,
        matched.sum(),
        len(matched),
        100 * rate,
        len(table) - matched.sum(),
    )
    for name, values in table.reindex(adata.obs_names).items():
        if name in adata.obs and _same(adata.obs[name][matched], values[matched].to_numpy()):
            continue  # says nothing new, and has gaps where a cell is not in the table
        add_column(adata.obs, str(name), values.to_numpy(), str(path))
    return {"path": str(path), "matched": int(matched.sum()), "cells": len(matched), "rows": len(table)}
