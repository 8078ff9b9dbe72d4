"""Traversals against the definition, done again by hand in float64 on a model whose decoder is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from paths_world import World, make_world, true_cycle
from scipy import stats

from sclatent import tl
from sclatent.data import slots
from sclatent.tl._paths import decode as _decode


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(240, 200)


@pytest.fixture(scope="module")
def result(world):
    return tl.traverse(world.prepared, true_cycle(world.prepared), world.latent, world.model, traverse={"steps": 11})


def test_curves_are_means_over_cells_with_one_axis_moved(world, result):
    """All 240 cells are averaged, since that is fewer than 256."""
    z0, w = np.asarray(world.latent.X, dtype=np.float64), world.model.weights
    batch = (world.prepared.obs["batch"] == "batch2").to_numpy(dtype=int)
    for k in (0, 3):
        low, high = np.percentile(z0[:, k], [1, 99])
        block = result[result.obs["path"] == f"axis_{k + 1}"]
        np.testing.assert_allclose(block.obs["position"], np.linspace(low, high, 11), rtol=1e-6)
        for step in (0, 5, 10):
            z = z0.copy()
            z[:, k] = np.linspace(low, high, 11)[step]
            rate = np.exp(z @ w + world.model.offset[batch])
            want = (rate / rate.sum(axis=1, keepdims=True)).mean(axis=0)
            np.testing.assert_allclose(block.X[step], want, rtol=2e-4)


def test_scores_can_be_had_again_from_the_file_alone(result):
    logged, var = np.log(result.X.astype(np.float64)), result.var
    for column, phase, control in (("S_score", "S", "S_control"), ("G2M_score", "G2M", "G2M_control")):
        listed = (var["list_phase"] == phase).to_numpy()
        want = logged[:, listed].mean(axis=1) - logged[:, var[control].to_numpy()].mean(axis=1)
        np.testing.assert_allclose(result.obs[column], want, atol=1e-5)
        assert not (var[control].to_numpy() & (var["list_phase"] != "").to_numpy()).any()


def test_control_genes_are_as_abundant_as_the_list_genes(world):
    rng = np.random.default_rng(0)
    genes = pd.Index([f"g{i}" for i in range(2000)])
    mean = np.exp(rng.normal(-8, 1.5, 2000))
    cycle = pd.DataFrame({"phase": ["S"] * 30 + ["G2M"] * 30}, index=genes[np.argsort(-mean)[100:160]])
    chosen = _decode.score_genes(genes, cycle, mean)
    for listed, control in ((chosen.s, chosen.s_control), (chosen.g2m, chosen.g2m_control)):
        assert np.log(mean[control]).mean() == pytest.approx(np.log(mean[listed]).mean(), abs=0.1)
        assert abs(np.log(mean).mean() - np.log(mean[listed]).mean()) > 1


def test_a_score_of_too_few_genes_is_missing():
    """As in the cycle stage: with one list gene the score would be that gene."""
    genes = pd.Index([f"g{i}" for i in range(200)])
    cycle = pd.DataFrame({"phase": ["S"] * 4 + ["G2M"] * 5}, index=genes[:9])
    chosen = _decode.score_genes(genes, cycle, np.full(200, 1 / 200))
    assert not chosen.s.any()
    s, g2m = chosen.scores(np.full((3, 200), 1 / 200))
    assert np.isnan(s).all()
    assert np.isfinite(g2m).all()


def test_axes_of_the_cycle_move_the_scores_and_others_do_not(result):
    span = result.obs.groupby("path", observed=True)[["S_score", "G2M_score"]].agg(np.ptp).max(axis=1)
    assert span["axis_1"] > 0.5
    assert span["axis_4"] < 0.1


def test_spread_is_the_posterior_s_own(world):
    """Log fraction = z · w without softmax: log-normal, whose SD scipy knows; scores have that of z · w · contrast."""
    w = np.array([[0.5, -0.2, 0.0], [0.1, 0.3, 0.2]])
    mean, sd = np.array([[0.2, -0.3], [1.0, 0.5]]), np.array([[0.3, 0.2], [0.1, 0.4]])
    draws = _decode.posterior_draws(mean, sd, 40_000, 0)
    contrast = np.array([[1.0], [-1.0], [0.0]])
    genes, scores = _decode.spread(
        lambda z, _: (z @ w).astype(np.float32), lambda z: z, draws[:4000], np.arange(2), contrast
    )
    variance = [
        [stats.lognorm.var(s, scale=np.exp(m)) for m, s in zip(a, b, strict=True)]
        for a, b in zip(mean @ w, np.sqrt(sd**2 @ w**2), strict=True)
    ]
    np.testing.assert_allclose(genes, np.sqrt(np.mean(variance, axis=0)), rtol=0.05)
    want = np.sqrt(np.mean(sd**2 @ (w @ contrast) ** 2))
    assert scores[0] == pytest.approx(want, rel=0.05)


def test_sd_does_not_shrink_with_cells_and_is_zero_for_what_the_axis_alone_drives(world, result):
    assert (result.layers["sd"] >= 0).all()
    assert result.layers["sd"].max() > 0
    sharp = world.latent.copy()
    sharp.layers[slots.SD] = np.zeros_like(sharp.layers[slots.SD])
    from sclatent.settings import DatasetSettings

    settings = DatasetSettings(name="t", file="t.yaml", counts="-", traverse={"steps": 5})
    again = tl.traverse(world.prepared, true_cycle(world.prepared), sharp, world.model, **settings.parts(tl.traverse))
    assert again.layers["sd"].max() < 1e-6


def test_densities_are_kernel_densities():
    rng = np.random.default_rng(1)
    x = rng.normal(2, 3, 400)
    at = np.linspace(-4, 8, 15)
    density, near = _decode.density_on_line(at, x)
    width = 0.9 * min(x.std(), stats.iqr(x) / 1.34) * 400**-0.2
    want = stats.gaussian_kde(x, bw_method=width / x.std(ddof=1))(at)
    np.testing.assert_allclose(density, want, rtol=1e-6)
    assert near.max() > 20
    angle = rng.vonmises(1, 2, 300) % (2 * np.pi)
    at = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    density, _ = _decode.density_on_circle(at, angle, 24)
    kernel = stats.vonmises(1 / (2 * np.pi / 24) ** 2)
    np.testing.assert_allclose(density[::40], [kernel.pdf(a - angle).mean() for a in at[::40]], rtol=1e-6)
    assert density.mean() * 2 * np.pi == pytest.approx(1, rel=1e-3)


def test_steps_without_cells_are_marked():
    x = np.r_[np.random.default_rng(0).normal(-5, 0.3, 100), np.random.default_rng(1).normal(5, 0.3, 100)]
    _, near = _decode.density_on_line(np.array([-5.0, 0.0, 5.0]), x)
    assert (near >= _decode.MIN_SUPPORT).tolist() == [True, False, True]


def test_cells_are_picked_in_proportion_and_always_the_same():
    strata = np.repeat([0, 1, 2], [700, 200, 100])
    picked = _decode.pick_cells(strata, 100)
    assert np.bincount(strata[picked]).tolist() == [70, 20, 10]
    assert (picked == _decode.pick_cells(strata, 100)).all()
    assert len(np.unique(picked)) == 100
    assert set(_decode.pick_cells(strata, 50, among=strata == 2)) <= set(np.flatnonzero(strata == 2))
    assert (_decode.pick_cells(strata, 5000) == np.arange(1000)).all()


def test_no_active_axis_and_no_list_gene(world, tmp_path):
    latent = world.latent.copy()
    latent.var["active"] = False
    cycle = true_cycle(world.prepared)[:, []].copy()
    out = tl.traverse(world.prepared, cycle, latent, world.model)
    assert out.shape == (0, 200)
    out.write_h5ad(tmp_path / "empty.h5ad")
    latent.var["active"] = [True, False, False, False]
    out = tl.traverse(world.prepared, cycle, latent, world.model, traverse={"steps": 5})
    assert out.obs["S_score"].isna().all()
    assert out.n_obs == 5


def test_same_inputs_same_bytes(world, tmp_path):
    for name in ("a", "b"):
        out = tl.traverse(world.prepared, true_cycle(world.prepared), world.latent, world.model, traverse={"steps": 5})
        out.write_h5ad(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
