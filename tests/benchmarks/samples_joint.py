"""Cells drawn with RNA and peaks against held-out real cells, beside genes and peaks that are drawn by themselves.

python tests/benchmarks/samples_joint.py                     # --peaks 3000 or all, --seeds 0 1 2

The A549 cells of sci-CAR; three tenths are held out. `sclatent` draws from the fitted density, `posteriors` from the
posteriors of the training cells themselves, `independent` draws every gene from a negative binomial of its own mean and
variance and opens every peak as often as in training cells. All are judged by `sclatent.tl.check_samples`. Also
printed: what a copula of the peaks would add to the density of held-out training cells.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from _common import data_folder
from samples import independent
from scipy.sparse import csr_matrix, vstack

import sclatent as sl
from sclatent.data.modalities import further
from sclatent.io._modalities import join_modalities
from sclatent.settings import ModalitiesSettings
from sclatent.tl._model.inputs import inputs
from sclatent.tl._samples.residual import factors, gain, normal_scores

MOST = 5000
"""Peaks whose residuals are looked at, which takes a dense matrix, at most."""
BLOCK = 200
"""Cells of the independent peaks that are drawn at a time."""


def used() -> str:
    """Return the CPU seconds and the peak memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return f"{time.process_time():.0f} s of CPU, at most {peak:.2f} GB"


def cells_and_model(peaks: str, epochs: int, where: Path) -> tuple[ad.AnnData, sl.tl.TrainedModel]:
    """Prepare and train, or read what was trained there."""
    if not (where / "cells.h5ad").exists():
        chosen = {"counts": "-", "n_top": peaks if peaks == "all" else int(peaks)}
        both = ModalitiesSettings.model_validate({"rna": {}, "atac": chosen})
        rna, atac = (sl.io.read_counts(data_folder() / f"a549_scicar_{name}.h5ad") for name in ("rna", "atac_binary"))
        counts = join_modalities(rna, atac, both, "a549")
        cells = sl.pp.model_counts(sl.pp.prepare(counts, modalities=both, split={"test": 0.3}))
        sl.tl.train(cells, model={"epochs": epochs} if epochs else {}, modalities=both).save(where)
        sl.io.write_h5ad(cells, where / "cells.h5ad")
    return sl.io.read_h5ad(where / "cells.h5ad"), sl.tl.TrainedModel.load(where)


def of_posteriors(trained: sl.tl.TrainedModel, training: ad.AnnData) -> Callable[[int, int], dict[str, csr_matrix]]:
    """Draw from the posteriors of the training cells, with their own depths."""
    data = inputs(training, trained.card)

    def draw(seed: int, n: int) -> dict[str, csr_matrix]:
        rows = np.random.default_rng(seed).choice(training.n_obs, n, replace=n > training.n_obs)
        z = trained.vae.draws(data, rows, 1, seed=seed)[0]
        out = {}
        for name, part in {"rna": data, **data.others}.items():
            parts = [
                csr_matrix(trained.vae.sample(z[at], part.library[rows[at]], of=name, seed=seed + at.start))
                for at in (slice(start, start + BLOCK) for start in range(0, n, BLOCK))
            ]
            out[name] = vstack(parts, format="csr")
        return out

    return draw


def apart(training: ad.AnnData) -> Callable[[int, int], dict[str, csr_matrix]]:
    """Draw every gene and every peak by itself."""
    genes = independent(training)
    share = np.asarray((training.obsm["atac"] > 0).mean(axis=0)).ravel()

    def draw(seed: int, n: int) -> dict[str, csr_matrix]:
        rng = np.random.default_rng(seed)
        parts = [
            csr_matrix(rng.random((min(BLOCK, n - start), len(share))) < share, dtype=np.float32)
            for start in range(0, n, BLOCK)
        ]
        return {"rna": csr_matrix(genes(seed, n=n), dtype=np.float32), "atac": vstack(parts, format="csr")}

    return draw


def left_over(trained: sl.tl.TrainedModel, cells: ad.AnnData) -> None:
    """Print what factors of the residuals of peaks add to the log density of held-out training cells."""
    data = inputs(cells, trained.card)
    rows = np.flatnonzero((cells.obs["split"] != "test").to_numpy())
    scores = normal_scores(trained.vae, data, rows, 0, of="atac")
    held = np.arange(len(scores)) % 5 == 0
    found = factors(scores[~held])
    gains = [round(gain(scores[held], found[:, :k]), 3) for k in range(found.shape[1] + 1)]
    print(
        f"# residuals of peaks: {found.shape[1]} factors above the edge, nats by number of factors {gains}", flush=True
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peaks", default="3000")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=0, help="of the training at most; 0: as by default")
    parser.add_argument("--skip", nargs="*", default=[], help="posteriors, independent")
    parser.add_argument("--folder", default="", help="keep what was trained here, and go on from it")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(args.folder or scratch)
        where.mkdir(parents=True, exist_ok=True)
        cells, trained = cells_and_model(args.peaks, args.epochs, where)
    test = (cells.obs["split"] == "test").to_numpy()
    real, training = cells[test].copy(), cells[~test].copy()
    print(f"# {training.n_obs} training cells, {real.n_obs} held out, {used()}", flush=True)
    density = sl.tl.density(cells, trained)
    print(f"# density: {density.about}, {used()}", flush=True)
    if len(further(cells)["atac"]) <= MOST:
        left_over(trained, cells)
    draws = {"posteriors": of_posteriors(trained, training), "independent": apart(training)}
    draws = {name: draw for name, draw in draws.items() if name not in args.skip}
    tables = []
    for seed in args.seeds:
        start = time.process_time()
        drawn = sl.tl.sample(trained, real.n_obs, density=density, seed=seed)
        print(f"# {drawn.n_obs} cells drawn in {time.process_time() - start:.1f} s of CPU, {used()}", flush=True)
        made = {"sclatent": drawn}
        for name, draw in draws.items():
            counts = draw(seed, real.n_obs)
            other = ad.AnnData(counts["rna"], obs=drawn.obs, var=drawn.var, uns=drawn.uns)
            other.obsm["atac"] = counts["atac"]
            made[name] = other
        for name, one in made.items():
            known = training if name == "sclatent" and seed == args.seeds[0] else None
            table = sl.tl.check_samples(real, one, training=known, seed=seed)
            tables.append(table.assign(simulator=name, seed=seed))
            print(tables[-1].to_csv(sep="\t", index=False, float_format="%.3f"), flush=True)
    mean = pd.concat(tables).groupby(["modality", "measure", "simulator"], sort=False)["drawn"].mean().unstack()
    print(f"# mean over draws, {used()}\n{mean.to_csv(sep=chr(9), float_format='%.3f')}")


if __name__ == "__main__":
    main()
