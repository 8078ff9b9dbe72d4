"""Disentanglement scores equal drvi-py's, and their parts equal scikit-learn's and scipy's."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import mutual_info_score

from sclatent.tl._axes.disentangle import (
    SIMILARITIES,
    SUMMARIES,
    axis_gap,
    disentanglement,
    latent_matching_score,
    mutual_information_gap,
    mutual_information_matrix,
    one_hot,
)


@pytest.fixture(scope="module")
def toy():
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b", "c", "rare"], 400, p=[0.5, 0.3, 0.15, 0.05])
    z = rng.normal(size=(400, 6))
    z[:, 0] += 3 * (labels == "a")
    z[:, 3] -= 2 * (labels == "c")
    return z, labels


@pytest.mark.parametrize("similarity", sorted(SIMILARITIES))
@pytest.mark.parametrize("summary", sorted(SUMMARIES))
def test_equals_drvi(toy, similarity, summary):
    drvi = pytest.importorskip("drvi.utils.metrics", reason="drvi-py is an optional peer")
    z, labels = toy
    peer = drvi.DiscreteDisentanglementBenchmark(
        z, discrete_target=pd.Series(labels), metrics=(similarity,), aggregation_methods=(summary,)
    )
    peer.evaluate()
    name = f"{summary}-{similarity}"
    assert disentanglement(z, labels)[name] == pytest.approx(peer.get_results()[name], abs=1e-9)


def test_parts_equal_scikit_learn_and_scipy(toy):
    z, labels = toy
    targets, names = one_hot(labels)
    k, t = 0, names.index("a")
    edges = np.linspace(z[:, k].min(), z[:, k].max(), 11)
    bins = np.clip(np.digitize(z[:, k], edges) - 1, 0, 9)
    entropy = stats.entropy([targets[:, t].mean(), 1 - targets[:, t].mean()])
    assert SIMILARITIES["SMI"](z, targets)[k, t] == pytest.approx(mutual_info_score(bins, targets[:, t]) / entropy)
    assert SIMILARITIES["ASC"](z, targets)[k, t] == pytest.approx(
        abs(stats.spearmanr(z[:, k], targets[:, t]).statistic)
    )
    order = targets[np.argsort(z[:, k]), t]
    share = order.mean()
    runs = sum(a and b for a, b in pairwise(order)) / (order.sum() - 1)
    assert SIMILARITIES["SPN"](z, targets)[k, t] == pytest.approx((runs - share) / (1 - share))


def test_an_axis_serves_one_target_only():
    similarity = np.array([[0.9, 0.8], [0.1, 0.3]])
    assert latent_matching_score(similarity) == pytest.approx((0.9 + 0.3) / 2)
    assert SUMMARIES["MSAS"](similarity) == pytest.approx((0.9 + 0.8) / 2)
    assert SUMMARIES["MSGS"](similarity) == pytest.approx((0.8 + 0.5) / 2)
    assert latent_matching_score(similarity[:1]) == pytest.approx(0.45), "fewer axes than targets"


def test_missing_labels_are_left_out(toy):
    z, labels = toy
    more = np.concatenate([labels.astype(object), [None] * 50])
    padded = np.vstack([z, np.full((50, 6), 9.0)])
    assert disentanglement(padded, more) == pytest.approx(disentanglement(z, labels))


def test_a_constant_axis_tells_nothing(toy):
    _, labels = toy
    assert disentanglement(np.ones((400, 2)), labels)["LMS-SMI"] == 0


def test_gap_between_axes_is_that_of_gaussian_mutual_information():
    """I(x; y) of a bivariate normal is −log(1 − ρ²)/2."""
    rng = np.random.default_rng(1)
    factor = rng.normal(size=4000)
    rho = np.array([0.9, 0.6, 0.0])
    z = rho * factor[:, None] + np.sqrt(1 - rho**2) * rng.normal(size=(4000, 3))
    information = mutual_information_matrix(z, factor[:, None])
    exact = -0.5 * np.log1p(-(rho**2))
    assert information[:, 0] == pytest.approx(exact, abs=0.05)
    assert axis_gap(information)[0] == pytest.approx(exact[0] - exact[1], abs=0.07)


def test_mig_of_the_factors_themselves_is_nearly_one_and_of_a_rotation_is_low():
    factors = np.random.default_rng(2).uniform(size=(5000, 2))
    assert mutual_information_gap(factors, factors) > 0.97
    assert mutual_information_gap(factors**3, factors) == pytest.approx(mutual_information_gap(factors, factors))
    turned = factors @ np.array([[1, 1], [1, -1]])
    assert mutual_information_gap(turned, factors) < 0.1


def test_mig_of_categories_is_their_entropy_explained():
    codes = np.random.default_rng(3).integers(0, 4, size=(2000, 1))
    noise = np.random.default_rng(4).normal(size=(2000, 1))
    z = np.hstack([codes + 0.1 * noise, noise])
    assert mutual_information_gap(z, codes) > 0.9, "bins at quantiles straddle categories: not quite one"
