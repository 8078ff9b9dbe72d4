"""Rates of synthesis, splicing and degradation: against integration of the equations, and against simulated truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from kinetics_world import world
from scipy.integrate import solve_ivp
from scipy.stats import nbinom, poisson

import sclatent as sl
from sclatent.settings import InputError
from sclatent.tl._kinetics.counts import Binned
from sclatent.tl._kinetics.mechanism import BINS, GRID, solve, waves
from sclatent.tl._kinetics.posterior import climb, explore, quantiles

RATES = ("splicing", "degradation")


@pytest.fixture(scope="module")
def cells() -> AnnData:
    return world(theta=4.0)


@pytest.fixture(scope="module")
def found(cells: AnnData) -> pd.DataFrame:
    return sl.tl.kinetics(cells, library="size")


@pytest.mark.parametrize("gamma", [0.05, 1.0, 20.0])
def test_the_closed_form_is_what_integration_ends_at(gamma: float) -> None:
    parameters = np.array([0.3, 0.9, np.log(gamma), 0.8, -0.5, 0.2, 0.3])
    alpha, u, s = solve(parameters, 2)
    beta = gamma * np.exp(0.9)
    np.testing.assert_allclose(u.mean(), np.exp(0.3))
    np.testing.assert_allclose(s.mean() / u.mean(), np.exp(0.9))
    shape = np.exp(parameters[3:] @ waves(2))
    scale = (alpha / shape)[0]
    np.testing.assert_allclose(alpha, scale * shape)

    def flow(x: float, y: np.ndarray) -> list[float]:
        made = scale * np.exp(0.8 * np.cos(x) - 0.5 * np.sin(x) + 0.2 * np.cos(2 * x) + 0.3 * np.sin(2 * x))
        return [made - beta * y[0], beta * y[0] - gamma * y[1]]

    # from the periodic solution, one turn later the same, and on the way what the grid says
    there = solve_ivp(flow, (0, 2 * np.pi), [u[0], s[0]], method="LSODA", rtol=1e-9, atol=1e-10, dense_output=True)
    np.testing.assert_allclose(there.sol(GRID), [u, s], rtol=1e-5)
    np.testing.assert_allclose(there.y[:, -1], [u[0], s[0]], rtol=1e-5)


@pytest.mark.parametrize("theta", [3.0, 1e4])
def test_the_likelihood_is_that_of_scipy(theta: float) -> None:
    rng = np.random.default_rng(0)
    angle, library = rng.uniform(0, 2 * np.pi, 80), rng.lognormal(0, 0.3, 80)
    counts = rng.poisson(3, (2, 80, 1)).astype(float)
    binned = Binned.of(counts, library, GRID[np.rint(angle / (2 * np.pi) * BINS).astype(int) % BINS])
    binned = Binned(
        *(getattr(binned, name) for name in ("counts", "library", "bin", "starts", "held")), np.full((2, 1), theta)
    )
    log_mean = rng.normal(0.5, 0.3, (4, 2 * BINS))
    ours = binned.log_likelihood(log_mean, 0)
    theirs = []
    for one in log_mean:
        mu = np.exp(one.reshape(2, BINS)[:, binned.bin]) * binned.library
        x = binned.counts[:, :, 0]
        law = nbinom.logpmf(x, theta, theta / (theta + mu)) if theta < 1e4 else poisson.logpmf(x, mu)
        theirs.append(law.sum())
    np.testing.assert_allclose(ours - ours[0], np.array(theirs) - theirs[0], rtol=1e-6, atol=1e-6)
    h = 1e-5
    slope, _ = binned.slope(log_mean[:1])
    for place in (binned.held[0], BINS + binned.held[3]):
        step = np.zeros(2 * BINS)
        step[place] = h
        up, down = binned.log_likelihood(log_mean[:1] + step, 0), binned.log_likelihood(log_mean[:1] - step, 0)
        np.testing.assert_allclose(slope[0, place], (up - down) / (2 * h), rtol=1e-3, atol=1e-4)


def test_importance_weights_mend_what_is_not_normal() -> None:
    """One parameter, counts that say little of it: the posterior is skewed, and known by quadrature."""
    counts = np.zeros((1, 60, 1))
    counts[0, 0] = 1.0
    binned = Binned.of(counts, np.ones(60), np.linspace(0, 6, 60))

    def curve(p: np.ndarray) -> np.ndarray:
        return np.repeat(p, BINS, axis=-1)

    mean, sd = np.array([[0.0]]), np.array([[3.0]])
    modes = [climb(curve, binned, np.array([[start]]), mean, sd) for start in (0.0, -5.0)]
    posterior = explore(curve, binned, modes, mean, sd, [[0]])
    grid = np.linspace(-14, 4, 20_000)
    density = np.exp(binned.log_likelihood(curve(grid[:, None]), 0) - 0.5 * (grid / 3) ** 2)
    exact = np.interp((0.05, 0.5, 0.95), np.cumsum(density) / density.sum(), grid)
    np.testing.assert_allclose(
        quantiles(posterior.draws[:, :, 0], posterior.weight, (0.05, 0.5, 0.95))[0], exact, atol=0.15
    )
    assert posterior.ess[0] > 500


def test_intervals_cover_the_truth_and_rates_follow_it(cells: AnnData, found: pd.DataFrame) -> None:
    for rate in RATES:
        truth = cells.var[rate]
        inside = (found[f"{rate}_low"] <= truth) & (truth <= found[f"{rate}_high"])
        assert 0.85 <= inside.mean() <= 0.95
        assert np.corrcoef(np.log(truth), np.log(found[rate]))[0, 1] >= 0.92
        assert (found[f"{rate}_low"] < found[rate]).all()
        assert (found[rate] < found[f"{rate}_high"]).all()
    assert found["ess"].median() > 300
    assert found.attrs == {"unit": "per radian", "period": None, "cells": 1000}
    assert found["correlation"].median() > 0.3  # what a mean-field posterior leaves out


def test_the_same_seed_gives_the_same_and_a_gene_does_not_depend_on_the_others(
    cells: AnnData, found: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = ["g7", "g3"]
    monkeypatch.setattr("sclatent.tl._kinetics.stage.AT_ONCE", 1000)  # one gene at a time
    again = sl.tl.kinetics(cells, library="size", genes=some)
    assert list(again.index) == some
    np.testing.assert_allclose(again[list(RATES)], found.loc[some, list(RATES)], rtol=1e-4)
    pd.testing.assert_frame_equal(again, sl.tl.kinetics(cells, library="size", genes=some))


def test_hours_need_a_period_and_cells_without_an_angle_are_left_out(cells: AnnData) -> None:
    some = cells[:, ["g1", "g2"]].copy()
    plain = sl.tl.kinetics(some, library="size")
    lost = AnnData(some.X, obs=some.obs.copy(), var=some.var, layers=dict(some.layers))
    more = sl.tl.kinetics(some, library="size", period=24.0)
    np.testing.assert_allclose(more["degradation"], plain["degradation"] * 2 * np.pi / 24)
    np.testing.assert_allclose(more["synthesis_low"], plain["synthesis_low"] * 2 * np.pi / 24)
    np.testing.assert_allclose(more["peak"], plain["peak"])
    assert more.attrs["unit"] == "per hour"
    lost.obs.iloc[:300, 0] = np.nan
    assert sl.tl.kinetics(lost, library="size").attrs["cells"] == 700


def test_a_gene_that_is_never_seen_unspliced_has_no_rates(cells: AnnData) -> None:
    some = cells[:, ["g1", "g2"]].copy()
    layer = some.layers["unspliced"].copy()
    layer[:, 0] = 0
    some.layers["unspliced"] = layer
    table = sl.tl.kinetics(some, library="size")
    assert np.isnan(
        table.loc["g1", ["splicing", "degradation", "degradation_low", "synthesis", "ess"]].astype(float)
    ).all()
    assert table.loc["g1", "spliced_mean"] > 0
    assert table.loc["g2", "degradation"] > 0


def test_from_spliced_counts_alone_degradation_is_bounded_from_below_only(cells: AnnData) -> None:
    table = sl.tl.kinetics(cells, library="size", unspliced=None)
    assert (table["degradation_low"] <= cells.var["degradation"]).mean() >= 0.95
    assert np.isinf(table["degradation_high"]).all()
    assert table["degradation"].isna().all()
    assert (table["degradation_low"] > 0.2 * cells.var["degradation"]).mean() > 0.3  # it says something
    assert not {"splicing", "synthesis"} & set(table.columns)
    flat = world(400, 20, seed=3)
    flat.obs["cycle_angle"] = np.random.default_rng(0).permutation(flat.obs["cycle_angle"])
    assert (sl.tl.kinetics(flat, library="size", unspliced=None)["degradation_low"] < 0.05).mean() >= 0.9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"unspliced": "unsplised"}, r"no layer 'unsplised' \(did you mean 'unspliced'\?\)"),
        ({"spliced": "X"}, "no layer 'X'"),
        ({"angle": "angle"}, "angle: obs has no column 'angle'"),
        ({"library": "depth"}, "library: obs has no column 'depth'"),
        ({"genes": ["g1", "g1000"]}, "no gene 'g1000'"),
        ({"genes": []}, "genes: none is named"),
        ({"period": 0}, "period: 0 hours is not a period"),
        ({"period": float("nan")}, "is not a period"),
        ({"angle": "name"}, "column 'name' holds no numbers"),
        ({"angle": "nowhere"}, "0 cells have an angle in obs column 'nowhere'"),
        ({"spliced": "half"}, "layer 'half' holds values that are not counts"),
        ({"spliced": "minus"}, "layer 'minus' holds values that are not counts"),
    ],
)
def test_mistakes_get_one_line(cells: AnnData, change: dict, said: str) -> None:
    some = cells[:100, :3].copy()
    some.obs["name"], some.obs["nowhere"] = "a", np.nan
    some.layers["half"], some.layers["minus"] = some.layers["spliced"] + 0.5, -some.layers["spliced"] - 1
    with pytest.raises(InputError, match=said) as caught:
        sl.tl.kinetics(some, **change)
    assert str(caught.value).startswith("kinetics: ")
    assert "\n" not in str(caught.value)
