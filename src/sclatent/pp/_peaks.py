"""Peaks of open chromatin: which cells have enough of them, which of them stay, and which the model sees."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from sclatent.data import slots
from sclatent.data.blocks import subset
from sclatent.data.modalities import counts_of, further, measured
from sclatent.pp._quality import Filters
from sclatent.pp._variable import highly_variable
from sclatent.settings import ATACSettings, InputError, ModalitiesSettings
from sclatent.settings.modalities import ATAC

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)


def pass_peaks(counts: AnnData, passed: np.ndarray, modalities: ModalitiesSettings | None, filters: Filters) -> None:
    """Take cells that were measured for peaks and have too few out of `passed`, in place."""
    if modalities is None:
        return
    fewest = modalities.atac.min_peaks
    enough = (np.diff(counts_of(counts, ATAC).indptr) >= fewest) | ~measured(counts, ATAC)
    filters.add("modalities.atac.min_peaks", fewest, "cells", enough[passed], f"fewer than {fewest} peaks open")
    passed &= enough


def choose_peaks(
    prepared: AnnData, batch: np.ndarray | None, modalities: ModalitiesSettings | None, filters: Filters
) -> dict[str, pd.DataFrame]:
    """Drop rare peaks, choose those of the model on training cells, both in place; return the tables of features.

    Peaks vary as genes do (`highly_variable`), by presence where that is what the model sees.
    """
    if modalities is None:
        return {}
    chosen, table, matrix = modalities.atac, further(prepared)[ATAC], counts_of(prepared, ATAC)
    seen = np.bincount(matrix.indices, minlength=len(table))
    fewest = max(1, chosen.min_cells)
    stays = seen >= fewest
    filters.add("modalities.atac.min_cells", fewest, "peaks", stays, f"open in fewer than {fewest} of the cells left")
    matrix = subset(matrix, np.ones(prepared.n_obs, dtype=bool), stays)
    table = table[stays].copy()
    there = measured(prepared, ATAC)
    train = np.flatnonzero((prepared.obs[slots.SPLIT] == slots.TRAIN).to_numpy() & there)
    if not len(train):
        raise InputError(f"{filters.file}: modalities.atac: no training cell has peaks: add cells, or change the split")
    variable = _variable(matrix, chosen, batch, train)
    table[slots.N_CELLS] = seen[stays]
    table[slots.HIGHLY_VARIABLE] = table[slots.IN_MODEL] = variable
    prepared.obsm[ATAC] = matrix
    prepared.obs[slots.N_PEAKS] = np.diff(matrix.indptr)
    log.info("peaks: %d of %d are kept, %d of them in the model", stays.sum(), len(stays), variable.sum())
    return {ATAC: table}


def _variable(matrix: csr_matrix, chosen: ATACSettings, batch: np.ndarray | None, train: np.ndarray) -> np.ndarray:
    shown = matrix
    if chosen.likelihood.kind == "bernoulli":
        shown = csr_matrix((np.ones_like(matrix.data), matrix.indices, matrix.indptr), shape=matrix.shape)
    return highly_variable(shown, chosen.n_top, batch, cells=train)


def model_peaks(prepared: AnnData) -> tuple[dict[str, csr_matrix], dict[str, pd.DataFrame]]:
    """Return the counts of the features that the model sees, and their tables, by modality beside RNA."""
    everyone = np.ones(prepared.n_obs, dtype=bool)
    matrices, tables = {}, {}
    for name, table in further(prepared).items():
        kept = table[slots.IN_MODEL].to_numpy(dtype=bool)
        matrices[name], tables[name] = subset(counts_of(prepared, name), everyone, kept), table[kept]
    return matrices, tables
