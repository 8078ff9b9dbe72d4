"""Shares of topics on open chromatin: Gaussian, Dirichlet and logistic-normal latents, beside AmortizedLDA.

    python tests/benchmarks/topics.py --out topics.tsv                     # ours; seeds 0, 1, 2
    python tests/benchmarks/topics.py --out topics.tsv --peer-python ENV/bin/python    # and AmortizedLDA (scvi-tools)
    python tests/benchmarks/topics.py --out topics.tsv --peaks 10000 --seeds 0         # other peaks

Cells of ``a549_scicar_atac_binary``, the peaks most often open in its training cells, presence alone (Bernoulli). Every
method sees the same cells, peaks, number of axes and split; AmortizedLDA, which does not stop early, learns from
training and validation cells, as ours does in the end. Columns of the table, which is added to and gone on with:

- ``marginal``, ``se``: importance-weighted log p of the test cells (100 draws, nats per cell), as `evaluate` reports
  it (each cell's beside the table, as ``.npy``); ``refined``: the same when each cell's posterior is improved (60 steps
  for ours, 300 for AmortizedLDA's);
- ``knn``: share of cells whose hours of treatment the 15 nearest cells tell (5 folds); ``knn_test``: of the test cells,
  told by all others;
- ``active``: axes in use; ``cpu``: seconds of training.

``mean rate``: no latent, every cell has the shares of all training cells.

AmortizedLDA has a multinomial likelihood: how often each peak occurs among so many. That is not comparable with
presence. But shares π of a cell's l open peaks also say how likely each peak is open, 1 − exp(−l π), which is our
likelihood. So its topics and its posteriors are judged with that: it did not learn it, which is told beside the table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from modalities import load, treatment

KINDS = ("gaussian", "dirichlet", "logistic-normal")
LDA, MEAN = "AmortizedLDA", "mean rate"
DRAWS, STEPS, LEAST = 100, 300, 1e-12
KEYS = ["kind", "peaks", "axes", "seed"]
Array = np.ndarray


def prepared_cells(peaks: int) -> ad.AnnData:
    """Return the cells as `sclatent.pp.prepare` leaves them, with these peaks and this split."""
    _, atac, split = load(str(peaks))
    atac.obs["split"] = pd.Categorical(np.full(atac.n_obs, "train"), categories=["train", "validation", "test"])
    for name, cells in split.items():
        atac.obs.loc[atac.obs_names[cells], "split"] = name
    atac.obs["library_size"] = np.asarray(atac.X.sum(axis=1)).ravel()
    atac.var["in_model"], atac.var["symbol"] = True, atac.var_names.to_numpy()
    return atac


def ours(kind: str, cells: ad.AnnData, axes: int, seed: int) -> tuple[dict[str, Any], Array, Array]:
    """Train one latent; return what it is judged by, its posterior means, and log p of each test cell."""
    import sclatent as sl
    from sclatent.tl._model.held_out_fit import held_out

    started = time.process_time()
    trained = sl.tl.train(cells, model={"latent": kind, "likelihood": "bernoulli", "n_latent": axes}, seed=seed)
    cpu = time.process_time() - started
    latent, test = sl.tl.embed(cells, trained), np.flatnonzero(cells.obs["split"] == "test")
    each = held_out(trained.vae, sl.tl.inputs(cells, trained.card), test, samples=DRAWS, seed=0)[1]
    refined = sl.tl.evaluate(cells, trained, latent=latent, samples=DRAWS, refine=60)["refined"]["marginal"]
    row = {"refined": refined, "active": int(latent.var["active"].sum()), "cpu": cpu}
    return row, np.asarray(latent.X), each


def lda(cells: ad.AnnData, axes: int, seed: int, out: str) -> None:
    """Train AmortizedLDA, where scvi-tools is installed, and write its shares, topics and posteriors."""
    import scvi
    import torch

    torch.set_num_threads(1)
    scvi.settings.seed, scvi.settings.verbosity = seed, 40
    seen = cells[cells.obs["split"] != "test"].copy()
    scvi.model.AmortizedLDA.setup_anndata(seen)
    model = scvi.model.AmortizedLDA(seen, n_topics=axes)
    started = time.process_time()
    model.train(accelerator="cpu", enable_progress_bar=False, train_size=1.0)
    found: dict[str, Any] = {"cpu": time.process_time() - started}
    found["topics"] = np.mean([model.module.topic_by_feature(10).numpy() for _ in range(20)], axis=0)
    found["z"] = model.get_latent_representation(cells, n_samples=500).to_numpy()
    test = torch.from_numpy(cells[cells.obs["split"] == "test"].X.toarray())
    model.module.eval()
    with torch.no_grad():
        posterior, _ = model.module.guide.encoder(test)
    found |= {"mean": posterior.loc.numpy(), "sd": posterior.scale.numpy() ** 2}  # as its guide has it
    prior = model.module.model
    found |= {"prior_mean": prior.cell_topic_prior_mu.numpy(), "prior_sd": prior.cell_topic_prior_sigma.numpy()}
    np.savez(out, **found)


def converted(found: dict[str, Array], cells: ad.AnnData) -> tuple[dict[str, Any], Array]:
    """Return log p of the test cells' presence under AmortizedLDA's topics, by its posteriors and by better ones."""
    import torch
    from torch.distributions import Normal

    test = cells[cells.obs["split"] == "test"]
    x = torch.from_numpy(test.X.toarray() > 0)
    library = torch.from_numpy(test.obs["library_size"].to_numpy(np.float32))[:, None]
    topics = torch.from_numpy(found["topics"].astype(np.float32))
    prior = Normal(torch.from_numpy(found["prior_mean"]), torch.from_numpy(found["prior_sd"]))

    def weights(mean: Any, sd: Any, draws: int, noise: Any) -> Any:
        """Log importance weights (draws × cells)."""
        rows = []
        for _ in range(draws):
            y = mean + sd * torch.randn(mean.shape, generator=noise)
            mu = library * (torch.softmax(y, 1) @ topics)
            present = torch.log(-torch.expm1(-mu.clamp(min=LEAST)))
            log_p = torch.where(x, present, -mu).sum(1, dtype=torch.float64)
            rows.append(log_p + (prior.log_prob(y) - Normal(mean, sd).log_prob(y)).sum(1))
        return torch.stack(rows)

    def judged(mean: Any, sd: Any) -> Array:
        with torch.no_grad():
            each = weights(mean, sd, DRAWS, torch.Generator().manual_seed(0))
        return (torch.logsumexp(each, 0) - np.log(DRAWS)).numpy()

    mean, sd = (torch.from_numpy(found[name]) for name in ("mean", "sd"))
    before = judged(mean, sd)
    at, log_sd = mean.clone().requires_grad_(), sd.log().requires_grad_()
    optimizer, noise = torch.optim.Adam([at, log_sd], lr=0.05), torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        (-weights(at, log_sd.exp(), 1, noise).sum()).backward()
        optimizer.step()
    refined = np.maximum(before, judged(at.detach(), log_sd.exp().detach()))
    noise = torch.randn((5000, len(topics)), generator=torch.Generator().manual_seed(2))
    shares = torch.softmax(prior.loc + prior.scale * noise, 1)
    active = int((found["z"].var(axis=0) > 0.01 * shares.var(0).numpy()).sum())
    return {"refined": refined.mean(), "active": active, "cpu": float(found["cpu"])}, before


def mean_rate(cells: ad.AnnData) -> Array:
    """Return log p of each test cell where every cell has the shares of training and validation cells together."""
    seen, test = cells[cells.obs["split"] != "test"], cells[cells.obs["split"] == "test"]
    share = np.asarray(seen.X.sum(axis=0)).ravel() / seen.X.sum()
    mu = np.maximum(test.obs["library_size"].to_numpy()[:, None] * share, LEAST)
    return np.where(test.X.toarray() > 0, np.log(-np.expm1(-mu)), -mu).sum(axis=1)


def nearest_tell(z: Array, cells: ad.AnnData) -> dict[str, float]:
    """Return how well the 15 nearest cells tell the hours of treatment."""
    from sklearn.neighbors import KNeighborsClassifier

    hours, test = cells.obs["dex_hours"].astype(str).to_numpy(), (cells.obs["split"] == "test").to_numpy()
    told = KNeighborsClassifier(15).fit(z[~test], hours[~test]).score(z[test], hours[test])
    return {"knn": treatment(z, hours), "knn_test": float(told)}


def main() -> None:
    """Train what the table lacks, and print its means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peaks", type=int, default=3000, help="52761: all")
    parser.add_argument("--axes", type=int, default=20, help="AmortizedLDA's default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--peer-python", default="")
    parser.add_argument("--lda", type=int, help="train AmortizedLDA with this seed, and write arrays to `out`")
    given = parser.parse_args()
    cells = prepared_cells(given.peaks)
    if given.lda is not None:
        lda(cells, given.axes, given.lda, str(given.out))
        return

    from _common import run_missing

    def beside(kind: str, peaks: int, axes: int, seed: int, end: str) -> Path:
        return given.out.with_name(f"{given.out.stem}-{kind}-{peaks}-{axes}-{seed}.{end}")

    def one(*task: Any) -> pd.DataFrame:
        kind, peaks, axes, seed = task
        if kind == MEAN:
            row, z, each = {"refined": np.nan, "active": 0, "cpu": 0.0}, np.zeros((cells.n_obs, 1)), mean_rate(cells)
        elif kind != LDA:
            row, z, each = ours(kind, cells, axes, seed)
        else:
            arrays = beside(*task, "npz")
            if not arrays.exists():
                asked = ["--out", arrays, "--peaks", peaks, "--axes", axes, "--lda", seed]
                subprocess.run([given.peer_python, __file__, *map(str, asked)], check=True)
            found = dict(np.load(arrays))
            (row, each), z = converted(found, cells), found["z"]
        np.save(beside(*task, "npy"), each)
        marginal = {"marginal": each.mean(), "se": each.std(ddof=1) / np.sqrt(len(each))}
        return pd.DataFrame([dict(zip(KEYS, task, strict=True)) | marginal | row | nearest_tell(z, cells)])

    kinds = [MEAN, *given.kinds, *([LDA] if given.peer_python else [])]
    run_missing(given.out, KEYS, ((k, given.peaks, given.axes, s) for s in given.seeds for k in kinds), one)
    table = pd.read_csv(given.out, sep="\t")
    print(table.groupby(KEYS[:-1]).mean().drop(columns="seed").to_string())
    for kind in kinds:  # paired over test cells, mean over seeds
        pairs = [[beside(k, given.peaks, given.axes, s, "npy") for k in (kind, KINDS[0])] for s in given.seeds]
        known = [[np.load(path) for path in pair] for pair in pairs if all(path.exists() for path in pair)]
        if known:
            gain = np.mean([mine - theirs for mine, theirs in known], axis=0)
            error = gain.std(ddof=1) / np.sqrt(len(gain))
            print(f"{kind}: {gain.mean():+.2f} ± {error:.2f} over {KINDS[0]}, {len(known)} seeds")


if __name__ == "__main__":
    sys.exit(main())
