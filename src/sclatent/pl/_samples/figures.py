"""Figures of drawn cells beside held-out real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sclatent.data.modalities import RNA
from sclatent.pl import _style as st
from sclatent.pl._samples import panels, peaks
from sclatent.tl._samples.judge_genes import Look, correlated_genes, look, of_pairs

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES = {
    "zero_fraction_error": "zero fraction, error over genes",
    "mean_error": "mean, error (log2)",
    "variance_error": "variance, error (log2)",
    "library_size_distance": "library size, distance",
    "correlation_agreement": "gene–gene correlations, agreement",
    "correlation_strength": "gene–gene correlations, strength",
    "neighbour_distance": "distance to the nearest real cell",
}
"""The measures that the table in the figure shows, in words."""


@st.styled
def samples(real: AnnData, drawn: AnnData, table: pd.DataFrame) -> st.Figures:
    """Draw how drawn cells compare with held-out real ones.

    Parameters
    ----------
    real, drawn
        Cells × genes: what `sclatent.tl.check_samples` compared.
    table
        The table from `sclatent.tl.check_samples`.

    Returns
    -------
    dict of Figure
        ``samples``: whether a classifier can tell them apart, with the other measures; zeros, mean and variance of the
        genes; library sizes; gene–gene correlations. Where peaks were drawn, ``samples_atac``: the same of peaks, with
        their prevalence, and how genes and peaks go together.
    """
    if "modality" not in table:
        return {"samples": _of_genes(real, drawn, panels.by_measure(table))}
    rows = {str(name): panels.by_measure(part) for name, part in table.groupby("modality", sort=False)}
    figures = {"samples": _of_genes(real, drawn, rows.pop(RNA))}
    return figures | peaks.of_peaks(real, drawn, rows)


def _of_genes(real: AnnData, drawn: AnnData, rows: panels.Table) -> Figure:
    truth, other = look(real, drawn.var_names, "real"), look(drawn, drawn.var_names, "drawn")
    fig = st.figure(9.6, 5.6)
    ax = fig.subplots(2, 3)
    panels.told_apart(ax[0, 0], {"": rows["auroc"]})
    panels.diagonal(ax[0, 1], truth.zero, other.zero, 0, 1, "Share of zeros, by gene")
    _mean_variance(ax[0, 2], truth, other)
    panels.histograms(ax[1, 0], truth.total, other.total, "counts of a cell (log10)", "Library size")
    top = correlated_genes(truth)
    title = f"Correlation of {len(top)} genes, by pair"
    panels.diagonal(ax[1, 1], of_pairs(truth, top), of_pairs(other, top), -1, 1, title)
    panels.others(ax[1, 2], [(words, rows[name]) for name, words in MEASURES.items()])
    return fig


def _mean_variance(ax: Axes, real: Look, drawn: Look) -> None:
    for cells, color, name in ((real, panels.REAL, "real"), (drawn, panels.DRAWN, "drawn")):
        mean, variance = cells.counts.mean(axis=0), cells.counts.var(axis=0)
        seen = (mean > 0) & (variance > 0)
        st.points(ax, mean[seen], variance[seen], color, label=name)
    st.log_scale(ax)
    ax.set(xlabel="mean count", ylabel="variance", title="Mean and variance, by gene")
    ax.legend(loc="upper left", markerscale=2)
