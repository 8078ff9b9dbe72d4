"""Is `epochs: auto` too short? Held-out fit after one and one and a half times as many epochs, refit included.

    python tests/benchmarks/schedule.py run --out schedule.tsv --seeds 0   # trains what the file does not hold yet
    python tests/benchmarks/schedule.py table --out schedule.tsv           # gains over the factor 1, paired over cells

Validation cells, judged before the refit, say which factor is better; test cells, judged after it, only how much.
Both by the importance-weighted marginal of 100 draws, nats per cell. Seconds are of the CPU, training and refit.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from _common import data_folder, load, peer_split, refitted, run_missing

from sclatent.data import slots
from sclatent.model import CountData, train_vae
from sclatent.model.training.schedule import n_epochs
from sclatent.pp import prepare
from sclatent.settings import DatasetSettings, ModelSettings
from sclatent.tl._model.held_out_fit import held_out
from sclatent.tl._model.inputs import describe, inputs

GENES = 1000
"""Variable genes of a set, where these are not the peers'."""
SETS: dict[str, tuple[str, dict]] = {
    "ifnb": ("pbmc_ifnb_two_batches", {"batch": "condition"}),
    "pbmc68k": ("pbmc68k_reduced_counts", {"library_size": "n_umi_all_genes"}),
    "citeseq": ("pbmc_citeseq_two_batches", {"batch": "batch"}),
    "lung3cl": ("lung3cl_celseq2_dropseq", {"batch": "batch"}),
}
PEERS = "ifnb with the peers' genes"
Cells = tuple[CountData, dict[str, np.ndarray], dict]


def cells_of(name: str) -> Cells:
    """Counts of a set, its split, and what a model has to know of it."""
    if name == PEERS:
        adata = load("pbmc_ifnb_two_batches")
        codes = adata.obs["condition"].astype("category").cat.codes.to_numpy(np.int64)[:, None]
        data = CountData(adata.X, np.asarray(adata.X.sum(1)).ravel(), codes)
        return data, peer_split(adata.n_obs), {"n_levels": (2,), "rest": False}
    file, settings = SETS[name]
    chosen = DatasetSettings.model_validate(
        {"name": name, "file": name, "counts": file, "genes": {"n_top": GENES}, **settings}
    )
    prepared = prepare(ad.read_h5ad(data_folder() / f"{file}.h5ad"), **chosen.parts(prepare))
    split = prepared.obs[slots.SPLIT].astype(str).to_numpy()
    cells = {part: np.flatnonzero(split == part) for part in slots.SPLITS}
    card = describe(prepared, chosen.batch, chosen.covariates, chosen.library_size, cells[slots.TRAIN])
    levels = tuple(len(one) for one in card["levels"])
    return inputs(prepared, card), cells, {"n_levels": levels, "rest": card["rest"]}


def one_run(name: str, seed: int, factor: float) -> pd.DataFrame:
    """Train one model; return one row per validation and test cell."""
    data, cells, facts = cells_of(name)
    train, validation, test = (cells[part] for part in ("train", "validation", "test"))
    usual = n_epochs(ModelSettings(), len(train))
    settings = ModelSettings(epochs=round(factor * usual))
    begun = time.process_time()
    vae, history = train_vae(data, train, validation, settings, seed=seed, **facts)
    seconds = time.process_time() - begun
    judged = {"validation": (validation, held_out(vae, data, validation)[1])}
    begun = time.process_time()
    vae = refitted(vae, data, train, validation, len(history), seed=seed)
    seconds += time.process_time() - begun
    judged["test"] = (test, held_out(vae, data, test)[1])
    print(name, seed, factor, f"{len(history)} of {settings.epochs} epochs, {seconds:.0f} s", flush=True)
    told = {"set": name, "seed": seed, "factor": factor, "epochs": len(history), "seconds": round(seconds, 2)}
    return pd.concat([pd.DataFrame({**told, "cells": k, "cell": i, "marginal": m}) for k, (i, m) in judged.items()])


def run(args: argparse.Namespace) -> None:
    """Train all that is missing, and add it to the file."""
    tasks = ((name, seed, factor) for seed in args.seeds for name in args.sets for factor in args.factors)
    run_missing(args.out, ["set", "seed", "factor"], tasks, one_run)


def table(args: argparse.Namespace) -> None:
    """Print the gains over the factor 1, nats per cell, with their SE over cells, and the ratio of CPU seconds."""
    rows = pd.read_csv(args.out, sep="\t")
    out = []
    for (name, seed), part in rows.groupby(["set", "seed"], sort=False):
        seconds = part.groupby("factor")["seconds"].first()
        for factor in sorted(set(part["factor"]) - {1.0}):
            line = {"set": name, "seed": seed, "factor": factor, "time": seconds[factor] / seconds[1.0]}
            for cells, judged in part.groupby("cells"):
                wide = judged.pivot_table(index="cell", columns="factor", values="marginal")
                gain = (wide[factor] - wide[1.0]).to_numpy()
                line |= {f"{cells}": gain.mean(), f"{cells}_se": gain.std(ddof=1) / np.sqrt(len(gain))}
            out.append(line)
    found = pd.DataFrame(out)
    print(found.to_csv(sep="\t", index=False, float_format="%.3g"))
    means = found.groupby(["set", "factor"], sort=False)[["validation", "test", "time"]].mean()
    print(means.to_csv(sep="\t", float_format="%.3g"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=[*SETS, PEERS], default=[*SETS, PEERS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--factors", nargs="+", type=float, default=[1.0, 1.5])
    chosen = parser.parse_args()
    {"run": run, "table": table}[chosen.what](chosen)
