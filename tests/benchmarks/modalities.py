"""RNA and open chromatin together, beside MULTIVI on the same cells, features, axes and held-out cells.

    python tests/benchmarks/modalities.py                       # ours; all 52,761 peaks, seeds 0, 1, 2
    python tests/benchmarks/modalities.py --peer-python ENV/bin/python     # and MULTIVI, where scvi-tools is installed
    python tests/benchmarks/modalities.py --peaks 8000 --seeds 0           # smaller

Every training is a process of its own, on one thread; its CPU seconds are those of the training alone, its memory the
peak of the process when it ends. Tables go to stdout as tab-separated text:

- `training`: CPU seconds, peak memory (GB), epochs;
- `one from the other`: peaks of held-out cells predicted from their RNA. AUROC over the peaks of a cell, and over the
  cells of a peak (those open in five test cells at least) as predicted and at the depth of each cell; beside the
  prevalence of each peak (times the depth), and the share of the 20 nearest training cells (PCA of log RNA) that have
  it;
- `treatment`: share of cells whose hours of treatment the 15 nearest cells tell (5 folds), by what is embedded; and how
  far each time of treatment has an axis of its own (LMS);
- `marginals` (ours): held-out log p of each modality, of the joint model and of models of one modality of the same
  size;
- `partly` (ours): half of the cells with RNA only, a quarter with peaks only, same split and first weights:
  correlation with each axis of the full run, in cells that have both, turned towards it in training cells and judged
  in others; the same for full runs of other seeds, which is the most that can be hoped for.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SCLATENT_TEST_DATA", ROOT.parent / "shared" / "data"))
N_LATENT, NEAREST, DRAWS = 32, 20, 50
Array = np.ndarray


def load(peaks: str) -> tuple[ad.AnnData, ad.AnnData, dict[str, Array]]:
    """Return RNA, the peaks most often open in training cells (or all), and the split, the same for every seed."""
    rna, atac = (ad.read_h5ad(DATA / f"a549_scicar_{name}.h5ad") for name in ("rna", "atac_binary"))
    keep = np.asarray((rna.X > 0).sum(axis=1)).ravel() >= 59  # as `cells.min_genes: auto`
    rna, atac = rna[keep].copy(), atac[keep].copy()
    order = np.random.default_rng(0).permutation(rna.n_obs)
    tenth = rna.n_obs // 10
    split = {"test": order[:tenth], "validation": order[tenth : 2 * tenth], "train": order[2 * tenth :]}
    split = {name: np.sort(cells) for name, cells in split.items()}
    if peaks != "all":
        seen = np.asarray((atac.X[split["train"]] > 0).sum(axis=0)).ravel()
        atac = atac[:, np.sort(np.argsort(-seen, kind="stable")[: int(peaks)])].copy()
    return rna, atac, split


def cost(started: float) -> dict[str, float]:
    """Return the CPU seconds since `started`, and the peak of memory until now."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"cpu": time.process_time() - started, "memory": peak}


def sclatent(rna: ad.AnnData, atac: ad.AnnData, split: dict[str, Array], seed: int, what: str) -> dict[str, Any]:
    """Train ours: `what` is `both`, `rna`, `atac` or `partly`."""
    import torch

    from sclatent.model import Batches, CountData, Further, only, rotate_axes, train_vae
    from sclatent.settings import ModelSettings
    from sclatent.settings.kinds.parts import BernoulliSettings

    torch.set_num_threads(1)
    n, has = rna.n_obs, {name: np.ones(rna.n_obs, dtype=bool) for name in ("rna", "atac")}
    if what == "partly":
        kind = np.random.default_rng(1).permutation(n) / n
        has = {"rna": kind < 0.75, "atac": kind >= 0.5}
    elif what != "both":
        has = {name: mask & (name == what) for name, mask in has.items()}

    def counts(adata: ad.AnnData, mask: Array) -> tuple[Any, Array]:
        matrix = sparse.csr_matrix(sparse.diags(mask.astype(np.float32)) @ adata.X, dtype=np.float32)
        matrix.eliminate_zeros()
        return matrix, np.asarray(matrix.sum(axis=1)).ravel()

    other = CountData(*counts(atac, has["atac"]), measured=has["atac"])
    data = CountData(*counts(rna, has["rna"]), measured=has["rna"], others={"atac": other})
    further = {"atac": Further(atac.n_vars, BernoulliSettings())}
    started = time.process_time()
    settings = ModelSettings(n_latent=N_LATENT)
    vae, history = train_vae(data, split["train"], split["validation"], settings, further=further, seed=seed)
    out: dict[str, Any] = cost(started) | {"epochs": len(history)}
    rotate_axes(vae, data, split["train"], settings.rotation)
    test, batches = split["test"], Batches(data)
    views = {"both": lambda batch: batch, **{name: (lambda batch, name=name: only(batch, name)) for name in has}}
    for name, view in views.items():
        if what in ("both", name):
            noise = torch.Generator().manual_seed(0)
            with torch.no_grad():
                parts = [vae.marginal(view(batch), DRAWS, noise)[1] for batch in batches.stream(test, 16)]
            out[f"log_p_{name}"] = torch.cat(parts).numpy()
        if what in ("both", "partly"):
            given = None if name == "both" else name
            out[f"z_{name}"] = vae.along_axes(data, given=given).mean
    out["has_both"] = has["rna"] & has["atac"]
    if what == "both":
        with torch.no_grad():
            posterior = vae.encode(only(batches.gather(test), "rna"))  # before the axes are turned, as the decoder
            code = posterior.sample(torch.randn((16, len(test), N_LATENT), generator=torch.Generator().manual_seed(0)))
            design = torch.zeros(len(test), 0)
            out["predicted"] = sum(torch.softmax(vae.others["atac"].decoder(one, design), 1).numpy() for one in code)
    return out


