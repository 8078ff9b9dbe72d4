"""From the `counts` and `metadata` of a dataset file to one AnnData: samples joined, metadata joined."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sclatent.data import slots
from sclatent.data.columns import add_column
from sclatent.io._counts import tidy
from sclatent.io._download import fetch
from sclatent.io._join import join_samples
from sclatent.io._metadata import join_metadata
from sclatent.io._read import read_counts
from sclatent.settings import DatasetSettings, Sample

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
    adata = samples[0] if len(samples) == 1 else join_samples(samples, settings)
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
        path,
        layer=sample.layer,
        genome=sample.genome,
        features=sample.features,
        orientation=sample.orientation,
        round=sample.round,
        round_seed=sample.round_seed,
    )
    columns = list(sample.columns.items())
    if sample.name is not None:
        columns.append((slots.SAMPLE, sample.name))
    for name, value in columns:
        add_column(adata.obs, name, [value] * adata.n_obs, "the dataset file")
    return adata
