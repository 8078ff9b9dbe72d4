"""Rows of a file that holds several modalities, told apart by their feature types."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sclatent.data import slots

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger(__name__)

PEAKS, GENES = "Peaks", "Gene Expression"
"""What Cell Ranger calls rows of open chromatin and of RNA."""
FEATURE_TYPES = "feature_types"


def of_modality(adata: AnnData, modality: str | None) -> AnnData:
    """Return the genes or the peaks of counts that hold both; all of them where no feature types tell them apart."""
    wanted = {"rna": GENES, "atac": PEAKS}.get(str(modality))
    if wanted is None or FEATURE_TYPES not in adata.var:
        return adata
    keep = (adata.var[FEATURE_TYPES].astype(str) == wanted).to_numpy()
    if keep.all() or not keep.any():
        return adata
    log.info("kept %d of %d rows: %s", keep.sum(), len(keep), wanted)
    out = adata[:, keep].copy()
    out.uns[slots.UNS][slots.UNS_READ]["n_genes"] = out.n_vars
    return out
