"""Counts out of MuData files (h5mu): one table of cells × features for each modality."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sclatent.data.modalities.peaks import are_peaks
from sclatent.io._counts import parsing
from sclatent.io._formats.h5ad import read_group, read_names, read_table
from sclatent.io._formats.heaps import check_heaps
from sclatent.io._rounding import Rounding
from sclatent.settings import InputError

if TYPE_CHECKING:
    from anndata import AnnData

USUAL = {
    "rna": ("rna", "gex", "gene_expression", "gene expression", "genes", "expression"),
    "atac": ("atac", "peaks", "chromatin", "accessibility", "chromatin_accessibility"),
}
_LOOKED_AT = 2000


def read_mudata(path: Path, *, modality: str | None, layer: str | None, rounding: Rounding | None = None) -> AnnData:
    """Read the counts of one modality; columns of the whole file (no `:` in their name) come with them.

    Raises
    ------
    InputError
        If `modality` is None, or no table or several may be it.
    """
    import h5py

    check_heaps(path)
    with parsing(path, "h5mu"), h5py.File(path, "r") as file:
        tables = list(file["mod"].keys())
        if modality is None:
            raise InputError(
                f"{path}: MuData, with several tables of counts ({', '.join(tables)}): name it under `modalities`, or "
                "write the one of genes as h5ad"
            )
        name = _choose(file["mod"], tables, modality, path)
        adata = read_group(file["mod"][name], path, layer, "h5mu", rounding, modality=modality)
        whole = read_table(file["obs"], path)
        for column in whole.columns:
            if ":" not in str(column) and column not in adata.obs:
                adata.obs[column] = whole[column].reindex(adata.obs_names).array
        return adata


def _choose(group: Any, tables: list[str], modality: str, path: Path) -> str:
    """Return the table that has a usual name of the modality, or else features that look like it."""
    named = [name for name in tables if name.lower() in USUAL[modality]]
    if len(named) != 1:
        peaks = {name: are_peaks(read_names(group[name]["var"])[:_LOOKED_AT]) for name in tables}
        likely = [name for name in tables if peaks[name] == (modality == "atac")]
        named = likely if not named else [name for name in named if name in likely]
    if len(named) != 1:
        raise InputError(
            f"{path}: it is not clear which table holds the counts of {modality} (found: {', '.join(tables)}): "
            f"call it '{modality}', or write it as h5ad"
        )
    return named[0]