def multivi(rna: ad.AnnData, atac: ad.AnnData, split: dict[str, Array], seed: int, epochs: int) -> dict[str, Any]:
    """Train MULTIVI with its default settings but for the number of axes."""
    import mudata
    import scvi
    import torch

    torch.set_num_threads(1)
    scvi.settings.seed, scvi.settings.verbosity = seed, 40

    def setup(cells: Array, *, without: str | None = None) -> Any:
        parts = {"rna": rna[cells].copy(), "atac": atac[cells].copy()}
        if without:
            parts[without].X = sparse.csr_matrix(parts[without].shape, dtype=np.float32)
        mdata = mudata.MuData(parts)
        modalities = {"rna_layer": "rna", "atac_layer": "atac"}
        scvi.model.MULTIVI.setup_mudata(mdata, rna_layer=None, atac_layer=None, modalities=modalities)
        return mdata

    everyone = np.arange(rna.n_obs)
    mdata = setup(everyone)
    model = scvi.model.MULTIVI(mdata, n_genes=rna.n_vars, n_regions=atac.n_vars, n_latent=N_LATENT)
    started = time.process_time()
    index = [split[name] for name in ("train", "validation", "test")]
    limit = {"max_epochs": epochs} if epochs else {}
    model.train(accelerator="cpu", enable_progress_bar=False, datasplitter_kwargs={"external_indexing": index}, **limit)
    out: dict[str, Any] = cost(started) | {"epochs": len(model.history["elbo_train"])}
    blind = setup(split["test"], without="atac")
    out["predicted"] = np.asarray(model.get_normalized_accessibility(blind, return_numpy=True))
    for name, other in (("both", None), ("rna", "atac"), ("atac", "rna")):
        view = mdata if other is None else setup(everyone, without=other)
        out[f"z_{name}"] = model.get_latent_representation(view)
    return out


def auroc(truth: Array, score: Array) -> float:
    """Return the area under the curve, ties half."""
    from scipy.stats import rankdata

    n = int(truth.sum())
    ranks = rankdata(score)[truth]
    return float((ranks.sum() - n * (n + 1) / 2) / (n * (len(truth) - n)))


def judged(predicted: Array, atac: ad.AnnData, test: Array) -> dict[str, float]:
    """Return the AUROC of predicted accessibility over peaks of a cell, and over cells of a peak."""
    truth = atac.X[test].toarray() > 0
    depth = truth.sum(axis=1, keepdims=True)
    often = np.flatnonzero((truth.sum(axis=0) >= 5) & ((~truth).sum(axis=0) >= 5))
    return {
        "over the peaks of a cell": np.mean([auroc(row, score) for row, score in zip(truth, predicted, strict=True)]),
        "over the cells of a peak": np.mean([auroc(truth[:, g], predicted[:, g]) for g in often]),
        "at the cell's depth": np.mean([auroc(truth[:, g], (predicted * depth)[:, g]) for g in often]),
    }


def baselines(rna: ad.AnnData, atac: ad.AnnData, split: dict[str, Array]) -> dict[str, Array]:
    """Return the prevalence of each peak, and its share among the nearest training cells by RNA."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    total = np.asarray(rna.X.sum(axis=1)).ravel()
    logged = np.log1p(rna.X.toarray() / total[:, None] * 1e4)
    z = PCA(20, random_state=0).fit(logged[split["train"]]).transform(logged)
    near = NearestNeighbors(n_neighbors=NEAREST).fit(z[split["train"]]).kneighbors(z[split["test"]])[1]
    open_ = atac.X[split["train"]] > 0
    usual = np.asarray(open_.mean(axis=0)).ravel()
    shares = np.stack([np.asarray(open_[rows].mean(axis=0)).ravel() for rows in near])
    return {"prevalence": np.tile(usual, (len(near), 1)), "nearest cells": shares + 1e-3 * usual}


def treatment(z: Array, hours: Array) -> float:
    """Return the share of cells whose treatment their neighbours tell."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(cross_val_score(KNeighborsClassifier(15), z, hours, cv=folds).mean())


def lms(z: Array, hours: Array) -> float:
    """Return how far each time of treatment has an axis of its own (latent matching score of DRVI)."""
    from sclatent.tl._axes.disentangle import latent_matching_score, one_hot, scaled_mutual_information

    return float(latent_matching_score(scaled_mutual_information(z, one_hot(hours)[0])))


