"""Steps and learning rate of a schedule at ten thousand cells and more: epochs and rate of before against those of now.

    python tests/benchmarks/schedule_large.py [--sets citeseq ifnb simulated] [--cells 12000] [--seeds 0]

The cells are drawn from a model of real cells (`sl.tl.sample`), or simulated: no set of this size is at hand. Before,
epochs fell with the square root of the cells from 2,000 on, and the learning rate was the same for any number of cells
per step. The score is the validation ELBO (nats per cell) before the refit; of simulated cells also how well the axes
say the cosine and the sine of the true angle (R² of a linear regression).
"""

from __future__ import annotations

import argparse
import math
import time
import warnings

import anndata as ad
import numpy as np
from _common import data_folder
from schedule import GENES, SETS

import sclatent as sl
from sclatent.model.training.schedule import batch_size, n_epochs, peak_rate
from sclatent.settings import DatasetSettings, ModelSettings

SIMULATED = "simulated"
USUAL = ModelSettings()


def cells_of(name: str, n: int) -> tuple[ad.AnnData, DatasetSettings]:
    """Return `n` cells and their settings."""
    chosen = {"name": name, "file": name, "counts": "-", "batch": "batch"}
    if name == SIMULATED:
        return sl.simulate(n, 1500, median_library=700.0, seed=0), DatasetSettings.model_validate(chosen)
    file, told = SETS[name]
    source = DatasetSettings.model_validate(
        {"name": name, "file": name, "counts": file, "genes": {"n_top": GENES}, **told}
    )
    real = sl.pp.prepare(ad.read_h5ad(data_folder() / f"{file}.h5ad"), **source.parts(sl.pp.prepare))
    trained = sl.tl.train(real, model=USUAL, seed=0, **source.parts(sl.tl.train))
    drawn = sl.tl.sample(trained, n, density=sl.tl.density(real, trained), seed=1)
    drawn.uns.clear()
    chosen["batch"] = told["batch"]
    return drawn, DatasetSettings.model_validate(chosen)


def variants(n: int) -> dict[str, dict[str, float]]:
    """Return the settings of before, with the rate or the epochs of now, and those of now; for `n` training cells."""
    size = batch_size(USUAL, n)
    steps = math.ceil(n / size)
    before = max(int(np.clip(round(100 * math.sqrt(2000 / n)), 8, 100)), math.ceil(1000 / steps))
    rate = USUAL.learning_rate * USUAL.learning_rate / peak_rate(USUAL, size)  # so that it is the same as of 64 cells
    return {
        "before": {"epochs": before, "learning_rate": rate},
        "rate": {"epochs": before},
        "epochs": {"epochs": n_epochs(USUAL, n), "learning_rate": rate},
        "now": {"epochs": n_epochs(USUAL, n)},
    }


def of_cycle(latent: ad.AnnData, angle: np.ndarray) -> str:
    """Return R² of the cosine and of the sine of the true angle, from the axes, among cycling cells."""
    known = np.isfinite(angle)
    axes = np.column_stack([np.ones(known.sum()), np.asarray(latent.X)[known]])
    wave = np.column_stack([np.cos(angle[known]), np.sin(angle[known])])
    wave -= wave.mean(axis=0)
    left = wave - axes @ np.linalg.lstsq(axes, wave, rcond=None)[0]
    return " and ".join(f"{r2:.2f}" for r2 in 1 - (left**2).sum(axis=0) / (wave**2).sum(axis=0))


def main() -> None:
    """Print the table."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["citeseq", "ifnb", SIMULATED], choices=[*SETS, SIMULATED])
    parser.add_argument("--cells", nargs="+", type=int, default=[12_000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    args = parser.parse_args()
    print(
        "| cells | schedule | epochs | validation ELBO | over before | active axes | CPU s | cycle |\n"
        + "|---" * 8
        + "|"
    )
    for name in args.sets:
        for n in args.cells:
            counts, settings = cells_of(name, n)
            prepared = sl.pp.prepare(counts, **settings.parts(sl.pp.prepare))
            for seed in args.seeds:
                base = math.nan
                for label, model in variants(int((prepared.obs["split"] == "train").sum())).items():
                    begun = time.process_time()
                    trained = sl.tl.train(
                        prepared, model={**model, "refit": False}, seed=seed, **settings.parts(sl.tl.train)
                    )
                    seconds = time.process_time() - begun
                    best = float(trained.history["validation_elbo"].max())
                    base = best if label == "before" else base
                    latent = sl.tl.embed(prepared, trained)
                    angle = counts.obs.get("true_angle")
                    cycle = "" if angle is None else of_cycle(latent, angle[prepared.obs_names].to_numpy(float))
                    active = int(latent.var["active"].sum())
                    row = (
                        f"{len(trained.history)} | {best:.2f} | {best - base:+.2f} | {active} | {seconds:.0f} | {cycle}"
                    )
                    print(f"| {n:,} {name}, seed {seed} | {label} | {row} |", flush=True)


if __name__ == "__main__":
    main()
