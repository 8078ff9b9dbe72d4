"""Cells of two modalities joined by barcode; a cell may have one of them only."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from sclatent.data import slots
from sclatent.data.columns import add_column, same
from sclatent.data.modalities import RNA, measured_words, slot
from sclatent.data.modalities.peaks import CHROM, are_peaks, coordinates, with_coordinates
from sclatent.settings import InputError, ModalitiesSettings
from sclatent.settings.modalities import ATAC

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

_LOOKED_AT = 2000
"""Names that are looked at to tell peaks from genes."""
_LANE = re.compile(r"-\d+$")


def join_modalities(rna: AnnData, atac: AnnData, modalities: ModalitiesSettings, file: str) -> AnnData:
    """Return all cells that were measured in RNA, open chromatin or both.

    Parameters
    ----------
    rna, atac
        What the counts of each are, samples joined.
    modalities
        What the dataset file says of them.
    file
        What messages call the dataset file.

    Returns
    -------
    AnnData
        ``X`` and ``var`` of RNA; the counts of peaks in ``obsm["atac"]``, and their table with coordinates in
        ``uns["sclatent"]["modalities"]["atac"]``; ``obs["measured"]``: ``rna+atac``, ``rna`` or ``atac``. Columns of
        both tables are one where they agree; else that of the peaks is ``atac_{name}``.

    Raises
    ------
    InputError
        Peaks given as RNA, genes as peaks, coordinates that cannot be read, values that do not fit the likelihood,
        no cell in common.
    """
    import pandas as pd
    from anndata import AnnData

    names = list(rna.var_names[:_LOOKED_AT])
    if are_peaks(names):
        raise InputError(
            f"{file}: modalities.rna: the counts are of peaks ('{names[0]}', …), not of genes: give them under "
            "`atac`, and the counts of genes under `rna`"
        )
    first = list(atac.var_names[:_LOOKED_AT])
    if len(first) and np.isin(first, rna.var_names).mean() > 0.5:
        raise InputError(
            f"{file}: modalities.atac: the counts are of genes ('{first[0]}', …), not of peaks: give the counts of "
            "peaks; in one file with both, the var column `feature_types` says which are peaks"
        )
    repeated = atac.uns.get(slots.UNS, {}).get(slots.UNS_READ, {}).get("repeated_names", [])
    if len(repeated):
        raise InputError(
            f"{file}: modalities.atac: the peak '{repeated[0]}' occurs more than once: keep each peak once"
        )
    peaks = with_coordinates(atac.var, f"{file}: modalities.atac")
    _check_values(rna, atac, modalities, file)
    ours, theirs = _barcodes(rna, atac, file)
    position = theirs.get_indexer(ours)
    both, alone = position >= 0, ~theirs.isin(ours)
    _tell(int(both.sum()), int((~both).sum()), int(alone.sum()), min(rna.n_obs, atac.n_obs), file)
    cells = pd.Index([*rna.obs_names, *atac.obs_names[alone]], dtype=object)
    obs = _joined_obs(rna.obs, atac.obs, both, position[both], alone).set_axis(cells)
    n_alone = int(alone.sum())
    rows = np.full(len(cells), -1)
    rows[: rna.n_obs], rows[rna.n_obs :] = position, np.flatnonzero(alone)
    out = AnnData(
        sparse.vstack([rna.X, sparse.csr_matrix((n_alone, rna.n_vars), dtype=np.float32)], format="csr"),
        obs=obs,
        var=rna.var.copy(),
        obsm={ATAC: _placed(atac.X, rows)},
    )
    words = measured_words({RNA: np.arange(len(cells)) < rna.n_obs, ATAC: rows >= 0})
    add_column(out.obs, slots.MEASURED, pd.Categorical(words), "the join of modalities")
    out.uns[slots.UNS] = slot({ATAC: peaks})
    return out


def with_names_of_places(samples: list[AnnData]) -> list[AnnData]:
    """Return samples in which a peak has one name: that of the first sample where ``chr1-5-9`` is ``chr1:5-9``."""
    import pandas as pd

    called: dict[tuple[str, float, float], str] = {}
    for adata in samples:
        places = coordinates(list(adata.var_names))
        if places[CHROM].isna().any() or places.duplicated().any():
            continue  # what cannot be read is told later; a place twice is not one peak
        spelled = list(places.itertuples(index=False, name=None))
        names = [called.setdefault(place, name) for place, name in zip(spelled, adata.var_names, strict=True)]
        adata.var_names = pd.Index(names, dtype=object)
        if "gene_ids" in adata.var and are_peaks(list(adata.var["gene_ids"].astype(str))):
            adata.var["gene_ids"] = names
    return samples


def _placed(matrix: sparse.csr_matrix, rows: np.ndarray) -> sparse.csr_matrix:
    """Return the rows at these positions; empty ones where a position is −1."""
    there = rows >= 0
    lengths = np.zeros(len(rows), dtype=np.int64)
    lengths[there] = np.diff(matrix.indptr)[rows[there]]
    taken = matrix[rows[there]]
    return sparse.csr_matrix(
        (taken.data, taken.indices, np.concatenate([[0], np.cumsum(lengths)])), shape=(len(rows), matrix.shape[1])
    )


def _barcodes(rna: AnnData, atac: AnnData, file: str) -> tuple[pd.Index, pd.Index]:
    """Return what cells are matched by: their names, or, if none is common, the names without the number of the lane.

    Raises
    ------
    InputError
        If no cell is common to both.
    """
    import pandas as pd

    ours, theirs = (pd.Index(a.obs_names.astype(str), dtype=object) for a in (rna, atac))
    if ours.isin(theirs).any():
        return ours, theirs
    bare = [pd.Index(_bare(a), dtype=object) for a in (rna, atac)]
    if all(names.is_unique for names in bare) and bare[0].isin(bare[1]).any():
        log.info(
            "cells of rna and atac are matched without the number after the barcode ('%s', '%s')", ours[0], theirs[0]
        )
        return bare[0], bare[1]
    raise InputError(
        f"{file}: modalities: rna and atac have no cell in common ('{ours[0]}', … and '{theirs[0]}', …): cells "
        "are matched by barcode, so both need the same names"
    )


def _bare(adata: AnnData) -> list[str]:
    samples = adata.obs[slots.SAMPLE].astype(str) if slots.SAMPLE in adata.obs else [""] * adata.n_obs
    out = []
    for name, sample in zip(adata.obs_names.astype(str), samples, strict=True):
        behind = f"-{sample}" if sample and name.endswith(f"-{sample}") else ""
        out.append(_LANE.sub("", name.removesuffix(behind)) + behind)
    return out


def _tell(both: int, rna: int, atac: int, smaller: int, file: str) -> None:
    say = log.warning if both < smaller / 2 else log.info
    say("%s: %d cells with RNA and peaks, %d with RNA only, %d with peaks only", file, both, rna, atac)


def _joined_obs(
    rna: pd.DataFrame, atac: pd.DataFrame, both: np.ndarray, position: np.ndarray, alone: np.ndarray
) -> pd.DataFrame:
    """Return the columns of all cells, those of RNA first; `position` are the rows of `atac` of the cells with both."""
    import pandas as pd

    agree, apart = [], {}
    theirs = atac.iloc[position].set_axis(rna.index[both])
    for name in atac.columns:
        if name in rna and same(rna[name][both], theirs[name].to_numpy()):
            agree.append(name)
        else:
            apart[name] = f"{ATAC}_{name}" if name in rna else name
    shared = [str(new) for old, new in apart.items() if old != new]
    if shared:
        log.info("columns that differ between rna and atac are kept apart: %s", ", ".join(shared))
    extra = atac[alone]
    out = pd.concat([rna, extra[agree]])
    for name, new in apart.items():
        values = pd.concat([theirs[name].reindex(rna.index), extra[name]])
        out[new] = values.to_numpy() if not isinstance(values.dtype, pd.CategoricalDtype) else values.array
    return out


def _check_values(rna: AnnData, atac: AnnData, modalities: ModalitiesSettings, file: str) -> None:
    """Stop if counts are all 0 or 1 where a count is modelled: only presence was kept of them."""
    for key, adata, likelihood in ((RNA, rna, modalities.rna.likelihood), (ATAC, atac, modalities.atac.likelihood)):
        binary = adata.X.nnz > 0 and adata.X.data.max() <= 1
        if binary and likelihood is not None and likelihood.kind != "bernoulli":
            raise InputError(
                f"{file}: modalities.{key}.likelihood: {likelihood.kind} is of counts, but all values are 0 or 1: use "
                "`likelihood: bernoulli`, or give the counts themselves"
            )
        if key == ATAC and not binary and likelihood is not None and likelihood.kind == "bernoulli":
            more = float((adata.X.data > 1).mean()) if adata.X.nnz else 0.0
            log.info("peaks: %.0f %% of the counts are above 1: the model sees whether a peak is open", 100 * more)