def matched(found: Array, full: Array, known: Array, judge: Array) -> tuple[Array, Array]:
    """Return |correlation| with each axis of `full`, most spread first, and the spread (SD) of these axes.

    Prior and likelihood are the same when the axes are turned, so `found` is turned first: the orthogonal map that
    brings it nearest to `full` in the cells `known` (Procrustes). The cells `judge` are others.
    """
    from scipy.linalg import orthogonal_procrustes

    centre = [z[known].mean(axis=0) for z in (found, full)]
    turn, _ = orthogonal_procrustes(found[known] - centre[0], full[known] - centre[1])
    spread = full[known].std(axis=0)
    order = np.argsort(-spread)
    turned = (found[judge] - centre[0]) @ turn
    each = [abs(np.corrcoef(turned[:, k], full[judge, k])[0, 1]) for k in order]
    return np.array(each), spread[order]


def one(args: argparse.Namespace) -> None:
    """Train one model in this process and write what it found."""
    rna, atac, split = load(args.peaks)
    if args.one == "MULTIVI":
        out = multivi(rna, atac, split, args.seed, args.epochs)
    else:
        out = sclatent(rna, atac, split, args.seed, args.one)
    np.savez(args.out, **out)


def run(what: str, seed: int, args: argparse.Namespace, folder: Path) -> dict[str, Array]:
    """Train in a process of its own."""
    out = folder / f"{what}-{seed}.npz"
    python = args.peer_python if what == "MULTIVI" else sys.executable
    if not out.exists():
        given = ["--one", what, "--seed", seed, "--peaks", args.peaks, "--epochs", args.epochs, "--out", out]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        subprocess.run([python, __file__, *map(str, given)], check=True, env=environment)
    with np.load(out) as found:
        return dict(found)


def tables(args: argparse.Namespace, folder: Path) -> None:
    """Train everything and print the tables."""
    rna, atac, split = load(args.peaks)
    hours = rna.obs["dex_hours"].astype(str).to_numpy()
    methods = ["both", *(["MULTIVI"] if args.peer_python else [])]
    called = {"both": "sclatent", "MULTIVI": "MULTIVI"}
    found = {(m, s): run(m, s, args, folder) for s in args.seeds for m in methods}
    rows: dict[str, list[dict[str, Any]]] = {"training": [], "one from the other": [], "treatment": [], "marginals": []}
    for name, predicted in baselines(rna, atac, split).items():
        rows["one from the other"].append({"method": name} | judged(predicted, atac, split["test"]))
    for (method, seed), got in found.items():
        head = {"method": called[method], "seed": seed}
        rows["training"].append(head | {key: float(got[key]) for key in ("cpu", "memory", "epochs")})
        rows["one from the other"].append(head | judged(got["predicted"], atac, split["test"]))
        views = {view: got[f"z_{view}"] for view in ("both", "rna", "atac")}
        told = {view: treatment(z, hours) for view, z in views.items()}
        rows["treatment"].append(head | told | {f"LMS {view}": lms(z, hours) for view, z in views.items()})
    for seed in args.seeds:
        alone = {name: run(name, seed, args, folder)[f"log_p_{name}"] for name in ("rna", "atac")}
        both = {name: found["both", seed][f"log_p_{name}"] for name in ("rna", "atac", "both")}
        differences = {name: both[name] - alone[name] for name in alone}
        differences |= {"both, above the sum of both apart": both["both"] - alone["rna"] - alone["atac"]}
        differences |= {"both, above its own two": both["both"] - both["rna"] - both["atac"]}
        for name, d in differences.items():
            error = d.std(ddof=1) / np.sqrt(len(d))
            rows["marginals"].append({"seed": seed, "joint model's gain on": name, "nats": d.mean(), "se": error})
    for title, lines in rows.items():
        print(f"# {title}\n{pd.DataFrame(lines).to_csv(sep=chr(9), index=False, float_format='%.4f')}")
    partly = run("partly", args.seeds[0], args, folder)
    full, cells = found["both", args.seeds[0]]["z_both"], partly["has_both"]
    trained = np.zeros(len(full), dtype=bool)
    trained[split["train"]] = True
    runs = {"partly": partly} | {f"full, seed {seed}": found["both", seed] for seed in args.seeds[1:]}
    lines = []
    for name, got in runs.items():
        each, spread = matched(got["z_both"], full, cells & trained, cells & ~trained)
        lines += [
            {"run": name, "axis": k + 1, "sd": s, "r": r} for k, (r, s) in enumerate(zip(each, spread, strict=True))
        ]
    print("# partly\n" + pd.DataFrame(lines).query("sd > 0.1").to_csv(sep="\t", index=False, float_format="%.3f"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peaks", default="all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer-python", default="")
    parser.add_argument("--epochs", type=int, default=0, help="most epochs of MULTIVI; 0: its default")
    parser.add_argument("--one", default="")
    parser.add_argument("--out", default="")
    parser.add_argument("--folder", default="", help="keep what was trained here, and go on from it")
    chosen = parser.parse_args()
    if chosen.one:
        one(chosen)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            where = Path(chosen.folder or scratch)
            where.mkdir(parents=True, exist_ok=True)
            tables(chosen, where)
