"""From counts to verdict with the real cycle stage: cells that cycle, and cells of which none does."""

from __future__ import annotations

import numpy as np
from paths_world import make_world

from sclatent import tl
from sclatent.data import slots


def test_counts_of_cycling_cells_give_a_knob_whose_genes_peak_where_they_should(make_settings):
    world = make_world(700, 1000, median_library=6000.0, seed=3)
    settings = make_settings(batch="batch", labels=["cell_type"])
    cycle = tl.cycle(world.prepared, **settings.parts(tl.cycle))
    report, knob = tl.knob(world.prepared, cycle, world.latent, world.model, **settings.parts(tl.knob))
    assert report["verdict"] == "cell-cycle knob", report["reason"]
    assert report["held_out"]["share_within"] > 0.8
    traversals = tl.traverse(world.prepared, cycle, world.latent, world.model, knob, **settings.parts(tl.traverse))
    var = world.prepared.var
    on = var[slots.TRUE_CYCLING].to_numpy(dtype=bool)
    error = traversals.var["cycle_peak"][on] - var[slots.TRUE_PEAK][on]
    turn = np.angle(np.exp(1j * error).mean())  # the origin is the stage's own
    assert abs(turn) < np.pi / 3
    assert np.cos(error - turn).mean() > 0.9
    assert report["neutral"]["S_score_r2"]["after"] < 0.6 * report["neutral"]["S_score_r2"]["before"]
    assert report["neutral"]["labels"]["cell_type"]["after"] > report["neutral"]["labels"]["cell_type"]["before"] - 0.02


def test_counts_of_resting_cells_give_none(make_settings):
    world = make_world(500, 300, resting=1.0, seed=4)
    settings = make_settings(batch="batch")
    cycle = tl.cycle(world.prepared, **settings.parts(tl.cycle))
    report, knob = tl.knob(world.prepared, cycle, world.latent, world.model, **settings.parts(tl.knob))
    assert report["verdict"] == "no cell-cycle knob"
    assert report["reason"]
    assert slots.X_NEUTRAL not in knob.obsm
