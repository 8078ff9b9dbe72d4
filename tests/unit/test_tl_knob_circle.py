"""The knob of a model with an angle among its axes: the same wherever the circle is cut and whichever way it runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from paths_world import KnownModel, World, make_world, true_cycle

import sclatent as sl
from sclatent.data import slots
from sclatent.model import CountVAE
from sclatent.model.parts.latents.blocks import make_latent
from sclatent.settings import InputError, ModelSettings
from sclatent.tl._paths import evidence
from sclatent.tl._paths.knob_file import read_path
from sclatent.tl._paths.space import Space, space_of, space_of_model

SD = 0.2
LATENT = {"gaussian": 2, "circle": 1}


@dataclass
class CircleModel(KnownModel):
    """The known model with an angle: resting cells are off the circle, where the angle says nothing."""

    turn: float = 0.0
    way: int = 1

    latent = make_latent(ModelSettings(latent=LATENT).latent, 3)

    def log_fraction(self, z, categorical=None, continuous=None, *, of="rna"):  # type: ignore[no-untyped-def]
        rest, kind, angle = np.asarray(z, dtype=np.float64).T
        cycle = self.way * (angle - self.turn)
        flat = np.stack([(1 - rest) * np.cos(cycle), (1 - rest) * np.sin(cycle), rest, kind], axis=1)
        return super().log_fraction(flat, categorical, continuous, of=of)

    def draws(self, data, indices, n, *, seed=0):  # type: ignore[no-untyped-def]
        noise = np.random.default_rng(seed).normal(0, SD, (n, len(indices), 3))
        z = self.mean[indices] + noise
        z[..., 2] = wrapped(z[..., 2])
        return z.astype(np.float32)


def wrapped(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def on_a_circle(turn: float, way: int) -> World:
    """Return the world of `make_world`, whose first two axes are one angle: cut at `turn`, running `way`."""
    world = make_world()
    z = np.asarray(world.latent.X, dtype=np.float64)
    on = world.prepared.obs[slots.TRUE_CYCLING].to_numpy(dtype=bool)
    anywhere = np.random.default_rng(5).uniform(-np.pi, np.pi, len(z))
    angle = np.where(on, np.arctan2(z[:, 1], z[:, 0]), anywhere)
    mean = np.stack([z[:, 2], z[:, 3], wrapped(turn + way * angle)], axis=1)
    model = CircleModel(world.model.weights, world.model.offset, world.model.card, turn=turn, way=way)
    model.mean = mean
    latent = world.latent[:, :3].copy()
    latent.X = mean.astype(np.float32)
    latent.layers[slots.SD] = np.full(mean.shape, SD, np.float32)
    latent.var["active"], latent.var[slots.ANGLE] = True, [False, False, True]
    latent.uns[slots.LATENT] = LATENT
    return World(world.prepared, latent, model)


def judged(world: World):  # type: ignore[no-untyped-def]
    def stage(prepared, *, plan=None, **settings):  # type: ignore[no-untyped-def]
        return true_cycle(prepared, seed=prepared.n_vars)

    cycle = true_cycle(world.prepared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sclatent.tl._paths.held_out_genes.cycle_stage", stage)
        report, knob = sl.tl.knob(world.prepared, cycle, world.latent, world.model, batch="batch", labels=["cell_type"])
    paths = sl.tl.traverse(world.prepared, cycle, world.latent, world.model, knob, traverse={"steps": 24})
    return world, report, knob, paths


@pytest.fixture(scope="module")
def straight():
    return judged(on_a_circle(0.0, 1))


@pytest.fixture(scope="module", params=[(2.0, 1), (3.1, -1)], ids=["cut elsewhere", "cut in S, backwards"])
def turned(request):
    return judged(on_a_circle(*request.param))


def test_the_cut_makes_no_difference(straight, turned):
    for _, report, _, _ in (straight, turned):
        assert report["verdict"] == "cell-cycle knob"
        assert report["held_out"]["share_within"] > 0.8
    found, other = straight[1], turned[1]
    for entry, key in (("order", "lag"), ("order", "S_fold"), ("held_out", "swing"), ("path", "variance_share")):
        assert found[entry][key] == pytest.approx(other[entry][key], rel=0.02)
    for key in ("S_score_r2", "G2M_score_r2"):
        assert found["neutral"][key]["after"] == pytest.approx(other["neutral"][key]["after"], abs=0.03)
    here, there = (paths[paths.obs["path"] == "cycle"] for paths in (straight[3], turned[3]))
    np.testing.assert_allclose(np.log(here.X), np.log(there.X), atol=0.03)
    np.testing.assert_allclose(here.layers["sd"].mean(), there.layers["sd"].mean(), rtol=0.2)


def test_along_the_path_every_gene_peaks_at_its_true_phase(turned):
    world, _, _, paths = turned
    on = world.prepared.var[slots.TRUE_CYCLING].to_numpy(dtype=bool)
    error = evidence.apart(paths.var["cycle_peak"][on], world.prepared.var[slots.TRUE_PEAK][on])
    assert np.mean(error < np.pi / 8) > 0.95
    slope = np.polyfit(world.prepared.var[slots.TRUE_AMPLITUDE][on], paths.var["cycle_amplitude"][on], 1)[0]
    assert slope == pytest.approx(1, abs=0.15)


def test_the_path_goes_round_the_circle_once_and_says_what_its_coordinates_are(turned):
    world, report, knob, _ = turned
    path = read_path(knob)
    assert path.coefficients.shape[1] == 4
    steps = np.arange(48) * 2 * np.pi / 48
    angle = Space(np.array([False, False, True])).axes(path.center + path.at(steps))[:, 2]
    step = wrapped(np.diff(np.r_[angle, angle[0]]))
    assert np.abs(step).max() < 0.5
    assert step.sum() == pytest.approx(2 * np.pi * world.model.way)
    names = ["axis_1", "axis_2", "axis_3 cosine", "axis_3 sine"]
    assert list(knob.uns[slots.UNS]["knob"]["coordinates"]) == report["path"]["straight_axis"]["coordinates"] == names
    assert report["path"]["straight_axis"]["nearest_axis"] == "axis_3"
    assert 0.9 < report["path"]["straight_axis"]["cosine"] <= 1


def test_cells_held_still_come_to_one_angle_and_others_stay(turned):
    world, report, knob, _ = turned
    out = sl.tl.neutralize(world.prepared, world.latent, world.model, knob)
    before, after = np.asarray(world.latent.X), np.asarray(out.X)
    assert after.shape == before.shape
    on = world.prepared.obs[slots.TRUE_CYCLING].to_numpy(dtype=bool)
    np.testing.assert_array_equal(after[~on], before[~on])
    assert np.abs(after[:, 2]).max() <= np.pi + 1e-6
    at = wrapped(world.model.turn + world.model.way * report["path"]["reference_phase"])
    assert np.abs(np.exp(1j * after[on, 2]).mean()) > 0.9 > 0.3 > np.abs(np.exp(1j * before[on, 2]).mean())
    assert evidence.apart(np.angle(np.exp(1j * after[on, 2]).mean()), at) < 0.3
    np.testing.assert_allclose(after, knob.obsm[slots.X_NEUTRAL], atol=1e-5)


def test_cells_set_to_a_phase_decode_as_cells_of_that_phase(turned):
    world, _, knob, _ = turned
    on = np.flatnonzero(world.prepared.obs[slots.TRUE_CYCLING].to_numpy(dtype=bool))
    for phase in (0.2, 3.0, 6.1):
        out = sl.tl.set_phase(world.prepared, world.latent, world.model, knob, on, phase)
        z = np.asarray(out.obsm[slots.X_LATENT])
        want = wrapped(world.model.turn + world.model.way * phase)
        assert np.median(evidence.apart(z[:, 2], want)) < 0.2
        np.testing.assert_allclose(z[:, 1], world.latent.X[on, 1], atol=0.15)


def test_the_figure_draws_cells_and_path_in_the_same_plane(turned):
    from sclatent.pl._knob import _cells

    world, _, knob, _ = turned
    figure = _cells(knob, None, world.latent, true_cycle(world.prepared))
    dots = np.asarray(figure.axes[0].collections[-1].get_offsets())
    line = figure.axes[0].lines[0].get_xydata()
    near = np.linalg.norm(dots[:, None] - line[None], axis=2).min(axis=1)
    assert np.median(near) < 0.3
    assert np.ptp(line, axis=0).min() > 2


def test_a_path_of_an_earlier_version_is_one_line(turned):
    world, _, knob, _ = turned
    old = knob.copy()
    old.uns[slots.UNS]["knob"]["coefficients"] = old.uns[slots.UNS]["knob"]["coefficients"][:, :3]
    for use in (
        lambda: sl.tl.neutralize(world.prepared, world.latent, world.model, old),
        lambda: sl.tl.set_phase(world.prepared, world.latent, world.model, old, [0], "S"),
        lambda: sl.tl.traverse(world.prepared, true_cycle(world.prepared), world.latent, world.model, old),
    ):
        with pytest.raises(InputError, match=r"^knob\.h5ad: the path has 3 coordinates, and this model 4: run"):
            use()


# --- where cells can be ---


def test_coordinates_and_back():
    angles = np.array([False, True, False, True])
    z = np.random.default_rng(0).uniform(-np.pi, np.pi, (50, 4))
    space = Space(angles)
    assert space.size == 6
    np.testing.assert_allclose(space.axes(space.straight(z)), z, atol=1e-12)
    np.testing.assert_allclose(space.axes(0.1 * space.straight(z))[:, angles], z[:, angles], atol=1e-12)
    # a vague angle is near the middle: the mean of √2 (cos, sin) over its wrapped normal
    sd = np.full(z.shape, 0.8)
    drawn = z[:, None] + np.random.default_rng(1).normal(0, 0.8, (50, 20_000, 4)) * angles
    np.testing.assert_allclose(space.straight(z, sd), space.straight(drawn).mean(axis=1), atol=0.04)
    away = space.away(z, sd, drawn[:, 0] - z)
    np.testing.assert_allclose(space.straight(z, sd) + away, space.straight(drawn[:, 0]), atol=1e-12)
    assert space.names(["a", "b", "c", "d"]) == ["a", "b cosine", "c", "d cosine", "b sine", "d sine"]
    np.testing.assert_allclose(space.cosines(np.array([0.6, 0, 0, 0.48, 0, -0.64])), [0.6, 0, 0, 0.8])


def test_without_angles_and_bounds_nothing_is_touched():
    z = np.random.default_rng(0).normal(size=(5, 3))
    space = Space(np.zeros(3, bool))
    assert space.straight(z) is space.axes(z) is space.away(z, z, z) is z


BOUNDED = ("lognormal", "exponential", "gamma", "beta", "dirichlet", "logistic-normal", "states")


@pytest.mark.parametrize("kind", BOUNDED)
def test_positions_come_back_into_the_support(kind):
    """Beside a normal block and an angle, as alone: what a path adds can lead out of where cells can be."""
    for chosen, first in ((kind, 0), ({"gaussian": 2, kind: 3, "circle": 1}, 2)):
        settings = ModelSettings(latent=chosen, n_latent=3 if first == 0 else "auto", n_hidden=8)
        space = space_of_model(CountVAE(10, settings, seed=0))
        x = np.random.default_rng(0).normal(0, 2, (200, space.size)).astype(np.float32)
        z = space.axes(x)
        part = z[:, first : first + 3]
        assert part.min() >= 0
        if kind in ("beta", "dirichlet", "logistic-normal", "states"):
            assert part.max() <= 1
        if kind in ("dirichlet", "logistic-normal", "states"):
            np.testing.assert_allclose(part.sum(axis=1), 1, rtol=1e-5)
        if first:
            np.testing.assert_array_equal(z[:, :2], x[:, :2])
            np.testing.assert_allclose(z[:, 5], np.arctan2(x[:, 6], x[:, 5]), atol=1e-6)
        inside = space.axes(space.straight(z))
        np.testing.assert_allclose(inside, z, atol=1e-6)


def test_a_trained_model_and_its_embedding_have_the_same_coordinates():
    vae = CountVAE(10, ModelSettings(latent={"gaussian": 2, "circle": 2}, n_hidden=8), seed=0)
    counts = sl.simulate(60, 100, seed=0)
    model = {"latent": {"gaussian": 2, "circle": 2}, "epochs": 1, "refit": False, "n_hidden": 8}
    prepared = sl.pp.prepare(counts)
    trained = sl.tl.train(prepared, model=model)
    latent = sl.tl.embed(prepared, trained)
    for space in (space_of_model(vae), space_of(latent, trained.vae), space_of_model(trained.vae)):
        assert space.angles.tolist() == [False, False, True, True]
        assert space.size == 6
    z = torch.from_numpy(np.asarray(latent.X))
    np.testing.assert_allclose(
        space.straight(np.asarray(latent.X))[:, [2, 4]], trained.vae.latent.code_at(z)[:, 2:4], atol=1e-5
    )
