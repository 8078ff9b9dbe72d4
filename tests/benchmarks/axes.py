"""How much each latent axis is one thing: ours beside DRVI, LinearSCVI, scVI, PCA and ICA on the same cells and genes.

    python tests/benchmarks/axes.py --out axes.tsv                     # ours, PCA, ICA
    python tests/benchmarks/axes.py --methods DRVI scVI LinearSCVI …   # the peers, where scvi-tools is installed
    python tests/benchmarks/axes.py --recorded results.tsv             # beside values recorded earlier

Data sets: `lung3cl` (three cell lines, two protocols; the peers' 2,000 genes and the cell-cycle list genes; conditioned
on protocol), `pbmc68k` (the 700 cells inside scanpy; bulk labels), `demo` (the simulator with its defaults; cell types,
conditioned on batch), `factors` (four independent factors, see `four_factors`). Measures: LMS over SMI and SPN (drvi-
py's definitions) against the labels, of `factors` against the upper half of each factor; the largest mutual
information of one axis with S_score and G2M_score (nats, scikit-learn's nearest-neighbour estimator, random_state 0;
scanpy's scores on all genes, which no method sees), and its gap to the second axis; MIG (Chen et al. 2018; quantile
bins, 20 of an axis, 5 of a factor: `mutual_information_gap`); CPU seconds of the training (all threads). `ll`:
importance-weighted held-out log-likelihood on the peers' test cells (100 samples).
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import anndata as ad
import numpy as np
import pandas as pd
from _common import PEER_SETS, data_folder, load, peer_split, refitted
from scipy.sparse import csr_matrix

import sclatent as sl
from sclatent.data.genes import cycle_genes
from sclatent.model import CountData, train_vae
from sclatent.model.rotation import rotate_axes
from sclatent.settings import ModelSettings
from sclatent.tl._axes.disentangle import (
    SIMILARITIES,
    axis_gap,
    disentanglement,
    latent_matching_score,
    mutual_information_gap,
    mutual_information_matrix,
)
from sclatent.tl._model.embed import active_axes
from sclatent.tl._model.held_out_fit import held_out

N_LATENT = 32
OURS = {
    "mlp": {"decoder": "mlp"},
    "mlp, varimax": {"decoder": "mlp", "rotate": "varimax"},
    "mlp, ica": {"decoder": "mlp", "rotate": "ica"},
    "mlp, not rotated": {"decoder": "mlp", "rotate": "none"},
    "linear": {"decoder": "linear"},
    "linear, varimax": {"decoder": "linear", "rotate": "varimax"},
    "linear, not rotated": {"decoder": "linear", "rotate": "none"},
    "additive log": {"decoder": "additive", "pooling": "log"},
    "additive counts": {"decoder": "additive", "pooling": "counts"},
}


def four_factors(n_cells: int = 2000, n_genes: int = 600, seed: int = 0) -> ad.AnnData:
    """Counts driven by four independent factors of different shape, which share genes.

    A normal, a uniform, an exponential and a two-state factor (35 % on, with a spread), each standardised; every factor
    moves the log rate of a random fifth of the genes by N(0, 0.5²) per unit, so 59 % of the genes respond to one or
    more and 18 % to two or more. Library sizes are log-normal (median 10,000), counts negative binomial (θ = 10).
    """
    rng = np.random.default_rng(seed)
    on = rng.random(n_cells) < 0.35
    raw = [rng.normal(size=n_cells), rng.uniform(size=n_cells), rng.beta(2, 5, size=n_cells)]
    factors = np.column_stack([*raw, on + rng.normal(0, 0.15, n_cells)])
    factors = (factors - factors.mean(0)) / factors.std(0)
    weights = np.where(rng.random((4, n_genes)) < 0.2, rng.normal(0, 0.5, (4, n_genes)), 0.0)
    logits = rng.normal(0, 1, n_genes) + factors @ weights
    fraction = np.exp(logits - logits.max(1, keepdims=True))
    fraction /= fraction.sum(1, keepdims=True)
    mu = fraction * (10_000 * np.exp(rng.normal(0, 0.35, n_cells)))[:, None]
    counts = rng.poisson(mu * rng.standard_gamma(10.0, mu.shape) / 10.0).astype(np.float32)
    adata = ad.AnnData(csr_matrix(counts))
    adata.obsm["factors"] = factors
    return adata


def lung3cl() -> ad.AnnData:
    """Three cancer lines by two protocols: the peers' genes and the list genes; scores from all genes."""
    import scanpy as sc

    adata = ad.read_h5ad(data_folder() / "lung3cl_celseq2_dropseq.h5ad")
    table = cycle_genes("human")
    lists = {p: [g for g in table.loc[table["phase"] == p, "gene"] if g in adata.var_names] for p in ("S", "G2M")}
    whole = adata.copy()
    sc.pp.filter_genes(whole, min_cells=3)
    sc.pp.normalize_total(whole)
    sc.pp.log1p(whole)
    sc.tl.score_genes_cell_cycle(whole, s_genes=lists["S"], g2m_genes=lists["G2M"])
    genes = list(load("lung3cl_celseq2_dropseq").var_names)
    out = adata[:, genes + [g for p in ("S", "G2M") for g in lists[p] if g not in genes]].copy()
    out.obs[["S_score", "G2M_score"]] = whole.obs[["S_score", "G2M_score"]].to_numpy()
    out.X = csr_matrix(out.X, dtype=np.float32)
    return out


