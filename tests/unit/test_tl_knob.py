"""The knob on a model that is known to turn the cycle, and on cells that have none; the rule, test by test."""

from __future__ import annotations

import json

import numpy as np
import pytest
from paths_world import World, make_world, true_cycle
from scipy.stats import spearmanr

from sclatent import tl
from sclatent.data import slots
from sclatent.io import write_json
from sclatent.settings import InputError
from sclatent.tl._paths import evidence
from sclatent.tl._paths.knob_file import phase_angle, read_path


def cycle_stage(noise=0.3, angle=None):
    """Stand in for the cycle stage: right angles up to noise (other noise for other genes), or others."""

    def stage(prepared, *, plan=None, **settings):
        out = true_cycle(prepared, noise=noise, seed=prepared.n_vars)
        if angle is not None:
            out.obs[slots.CYCLE_ANGLE] = np.where(out.obs[slots.CYCLING], angle(prepared), np.nan)
        return out

    return stage


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


@pytest.fixture(scope="module")
def turned(world, make_settings):
    settings = make_settings(labels=["cell_type"], batch="batch", traverse={"steps": 24})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sclatent.tl._paths.held_out_genes.cycle_stage", cycle_stage())
        cycle = true_cycle(world.prepared)
        report, knob = tl.knob(world.prepared, cycle, world.latent, world.model, **settings.parts(tl.knob))
    return (
        report,
        knob,
        tl.traverse(world.prepared, cycle, world.latent, world.model, knob, **settings.parts(tl.traverse)),
    )


def test_a_model_that_turns_the_cycle_is_a_knob(turned):
    report, knob, _ = turned
    assert report["verdict"] == "cell-cycle knob"
    assert all(test["passed"] for test in report["tests"])
    assert len(report["tests"]) == 5
    assert report["held_out"]["share_within"] > 0.8
    assert report["held_out"]["p"] < 0.01
    assert 0.2 < report["order"]["lag"] / (2 * np.pi) < 0.5  # the simulator's peaks are 0.375 turns apart
    assert knob.uns["sclatent"]["knob"]["is_knob"]


def test_the_path_is_the_ring_and_its_plane_the_first_two_axes(turned):
    path = read_path(turned[1])
    want = np.zeros((2, 4))
    want[0, 0] = want[1, 1] = 1
    np.testing.assert_allclose(path.coefficients[:2], want, atol=0.15)
    assert np.abs(path.plane[:, 2:]).max() < 0.15


def test_along_the_path_every_gene_peaks_at_its_true_phase(world, turned):
    traversals = turned[2]
    assert "cycle" in set(traversals.obs["path"])
    on = world.prepared.var[slots.TRUE_CYCLING].to_numpy(dtype=bool)
    error = evidence.apart(traversals.var["cycle_peak"][on], world.prepared.var[slots.TRUE_PEAK][on])
    assert np.mean(error < np.pi / 8) > 0.95
    assert np.mean(np.cos(error)) > 0.98
    amplitude = traversals.var["cycle_amplitude"]
    assert amplitude[~on].max() < amplitude[on].median()
    slope = np.polyfit(world.prepared.var[slots.TRUE_AMPLITUDE][on], amplitude[on], 1)[0]
    assert slope == pytest.approx(1, abs=0.15)  # the path is as wide as the ring


