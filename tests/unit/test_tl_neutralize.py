"""Holding the cycle still, and setting cells to a phase, on a model whose ring is known."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from paths_world import World, make_world, true_cycle

from sclatent import tl
from sclatent.data import slots
from sclatent.settings import InputError
from sclatent.tl._paths import closed_path
from sclatent.tl._paths.knob_file import write_path
from sclatent.tl._paths.neutralize import neutral_embedding, neutral_measures

PHASES = {"G1": 1.0, "S": 3.0, "G2M": 5.2}


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(500, 200)


@pytest.fixture(scope="module")
def knob(world):
    cycle = true_cycle(world.prepared, noise=0.1)
    on = cycle.obs[slots.CYCLING].to_numpy()
    means = np.asarray(world.latent.X, dtype=np.float64)
    path = closed_path.fit_path(
        means, cycle.obs[slots.CYCLE_ANGLE].to_numpy(), cycle.obs[slots.CYCLE_SD].to_numpy(), on, harmonics=1
    )
    neutral = neutral_embedding(means, path, on, PHASES["G1"])
    return write_path(cycle, path, verdict="cell-cycle knob", reason="", phases=PHASES, neutral=neutral)


def test_cycling_cells_come_to_one_point_per_type_and_resting_cells_stay(world, knob):
    out = tl.neutralize(world.prepared, world.latent, world.model, knob)
    on = world.prepared.obs[slots.TRUE_CYCLING].to_numpy(dtype=bool)
    before, after = np.asarray(world.latent.X), out.obsm[slots.X_NEUTRAL]
    np.testing.assert_array_equal(after[~on], before[~on])
    np.testing.assert_allclose(after[on][:, :2].mean(axis=0), [np.cos(1), np.sin(1)], atol=0.05)
    assert after[on][:, :2].std(axis=0).max() < 0.15 < 0.6 < before[on][:, :2].std(axis=0).min()
    np.testing.assert_allclose(after[:, 3], before[:, 3], atol=0.05)
    np.testing.assert_allclose(after, knob.obsm[slots.X_NEUTRAL], atol=1e-5)


def test_decoded_expression_no_longer_follows_the_cycle(world, knob):
    out = tl.neutralize(world.prepared, world.latent, world.model, knob, decode=True)
    assert out.shape == world.prepared.shape
    np.testing.assert_allclose(out.X.sum(axis=1), 1, rtol=1e-4)
    on = world.prepared.obs[slots.TRUE_CYCLING].to_numpy(dtype=bool)
    genes = world.prepared.var[slots.TRUE_AMPLITUDE].to_numpy() > 0.7
    angle = world.prepared.obs[slots.TRUE_ANGLE].to_numpy()[on]

    def follows(z):
        batch = world.prepared.obs["batch"].cat.codes.to_numpy()[:, None]
        logged = world.model.log_fraction(z, batch)[on][:, genes]
        return np.abs(2 * np.mean((logged - logged.mean(axis=0)) * np.exp(1j * angle)[:, None], axis=0))

    assert np.median(follows(out.obsm[slots.X_NEUTRAL])) < 0.15 * np.median(follows(world.latent.X))


def test_the_file_holds_what_memory_would(world, knob, tmp_path):
    path = tl.neutralize(world.prepared, world.latent, world.model, knob, decode=True, out=tmp_path / "neutral.h5ad")
    want = tl.neutralize(world.prepared, world.latent, world.model, knob, decode=True)
    back = ad.read_h5ad(path)
    np.testing.assert_array_equal(back.X, want.X)
    np.testing.assert_array_equal(back.obsm[slots.X_NEUTRAL], want.obsm[slots.X_NEUTRAL])
    assert list(back.var_names) == list(world.model.card["genes"])


def test_cells_set_to_a_phase_lie_there_and_keep_their_type(world, knob):
    cells = list(world.prepared.obs_names[[3, 7, 11]])
    out = tl.set_phase(world.prepared, world.latent, world.model, knob, cells, "S")
    z = out.obsm[slots.X_LATENT]
    np.testing.assert_allclose(z[:, :2], [[np.cos(3), np.sin(3)]] * 3, atol=0.15)
    np.testing.assert_allclose(z[:, 3], world.latent.X[[3, 7, 11], 3], atol=0.05)
    batch = world.prepared.obs["batch"].cat.codes.to_numpy()[[3, 7, 11], None]
    np.testing.assert_allclose(np.log(out.X), world.model.log_fraction(z, batch), atol=1e-4)
    mask = world.prepared.obs_names.isin(cells)
    for same in (np.array([3, 7, 11]), mask):
        np.testing.assert_array_equal(tl.set_phase(*_all(world, knob), same, 3.0).X, out.X)


def _all(world, knob):
    return world.prepared, world.latent, world.model, knob


@pytest.mark.parametrize(
    ("cells", "line"),
    [
        (["nobody"], "no cell called 'nobody'"),
        (np.array([500]), "no cell at position 500, of 500 cells"),
        (np.array([-1]), "no cell at position -1"),
        (np.ones(3, bool), "a mask of 3 cells for 500 cells"),
    ],
)
def test_cells_that_are_not_there(world, knob, cells, line):
    with pytest.raises(InputError, match=line):
        tl.set_phase(*_all(world, knob), cells, "S")


def test_a_file_without_decoding_is_a_mistake(world, knob, tmp_path):
    with pytest.raises(InputError, match="set decode=True"):
        tl.neutralize(*_all(world, knob), out=tmp_path / "x.h5ad")
    assert not (tmp_path / "x.h5ad").exists()


def test_measures_tell_the_cycle_from_the_labels():
    """Two dimensions of cycle that the scores follow, two of labels: after taking out the first, only scores suffer."""
    rng = np.random.default_rng(0)
    angle, label = rng.uniform(0, 2 * np.pi, 800), rng.integers(3, size=800)
    means = np.c_[np.cos(angle), np.sin(angle), 3 * (label == 1), 3 * (label == 2)] + rng.normal(0, 0.2, (800, 4))
    neutral = means.copy()
    neutral[:, :2] = rng.normal(0, 0.2, (800, 2))
    obs = pd.DataFrame({slots.S_SCORE: np.cos(angle), slots.G2M_SCORE: np.sin(angle), slots.CYCLING: True})
    found = neutral_measures(means, neutral, obs, {"type": pd.Series(label), "one": pd.Series(["a"] * 800)})
    assert found["variance_removed"] == pytest.approx(1 - neutral.var(axis=0).sum() / means.var(axis=0).sum())
    for score in ("S_score_r2", "G2M_score_r2"):
        assert found[score]["before"] > 0.8
        assert found[score]["after"] < 0.1
    assert found["labels"]["type"]["before"] > 0.98
    assert found["labels"]["type"]["after"] > 0.98
    assert "one" not in found["labels"]


def test_a_label_with_rare_levels_says_nothing_of_scikit_learn():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(200, 3))
    obs = pd.DataFrame({slots.S_SCORE: means[:, 0], slots.G2M_SCORE: means[:, 1], slots.CYCLING: True})
    rare = pd.Series(["common"] * 150 + [f"level {k}" for k in range(50)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = neutral_measures(means, means * 0.5, obs, {"rare": rare})
    assert 0 < found["labels"]["rare"]["before"] < 1
