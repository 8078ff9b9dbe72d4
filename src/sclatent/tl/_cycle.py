"""The cycle stage: from prepared counts to ``cycle.h5ad``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from sclatent.data import slots
from sclatent.tl._cycle_scores import find_list_genes, list_scores, log_normalise

if TYPE_CHECKING:
    import anndata as ad

    from sclatent.settings import DatasetSettings

log = logging.getLogger(__name__)


def cycle(prepared: ad.AnnData, settings: DatasetSettings) -> ad.AnnData:
    """Find the place of every cell in the cell cycle.

    Parameters
    ----------
    prepared
        (cells, genes) whole-number counts, as :func:`sclatent.pp.prepare` returns them.
    settings
        The dataset file; `organism`, `batch`, `library_size` and `cycle` are looked at.

    Returns
    -------
    AnnData without ``X``: ``obs`` holds ``S_score``, ``G2M_score``, ``phase``, ``cycle_angle``, ``cycle_sd``,
    ``cycling_probability`` and ``cycling``; ``var`` the genes used; ``uns["sclatent"]["cycle"]`` the verdict and its reason.
    """
    import anndata as ad
    import pandas as pd

    counts = sp.csr_matrix(prepared.X)
    library = _library(prepared, counts, settings)
    totals = np.asarray(counts.sum(axis=0)).ravel()
    genes = find_list_genes(prepared.var, totals, settings.organism, settings.cycle.genes)
    n = prepared.n_obs
    obs = pd.DataFrame(index=prepared.obs_names.copy())
    reason = genes.reason
    if reason:
        obs[slots.S_SCORE] = np.full(n, np.nan)
        obs[slots.G2M_SCORE] = np.full(n, np.nan)
    else:
        scores = list_scores(log_normalise(counts, library), genes)
        obs[slots.S_SCORE] = scores[slots.S_SCORE].to_numpy()
        obs[slots.G2M_SCORE] = scores[slots.G2M_SCORE].to_numpy()
    s, g = obs[slots.S_SCORE].to_numpy(), obs[slots.G2M_SCORE].to_numpy()
    code = np.where(np.isnan(s), -1, np.where(np.maximum(s, g) < 0, 0, np.where(s >= g, 1, 2)))
    obs[slots.PHASE] = pd.Categorical.from_codes(code, list(slots.PHASES), ordered=True)
    for column in (slots.CYCLE_ANGLE, slots.CYCLE_SD, slots.CYCLING_PROBABILITY):
        obs[column] = np.full(n, np.nan)
    obs[slots.CYCLING] = np.zeros(n, dtype=bool)
    var = pd.DataFrame({"phase": genes.phase}, index=prepared.var_names[genes.position])
    out = ad.AnnData(obs=obs, var=var)
    out.uns[slots.UNS] = {"cycle": {"verdict": "no cycle" if reason else "cycle", "reason": reason, "organism": settings.organism}}
    if reason:
        log.warning("no cell cycle: %s", reason)
    return out


def _library(prepared: ad.AnnData, counts: sp.csr_matrix, settings: DatasetSettings) -> np.ndarray:
    if settings.library_size is not None:
        return prepared.obs[slots.LIBRARY_SIZE].to_numpy(np.float64)
    return np.asarray(counts.sum(axis=1), np.float64).ravel()
