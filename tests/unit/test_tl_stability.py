"""Axes of two seeds are matched whatever their order and sign; the seed is chosen on validation cells."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from sclatent import tl
from sclatent.settings import InputError
from sclatent.tl._axes.stability import correlation, match_axes


def latent(z, loadings, active=None, split=None):
    n, k = z.shape
    var = pd.DataFrame({"kl": 1.0, "active": [True] * k if active is None else active})
    var.index = [f"axis_{i + 1}" for i in range(k)]
    obs = pd.DataFrame(index=[f"c{i}" for i in range(n)])
    if split is not None:
        obs["split"] = split
    genes = np.array([f"g{i}" for i in range(loadings.shape[1])], dtype=object)
    return ad.AnnData(z.astype(np.float32), obs=obs, var=var, varm={"loadings": loadings}, uns={"genes": genes})


def table(names, active=None):
    k = len(names)
    return pd.DataFrame(
        {
            "axis": [f"axis_{i + 1}" for i in range(k)],
            "name": names,
            "kind": "label",
            "active": [True] * k if active is None else active,
            "strength": "strong",
        }
    )


@pytest.fixture
def two():
    rng = np.random.default_rng(0)
    z, w = rng.normal(size=(300, 4)), rng.normal(size=(4, 40))
    order = [2, 0, 3, 1]
    sign = np.array([-1, 1, 1, -1])
    z2, w2 = z[:, order] * sign, w[order] * sign[:, None]
    z2[:, 3] = rng.normal(size=300)  # the second axis does not come back
    w2[3] = rng.normal(size=40)
    return latent(z, w), latent(z2, w2), order


def test_correlation_is_numpys():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(30, 3)), rng.normal(size=(30, 2))
    np.testing.assert_allclose(correlation(a, b), np.corrcoef(a.T, b.T)[:3, 3:])


def test_axes_are_found_under_any_order_and_sign(two):
    first, second, order = two
    match, means, loadings = match_axes(first.X, second.X, first.varm["loadings"], second.varm["loadings"])
    assert [order[m] for m in match] == [0, 1, 2, 3]
    assert means[[0, 2, 3]] == pytest.approx([1, -1, 1], abs=1e-5)
    assert loadings[[0, 2, 3]] == pytest.approx([1, -1, 1], abs=1e-5)


def test_stability_says_which_axis_does_not_come_back(two):
    first, second, _ = two
    names = {0: ["a", "b", "c", "d"], 1: ["c", "a", "x", "b"]}
    chosen, frame = tl.select(
        {0: {"validation": {"marginal": -10.0}}, 1: {"validation": {"marginal": -11.0}}},
        {0: first, 1: second},
        {s: table(n) for s, n in names.items()},
    )
    assert chosen["seed"] == 0
    assert chosen["n_stable"] == 3
    assert list(frame["stable"]) == [True, False, True, True]
    assert list(frame["n_returned"]) == [1, 0, 1, 1]
    assert list(frame["same_name"]) == [1, 1, 1, 0]


def test_fewer_axes_elsewhere_and_inactive_ones(two):
    first, second, _ = two
    second.var["active"] = [True, True, False, False]
    first.var["active"] = [True, True, True, False]
    frame = tl.stability({0: first, 1: second}, 0)
    assert list(frame["n_returned"]) == [1, 0, 1, 0]
    assert frame["stable"].isna().tolist() == [False, False, False, True]


def test_one_seed_leaves_stability_open(two):
    chosen, frame = tl.select({5: {"validation": {"marginal": -3.0}}}, {5: two[0]}, {5: table(list("abcd"))})
    assert chosen["seed"] == 5
    assert chosen["n_stable"] is None
    assert frame["stable"].isna().all()


def test_test_cells_do_not_enter(two):
    first, second, _ = two
    split = np.array(["train"] * 200 + ["test"] * 100)
    first.obs["split"] = split
    before = tl.stability({0: first, 1: second}, 0)
    second.X[200:] = np.random.default_rng(5).normal(size=(100, 4))
    pd.testing.assert_frame_equal(before, tl.stability({0: first, 1: second}, 0))


def test_the_seed_is_chosen_on_validation_cells_alone(two):
    metrics = {
        0: {"validation": {"marginal": -12.0}, "test": {"marginal": -1.0}},
        1: {"validation": {"marginal": -11.0}, "test": {"marginal": -99.0}},
    }
    chosen, _ = tl.select(metrics, dict(enumerate(two[:2])), {s: table(list("abcd")) for s in (0, 1)})
    assert chosen["seed"] == 1


def test_a_failed_seed_is_left_out_and_all_failed_is_one_line(two):
    latents, axes = dict(enumerate(two[:2])), {s: table(list("abcd")) for s in (0, 1)}
    chosen, frame = tl.select(
        {0: {"validation": {"marginal": float("nan")}}, 1: {"validation": {"marginal": -4.0}}}, latents, axes
    )
    assert (chosen["seed"], chosen["failed"], frame["n_seeds"].max()) == (1, [0], 0)
    with pytest.raises(InputError, match="no seed can be selected"):
        tl.select({0: {"validation": {"marginal": None}}}, {0: two[0]}, {0: axes[0]})


def test_seeds_of_other_cells_are_refused(two):
    other = two[1][:100].copy()
    with pytest.raises(InputError, match="not trained on the same cells"):
        tl.stability({0: two[0], 1: other}, 0)


def test_models_table_holds_what_the_stages_said(two):
    axes = table(list("abcd")).assign(
        mi_S_score=[0.1, 0.9, 0.3, 0.0],
        spearman_S_score=[0.1, -0.8, 0.2, 0.0],
        kind=["technical", "cell cycle", "unnamed", "label"],
    )
    metrics = {"model": "nb", "seed": 3, "decoder": "mlp", "test": {"marginal": -5.0, "kl": 2.0}, "n_active": 4}
    row = tl.compare({("nb", 3): metrics}, {("nb", 3): axes}, selected={"nb": 3}).iloc[0]
    assert (row["model"], row["seed"], row["selected"], row["test_marginal"]) == ("nb", 3, True, -5.0)
    assert (row["best_axis_S"], row["best_mi_S"], row["second_mi_S"]) == ("axis_2", 0.9, 0.3)
    assert row["best_spearman_S"] == 0.8
    assert (row["n_named"], row["n_technical"], row["n_strong"]) == (3, 1, 4)
