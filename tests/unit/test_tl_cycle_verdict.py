"""The verdict on the cycle (a cycle, a part of one, none), and the phases that go with it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from sclatent.data import simulate
from sclatent.tl import cycle
from sclatent.tl._cycle.evidence import Evidence
from sclatent.tl._cycle.phase import BLUR, find_arcs
from sclatent.tl._cycle.states import BINS, GRID
from sclatent.tl._cycle.verdict import CYCLE, NO_CYCLE, PART, judge

OBS = ["cycle_angle", "cycle_sd", "cycling_probability"]


def facts(result):
    return result.uns["sclatent"]["cycle"]


def permute_list(data, phase, seed=0):
    """Permute each gene of one list over the cells: fractions of the library, so that depth stays what it is."""
    out, rng = data.copy(), np.random.default_rng(seed)
    counts = out.X.toarray().astype(float)
    library = counts.sum(axis=1)
    for gene in np.flatnonzero(out.var["list_phase"] == phase):
        source = rng.permutation(len(counts))
        counts[:, gene] = rng.poisson(counts[source, gene] / library[source] * library)
    out.X = sp.csr_matrix(counts.astype(np.float32))
    return out


@pytest.fixture(scope="module")
def world():
    return simulate(700, 700, median_library=5000.0, resting=0.2, seed=11)


@pytest.fixture(scope="module")
def parts(world):
    from sclatent.settings import DatasetSettings

    settings = DatasetSettings.model_validate({"name": "t", "file": "t.yaml", "counts": "-"})
    return {
        phase: cycle(permute_list(world, other), **settings.parts(cycle))
        for phase, other in (("G2M", "S"), ("S", "G2M"))
    }


@pytest.mark.parametrize("phase", ["G2M", "S"])
def test_one_list_alone_is_a_part_of_a_cycle(parts, world, phase, tmp_path):
    found = parts[phase]
    assert facts(found)["verdict"] == "part of a cycle"
    assert list(facts(found)["phases"]) == [phase]
    # every cell has an angle and an SD, and only the phase that can be told is named
    assert found.obs[OBS].notna().all().all()
    assert set(found.obs["phase"].dropna()) == {phase}
    true = world.obs["true_phase"].astype(str) == phase
    called = (found.obs["phase"] == phase).to_numpy()
    assert 0.1 < called.mean() < 0.5
    assert true[called].mean() > 0.75
    assert true[~called].mean() < 0.2
    probability = found.obsm["phase_probability"]
    k = ["G1", "S", "G2M"].index(phase)
    assert np.isnan(np.delete(probability, k, axis=1)).all()
    assert ((probability[:, k] >= 0) & (probability[:, k] <= 1)).all()
    found.write_h5ad(tmp_path / "cycle.h5ad")
    back = ad.read_h5ad(tmp_path / "cycle.h5ad")
    assert list(facts(back)["phases"]) == [phase]
    np.testing.assert_array_equal(back.obsm["phase_probability"], probability)


def test_a_part_says_what_is_not_known(parts):
    for phase, others in (("G2M", "G1 and S"), ("S", "G1 and G2/M")):
        reason = facts(parts[phase])["reason"]
        assert f"not known where {others} meet" in reason
        assert "which way round" in reason
        assert "\n" not in reason
    assert "g2m_end" in facts(parts["G2M"])
    assert "s_start" not in facts(parts["G2M"])
    # only the S genes are seen: their peak is put where it is expected, and no G2/M border is claimed
    assert "g2m_start" not in facts(parts["S"])
    s_start, s_end = (facts(parts["S"])[key] for key in ("s_start", "s_end"))
    assert s_start < 0.42 * 2 * np.pi < s_end


def test_words():
    def evidence(apart, alone, fold=(1.2, 2.0)):
        pairs = (dict(zip(("S", "G2M"), p, strict=True)) for p in (apart, alone, fold, (0.1, 0.1)))
        return Evidence(*pairs, 0.01, "genes of like abundance")

    both = evidence((1e-3, 1e-3), (0.5, 0.5))
    assert judge(both, 100.0, 200) == (CYCLE, "")
    verdict, reason = judge(both, 12.0, 200)
    assert (verdict, "hardly a cell cycles" in reason) == (NO_CYCLE, True)
    assert judge(evidence((1e-3, 0.02), (1e-3, 1e-4)), 100.0, 200)[0] == NO_CYCLE
    # S genes fall and G2/M genes rise in any stretch of the circle
    verdict, reason = judge(evidence((1e-3, 1e-3), (0.5, 0.5), (1.4, 1.2)), 100.0, 200)
    assert (verdict, "cells of one phase only" in reason) == (NO_CYCLE, True)
    assert judge(evidence((1e-3, 0.02), (1e-3, 1e-6)), 100.0, 200)[0] == PART
    # one list far apart makes up for another that is nearly so; not for one that is nowhere, nor for hardly any change
    vague = evidence((0.05, 1e-9), (0.9, 0.9))
    assert vague.ends == ("G2M",)
    verdict, reason = judge(vague, 100.0, 200)
    assert (verdict, "only the G2/M genes surely part from the other list" in reason) == (PART, True)
    assert "where G1 and S meet" in reason
    assert evidence((0.5, 1e-5), (0.9, 0.9)).ends == ()
    assert evidence((0.05, 1e-9), (0.9, 0.9), (1.4, 1.2)).ends == ()
    assert 0 <= evidence((1.0, 0.0), (0.9, 0.9)).together <= 1
    # of two lists that stand out and do not part, the clearer one is named
    assert evidence((0.5, 0.5), (1e-7, 1e-9)).ends == ("G2M",)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("mesc_media_two_batches", {"organism": "mouse", "batch": "batch"}),
        ("h1_unsorted_213", {"organism": "human", "batch": "batch", "library_size": "n_reads_all_genes"}),
    ],
)
def test_dividing_stem_cells_have_a_cycle(shared_data, make_settings, name, keys):
    data = ad.read_h5ad(shared_data / f"{name}.h5ad")
    if "library_size" in keys:
        data.obs["library_size"] = data.obs[keys["library_size"]].to_numpy(float)
    found = cycle(data, **make_settings(**keys).parts(cycle))
    assert facts(found)["verdict"] == "cycle"
    assert found.obs["cycle_angle"].notna().all()
    if name.startswith("mesc"):
        # the S genes do not stand out: many of the others cycle too; but they are where the G2/M genes are not
        assert facts(found)["p_S"] > 0.1
        assert facts(found)["p_S_apart"] < 1e-3


def test_embryos_have_a_part_of_a_cycle(shared_data):
    """Stages of development tell more than the cycle, and cells without a G1 have S genes that hardly fall."""
    data = ad.read_h5ad(shared_data / "embryo_mouse_deng.h5ad")
    found = cycle(data, organism="mouse")
    assert facts(found)["verdict"] == "part of a cycle"
    assert list(facts(found)["phases"]) == ["G2M"]
    assert found.obs["cycle_angle"].notna().all()


def test_other_cycling_genes_cost_no_power():
    # half of all genes cycle, each with a phase of its own
    data = simulate(300, 390, median_library=3000.0, resting=0.0, seed=2)
    data = data[:, data.var["true_cycling"]].copy()
    assert (data.var["list_phase"] == "none").sum() > 60
    found = facts(cycle(data))
    assert found["null"] == "genes of like abundance"
    assert found["verdict"] == "cycle"
    assert found["p_S_apart"] < 0.01 * found["p_S"]


def test_lists_of_other_genes_have_no_cycle(world):
    # dividing cells, but the names of the lists belong to genes that do not cycle
    data = world.copy()
    names = data.var_names.to_numpy(object).copy()
    still = np.flatnonzero(~data.var["true_cycling"])[: data.var["on_list"].sum()]
    on = np.flatnonzero(data.var["on_list"])
    names[on], names[still] = [f"was_{name}" for name in names[on]], names[on]
    data.var_names = names.astype(str)
    assert facts(cycle(data))["verdict"] == "no cycle"


def test_a_stretch_of_the_circle_is_no_cycle():
    # deeply counted, its S genes fall while its G2/M genes rise: the lists part
    data = simulate(2500, 1000, resting=0.0, n_types=2, median_library=30_000.0, seed=49)
    stretch = data[np.cos(data.obs["true_angle"] - 4.2) > 0.97].copy()
    found = facts(cycle(stretch))
    assert max(found["p_S_apart"], found["p_G2M_apart"]) < 0.01
    assert found["verdict"] == "no cycle"
    assert "cells of one phase only" in found["reason"]


def test_called_phase_is_the_most_probable(world):
    found = cycle(world)
    probability = found.obsm["phase_probability"]
    assert probability.shape == (world.n_obs, 3)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    cycling = found.obs["cycling"].to_numpy()
    names = np.array(["G1", "S", "G2M"])[probability.argmax(axis=1)]
    assert (names[cycling] == found.obs["phase"].astype(str)[cycling]).all()
    assert found.obs["phase"][~cycling].isna().all()
    # as often right as it says, within five points
    right = (names == world.obs["true_phase"].astype(str))[cycling & world.obs["true_cycling"].to_numpy()]
    sure = probability.max(axis=1)[cycling & world.obs["true_cycling"].to_numpy()]
    assert abs(right.mean() - sure.mean()) < 0.05


def test_no_cycle_has_no_probability(world):
    found = cycle(world[:49].copy())
    assert found.obsm["phase_probability"].shape == (49, 3)
    assert np.isnan(found.obsm["phase_probability"]).all()


def test_sorted_phases_are_called(shared_data):
    data = ad.read_h5ad(shared_data / "h1_fucci_sorted_247.h5ad")
    data.obs["library_size"] = data.obs["n_reads_all_genes"].to_numpy(float)
    found = cycle(data, library_size="n_reads_all_genes")
    assert (found.obs["phase"].astype(str) == data.obs["phase_sorted"].astype(str)).mean() >= 0.95
    # seven S cells were taken for a resting state of their own
    assert found.obs["cycling"].all()
    assert facts(found)["resting_share"] == 0


def test_s_has_its_middle_at_the_s_stage_and_ends_half_way_to_g2():
    turn = 2 * np.pi
    where = np.array([0.40, 0.50, 0.70, 0.86])
    values = np.cos(GRID[:, None] - turn * where)
    group, stage, weight = np.array([0, 2, 2, 1]), np.array([0, 2, 3, 0]), np.full(4, 0.5)
    arcs = find_arcs(values, group, weight, stage, 1e6, ("S", "G2M"))
    # ends at (.5 + .7) / 2, and begins as long before .5
    assert arcs.borders == {"s_start": round(0.4 * BINS), "g2m_start": round(0.6 * BINS)}
    np.testing.assert_allclose(arcs.member.sum(axis=1), 1)
    # a border is where two phases are equally probable, and BLUR away from it the odds are those of one SD
    for name, before, after in (("s_start", 0, 1), ("g2m_start", 1, 2)):
        at = arcs.borders[name]
        assert arcs.member[at - 1, before] > 0.5 > arcs.member[at, before]
        away = arcs.member[at + round(BLUR * BINS), after]
        assert away == pytest.approx(0.84, abs=0.06)


def test_a_stage_without_genes_stands_where_the_lists_say():
    turn = 2 * np.pi
    values = np.cos(GRID[:, None] - turn * np.array([0.42, 0.80]))
    arcs = find_arcs(values, np.array([0, 1]), np.ones(2), np.zeros(2, int), 500.0, ("S", "G2M"))
    # S is expected at .50 and G2 at .70 where the lists peak at .42 and .80
    assert arcs.borders == {"s_start": round(0.4 * BINS), "g2m_start": round(0.6 * BINS)}
