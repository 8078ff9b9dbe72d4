"""Drawn open chromatin against that of real cells, and how it goes together with expression.

Counts stay sparse: of tens of thousands of peaks no dense matrix is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.data import slots
from sclatent.data.modalities import counts_of, further, measured
from sclatent.settings import InputError
from sclatent.tl._samples import judge_genes
from sclatent.tl._samples.apart import COMPONENTS, Shown, agreement, nearest, rms, standard, told_apart
from sclatent.tl._samples.drawn import SAMPLE, likelihood_of

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_matrix
    from sklearn.pipeline import Pipeline

Array = npt.NDArray[Any]

CORRELATED, WITH_GENES = 200, 100
"""Most variable peaks whose correlations are compared, and most variable genes whose with them are."""
OPEN_IN = 5
"""Real cells that a peak is open in at least, if its prevalence is compared: that of rarer ones is chance."""


@dataclass(frozen=True)
class Peaks:
    """What is compared of some cells: their counts of peaks (cells × peaks, CSR) and how many are open (cells,)."""

    counts: csr_matrix
    n_open: Array

    @property
    def prevalence(self) -> Array:
        """Share of the cells that a peak is open in, by peak."""
        return np.bincount(self.counts.indices, minlength=self.counts.shape[1]) / self.counts.shape[0]

    @property
    def depth(self) -> Array:
        """Counts of a cell."""
        return np.asarray(self.counts.sum(axis=1)).ravel()

    def logged(self, peaks: Array) -> Array:
        """Return log(1 + 10,000 · counts / total) of some peaks (cells × peaks)."""
        return np.log1p(1e4 * self.counts[:, peaks].toarray() / np.maximum(self.depth, 1.0)[:, None])


Both = tuple[judge_genes.Look, Peaks]
"""Expression and open chromatin of the same cells."""


def look_at_peaks(cells: AnnData, what: str, *, drawn: AnnData, name: str, rows: Array | None = None) -> Peaks:
    """Return the counts of the drawn peaks of at most 2,000 cells that have some, evenly spaced.

    Parameters
    ----------
    cells
        Cells with the modality in ``obsm``.
    what
        What the cells are, for the one line.
    drawn
        The drawn cells: their peaks are looked at, and whether peaks are open, if that is all that was drawn.
    name
        The modality.
    rows
        Positions of the cells to take instead.
    """
    from scipy.sparse import csr_matrix

    if name not in cells.obsm:
        raise InputError(f"check_samples: the {what} cells have no {name}, which was drawn: pass cells with both")
    place = judge_genes.positions(further(cells)[name].index, further(drawn)[name].index, what, "peaks")
    if rows is None:
        rows = judge_genes.looked_at(measured(cells, name), f"{what} cells with {name}")
    counts = csr_matrix(counts_of(cells, name)[rows][:, place], dtype=np.float64)
    counts.eliminate_zeros()
    if drawn.uns[slots.UNS].get(SAMPLE, {}).get(likelihood_of(name)) == "bernoulli":
        counts.data[:] = 1.0  # which is all that the model sees of them
    return Peaks(counts, np.diff(counts.indptr).astype(np.float64))


def of_peaks(real: Peaks, other: Peaks, seed: int) -> dict[str, float]:
    """Return every measure of `other` against `real`, and the interval of the AUROC as ``low`` and ``high``."""
    from scipy.stats import ks_2samp

    auroc, low, high = told_apart([semantic(real, other)], len(real.n_open), len(other.n_open), seed)
    first, second = (x.prevalence for x in (real, other))
    seen = first * len(real.n_open) >= OPEN_IN
    ratio = [(p * len(x.n_open) + 0.5)[seen] / (len(x.n_open) + 1) for p, x in ((first, real), (second, other))]
    alike, strength = agreement(*(of_pairs(x, correlated_peaks(real)) for x in (real, other)))
    counts = [x.counts.sum() / max(x.counts.nnz, 1) for x in (real, other)]
    return {
        "auroc": auroc,
        "low": low,
        "high": high,
        "open_fraction_ratio": float(other.n_open.mean() / max(real.n_open.mean(), 1e-12)),
        "open_fraction_distance": float(ks_2samp(real.n_open, other.n_open).statistic),
        "prevalence_error": rms(np.log2(ratio[1] / ratio[0])),
        "count_ratio": float(counts[1] / max(counts[0], 1e-12)),
        "correlation_agreement": alike,
        "correlation_strength": strength,
        "neighbour_distance": _neighbours(real, other, seed),
    }


def _lsi(n_cells: int, n_peaks: int) -> Pipeline:
    """Return latent semantic indexing, unfitted: TF-IDF, and a truncated singular value decomposition."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.pipeline import make_pipeline

    size = max(1, min(COMPONENTS, n_cells // 4, n_peaks - 1))
    return make_pipeline(TfidfTransformer(), TruncatedSVD(size, random_state=0))


def semantic(real: Peaks, other: Peaks) -> Shown:
    """Return what a classifier is shown of open chromatin: latent semantic indexing, and the log total."""
    from scipy.sparse import vstack

    counts = vstack([real.counts, other.counts], format="csr")
    total = np.log1p(np.concatenate([real.depth, other.depth]))[:, None]

    def shown(fit: Array, judge: Array) -> tuple[Array, Array]:
        lsi = _lsi(len(fit), counts.shape[1]).fit(counts[fit])
        seen, new = (np.hstack([lsi.transform(counts[rows]), total[rows]]) for rows in (fit, judge))
        return seen, new

    return shown


def correlated_peaks(real: Peaks) -> Array:
    """Return the positions of the peaks whose correlations are compared: those most variable."""
    share = real.prevalence
    return np.argsort(-share * (1 - share), kind="stable")[:CORRELATED]


def of_pairs(cells: Peaks, peaks: Array) -> Array:
    """Return the correlation of every pair of peaks (log-normalised)."""
    x = standard(cells.logged(peaks))
    return (x.T @ x)[np.triu_indices(len(peaks), 1)]


def pairs_with_genes(real: Both, cells: Both) -> Array:
    """Return the correlations of genes with peaks of some cells, log-normalised: those most variable in real ones."""
    genes, peaks = judge_genes.correlated_genes(real[0])[:WITH_GENES], correlated_peaks(real[1])
    first, second = standard(cells[0].logged[:, genes]), standard(cells[1].logged(peaks))
    return (first.T @ second).ravel()


def _neighbours(real: Peaks, other: Peaks, seed: int) -> float:
    lsi = _lsi(2 * len(real.n_open) - 4, real.counts.shape[1]).fit(real.counts)
    return nearest(lsi.transform(real.counts), lsi.transform(other.counts), seed)


def of_both(real: Both, other: Both, seed: int) -> dict[str, float]:
    """Return how expression and open chromatin of the same cells go together in `other`, against `real`."""
    shown = [judge_genes.principal(real[0], other[0]), semantic(real[1], other[1])]
    auroc, low, high = told_apart(shown, len(real[0].total), len(other[0].total), seed)
    alike, strength = agreement(*(pairs_with_genes(real, x) for x in (real, other)))
    return {
        "auroc": auroc,
        "low": low,
        "high": high,
        "correlation_agreement": alike,
        "correlation_strength": strength,
    }
