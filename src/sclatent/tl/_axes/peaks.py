"""The peaks that move most along each axis, where they are, and the gene nearest to each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sclatent.data import slots
from sclatent.data.modalities import further
from sclatent.data.modalities.peaks import CHROM, END, START, nearest_genes, with_coordinates
from sclatent.settings import InputError

if TYPE_CHECKING:
    from anndata import AnnData


def peak_words(prepared: AnnData, name: str, peaks: np.ndarray) -> np.ndarray:
    """Return what tables and the page call peaks: ``chr1:9963-10665``, with the nearest gene where that is known.

    Parameters
    ----------
    prepared
        Its ``var`` may say where genes are (``chrom``, ``start``, ``end`` or the like), else no gene is named.
    name
        The modality.
    peaks
        Names of peaks, as in the table of its features.
    """
    table = further(prepared)[name].loc[peaks]
    words = table[CHROM].astype(str) + ":" + table[START].astype(str) + "-" + table[END].astype(str)
    genes = _genes_with_coordinates(prepared)
    if genes is None:
        return words.to_numpy(dtype=object)
    nearest = nearest_genes(table, genes)
    return np.array([f"{word} ({gene})" if gene else word for word, gene in zip(words, nearest, strict=True)], object)


def _genes_with_coordinates(prepared: AnnData) -> pd.DataFrame | None:
    """Return where the genes are under their symbols; None if the table of genes does not say so."""
    columns = [column for column in prepared.var if str(column) not in (slots.SYMBOL,)]
    try:
        table = with_coordinates(prepared.var[columns], "var")
    except InputError:
        return None
    symbols = prepared.var[slots.SYMBOL].astype(str) if slots.SYMBOL in prepared.var else prepared.var_names
    return table.set_axis(pd.Index(np.asarray(symbols)))


def top_peaks(latent: AnnData, prepared: AnnData, most: int) -> pd.DataFrame:
    """Return ``peaks_up`` and ``peaks_down`` of each axis, those with the largest loadings; no column without peaks."""
    out = {}
    for name in further(prepared):
        if slots.loadings_of(name) not in latent.varm:
            continue
        features = np.asarray(latent.uns[slots.features_of(name)], dtype=str)
        rows = np.asarray(latent.varm[slots.loadings_of(name)])
        ends = [largest(row, most) for row in rows]
        chosen = np.unique(np.concatenate([np.concatenate(pair) for pair in ends]))
        words = dict(zip(chosen, peak_words(prepared, name, features[chosen]), strict=True))
        for key, at in (("peaks_up", 0), ("peaks_down", 1)):
            out[key] = [", ".join(words[g] for g in pair[at]) for pair in ends]
    return pd.DataFrame(out, index=latent.var_names)


def largest(loadings: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the features that go up most along an axis, and of those that go down most."""
    order = np.argsort(-loadings, kind="stable")
    up, down = order[:most], order[::-1][:most]
    return up[loadings[up] > 0], down[loadings[down] < 0]
