"""Does another objective or noise beat the default? At its own epochs, at twice as many, and with refined posteriors.

    python tests/benchmarks/objectives.py run --out objectives.tsv --seeds 0  # trains what the file does not hold yet
    python tests/benchmarks/objectives.py table --out objectives.tsv          # gains over the default, twice the epochs

Held-out fit of the test cells: the importance-weighted marginal of 100 draws, under the encoder's posteriors and under
refined ones (60 steps), nats per cell, paired over cells. A gain counts only over the default at equal time, and is the
model's only if it stays when both posteriors are refined. Training includes the refit. Seconds are of the CPU.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from _common import refitted, run_missing
from schedule import PEERS, SETS, cells_of

from sclatent.model import Batches, refined, train_vae
from sclatent.model.training.schedule import n_epochs
from sclatent.settings import ModelSettings
from sclatent.tl._model.held_out_fit import SAMPLES
from sclatent.tl._model.refine import STEPS

DEFAULT, TWICE = "default", "default, twice the epochs"
WAYS: dict[str, tuple[float, dict[str, Any]]] = {
    DEFAULT: (1.0, {}),
    TWICE: (2.0, {}),
    "antithetic pairs": (1.0, {"objective": {"kind": "elbo", "draws": 2, "noise": "antithetic"}}),
    "4 stratified draws": (1.0, {"objective": {"kind": "elbo", "draws": 4, "noise": "stratified"}}),
    "stl": (1.0, {"objective": "stl"}),
    "iwae of 4": (1.0, {"objective": {"kind": "iwae", "draws": 4}}),
    "dreg of 4": (1.0, {"objective": {"kind": "dreg", "draws": 4}}),
    "dreg of 4, twice the epochs": (2.0, {"objective": {"kind": "dreg", "draws": 4}}),
}
"""Times the usual epochs, and the settings."""


def one_run(name: str, seed: int, way: str) -> pd.DataFrame:
    """Train one model; return one row per test cell."""
    data, cells, facts = cells_of(name)
    train, validation, test = (cells[part] for part in ("train", "validation", "test"))
    factor, more = WAYS[way]
    epochs = round(factor * n_epochs(ModelSettings(), len(train)))
    settings = ModelSettings.model_validate({"epochs": epochs, **more})
    begun = time.process_time()
    vae, history = train_vae(data, train, validation, settings, seed=seed, **facts)
    vae = refitted(vae, data, train, validation, len(history), seed=seed)
    seconds = time.process_time() - begun
    noise, plain, better = torch.Generator().manual_seed(0), [], []
    begun = time.process_time()
    for batch in Batches(data, vae.device).stream(test, 64):
        posterior = refined(vae, batch, STEPS, noise)
        with torch.no_grad():
            better.append(vae.marginal(batch, SAMPLES, noise, posterior=posterior)[1])
            plain.append(vae.marginal(batch, SAMPLES, noise)[1])
    judged = time.process_time() - begun
    print(
        f"{name} {seed} {way}: {len(history)} of {epochs} epochs, {seconds:.0f} s, judged in {judged:.0f} s", flush=True
    )
    told = {"set": name, "seed": seed, "way": way, "epochs": len(history), "seconds": round(seconds, 2)}
    return pd.DataFrame({**told, "cell": test, "plain": torch.cat(plain), "refined": torch.cat(better)})


def run(args: argparse.Namespace) -> None:
    """Train all that is missing, and add it to the file."""
    tasks = ((name, seed, way) for seed in args.seeds for name in args.sets for way in args.ways)
    run_missing(args.out, ["set", "seed", "way"], tasks, one_run)


def table(args: argparse.Namespace) -> None:
    """Print mean gains over the default of twice the epochs, the SE over cells, and the ratio of CPU seconds."""
    rows = pd.read_csv(args.out, sep="\t")
    print("| set | trained by | gain | refined | SE | CPU time over the default's | seeds |")
    print("|---|---|---|---|---|---|---|")
    for name, part in rows.groupby("set", sort=False):
        seconds = part.groupby(["way", "seed"])["seconds"].first()
        seeds = part.loc[part["way"] == TWICE, "seed"].unique()
        base = part[part["way"] == TWICE].set_index(["seed", "cell"])
        for way in [way for way in WAYS if way != TWICE and way in set(part["way"])]:
            here = part[part["way"] == way].set_index(["seed", "cell"])
            both = here.index.intersection(base.index)
            gain = (here.loc[both, ["plain", "refined"]] - base.loc[both, ["plain", "refined"]]).groupby("cell").mean()
            se = gain["refined"].std(ddof=1) / np.sqrt(len(gain))
            ratio = np.mean([seconds[way, seed] / seconds[DEFAULT, seed] for seed in seeds if (way, seed) in seconds])
            n = here.index.get_level_values("seed").nunique()
            told = (f"{gain['plain'].mean():+.2f}", f"{gain['refined'].mean():+.2f}", f"{se:.2f}", f"{ratio:.1f}", n)
            print("| " + " | ".join(map(str, (name, way, *told))) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=[*SETS, PEERS], default=["ifnb", "pbmc68k", "citeseq"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    chosen = parser.parse_args()
    {"run": run, "table": table}[chosen.what](chosen)
