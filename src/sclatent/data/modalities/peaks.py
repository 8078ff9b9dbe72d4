"""Peaks of open chromatin: where on the genome each is, read from its name or from columns beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data.gene_ids import GENOME_PREFIX
from sclatent.settings.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

CHROM, START, END = COORDINATES = ("chrom", "start", "end")
"""Columns of a table of peaks: chromosome, and where the peak begins and ends on it (base pairs)."""
_NAME = re.compile(r"(?P<chrom>[^\s:]+?|[^\s:]+:[^\s:]+?)[:\-_](?P<start>\d[\d,]*)[-_:](?P<end>\d[\d,]*)")
_COLUMNS = {
    CHROM: ("chrom", "chr", "chromosome", "seqnames", "seqname", "contig"),
    START: ("start", "chromstart", "peakstart"),
    END: ("end", "stop", "chromend", "peakend"),
}


def coordinates(names: Sequence[str]) -> pd.DataFrame:
    """Return chromosome, start and end of peaks called ``chr:start-end``, ``chr-start-end`` or ``chr_start_end``.

    Returns
    -------
    DataFrame with one row per name: ``chrom`` (text, without a prefix that names the genome), ``start`` and ``end``
    (float64); missing where a name is none of these, or ends before it begins.
    """
    import pandas as pd

    rows: list[tuple[str | None, float, float]] = []
    for name in names:
        found = _NAME.fullmatch(GENOME_PREFIX.sub("", str(name).strip()))
        if found is None:
            rows.append((None, np.nan, np.nan))
            continue
        start, end = (float(found[key].replace(",", "")) for key in (START, END))
        rows.append((found[CHROM], start, end) if start < end else (None, np.nan, np.nan))
    return pd.DataFrame(rows, columns=list(COORDINATES), index=pd.Index(names))


def are_peaks(names: Sequence[str]) -> bool:
    """Tell whether more than half of the names are coordinates."""
    return len(names) > 0 and coordinates(names)[CHROM].notna().sum() > len(names) / 2


def with_coordinates(var: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return a table of peaks with ``chrom``, ``start`` and ``end``, from its columns or else from the names.

    Parameters
    ----------
    var
        One row per peak.
    where
        The file and key that the peaks are from, for the one line.

    Raises
    ------
    InputError
        If a peak has no coordinates that can be read.
    """
    found = _from_columns(var)
    if found is None:
        found = coordinates(list(var.index))
    wrong = (found[CHROM].isna() | ~(found[START] < found[END])).to_numpy()
    if wrong.any():
        name = var.index[int(np.argmax(wrong))]
        raise InputError(
            f"{where}: {wrong.sum()} of {len(var)} peaks have no coordinates that can be read, such as '{name}': "
            "expected names such as chr1:9963-10665, chr1-9963-10665 or chr1_9963_10665, or the var columns chrom, "
            "start and end"
        )
    out = var.drop(columns=[column for column in COORDINATES if column in var])
    out[CHROM] = found[CHROM].astype(str).to_numpy(dtype=object)
    out[START], out[END] = (found[column].to_numpy().astype(np.int64) for column in (START, END))
    return out


def _from_columns(var: pd.DataFrame) -> pd.DataFrame | None:
    """Return the coordinates from columns of usual names; None if they are not all there, or are no coordinates."""
    import pandas as pd

    folded = {re.sub(r"[\s_.-]", "", str(column)).lower(): column for column in reversed(list(var.columns))}
    columns = {key: next((folded[name] for name in usual if name in folded), None) for key, usual in _COLUMNS.items()}
    if any(column is None for column in columns.values()):
        return None
    out = pd.DataFrame({key: var[column].to_numpy() for key, column in columns.items()}, index=var.index)
    for key in (START, END):
        out[key] = pd.to_numeric(out[key], errors="coerce")
    readable = out[CHROM].notna() & (out[START] < out[END])
    return out if bool(readable.all()) else None


def nearest_genes(peaks: pd.DataFrame, genes: pd.DataFrame) -> np.ndarray:
    """Return the gene nearest to each peak on the same chromosome, text; empty where that has none.

    Parameters
    ----------
    peaks, genes
        Tables with ``chrom``, ``start`` and ``end``; the names of the genes are the index.
    """
    out = np.full(len(peaks), "", dtype=object)
    middle = ((peaks[START] + peaks[END]) / 2).to_numpy(dtype=np.float64)
    for chrom, rows in peaks.groupby(CHROM, sort=False, observed=True).indices.items():
        there = genes[(genes[CHROM] == chrom).to_numpy()]
        if not len(there):
            continue
        # a peak inside a gene is at distance 0; genes are few enough on a chromosome to look at all of them
        start, end = (there[key].to_numpy(dtype=np.float64) for key in (START, END))
        names = there.index.to_numpy()
        for row in rows:
            away = np.maximum(np.maximum(start - middle[row], middle[row] - end), 0.0)
            out[row] = str(names[int(np.argmin(away))])
    return out
