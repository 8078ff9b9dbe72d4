"""Whether a classifier can tell real cells from others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shown = Callable[[Array, Array], tuple[Array, Array]]
"""Rows to fit to and rows to judge, to what the classifier is shown of each (rows × columns)."""

FOLDS, COMPONENTS = 5, 30
"""Of the cross-validated classifier: folds, and principal components."""
TREES = 100
"""Of the boosting."""
RESAMPLES = 500
"""Bootstrap samples of the cells behind the interval of the AUROC."""


def told_apart(shown: list[Shown], n_real: int, n_other: int, seed: int = 0) -> tuple[float, float, float]:
    """Return the AUROC of a cross-validated classifier that tells real cells from others, and its 95 % interval.

    Parameters
    ----------
    shown
        What is seen of the cells, the real ones first: all columns side by side.
    n_real, n_other
        Numbers of cells.
    seed
        Of the folds and of the bootstrap.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    label = np.repeat([1, 0], [n_real, n_other])
    guess = np.zeros(len(label))
    with threadpool_limits(1):
        for fit, judge in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(label, label):
            seen, new = (np.hstack(parts) for parts in zip(*(part(fit, judge) for part in shown), strict=True))
            model = HistGradientBoostingClassifier(
                max_iter=TREES, min_samples_leaf=10, early_stopping=False, class_weight="balanced", random_state=0
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


def standard(x: Array) -> Array:
    """Return columns of mean 0 and length 1, whose products are correlations; zeros where a column does not vary."""
    x = x - x.mean(axis=0)
    return x / np.maximum(np.sqrt((x**2).sum(axis=0)), 1e-12)


def agreement(real: Array, other: Array) -> tuple[float, float]:
    """Return how far two sets of correlations agree, and the ratio of their root mean squares."""
    if len(real) < 2:
        return 1.0, 1.0
    strength = rms(other) / max(rms(real), 1e-12)
    if real.std() == 0 or other.std() == 0:
        return 0.0, strength
    return float(np.corrcoef(real, other)[0, 1]), strength


def rms(x: Array) -> float:
    """Return the root mean square; 0 of nothing."""
    return float(np.sqrt(np.mean(np.square(x)))) if len(x) else 0.0


def nearest(real: Array, other: Array, seed: int) -> float:
    """Return the mean distance of other cells to the nearest of half of the real cells, over that of the other half.

    Parameters
    ----------
    real, other
        (cells × components).
    seed
        Of the halves.
    """
    from sklearn.neighbors import NearestNeighbors

    order = np.random.default_rng(seed).permutation(len(real))
    half = len(order) // 2
    near = NearestNeighbors(n_neighbors=1).fit(real[order[:half]])
    own = near.kneighbors(real[order[half:]])[0].mean()
    return float(near.kneighbors(other)[0].mean() / max(own, 1e-12))
