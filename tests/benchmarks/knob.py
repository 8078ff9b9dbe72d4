"""Is there a cell-cycle knob, and what shows it? One row per dataset and seed, from counts to verdict, with defaults.

    python tests/benchmarks/knob.py [--seeds 0 1 2] [--circle] [--out knob.tsv] [dataset ...]

With ``--circle`` one axis of each model is an angle, which training starts at the cycle stage's.

Where no cycle is found, a second row shows the path along the angle of the two scores, all cells being called cycling:
what the tests say of a path through cells that do not cycle.

The real sets are those of ``config/datasets/examples`` (their files are looked for as in the tests); the simulated
ones are the demo, the demo with fewer counts and more resting cells, and the demo without any cycling cell.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _common import ROOT, data_folder
from anndata import AnnData
from scipy import stats

import sclatent as sl
from sclatent.settings import DatasetSettings, ModelSettings

SIMULATED: dict[str, dict[str, Any]] = {
    "demo": {},
    "demo, 500 counts": {"median_library": 500.0},
    "demo, 60 % resting": {"resting": 0.6},
    "demo, all resting": {"resting": 1.0},
}


def counts_and_settings(name: str) -> tuple[AnnData, DatasetSettings]:
    """Return the counts of a dataset and its settings."""
    if name in SIMULATED:
        settings = DatasetSettings(name="demo", file="demo.yaml", counts="-", batch="batch", labels=["cell_type"])
        return sl.simulate(**SIMULATED[name]), settings
    settings = sl.load_dataset(ROOT / "config" / "datasets" / "examples" / f"{name}.yaml")
    sample = settings.counts[0]
    path = data_folder() / Path(sample.path).name
    settings = settings.model_copy(update={"counts": [sample.model_copy(update={"path": str(path)})]})
    return sl.io.read_dataset(**settings.parts(sl.io.read_dataset)), settings


def rows_of(name: str, seed: int, *, circle: bool = False) -> list[dict[str, Any]]:
    """Train, find the angle, judge the knob."""
    counts, settings = counts_and_settings(name)
    prepared = sl.pp.prepare(counts, **settings.parts(sl.pp.prepare))
    cycle = sl.tl.cycle(prepared, **settings.parts(sl.tl.cycle))
    model = settings.models[next(iter(settings.models))]
    if circle:
        axes = model.with_axes(int((prepared.obs["split"] == "train").sum()), int(prepared.var["in_model"].sum()))
        latent = {"gaussian": axes.n_axes - 1, "circle": 1}
        model = ModelSettings.model_validate(model.model_dump(exclude={"latent", "n_latent"}) | {"latent": latent})
    start = cycle if circle else None
    trained = sl.tl.train(prepared, model=model, seed=seed, start=start, **settings.parts(sl.tl.train))
    embedded = sl.tl.embed(prepared, trained)
    cycles = [(name, cycle)]
    if not cycle.obs["cycling"].any() and cycle.obs["S_score"].notna().all():
        cycles.append((f"{name}, score angle", score_cycle(cycle)))
    return [row(label, seed, prepared, angles, embedded, trained, settings) for label, angles in cycles]


def score_cycle(cycle: AnnData) -> AnnData:
    """Return the cycle stage's file with the angle of the standardised scores, all cells cycling."""
    out = cycle.copy()
    s, g = (stats.zscore(out.obs[column].to_numpy(float)) for column in ("S_score", "G2M_score"))
    out.obs["cycle_angle"], out.obs["cycle_sd"], out.obs["cycling"] = np.mod(np.arctan2(g, s), 2 * np.pi), 0.3, True
    return out


def row(
    name: str,
    seed: int,
    prepared: AnnData,
    cycle: AnnData,
    latent: AnnData,
    trained: sl.tl.TrainedModel,
    settings: DatasetSettings,
) -> dict[str, Any]:
    """Judge the knob."""
    start = time.perf_counter()
    report, knob = sl.tl.knob(prepared, cycle, latent, trained, **settings.parts(sl.tl.knob))
    seconds = time.perf_counter() - start
    out: dict[str, Any] = {
        "dataset": name,
        "seed": seed,
        "verdict": report["verdict"],
        "cells": prepared.n_obs,
        "cycling": int(cycle.obs["cycling"].sum()),
        "seconds": round(seconds, 1),
    }
    if report["path"]:
        out |= {
            "S_fold": report["order"]["S_fold"],
            "G2M_fold": report["order"]["G2M_fold"],
            "lag_turns": report["order"]["lag"] / (2 * np.pi),
            "in_order": report["order"]["bootstrap_share"],
            "variance": report["path"]["variance_share"],
            "variance_permuted": report["path"]["variance_share_permuted"],
            "held_out": report["held_out"]["share_within"],
            "held_out_n": report["held_out"]["n"],
            "held_out_p": report["held_out"]["p"],
            "literature": report["literature"]["spearman"],
        }
    if report["neutral"]:
        neutral = report["neutral"]
        out |= {"removed": neutral["variance_removed"]}
        for score in ("S_score_r2", "G2M_score_r2"):
            out |= {f"{score}_before": neutral[score]["before"], f"{score}_after": neutral[score]["after"]}
        for label, found in neutral["labels"].items():
            out |= {"label": label, "label_before": found["before"], "label_after": found["after"]}
        with tempfile.TemporaryDirectory() as folder:
            traversals = sl.tl.traverse(prepared, cycle, latent, trained, knob, **settings.parts(sl.tl.traverse))
            sl.io.write_h5ad(traversals, Path(folder) / "traversals.h5ad")
        if "true_peak" in prepared.var:
            out |= against_truth(prepared, traversals)
    out["reason"] = report["reason"]
    return out


def against_truth(prepared: AnnData, traversals: AnnData) -> dict[str, float]:
    """Compare the decoded curves of the simulator's cycling genes with the true ones."""
    on = prepared.var["true_cycling"].reindex(traversals.var_names).to_numpy(dtype=bool)
    true = prepared.var.loc[traversals.var_names[on]]
    found = traversals.var[on]
    error = np.cos(found["cycle_peak"].to_numpy() - true["true_peak"].to_numpy())
    slope = (found["cycle_amplitude"] * true["true_amplitude"]).sum() / (true["true_amplitude"] ** 2).sum()
    return {"true_peak_cosine": float(error.mean()), "true_amplitude_slope": float(slope)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    real = sorted(path.stem for path in (ROOT / "config" / "datasets" / "examples").glob("*.yaml"))
    parser.add_argument("datasets", nargs="*", default=[*SIMULATED, *real])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--circle", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.datasets:
        for seed in arguments.seeds:
            for found in rows_of(name, seed, circle=arguments.circle):
                rows.append(found)
                print({key: round(v, 3) if isinstance(v, float) else v for key, v in found.items()}, flush=True)
    table = pd.DataFrame(rows)
    if arguments.out:
        sl.io.write_table(table, arguments.out)
    print(table.drop(columns="reason").to_string(index=False, float_format=lambda x: f"{x:.3g}"))


if __name__ == "__main__":
    main()