DATA: dict[str, tuple[Callable[[], ad.AnnData], str | None, str | None]] = {
    "lung3cl": (lung3cl, "batch", "cell_line"),
    "pbmc68k": (lambda: sl.data.pbmc68k(), None, "bulk_labels"),
    "demo": (lambda: sl.simulate(), "batch", "cell_type"),
    "factors": (four_factors, None, None),
}


def count_data(adata: ad.AnnData, batch: str | None) -> tuple[CountData, tuple[int, ...]]:
    """Arrays as the model takes them, and the number of levels of the batch."""
    counts = csr_matrix(adata.X, dtype=np.float32)
    library = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    if batch is None:
        return CountData(counts, library), ()
    codes = adata.obs[batch].astype("category").cat.codes.to_numpy().astype(np.int64)[:, None]
    return CountData(counts, library, codes), (int(codes.max()) + 1,)


def ours(name: str, adata: ad.AnnData, batch: str | None, seed: int, threads: int, n_latent: int) -> np.ndarray:
    """Posterior means of one of our models, active axes; a tenth of the cells stops the training, then joins."""
    settings = ModelSettings(n_latent=n_latent, **OURS[name])
    data, levels = count_data(adata, batch)
    order = np.random.default_rng(seed).permutation(adata.n_obs)
    n = adata.n_obs // 10
    vae, history = train_vae(data, order[n:], order[:n], settings, n_levels=levels, seed=seed, threads=threads)
    vae = refitted(vae, data, order[n:], order[:n], len(history), seed=seed, threads=threads)
    rotate_axes(vae, data, order[n:], settings.rotation)
    z = vae.posterior(data)[0]
    return z[:, active_axes(z)]


def log_normalised(adata: ad.AnnData) -> np.ndarray:
    """Dense log-normalised expression."""
    import scanpy as sc

    copy = adata.copy()
    sc.pp.normalize_total(copy)
    sc.pp.log1p(copy)
    return copy.X.toarray()


def classical(name: str, adata: ad.AnnData, seed: int, n_axes: int = 10) -> np.ndarray:
    """PCA, or ICA, of log-normalised expression."""
    from sklearn.decomposition import PCA, FastICA

    x = log_normalised(adata)
    if name == "PCA":
        return PCA(n_axes, random_state=seed).fit_transform(x)
    return FastICA(n_axes, random_state=seed, max_iter=1000).fit_transform(x)


def peer(name: str, adata: ad.AnnData, batch: str | None, seed: int) -> np.ndarray:
    """A peer of scvi-tools with its default settings."""
    import scvi

    scvi.settings.seed = seed
    scvi.settings.verbosity = 40
    copy = ad.AnnData(csr_matrix(adata.X), obs=adata.obs.copy(), var=pd.DataFrame(index=adata.var_names))
    if batch is not None:
        copy.obs[batch] = copy.obs[batch].astype(str).astype("category")
    kind = {"scVI": scvi.model.SCVI, "LinearSCVI": scvi.model.LinearSCVI}.get(name) or scvi.external.DRVI
    kind.setup_anndata(copy, batch_key=batch)
    model = kind(copy)
    model.train(enable_progress_bar=False, accelerator="cpu")
    return np.asarray(model.get_latent_representation())


