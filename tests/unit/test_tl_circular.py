"""Axes that are angles: named, matched and walked along as angles, whatever their origin and direction."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import sclatent as sl
from sclatent.data import slots
from sclatent.settings import DatasetSettings
from sclatent.tl._axes import circular
from sclatent.tl._axes.association import Variable, eta_squared, permutation_p, spearman
from sclatent.tl._axes.stability import correlation, match_axes

TURNS = (0.0, 1.0, 3.0, -2.0)


def wrapped(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    angle = rng.uniform(-np.pi, np.pi, 400)
    line = rng.normal(size=400)
    number = np.cos(angle - 1) + 0.3 * rng.normal(size=400)
    groups = ((angle + np.pi) // (2 * np.pi / 3)).astype(int)
    return np.column_stack([line, angle]), number, groups, np.array([False, True])


@pytest.mark.parametrize("turn", TURNS)
def test_effects_are_those_of_a_regression_on_cosine_and_sine_wherever_the_circle_is_cut(cells, turn):
    z, number, groups, angles = cells
    turned = z.copy()
    turned[:, 1] = wrapped(turn - z[:, 1])
    ranks = pd.Series(number).rank().to_numpy()
    design = np.column_stack([np.cos(z[:, 1]), np.sin(z[:, 1])])
    expected = np.sqrt(LinearRegression().fit(design, ranks).score(design, ranks))
    assert spearman(turned, number, angles)[1] == pytest.approx(expected)
    assert spearman(turned, number, angles)[0] == spearman(z, number)[0]
    # three sectors of a third each: in closed form 27/(4π²) of the variance of cosine and sine lies between them
    assert eta_squared(turned, groups, angles)[1] == pytest.approx(27 / (4 * np.pi**2), abs=0.02)


def test_a_cut_angle_hides_what_the_circle_shows(cells):
    _, number, _, _ = cells
    z = np.random.default_rng(3).uniform(-np.pi, np.pi, (400, 1))
    number = np.cos(z[:, 0])
    assert abs(spearman(z, number)[0]) < 0.1
    assert spearman(z, number, np.array([True]))[0] > 0.95


def test_permutations_find_the_circle_and_nothing_else(cells):
    z, number, groups, angles = cells
    noise = np.random.default_rng(7).normal(size=400)
    variables = [
        Variable("number", number, None, "label"),
        Variable("noise", noise, None, "label"),
        Variable("groups", groups, ("a", "b", "c"), "label"),
    ]
    p = permutation_p(z, variables, np.zeros(400, int), angles=angles, n=199)
    assert p[1, 0] == p[1, 2] == pytest.approx(1 / 200)
    assert p[1, 1] > 0.02
    assert (p[0] > 0.02).all()
    flat = permutation_p(z, variables, np.zeros(400, int), n=199)
    np.testing.assert_array_equal(p[0], flat[0])


def test_a_constant_angle_goes_with_nothing(cells):
    _, number, groups, _ = cells
    z = np.full((400, 1), 0.7)
    assert spearman(z, number, np.array([True]))[0] == 0
    assert eta_squared(z, groups, np.array([True]))[0] == 0


@pytest.mark.parametrize("turn", TURNS)
def test_an_angle_comes_back_under_any_origin_and_direction(cells, turn):
    z, _, _, angles = cells
    other = np.column_stack([wrapped(turn - z[:, 1]), z[:, 0]])
    found = correlation(z, other, angles, angles[::-1])
    assert found[1, 0] == pytest.approx(1)
    assert found[0, 1] == pytest.approx(1)
    assert found[0, 0] < 0.2
    assert found[1, 1] < 0.2
    loadings = np.abs(np.random.default_rng(0).normal(size=(2, 30)))
    match, means, _ = match_axes(z, other, loadings, loadings[::-1], angles, angles[::-1])
    assert match.tolist() == [1, 0]
    np.testing.assert_allclose(means, 1)


def test_angle_with_angle_is_rotation_invariant():
    rng = np.random.default_rng(1)
    a = circular.basis(rng.vonmises(0, 1, 300))
    assert circular.with_angles(a, a @ np.array([[0.6, -0.8], [0.8, 0.6]])) == pytest.approx(1)


@pytest.fixture(scope="module")
def world():
    counts = sl.simulate(400, 300, seed=0)
    settings = DatasetSettings.model_validate({"name": "t", "file": "t", "counts": "-", "batch": "batch"})
    prepared = sl.pp.prepare(counts, **settings.parts(sl.pp.prepare))
    cycle = sl.tl.cycle(prepared, **settings.parts(sl.tl.cycle))
    model = {"latent": {"gaussian": 5, "circle": 1}, "epochs": 40, "refit": False}
    trained = sl.tl.train(prepared, model=model, start=cycle, **settings.parts(sl.tl.train))
    return prepared, cycle, sl.tl.embed(prepared, trained), trained


def test_the_circle_of_a_model_is_named_after_the_cycle_and_walked_all_the_way_round(world, tmp_path):
    prepared, cycle, latent, trained = world
    axes = sl.tl.annotate(prepared, cycle, latent, batch="batch").set_index("axis")
    assert axes.loc["axis_6", "kind"] == "cell cycle"
    assert axes.loc["axis_6", "genes_down"] == ""
    loadings = np.asarray(latent.varm["loadings"])
    assert (loadings[5] >= 0).all()
    walked = sl.tl.traverse(prepared, cycle, latent, trained)
    turn = walked[walked.obs["path"] == "axis_6"]
    assert turn.obs["position"].iloc[[0, -1]].tolist() == pytest.approx([-np.pi, np.pi])
    np.testing.assert_allclose(turn.X[0], turn.X[-1], rtol=1e-4)
    level = np.log(np.asarray(turn.X))
    # loadings are means of logs, traversals logs of means over other cells: they agree, not to the last digit
    assert np.corrcoef(np.ptp(level, axis=0) / 4, loadings[5])[0, 1] > 0.95
    sl.io.write_h5ad(walked, tmp_path / "traversals.h5ad")
    view = sl.io.read_h5ad(tmp_path / "traversals.h5ad")
    assert list(view.uns[slots.UNS]["traverse"]["angles"]) == ["axis_6"]
    figures = sl.pl.traversals(view, axes.reset_index())
    labels = [ax.get_xlabel() for ax in figures["axis_6"].axes]
    assert "position on axis_6 (radians)" in labels
    straight = latent.var_names[latent.var["active"]][0]
    assert f"position on {straight} (latent units)" in [ax.get_xlabel() for ax in figures[straight].axes]