def test_the_file_is_plain_json_with_the_same_bytes_twice(world, turned, make_settings, monkeypatch, tmp_path):
    write_json(turned[0], tmp_path / "a.json")
    back = json.loads((tmp_path / "a.json").read_text())
    assert back["path"]["straight_axis"]["nearest_axis"] in ("axis_1", "axis_2")
    monkeypatch.setattr("sclatent.tl._paths.held_out_genes.cycle_stage", cycle_stage())
    settings = make_settings(labels=["cell_type"], batch="batch")
    report, knob = tl.knob(
        world.prepared, true_cycle(world.prepared), world.latent, world.model, **settings.parts(tl.knob)
    )
    write_json(report, tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    turned[1].write_h5ad(tmp_path / "a")
    knob.write_h5ad(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_held_out_rows_say_what_they_count(turned):
    held = turned[0]["held_out"]
    rows = held["genes"]
    assert len(rows) == held["n"] == len({row["gene"] for row in rows})
    for row in rows:
        assert row["distance"] == pytest.approx(abs(np.angle(np.exp(1j * (row["peak"] - row["expected"])))), abs=1e-9)
        assert row["within"] == (row["distance"] <= np.pi / 4)
    assert held["share_within"] == pytest.approx(np.mean([row["within"] for row in rows]))
    assert held["p"] == (1 + sum(x >= held["swing"] for x in held["swing_null"])) / (1 + len(held["swing_null"]))
    books = turned[0]["literature"]
    opened = [(row["peak"] - books["cut"]) % (2 * np.pi) for row in books["genes"]]
    assert books["spearman"] == pytest.approx(spearmanr(opened, [row["rank"] for row in books["genes"]]).statistic)


@pytest.mark.parametrize(
    ("angle", "fails"),
    [
        # angles that have nothing to do with the cycle
        (lambda p: np.random.default_rng(0).uniform(0, 2 * np.pi, p.n_obs), "explains latent variance"),
        # the cycle run backwards
        (lambda p: np.mod(-p.obs[slots.TRUE_ANGLE].to_numpy(), 2 * np.pi), "S peaks before"),
    ],
)
def test_wrong_angles_are_no_knob(world, monkeypatch, angle, fails):
    monkeypatch.setattr("sclatent.tl._paths.held_out_genes.cycle_stage", cycle_stage(angle=angle))
    cycle = cycle_stage(angle=angle)(world.prepared)
    report, knob = tl.knob(world.prepared, cycle, world.latent, world.model, batch="batch")
    assert report["verdict"] == "no cell-cycle knob"
    assert fails in report["reason"]
    failed = [test for test in report["tests"] if not test["passed"]]
    assert report["reason"].startswith(
        f"{len(failed)} of {len(report['tests'])} tests failed: {failed[0]['name']} (found: "
    )
    assert report["reason"].count("; needed: ") == len(failed)
    assert "\n" not in report["reason"]
    assert report["neutral"] is None
    assert slots.X_NEUTRAL not in knob.obsm
    with pytest.raises(InputError, match="no cell-cycle knob in this model"):
        read_path(knob)


def test_a_model_without_the_cycle_is_no_knob_though_the_angles_are_right(world, monkeypatch):
    monkeypatch.setattr("sclatent.tl._paths.held_out_genes.cycle_stage", cycle_stage())
    blind = world.latent.copy()
    blind.X[:, :2] = np.random.default_rng(0).normal(0, 0.7, (blind.n_obs, 2))
    report, _ = tl.knob(world.prepared, true_cycle(world.prepared), blind, world.model, batch="batch")
    assert report["verdict"] == "no cell-cycle knob"


@pytest.mark.parametrize("n", [0, 29])
def test_too_few_cycling_cells_say_so_and_nothing_fails(world, make_settings, n, tmp_path):
    cycle = true_cycle(world.prepared)
    on = np.flatnonzero(cycle.obs[slots.CYCLING])[:n]
    cycle.obs[slots.CYCLING] = np.isin(np.arange(cycle.n_obs), on)
    cycle.obs.loc[~cycle.obs[slots.CYCLING], slots.CYCLE_ANGLE] = np.nan
    report, knob = tl.knob(world.prepared, cycle, world.latent, world.model)
    assert report["verdict"] == "no cell-cycle knob"
    assert f"{n} of 600 cells are called cycling" in report["reason"]
    write_json(report, tmp_path / "knob.json")
    knob.write_h5ad(tmp_path / "knob.h5ad")
    steps = make_settings(traverse={"steps": 5})
    out = tl.traverse(world.prepared, cycle, world.latent, world.model, knob, **steps.parts(tl.traverse))
    assert "cycle" not in set(out.obs["path"])


def test_a_reason_of_the_cycle_stage_is_handed_on(world):
    cycle = true_cycle(world.prepared)
    cycle.obs[slots.CYCLING] = False
    cycle.uns["sclatent"]["cycle"]["reason"] = "too few cell-cycle genes: 2 of 43 S"
    report, _ = tl.knob(world.prepared, cycle, world.latent, world.model)
    assert report["reason"] == "too few cell-cycle genes: 2 of 43 S"


def test_other_cells_are_refused(world):
    cycle = true_cycle(world.prepared)[::-1].copy()
    with pytest.raises(InputError, match=r"cycle\.h5ad holds other cells"):
        tl.knob(world.prepared, cycle, world.latent, world.model)


def test_harmonic_straight_from_counts():
    from scipy import sparse

    rng = np.random.default_rng(0)
    angle = rng.vonmises(2, 1, 20_000) % (2 * np.pi)  # cells unevenly spread
    library = rng.uniform(500, 1500, len(angle))
    peaks, amplitude = np.array([0.5, 2.0, 5.0]), 0.6
    rate = 0.02 * (1 + amplitude * np.cos(angle[:, None] - peaks))
    counts = sparse.csr_matrix(rng.poisson(rate * library[:, None]))
    waves = evidence.observed_harmonic(counts, library, angle)
    assert evidence.apart(np.angle(waves), peaks).max() < 0.05
    np.testing.assert_allclose(np.abs(waves), amplitude, atol=0.03)


def test_peaks_are_those_of_the_discrete_fourier_transform():
    position = 2 * np.pi * np.arange(16) / 16
    curves = np.random.default_rng(0).normal(size=(16, 5))
    want = 2 * np.conj(np.fft.fft(curves, axis=0)[1]) / 16
    np.testing.assert_allclose(evidence.first_harmonic(curves, position), want, rtol=1e-9)


@pytest.mark.parametrize(("n", "parts"), [((43, 54), 2), ((10, 10), 2), ((9, 40), 3), ((7, 17), 4), ((6, 50), None)])
def test_parts_share_no_gene_and_leave_five_of_each_phase(n, parts):
    assert evidence.number_of_parts(n, 5) == parts
    if parts is None:
        return
    phase = ["S"] * n[0] + ["G2M"] * n[1]
    genes = [f"g{i}" for i in range(len(phase))]
    split = evidence.split_genes(genes, phase, parts)
    assert sorted(gene for part in split for gene in part) == sorted(genes)
    known = dict(zip(genes, phase, strict=True))
    for part in split:
        for group, count in zip(("S", "G2M"), n, strict=True):
            assert 1 <= sum(known[gene] == group for gene in part) <= count - 5


def test_named_phases(turned):
    report, knob, _ = turned
    assert phase_angle(knob, "S") == pytest.approx(report["order"]["S_peak"])
    assert phase_angle(knob, -1.0) == pytest.approx(2 * np.pi - 1)
    with pytest.raises(InputError, match="'M' is not known: use G1, S, G2M, or an angle in radians"):
        phase_angle(knob, "M")
    with pytest.raises(InputError, match="not an angle"):
        phase_angle(knob, float("nan"))


def test_programs_in_antiphase_are_in_order_and_reversed_ones_are_not():
    # two sorted sets and the iPSCs with reporters: S and G2/M half a turn apart, a bit more or less in every bootstrap
    turn = 2 * np.pi
    assert all(evidence.in_order(share * turn) for share in (0.0625, 0.375, 0.48, 0.5, 0.52))
    assert not any(evidence.in_order(share * turn) for share in (0.0, 0.03, 0.625, 0.9))
