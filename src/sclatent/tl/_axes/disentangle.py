"""How far each axis is one thing: disentanglement of a latent space against known labels or factors.

The scores against categories follow DRVI (Moinfar & Theis 2024; drvi-py): each category is a target of its own (one
against the rest), a similarity is computed for every axis and target, and three summaries are taken of that matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

N_BINS = 10


def one_hot(labels: Sequence[object] | npt.NDArray) -> tuple[Array, list[str]]:
    """Return indicator columns (cells × categories) and the categories' names; missing labels are zero everywhere."""
    import pandas as pd

    category = pd.Series(np.asarray(labels, dtype=object)).astype("category").cat
    names = [str(name) for name in category.categories]
    return (category.codes.to_numpy()[:, None] == np.arange(len(names))).astype(np.float64), names


def scaled_mutual_information(latent: npt.NDArray, targets: Array, *, n_bins: int = N_BINS) -> Array:
    """Return SMI: I(binned axis; target) / H(target), each axis cut into `n_bins` bins of equal width.

    Parameters
    ----------
    latent
        (cells, axes).
    targets
        (cells, targets) of zeros and ones.

    Returns
    -------
    (axes, targets) in [0, 1]; 0 for a constant axis.
    """
    z = np.asarray(latent, np.float64)
    n = len(z)
    low, high = z.min(axis=0), z.max(axis=0)
    hit = np.asarray(targets, np.float64)
    share = hit.mean(axis=0)
    entropy = _plogp(share) + _plogp(1 - share)
    out = np.zeros((z.shape[1], hit.shape[1]))
    for k in range(z.shape[1]):
        if high[k] <= low[k]:
            continue
        edges = np.linspace(low[k], high[k], n_bins + 1)
        code = np.searchsorted(edges[1:-1], z[:, k], side="right")
        bins = np.bincount(code, minlength=n_bins) / n
        joint = np.stack([np.bincount(code, weights=column, minlength=n_bins) for column in hit.T], axis=1) / n
        out[k] = _plogp(bins).sum() + entropy - (_plogp(joint) + _plogp(bins[:, None] - joint)).sum(axis=0)
    # a target that every cell or no cell has carries no information
    return np.divide(out, entropy, out=np.zeros_like(out), where=entropy > 0)


def nearest_neighbor_alignment(latent: npt.NDArray, targets: Array) -> Array:
    """Return SPN: how much more often than by chance the next cell along an axis has the same label.

    Per target with share s: (share of its cells whose right neighbour along the axis is of the target too − s) / (1 −
    s), at least 0.

    Parameters
    ----------
    latent
        (cells, axes).
    targets
        (cells, targets) of zeros and ones.

    Returns
    -------
    (axes, targets) in [0, 1].
    """
    hit = np.asarray(targets, np.float64)
    count, share = hit.sum(axis=0), hit.mean(axis=0)
    out = np.zeros((latent.shape[1], hit.shape[1]))
    for k in range(latent.shape[1]):
        along = hit[np.argsort(latent[:, k])]
        pairs = (along[:-1] * along[1:]).sum(axis=0)
        ratio = np.divide(pairs, count - 1, out=np.zeros_like(pairs), where=count > 1)
        out[k] = np.divide(np.maximum(ratio - share, 0), 1 - share, out=np.zeros_like(pairs), where=share < 1)
    return out


def absolute_spearman(latent: npt.NDArray, targets: Array) -> Array:
    """Return ASC: |Spearman's correlation| of every axis (cells × axes) with every target (cells × targets)."""
    from sclatent.tl._axes.association import spearman

    return np.stack([np.abs(spearman(latent, column)) for column in np.asarray(targets, np.float64).T], axis=1)


SIMILARITIES = {"SMI": scaled_mutual_information, "SPN": nearest_neighbor_alignment, "ASC": absolute_spearman}


