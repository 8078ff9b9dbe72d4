"""The figure of drawn open chromatin beside that of held-out real cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sclatent.pl import _style as st
from sclatent.pl._samples import panels
from sclatent.tl._samples.judge import BOTH, looks_of_both
from sclatent.tl._samples.judge_peaks import Peaks, correlated_peaks, look_at_peaks, of_pairs, pairs_with_genes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES = {
    "open_fraction_ratio": "open peaks of a cell, ratio",
    "open_fraction_distance": "open peaks of a cell, distance",
    "prevalence_error": "prevalence, error (log2)",
    "correlation_agreement": "correlations, agreement",
    "correlation_strength": "correlations, strength",
    "neighbour_distance": "distance to the nearest real cell",
}
WITH_GENES = {"correlation_agreement": "with genes, agreement", "correlation_strength": "with genes, strength"}
"""The measures that the table in the figure shows, in words: of peaks, and of genes and peaks."""


def of_peaks(real: AnnData, drawn: AnnData, rows: dict[str, panels.Table]) -> st.Figures:
    """Return a figure for each further modality.

    Parameters
    ----------
    real, drawn
        Cells with peaks in ``obsm``.
    rows
        The table by measure, of each modality beside RNA, and of both.
    """
    both = rows.get(BOTH)
    return {f"samples_{name}": _figure(real, drawn, name, rows[name], both) for name in rows if name != BOTH}


def _figure(real: AnnData, drawn: AnnData, name: str, rows: panels.Table, both: panels.Table | None) -> Figure:
    truth, other = (
        look_at_peaks(cells, what, drawn=drawn, name=name) for cells, what in ((real, "real"), (drawn, "drawn"))
    )
    fig = st.figure(9.6, 5.6)
    ax = fig.subplots(2, 3)
    told = {"peaks": rows["auroc"]}
    if both is not None:
        told["both"] = both["auroc"]
    panels.told_apart(ax[0, 0], told)
    _prevalence(ax[0, 1], truth, other)
    panels.histograms(ax[0, 2], truth.n_open, other.n_open, "open peaks of a cell (log10)", "Open peaks")
    top = correlated_peaks(truth)
    title = f"Correlation of {len(top)} peaks, by pair"
    panels.diagonal(ax[1, 0], of_pairs(truth, top), of_pairs(other, top), -1, 1, title)
    lines = [(words, rows[measure]) for measure, words in MEASURES.items()]
    if both is None:
        ax[1, 1].axis("off")
    else:
        _with_genes(ax[1, 1], real, drawn)
        lines += [(words, both[measure]) for measure, words in WITH_GENES.items()]
    panels.others(ax[1, 2], lines)
    return fig


def _prevalence(ax: Axes, real: Peaks, drawn: Peaks) -> None:
    first, second = real.prevalence, drawn.prevalence
    seen = (first > 0) & (second > 0)
    both = np.concatenate([first[seen], second[seen], [1e-3]])
    panels.diagonal(ax, first[seen], second[seen], both.min(), both.max(), "Share of cells with the peak open")
    st.log_scale(ax)


def _with_genes(ax: Axes, real: AnnData, drawn: AnnData) -> None:
    looks = [looks_of_both(cells, drawn, what) for cells, what in ((real, "real"), (drawn, "drawn"))]
    assert looks[0] is not None
    assert looks[1] is not None
    first, second = (pairs_with_genes(looks[0], cells) for cells in (looks[0], looks[1]))
    limit = float(max(np.abs(first).max(), np.abs(second).max()))
    panels.diagonal(ax, first, second, -limit, limit, "Genes with peaks, by pair")
