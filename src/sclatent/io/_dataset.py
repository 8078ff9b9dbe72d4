"""From the `counts` and `metadata` of a dataset file to one AnnData: samples joined, metadata joined."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sclatent.data import slots
from sclatent.data.columns import add_column
from sclatent.data.modalities import RNA, further, slot
from sclatent.io._counts import tidy
from sclatent.io._download import fetch
from sclatent.io._join import join_samples
from sclatent.io._metadata import join_metadata
from sclatent.io._modalities import ATAC, join_modalities, with_names_of_places
from sclatent.io._read import read_counts
from sclatent.settings import NO_FILE, ModalitiesSettings, Sample, takes_settings

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger(__name__)


@takes_settings
def read_dataset(
    *,
    counts: Sequence[Sample],
    modalities: ModalitiesSettings | None = None,
    join: Literal["inner", "outer"] = "inner",
    metadata: str | None = None,
    file: str = NO_FILE,
) -> AnnData:
    """Read all samples of a dataset, join them, and join the metadata table.

    Several samples get cell names ``{barcode}-{sample}`` and a ``sample`` column; further keys of a sample become
    columns.

    Parameters
    ----------
    counts, modalities, join, metadata
        Keys of the dataset file; ``counts`` is a path, a mapping, or a list of samples.
    file
        What messages call the place of these settings.

    Returns
    -------
    AnnData
        The content of ``counts.h5ad``: ``X`` whole-number counts (CSR float32), ``obs``, ``var``, and
        ``uns["sclatent"]["read"]``; with several modalities also what `sclatent.data.modalities` tells.

    Raises
    ------
    InputError
        One line for everything that is wrong with the files.
    """
    further_files = [] if modalities is None else list(modalities.atac.counts or ())
    known = _columns([*counts, *further_files])
    adata, reads = _read_samples(counts, known, join, file, None if modalities is None else RNA)
    info: dict[str, Any] = {"samples": reads, "join": join}
    if modalities is not None:
        peaks, info[ATAC] = _read_samples(further_files, known, join, file, ATAC)
        adata = join_modalities(adata, peaks, modalities, file)
    if metadata is not None:
        info["metadata"] = join_metadata(adata, Path(metadata))
    adata.obs = tidy(adata.obs, file, "obs")
    adata.uns = {slots.UNS: {slots.UNS_READ: info, **slot(further(adata))}}
    return adata


def _columns(samples: Sequence[Sample]) -> dict[str | None, dict[str, Any]]:
    """Return what the dataset file says of each sample, wherever it says so: it is the same in every modality."""
    out: dict[str | None, dict[str, Any]] = {}
    for sample in samples:
        out[sample.name] = {**sample.columns, **out.get(sample.name, {})}
    return out


def _read_samples(
    samples: Sequence[Sample], known: Mapping[str | None, Mapping[str, Any]], join: str, file: str, modality: str | None
) -> tuple[AnnData, dict[str, Any]]:
    """Return the counts of one modality, samples joined, and how each sample was read."""
    parts = [_read_sample(sample, known[sample.name], modality) for sample in samples]
    names = [sample.name or "counts" for sample in samples]
    reads = {name: a.uns[slots.UNS][slots.UNS_READ] for name, a in zip(names, parts, strict=True)}
    if len(parts) == 1:
        return parts[0], reads
    if modality == ATAC:
        return join_samples(with_names_of_places(parts), names, join, file, what="peak"), reads
    return join_samples(parts, names, join, file), reads


def _read_sample(sample: Sample, known: Mapping[str, Any], modality: str | None) -> AnnData:
    path = fetch(sample.path, url=sample.url, sha256=sample.sha256)
    adata = read_counts(
        path,
        layer=sample.layer,
        genome=sample.genome,
        features=sample.features,
        orientation=sample.orientation,
        round=sample.round,
        round_seed=sample.round_seed,
        modality=modality,
    )
    columns = list({**known, **sample.columns}.items())
    if sample.name is not None:
        columns.append((slots.SAMPLE, sample.name))
    for name, value in columns:
        add_column(adata.obs, name, [value] * adata.n_obs, "the dataset file")
    return adata