def latent_matching_score(similarity: Array) -> float:
    """Return LMS: mean similarity under the best one-to-one assignment of axes to targets (axes × targets)."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-similarity)
    return float(similarity[rows, columns].sum() / similarity.shape[1])


def most_similar_averaging_score(similarity: Array) -> float:
    """Return MSAS: mean over targets of the largest similarity with any axis (axes × targets)."""
    return float(similarity.max(axis=0).mean())


def most_similar_gap_score(similarity: Array) -> float:
    """Return MSGS: mean over targets of the largest similarity minus the second largest (axes × targets)."""
    ordered = np.sort(similarity, axis=0)
    second = ordered[-2] if len(ordered) > 1 else 0.0
    return float((ordered[-1] - second).mean())


SUMMARIES = {
    "LMS": latent_matching_score,
    "MSAS": most_similar_averaging_score,
    "MSGS": most_similar_gap_score,
}


def disentanglement(latent: npt.NDArray, labels: Sequence[object] | npt.NDArray) -> dict[str, float]:
    """Return LMS, MSAS and MSGS over SMI, SPN and ASC (``"LMS-SMI"`` …) of a latent space against labels.

    The scores are of Moinfar & Theis 2024 (DRVI).

    Parameters
    ----------
    latent
        (cells, axes) posterior means.
    labels
        (cells,) categories; cells without one are left out.

    Returns
    -------
    dict
        Nine numbers in [0, 1].
    """
    targets, _ = one_hot(labels)
    known = targets.sum(axis=1) > 0
    z = np.asarray(latent)[known]
    out: dict[str, float] = {}
    for name, similarity in SIMILARITIES.items():
        matrix = similarity(z, targets[known])
        out |= {f"{summary}-{name}": function(matrix) for summary, function in SUMMARIES.items()}
    return out


def mutual_information_matrix(latent: npt.NDArray, factors: npt.NDArray, *, seed: int = 0) -> Array:
    """Return the mutual information (nats) of every axis with every factor, scikit-learn's nearest-neighbour estimator.

    Parameters
    ----------
    latent
        (cells, axes).
    factors
        (cells, factors): numbers, or codes in an integer array.

    Returns
    -------
    (axes, factors).
    """
    from sclatent.tl._axes.association import Variable, mutual_information

    factors = np.asarray(factors)
    levels = ("codes",) if np.issubdtype(factors.dtype, np.integer) else None
    columns = [mutual_information(latent, Variable("", column, levels, "label"), seed=seed) for column in factors.T]
    return np.stack(columns, axis=1)


def axis_gap(information: Array) -> Array:
    """Return, for each factor, the mutual information of the best axis minus that of the second best (nats).

    Divided by the entropy of the factor this is the gap of Chen et al. 2018: `mutual_information_gap`.

    Parameters
    ----------
    information
        Mutual information of axes and factors (axes × factors), nats.

    Returns
    -------
    ndarray
        (factors,), nats.
    """
    ordered = np.sort(np.nan_to_num(information), axis=0)
    return ordered[-1] - (ordered[-2] if len(ordered) > 1 else 0.0)


def mutual_information_gap(latent: npt.NDArray, factors: npt.NDArray, *, n_bins: int = 20, n_levels: int = 5) -> float:
    """Return MIG (Chen et al. 2018): the gap between the two best axes of a factor, over the factor's entropy.

    The estimator is the histogram: axes are cut at their quantiles into `n_bins` bins (20, as in Locatello et al.
    2019), continuous factors at theirs into `n_levels` levels (so H = log `n_levels`, and a monotone transformation
    changes nothing); factors with integer codes are taken as they are.

    Parameters
    ----------
    latent
        (cells, axes).
    factors
        (cells, factors): numbers, or codes in an integer array.
    n_bins
        Bins of each axis.
    n_levels
        Levels of a continuous factor.

    Returns
    -------
    float
        Mean over factors, in [0, 1]; 1 when each factor is one axis and no other axis tells anything of it.
    """
    factors = np.asarray(factors)
    whole = np.issubdtype(factors.dtype, np.integer)
    z = [_quantile_bins(axis, n_bins) for axis in np.asarray(latent).T]
    gaps = []
    for factor in factors.T:
        code = np.unique(factor, return_inverse=True)[1] if whole else _quantile_bins(factor, n_levels)
        entropy = _plogp(np.bincount(code) / len(code)).sum()
        information = np.sort([_discrete_information(axis, code) for axis in z])
        second = information[-2] if len(information) > 1 else 0.0
        gaps.append((information[-1] - second) / entropy if entropy > 0 else 0.0)
    return float(np.mean(gaps))


def _quantile_bins(values: npt.NDArray, n_bins: int) -> npt.NDArray:
    edges = np.unique(np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def _discrete_information(a: npt.NDArray, b: npt.NDArray) -> float:
    joint = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    return float(_plogp(joint.sum(axis=1)).sum() + _plogp(joint.sum(axis=0)).sum() - _plogp(joint).sum())


def _plogp(p: npt.NDArray) -> Array:
    """−p log p, 0 at 0."""
    return -p * np.log(np.where(p > 0, p, 1.0))
