"""Where a stage file keeps what its cells have beside RNA.

``X`` and ``var`` are RNA. A further modality is one matrix in ``obsm`` under its name (cells × features, CSR), and one
table of its features in ``uns["sclatent"]["modalities"]``. So a subset of cells takes its part of every modality, and a
file of RNA alone is what it has always been.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data import slots

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

RNA = "rna"


def further(adata: AnnData) -> dict[str, pd.DataFrame]:
    """Return the features of each modality beside RNA, by its name; empty if there is none."""
    return dict(adata.uns.get(slots.UNS, {}).get(slots.UNS_MODALITIES, {}))


def counts_of(adata: AnnData, name: str) -> csr_matrix:
    """Return the counts of a modality beside RNA (cells × features), CSR float32; zeros where it was not measured."""
    from scipy.sparse import csr_matrix

    return csr_matrix(adata.obsm[name], dtype=np.float32)


def measured(adata: AnnData, name: str) -> np.ndarray:
    """Return (n_cells,) bool: which cells were measured in a modality."""
    if slots.MEASURED not in adata.obs:
        return np.full(adata.n_obs, name == RNA)
    kinds = adata.obs[slots.MEASURED].astype(str).to_numpy(dtype=str)
    having = [kind for kind in np.unique(kinds) if name in kind.split("+")]
    return np.isin(kinds, having)


def measured_words(masks: dict[str, np.ndarray]) -> np.ndarray:
    """Return what `slots.MEASURED` says of each cell: the names of its modalities, joined by ``+``."""
    names = list(masks)
    rows = zip(*masks.values(), strict=True)
    return np.array(["+".join(name for name, there in zip(names, row, strict=True) if there) for row in rows], object)


def slot(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Return the entry of ``uns["sclatent"]`` that holds these tables; nothing if there is none."""
    return {slots.UNS_MODALITIES: tables} if tables else {}


def with_unknown(found: AnnData, cells: pd.Index) -> AnnData:
    """Return what was found of some cells for all `cells`: of the others nothing is known, and nothing is true."""
    from anndata import AnnData

    obs = found.obs.reindex(cells)
    for name, column in found.obs.items():
        if column.dtype == bool:
            obs[name] = np.where(cells.isin(found.obs_names), obs[name].to_numpy(), False).astype(bool)
    rows = found.obs_names.get_indexer(cells)
    obsm = {key: np.where((rows >= 0)[:, None], np.asarray(value)[rows], np.nan) for key, value in found.obsm.items()}
    return AnnData(obs=obs, var=found.var.copy(), obsm=obsm, uns=dict(found.uns))
