"""From the `counts` and `metadata` of a dataset file to one AnnData: samples joined, metadata joined."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from sclatent.data import slots
from sclatent.data.columns import add_column
from sclatent.io._counts import tidy
from sclatent.io._download import fetch
from sclatent.io._metadata import join_metadata
from sclatent.io._read import read_counts
from sclatent.settings import DatasetSettings, InputError, Sample

if TYPE_CHECKING:
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
    adata = samples[0] if len(samples) == 1 else _join(samples, settings)
    reads = {
        s.name or "counts": a.uns[slots.UNS][slots.UNS_READ] for s, a in zip(settings.counts, samples, strict=True)
    }
    info: dict[str, Any] = {"samples": reads, "join": settings.join}
    if settings.metadata is not None:
        info["metadata"] = join_metadata(adata, Path(settings.metadata))
    adata.obs = tidy(adata.obs, settings.file, "obs")
    adata.uns = {slots.UNS: {slots.UNS_READ: info}}
    return adata


def _read_sample(sample: Sample) -> AnnData:
    path = fetch(sample.path, url=sample.url, sha256=sample.sha256)
    adata = read_counts(
        path, layer=sample.layer, genome=sample.genome, features=sample.features, orientation=sample.orientation
    )
    columns = list(sample.columns.items())
    if sample.name is not None:
        columns.append((slots.SAMPLE, sample.name))
    for name, value in columns:
        add_column(adata.obs, name, [value] * adata.n_obs, "the dataset file")
    return adata


def _join(samples: list[AnnData], settings: DatasetSettings) -> AnnData:
    """Stack samples over their common genes (or all of them), matched by gene id where every sample has unique ones."""
    import pandas as pd
    from anndata import AnnData

    by_id = all("gene_ids" in a.var and a.var["gene_ids"].is_unique for a in samples)
    keys = [pd.Index(a.var["gene_ids"] if by_id else a.var_names) for a in samples]
    genes = keys[0]
    for other in keys[1:]:
        genes = genes[genes.isin(other)] if settings.join == "inner" else genes.append(other[~other.isin(genes)])
    smallest = min(len(key) for key in keys)
    if len(genes) == 0:
        shown = ", ".join(f"{s.name}: '{a.var_names[0]}'" for s, a in zip(settings.counts[:2], samples, strict=False))
        raise InputError(
            f"{settings.file}: counts: the samples have no gene in common ({shown}, …): do they use the same names?"
        )
    log.info(
        "%d samples joined by gene %s: %d genes (%s)",
        len(samples),
        "id" if by_id else "name",
        len(genes),
        settings.join,
    )
    if settings.join == "inner" and len(genes) < smallest / 2:
        log.warning("only %d genes are common to all samples; the smallest sample has %d", len(genes), smallest)

    blocks, tables = [], []
    for sample, adata, key in zip(settings.counts, samples, keys, strict=True):
        to = genes.get_indexer(key)
        matrix = adata.X if settings.join == "outer" else adata.X[:, np.flatnonzero(to >= 0)]
        to = to[to >= 0]
        block = sparse.csr_matrix((matrix.data, to[matrix.indices], matrix.indptr), shape=(adata.n_obs, len(genes)))
        block.sort_indices()
        blocks.append(block)
        obs = adata.obs.copy()
        obs.index = pd.Index([f"{barcode}-{sample.name}" for barcode in obs.index], dtype=object)
        tables.append(obs)
    # the first sample that has a gene describes it
    var = pd.concat([a.var.set_axis(key) for a, key in zip(samples, keys, strict=True)])
    names = pd.Series(np.concatenate([a.var_names for a in samples]), index=var.index)
    first = ~var.index.duplicated()
    var = var[first].loc[genes].set_axis(names[first].loc[genes].to_numpy())
    var = tidy(var, settings.file, "var")
    if not var.index.is_unique:
        from sclatent.io._counts import unique

        var.index = pd.Index(unique(list(var.index)), dtype=object)
    obs = tidy(pd.concat(tables), settings.file, "obs")
    matrix = sparse.vstack(blocks, format="csr")
    if not obs.index.is_unique:
        twice = obs.index[obs.index.duplicated()][0]
        raise InputError(
            f"{settings.file}: counts: joining makes the cell name '{twice}' twice: choose other sample names"
        )
    return AnnData(matrix, obs=obs, var=var)
