"""The cell-cycle knob: a closed path through the model, and the evidence that turning it turns the cell cycle."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data import slots
from sclatent.data.blocks.dense import by_rows, mean_and_variance, rows_at
from sclatent.data.columns import place_of
from sclatent.settings import CycleSettings, InputError, takes_settings
from sclatent.tl._paths import closed_path, evidence
from sclatent.tl._paths import strata as strata_of
from sclatent.tl._paths.decode import MIN_SUPPORT, Array, density_on_circle, turn_positions
from sclatent.tl._paths.held_out_genes import held_out
from sclatent.tl._paths.knob_file import KNOB, write_path
from sclatent.tl._paths.neutralize import neutral_measures, neutral_positions
from sclatent.tl._paths.scene import QUICK_STEPS, Scene, cycle_columns, set_scene

if TYPE_CHECKING:
    from anndata import AnnData

    from sclatent.tl._model.train import TrainedModel

log = logging.getLogger(__name__)

YES, NO = "cell-cycle knob", "no cell-cycle knob"
PERMUTATIONS, BOOTSTRAPS = 200, 40
MAX_CELLS = 20_000
"""Cells that permutations and bootstrap samples are taken from."""


@takes_settings
def knob(
    prepared: AnnData,
    phases: AnnData,
    latent: AnnData,
    trained: TrainedModel,
    *,
    organism: str = "human",
    batch: Sequence[str] = (),
    labels: Sequence[str] = (),
    library_size: str | None = None,
    cycle: CycleSettings = CycleSettings(),
) -> tuple[dict[str, Any], AnnData]:
    """Fit the closed path that follows the cell-cycle angle, decode it, and judge whether it is a knob.

    The rule is in `sclatent.tl._paths.evidence.RULE`, and told in ``docs/knob.md``. Data without a cell cycle get the
    verdict "no cell-cycle knob" and its reason, never an error.

    Parameters
    ----------
    prepared, phases, latent, trained
        The stage files (`phases` is ``cycle.h5ad``), and the selected model.
    organism, batch, library_size, cycle
        Keys of the dataset file, as the cycle stage got them: it is asked again, with half of the genes left out.
    labels
        Key of the dataset file: columns that the neutral embedding is judged by.

    Returns
    -------
    knob.json
        ``verdict``, ``reason``, ``tests`` (name, passed, found, needed), ``path``, ``order``, ``held_out``,
        ``literature``, ``neutral``; plain values throughout.
    knob.h5ad
        ``uns["sclatent"]["knob"]``: the path; with a knob ``obsm["X_sclatent_neutral"]`` (see `neutralize`),
        ``obsm["X_sclatent_base"]`` and ``obsm["X_sclatent_cycle"]``.

    Raises
    ------
    InputError
        If the stage files hold different cells.
    """
    from sclatent.tl._model.inputs import conditions

    for other, name in ((phases, "cycle.h5ad"), (latent, "latent.h5ad")):
        if not prepared.obs_names.equals(other.obs_names):
            raise InputError(f"{name} holds other cells than prepared.h5ad: run the stages of one dataset together")
    judged = [place_of(prepared, name, "labels") for name in labels]
    angle, sd, on = cycle_columns(phases)
    if on.sum() < closed_path.MIN_CELLS:
        least = closed_path.MIN_CELLS
        found = f"{int(on.sum())} of {phases.n_obs} cells are called cycling, and a path takes at least {least}"
        return _none(phases, phases.uns[slots.UNS]["cycle"].get("reason") or found)
    scene = set_scene(trained.vae, conditions(prepared, trained.card), latent, phases, (angle, sd, on))
    if not (scene.genes.s.any() and scene.genes.g2m.any()):
        return _none(phases, "the model's genes hold too few S or G2/M genes, so a path cannot be judged")
    entries = {"path": _describe(scene, phases), "order": _order(scene)}
    asked = {"organism": organism, "batch": batch, "library_size": library_size, "cycle": cycle}
    entries |= held_out(scene, prepared, phases, asked)
    is_knob, reason, tests = evidence.judge(entries)
    verdict = YES if is_knob else NO
    log.info("%s: %s", verdict, reason)
    report: dict[str, Any] = {
        "verdict": verdict,
        "knob": is_knob,
        "reason": reason,
        "tests": tests,
        **entries,
        "neutral": None,
    }
    if not is_knob:
        return report, write_path(phases, None, verdict=verdict, reason=reason)
    peaks = {
        "G1": entries["path"]["reference_phase"],
        "S": entries["order"]["S_peak"],
        "G2M": entries["order"]["G2M_peak"],
    }
    neutral = neutral_positions(latent, scene.space, scene.path, on, peaks["G1"])
    columns = {name: prepared.obs[name] for name in judged}
    before, after = (scene.space.places(z) for z in (np.asarray(latent.X), neutral))
    report["neutral"] = neutral_measures(before, after, phases.obs, columns)
    path = write_path(phases, scene.path, verdict=verdict, reason=reason, phases=peaks, neutral=neutral)
    path.uns[slots.UNS][KNOB] |= _coordinates(scene)
    return report, path


def _coordinates(scene: Scene) -> dict[str, Any]:
    """Return the names of the coordinates, where they are not those of the axes."""
    return {"coordinates": scene.space.names(scene.axes)} if scene.space.angles.any() else {}


def _none(cycle: AnnData, reason: str) -> tuple[dict[str, Any], AnnData]:
    log.info("%s: %s", NO, reason)
    empty: dict[str, Any] = dict.fromkeys(("path", "order", "held_out", "literature", "neutral"))
    report: dict[str, Any] = {"verdict": NO, "knob": False, "reason": reason, "tests": [], **empty}
    return report, write_path(cycle, None, verdict=NO, reason=reason)


def _sampled(scene: Scene) -> tuple[Array, Array, Array, Array]:
    """Return posterior means, angle, its SD and stratum of the cells that are permuted and sampled again."""
    on = np.flatnonzero(scene.on)
    cells = on if len(on) <= MAX_CELLS else np.sort(np.random.default_rng(0).permutation(on)[:MAX_CELLS])
    return rows_at(scene.means, cells, np.float64), scene.angle[cells], scene.sd[cells], scene.path.strata[cells]


def _describe(scene: Scene, cycle: AnnData) -> dict[str, Any]:
    """Say what the path is: where it runs, what it explains, and its best straight axis."""
    from scipy.stats import spearmanr

    path, on, (means, angle, sd, strata) = scene.path, np.flatnonzero(scene.on), _sampled(scene)
    everyone = np.arange(len(means))
    s, g2m = scene.genes.scores(scene.curve)
    density, near = density_on_circle(scene.position, scene.angle[on], len(scene.position))
    total = mean_and_variance(scene.means, on)[1].sum()
    rng = np.random.default_rng(0)
    kept = (strata, everyone, path.harmonics, scene.space.circles)
    observed = closed_path.refit(means, angle, sd, *kept)[1]
    null = []
    for _ in range(PERMUTATIONS):
        source = strata_of.permutation(strata, everyone, rng)
        null.append(closed_path.refit(means, angle[source], sd[source], *kept)[1])
    straight = path.plane[0]
    along = by_rows(len(on), lambda part: rows_at(scene.means, on[part], np.float64) @ straight)
    cosines = scene.space.cosines(straight)
    nearest = int(np.argmax(np.abs(cosines)))
    rho = {
        column: float(spearmanr(along, cycle.obs[column].to_numpy(dtype=np.float64)[on]).statistic)
        for column in (slots.S_SCORE, slots.G2M_SCORE)
    }
    return {
        "cells": len(on),
        "harmonics": path.harmonics,
        "variance_share": float(mean_and_variance(path.expected, on)[1].sum() / total),
        "variance_share_permuted": float(np.mean(null)),
        "variance_share_null": [float(x) for x in null],
        "variance_p": evidence.permutation_p(observed, null),
        "reference_phase": float(scene.position[int(np.argmin(s + g2m))]),
        "position": scene.position.tolist(),
        "S_score": s.tolist(),
        "G2M_score": g2m.tolist(),
        "density": density.tolist(),
        "supported": (near >= MIN_SUPPORT).tolist(),
        "straight_axis": {
            **_coordinates(scene),
            "direction": straight.tolist(),
            "share_of_path": float(path.strength[0]),
            "variance_share": float(along.var() / total),
            "nearest_axis": scene.axes[nearest],
            "cosine": float(cosines[nearest]),
            "spearman_S_score": rho[slots.S_SCORE],
            "spearman_G2M_score": rho[slots.G2M_SCORE],
        },
    }


def _order(scene: Scene) -> dict[str, Any]:
    """Say whether decoded S peaks before decoded G2/M, and in how many bootstrap samples of the cells."""
    s, g2m = scene.genes.scores(scene.curve)
    position = turn_positions(QUICK_STEPS)
    lags = []
    rng = np.random.default_rng(0)
    means, angle, sd, strata = _sampled(scene)
    for _ in range(BOOTSTRAPS):
        again = np.sort(rng.choice(len(means), len(means)))
        kept = (strata, again, scene.path.harmonics, scene.space.circles)
        coefficients, _ = closed_path.refit(means, angle, sd, *kept)
        curves = np.stack(scene.genes.scores(scene.quick(coefficients, scene.path)), axis=1)
        # at a sixteenth of a turn per step the first harmonic tells the lag better than the highest step does
        s_wave, g_wave = evidence.first_harmonic(curves, position)
        lags.append(evidence.ahead(float(np.angle(s_wave)), float(np.angle(g_wave))))
    share = float(np.mean([evidence.in_order(lag) for lag in lags]))
    return {**evidence.order_of(scene.position, s, g2m), "bootstrap_share": share, "bootstrap_lags": lags}
