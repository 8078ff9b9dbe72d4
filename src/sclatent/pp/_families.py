"""Genes that tell of a cell's quality: of the mitochondrion, of the ribosome, and spike-ins."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data import slots
from sclatent.data.gene_ids import MANY_GENES, clean_names, gene_ids, qc_ids, strip_version

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

MITOCHONDRIAL = re.compile(r"MT[-.:].+", re.IGNORECASE)
SPIKE_IN = re.compile(r"(?:gSpikein[-_.])?ERCC[-_.]?\d{5}|SIRV\d{3}")
"""External RNA controls, which tell of the plate and of how much RNA a cell has."""
RIBOSOMAL = re.compile(r"RP[SL]\d+(?:[AXYL]\d?|AL|L\d)?|RPLP[0-2]|RPSA", re.IGNORECASE)
"""Proteins of the ribosome itself: RPS6 and RPL36AL, but not the kinase RPS6KA1 nor the pseudogene RPL7P1."""


def is_mitochondrial(names: Sequence[str]) -> np.ndarray:
    """Return which genes the mitochondrion encodes, by symbol (``MT-…``, ``mt-…``) or Ensembl id (human, mouse).

    Parameters
    ----------
    names
        Symbols or Ensembl ids.

    Returns
    -------
    ndarray
        (n_genes,) bool.
    """
    return _matching(names, MITOCHONDRIAL, slots.MITO)


def is_ribosomal(names: Sequence[str]) -> np.ndarray:
    """Return which genes are proteins of the cytosolic ribosome, by symbol or Ensembl id (human, mouse).

    Parameters
    ----------
    names
        Symbols or Ensembl ids.

    Returns
    -------
    ndarray
        (n_genes,) bool.
    """
    return _matching(names, RIBOSOMAL, slots.RIBO)


def is_spike_in(names: Sequence[str]) -> np.ndarray:
    """Return which names are external RNA controls (``ERCC-00002`` …)."""
    return _matching(names, SPIKE_IN, None)


def _matching(names: Sequence[str], pattern: re.Pattern[str], kind: str | None) -> np.ndarray:
    ids = qc_ids(kind) if kind is not None else frozenset()
    clean = clean_names(names)
    return np.array([pattern.fullmatch(name) is not None or strip_version(name) in ids for name in clean], dtype=bool)


def qc_genes(var: pd.DataFrame, symbols: Sequence[str]) -> pd.DataFrame:
    """Return which genes are mitochondrial, ribosomal and spike-ins, by symbol, by name or by id.

    Where none of a kind that every genome has is found among thousands of genes, a line in the log says so.

    Parameters
    ----------
    var
        The table of genes: names, and a column of ids where there is one.
    symbols
        (n_genes,) symbols.

    Returns
    -------
    DataFrame with the columns ``mt``, ``ribo`` and ``spike_in``.
    """
    import pandas as pd

    names = [symbols, [str(name) for name in var.index], gene_ids(var)]
    kinds = {slots.MITO: is_mitochondrial, slots.RIBO: is_ribosomal, slots.SPIKE_IN: is_spike_in}
    found = {kind: np.logical_or.reduce([tell(which) for which in names]) for kind, tell in kinds.items()}
    for kind, what, metric in (
        (slots.MITO, "mitochondrial", slots.PCT_MITO),
        (slots.RIBO, "ribosomal", slots.PCT_RIBO),
    ):
        if len(var) >= MANY_GENES and not found[kind].any():
            log.warning(
                "none of the %d genes is recognised as %s, by symbol or Ensembl id of human or mouse: %s is 0, either "
                "because they were removed or because they have other names (`genes.symbols` names the var column of "
                "symbols)",
                len(var),
                what,
                metric,
            )
    return pd.DataFrame(found, index=var.index)