def judge(z: np.ndarray, adata: ad.AnnData, label: str | None) -> dict[str, float]:
    """Every measure that the data set has a truth for."""
    out: dict[str, float] = {}
    if label is not None:
        scores = disentanglement(z, adata.obs[label].to_numpy())
        out |= {key: scores[key] for key in ("LMS-SMI", "LMS-SPN", "MSAS-SMI", "MSGS-SMI")}
    names = [c for c in ("S_score", "G2M_score", "true_S", "true_G2M") if c in adata.obs]
    if names:
        information = mutual_information_matrix(z, adata.obs[names].to_numpy(float))
        for j, (name, gap) in enumerate(zip(names, axis_gap(information), strict=True)):
            out |= {f"MI {name}": float(information[:, j].max()), f"gap {name}": float(gap)}
    if "factors" in adata.obsm:
        factors = adata.obsm["factors"]
        upper = (factors > np.median(factors, axis=0)).astype(float)
        out |= {f"LMS-{name}": latent_matching_score(SIMILARITIES[name](z, upper)) for name in ("SMI", "SPN")}
        out["MIG"] = mutual_information_gap(z, factors)
    return out


def likelihoods(name: str, seed: int, threads: int, n_latent: int) -> list[tuple[str, float]]:
    """Held-out log-likelihood of one of our decoders on the peers' three data sets, conditioned on the batch."""
    out = []
    for dataset in PEER_SETS:
        adata = load(dataset)
        batch = next(c for c in ("batch", "condition") if c in adata.obs)
        data, levels = count_data(adata, batch)
        split = peer_split(adata.n_obs)
        settings = ModelSettings(n_latent=n_latent, **OURS[name])
        vae, history = train_vae(
            data, split["train"], split["validation"], settings, n_levels=levels, seed=seed, threads=threads
        )
        cells = (split["train"], split["validation"])
        vae = refitted(vae, data, *cells, len(history), seed=seed, threads=threads)
        out.append((f"ll {dataset}", float(held_out(vae, data, split["test"])[1].mean())))
    return out


def main() -> None:
    """Run what was asked for and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="*", default=list(DATA), choices=[*DATA, "ll"])
    parser.add_argument("--methods", nargs="*", default=[*OURS, "PCA", "ICA"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--axes", type=int, default=N_LATENT, help="latent axes of ours (32)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--recorded", nargs="*", default=[], help="tables written by --out earlier, shown beside")
    parser.add_argument("--out", help="TSV of dataset, method, seed, measure, value")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows: list[tuple[str, str, int, str, float]] = []
    for dataset in args.datasets:
        if dataset == "ll":
            for method in (m for m in args.methods if m in OURS and "," not in m):
                for seed in args.seeds:
                    rows += [
                        (dataset, method, seed, *pair) for pair in likelihoods(method, seed, args.threads, args.axes)
                    ]
            continue
        make, batch, label = DATA[dataset]
        adata = make()
        if "factors" in adata.obsm:
            truth = judge(adata.obsm["factors"], adata, label)
            rows += [(dataset, "true factors", 0, key, value) for key, value in truth.items()]
        for method in args.methods:
            for seed in args.seeds:
                start = time.process_time()
                if method in OURS:
                    z = ours(method, adata, batch, seed, args.threads, args.axes)
                elif method in ("PCA", "ICA"):
                    z = classical(method, adata, seed, 4 if dataset == "factors" else 10)
                else:
                    z = peer(method, adata, batch, seed)
                seconds = time.process_time() - start
                found = judge(z, adata, label) | {"CPU seconds": seconds}
                rows += [(dataset, method, seed, key, value) for key, value in found.items()]
                print(dataset, method, seed, {k: round(v, 3) for k, v in found.items()}, flush=True)
    table = pd.DataFrame(rows, columns=["dataset", "method", "seed", "measure", "value"])
    if args.out:
        table.to_csv(args.out, sep="\t", index=False, float_format="%.5g")
    table = pd.concat([table, *(pd.read_csv(path, sep="\t") for path in args.recorded)], ignore_index=True)
    for dataset, part in table.groupby("dataset", sort=False):
        mean = part.pivot_table("value", "method", "measure", "mean", sort=False)
        low = part.pivot_table("value", "method", "measure", "min", sort=False)
        print(f"\n{dataset}: mean over seeds (smallest)")
        print((mean.map("{:.3f}".format) + " (" + low.map("{:.3f}".format) + ")").replace("nan (nan)", "").to_string())


if __name__ == "__main__":
    main()
