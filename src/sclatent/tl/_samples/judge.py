"""Drawn cells against real ones: whether anything tells them apart, and where they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.settings import InputError
from sclatent.tl._model.subset import evenly

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

Array = npt.NDArray[Any]

CELLS = 2000
"""Cells of each kind that are compared, at most."""
FOLDS, COMPONENTS = 5, 30
"""Of the cross-validated classifier: folds, and principal components."""
RESAMPLES = 500
"""Bootstrap samples of the cells behind the interval of the AUROC."""
CORRELATED = 200
"""Most variable genes whose correlations are compared."""
FEWEST = 2 * FOLDS
"""Cells of each kind that a comparison takes at least."""

IDEAL = {
    "auroc": 0.5,
    "zero_fraction_difference": 0.0,
    "zero_fraction_error": 0.0,
    "mean_error": 0.0,
    "variance_error": 0.0,
    "library_size_distance": 0.0,
    "correlation_agreement": 1.0,
    "correlation_strength": 1.0,
    "neighbour_distance": 1.0,
}
"""What each measure is for cells of one kind, with no end of them."""


@dataclass(frozen=True)
class Look:
    """What is compared of some cells: their counts (cells × genes), totals, log-normalised expression."""

    counts: Array
    total: Array
    logged: Array

    @property
    def zero(self) -> Array:
        """Share of cells without a count, by gene."""
        return (self.counts == 0).mean(axis=0)


def look(cells: AnnData, genes: pd.Index, what: str) -> Look:
    """Return the counts of at most 2,000 cells, evenly spaced, and log(1 + 10,000 · counts / total)."""
    from scipy.sparse import issparse

    place = cells.var_names.get_indexer(genes)
    if (place < 0).any():
        missing = genes[place < 0]
        raise InputError(
            f"check_samples: the {what} cells lack {len(missing)} of the drawn genes ('{missing[0]}', …): "
            "pass the counts that the model was trained on"
        )
    if cells.n_obs < FEWEST:
        raise InputError(f"check_samples: {cells.n_obs} {what} cells: a comparison needs {FEWEST} or more")
    rows = cells.X[evenly(np.arange(cells.n_obs), CELLS)]
    counts = np.asarray((rows.toarray() if issparse(rows) else rows), np.float64)[:, place]
    total = counts.sum(axis=1)
    return Look(counts, total, np.log1p(1e4 * counts / np.maximum(total, 1.0)[:, None]))


def check_samples(real: AnnData, drawn: AnnData, *, training: AnnData | None = None, seed: int = 0) -> pd.DataFrame:
    """Judge drawn cells by real ones that the model has not seen.

    A classifier has to tell one from the other (Lopez-Paz & Oquab 2017); further measures say where they differ.

    Parameters
    ----------
    real
        Held-out cells: whole-number counts in ``X`` of all genes that were drawn, and of others perhaps.
    drawn
        From `sclatent.tl.sample`, as many, and of what the real cells are: a batch or condition that was set cannot
        look like all of them.
    training
        Cells × genes that the model was trained on: they show what chance alone does to each measure.
    seed
        Of the folds and of the bootstrap.

    Returns
    -------
    DataFrame
        One row per ``measure``, with its value for the ``drawn`` and for the ``training`` cells, each against the real
        ones, and what is ``ideal``; an interval (95 %, ``low`` to ``high``) for the AUROC:

        ``auroc`` of gradient boosting that is shown principal components of the log-normalised counts and the log
        total, five-fold, and has to tell real cells from the others; ``zero_fraction_difference`` and
        ``zero_fraction_error`` (mean and root mean square over genes); ``mean_error`` and ``variance_error``, root
        mean square over genes of the log2 ratio of mean and of variance of the normalised counts;
        ``library_size_distance`` (Kolmogorov–Smirnov); ``correlation_agreement``, between the gene–gene correlations
        of both (200 most variable genes), and ``correlation_strength``, the ratio of their root mean squares;
        ``neighbour_distance``, from a cell to the nearest real one (principal components), over that between real
        cells.

    Raises
    ------
    InputError
        If there are too few cells, or the real ones lack a gene.
    """
    import pandas as pd

    genes = drawn.var_names
    truth, other = look(real, genes, "real"), look(drawn, genes, "drawn")
    table = pd.DataFrame({"drawn": _measures(truth, other, seed)}, dtype=float)
    low, high = table["drawn"].pop("low"), table["drawn"].pop("high")
    table = table.drop(index=["low", "high"])
    table["low"] = table["high"] = np.nan
    table.loc["auroc", ["low", "high"]] = low, high
    table["training"] = np.nan
    if training is not None:
        known = _measures(truth, look(training, genes, "training"), seed)
        table["training"] = [known[name] for name in table.index]
    table["ideal"] = [IDEAL[name] for name in table.index]
    return table.rename_axis("measure").reset_index()


def _measures(real: Look, other: Look, seed: int) -> dict[str, float]:
    """Return every measure of `other` against `real`, and the interval of the AUROC as ``low`` and ``high``."""
    from scipy.stats import ks_2samp

    auroc, low, high = told_apart(real, other, seed)
    zero = other.zero - real.zero
    scale = float(np.median(real.total))
    first, second = (x.counts / np.maximum(x.total, 1.0)[:, None] * scale for x in (real, other))
    seen = (first.mean(axis=0) > 0.05) & (second.mean(axis=0) > 0)  # a ratio of rarer genes is chance
    agreement, strength = _correlations(real, other)
    return {
        "auroc": auroc,
        "low": low,
        "high": high,
        "zero_fraction_difference": float(zero.mean()),
        "zero_fraction_error": _rms(zero),
        "mean_error": _rms(np.log2(second.mean(axis=0)[seen] / first.mean(axis=0)[seen])),
        "variance_error": _rms(np.log2(_variance(second[:, seen]) / _variance(first[:, seen]))),
        "library_size_distance": float(ks_2samp(real.total, other.total).statistic),
        "correlation_agreement": agreement,
        "correlation_strength": strength,
        "neighbour_distance": _neighbours(real, other, seed),
    }


def _rms(x: Array) -> float:
    return float(np.sqrt(np.mean(np.square(x)))) if len(x) else 0.0


def _variance(x: Array) -> Array:
    return np.maximum(x.var(axis=0), 1e-12)


def told_apart(real: Look, other: Look, seed: int = 0) -> tuple[float, float, float]:
    """Return the AUROC of a cross-validated classifier that tells real cells from others, and its 95 % interval."""
    from sklearn.decomposition import PCA
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    logged = np.vstack([real.logged, other.logged])
    total = np.log1p(np.concatenate([real.total, other.total]))[:, None]
    label = np.repeat([1, 0], [len(real.total), len(other.total)])
    guess = np.zeros(len(label))
    with threadpool_limits(1):
        for fit, judge in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(logged, label):
            size = min(COMPONENTS, len(fit) // 4, logged.shape[1] - 1)
            pca = PCA(max(1, size), svd_solver="randomized", random_state=0).fit(logged[fit])
            seen, new = (np.hstack([pca.transform(logged[rows]), total[rows]]) for rows in (fit, judge))
            model = HistGradientBoostingClassifier(
                min_samples_leaf=10, early_stopping=False, class_weight="balanced", random_state=0
            )
            guess[judge] = model.fit(seen, label[fit]).predict_proba(new)[:, 1]
    value = float(roc_auc_score(label, guess))
    rng = np.random.default_rng(seed)
    ones, zeros = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    again = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([rng.choice(ones, len(ones)), rng.choice(zeros, len(zeros))])
        again.append(roc_auc_score(label[rows], guess[rows]))
    low, high = np.quantile(again, [0.025, 0.975])
    return value, float(low), float(high)


def _correlations(real: Look, other: Look) -> tuple[float, float]:
    top = correlated_genes(real)
    first, second = (correlations(x, top) for x in (real, other))
    if len(first) < 2:
        return 1.0, 1.0
    strength = _rms(second) / max(_rms(first), 1e-12)
    if first.std() == 0 or second.std() == 0:
        return 0.0, strength
    return float(np.corrcoef(first, second)[0, 1]), strength


def correlated_genes(real: Look) -> Array:
    """Return the positions of the genes whose correlations are compared."""
    return np.argsort(-real.logged.var(axis=0), kind="stable")[:CORRELATED]


def correlations(cells: Look, genes: Array) -> Array:
    """Return the correlation of every pair of genes (log-normalised); 0 where a gene does not vary."""
    x = cells.logged[:, genes]
    x = x - x.mean(axis=0)
    x = x / np.maximum(np.sqrt((x**2).sum(axis=0)), 1e-12)
    return (x.T @ x)[np.triu_indices(len(genes), 1)]


def _neighbours(real: Look, other: Look, seed: int) -> float:
    """Return the mean distance of other cells to the nearest of half of the real cells, over that of the other half."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    pca = PCA(min(COMPONENTS, len(real.total) // 2 - 1, real.logged.shape[1]), random_state=0).fit(real.logged)
    order = np.random.default_rng(seed).permutation(len(real.total))
    half = len(order) // 2
    place = pca.transform(real.logged)
    near = NearestNeighbors(n_neighbors=1).fit(place[order[:half]])
    own = near.kneighbors(place[order[half:]])[0].mean()
    return float(near.kneighbors(pca.transform(other.logged))[0].mean() / max(own, 1e-12))
