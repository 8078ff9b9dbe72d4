"""Counts out of MuData files (h5mu): one table of cells × features for each modality."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sclatent.data.modalities import RNA
from sclatent.data.modalities.peaks import are_peaks
from sclatent.io._formats.features import GENES, PEAKS, are_antibodies, kind_of_features, kind_of_word
from sclatent.io._formats.h5ad import read_group, read_table
from sclatent.io._formats.hdf5 import open_hdf5
from sclatent.io._rounding import Rounding
from sclatent.settings import InputError
from sclatent.settings.modalities import ATAC

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger(__name__)

_KINDS = {RNA: GENES, ATAC: PEAKS}
_IN_WORDS = {RNA: "genes (rna)", ATAC: "peaks (atac)"}
_LOOKED_AT = 2000


def read_mudata(path: Path, *, modality: str | None, layer: str | None, rounding: Rounding | None = None) -> AnnData:
    """Read the counts of one modality; columns of the whole file (no `:` in their name) come with them.

    Parameters
    ----------
    path
        ``.h5mu`` file.
    modality
        ``rna`` or ``atac`` of a dataset of both; None: genes, of a dataset of RNA alone.
    layer
        A layer of that table, or ``raw``; None for its ``X``.
    rounding
        How fractions become counts, if at all.

    Raises
    ------
    InputError
        If no table, or several, may be that modality.
    """
    with open_hdf5(path, "h5mu") as file:
        kinds = {name: _kind(name, table, path) for name, table in file["mod"].items()}
        name = _choose(kinds, modality or RNA, path)
        adata = read_group(file["mod"][name], path, layer, "h5mu", rounding, modality=modality)
        if modality in (None, RNA):
            read = {name} | {other for other, kind in kinds.items() if modality and kind == PEAKS}
            _tell(path, name, [other for other in kinds if other not in read])
        whole = read_table(file["obs"], path)
        for column in whole.columns:
            if ":" not in str(column) and column not in adata.obs:
                adata.obs[column] = whole[column].reindex(adata.obs_names).array
        return adata


def _tell(path: Path, name: str, left: list[str]) -> None:
    if left:
        log.info("%s: read the genes of the table '%s'; left out the tables: %s", path, name, ", ".join(left))


def _kind(name: str, table: Any, path: Path) -> str | None:
    """Return what a table holds, by its name, its feature types or the names of its features; None if none tells."""
    found = kind_of_word(name)
    if found is not None or "var" not in table:
        return found
    var = read_table(table["var"], path)
    features = [str(name) for name in var.index[:_LOOKED_AT]]
    by_names = PEAKS if are_peaks(features) else "other" if are_antibodies(features) else None
    return kind_of_features(var) or by_names


def _choose(kinds: dict[str, str | None], modality: str, path: Path) -> str:
    """Return the one table that holds the modality: known as such, or for genes the only one of an unknown kind."""
    wanted = _KINDS[modality]
    likely = [name for name, kind in kinds.items() if kind == wanted]
    if not likely and modality == RNA:
        likely = [name for name, kind in kinds.items() if kind is None]
    if len(likely) == 1:
        return likely[0]
    found = ", ".join(kinds) or "none"
    if not likely:
        raise InputError(
            f"{path}: no table of {_IN_WORDS[modality]} in it (found: {found}): tables of genes (rna) and of peaks "
            "(atac) are supported, others are left out"
        )
    raise InputError(
        f"{path}: it is not clear which table holds the counts of {modality} (found: {found}): "
        f"write it as h5ad, or leave one of {', '.join(likely)} in the file"
    )
