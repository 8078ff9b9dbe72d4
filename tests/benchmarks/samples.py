"""Cells drawn from a model against held-out real cells, and cells "as if stimulated", beside other simulators.

python tests/benchmarks/samples.py                     # both tables; --sets NAME …, --seeds 0 1 2, --skip copula

Three tenths of the cells are held out; every simulator sees the others only. `sclatent` draws from the fitted density,
`posteriors` from the posteriors of the training cells themselves (what density fitting costs), `independent genes` is a
negative binomial per gene by moments, `copula` a Gaussian copula of negative binomials per batch and cluster. With
`--peer-python ENV/bin/python`, where scvi-tools is installed, `scVI` is its posterior predictive of training cells
(default settings, batch as its batch key), and its rates of the control cells with the label switched. All are judged
by `sclatent.tl.check_samples`.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from _common import PEER_SETS, data_folder
from scipy.sparse import csr_matrix

import sclatent as sl
from sclatent.tl._model.inputs import inputs

COLUMN = {"pbmc_ifnb_two_batches": "condition"}
STIMULATED = ("pbmc_ifnb_two_batches", "condition", "ctrl", "stim")
INTERFERON = ("ISG15", "IFI6", "IFIT1", "IFIT2", "IFIT3", "MX1", "MX2", "OAS1", "ISG20", "IFITM3", "LY6E", "CXCL10")
"""Genes that interferon is known to switch on in blood cells (Kang et al. 2018)."""
TOP = 500
CELLS_PER_CLUSTER, FEWEST = 60, 10
"""Of the copula: cells of a cluster, and the fewest that have means of their own."""

Draw = Callable[[int], np.ndarray]


def prepared(name: str, held_out: float = 0.3) -> ad.AnnData:
    """Counts of the model's genes, split."""
    counts = sl.io.read_counts(data_folder() / f"{name}.h5ad")
    batch = COLUMN.get(name, "batch")
    return sl.pp.model_counts(sl.pp.prepare(counts, batch=batch, split={"test": held_out}))


def independent(cells: ad.AnnData) -> Draw:
    """Draw every gene from a negative binomial of its own mean and variance."""
    x = cells.X.toarray().astype(np.float64)
    mean, variance = x.mean(0), x.var(0)
    theta = np.where(variance > mean, mean**2 / np.maximum(variance - mean, 1e-9), 1e8)

    def draw(seed: int, n: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return rng.poisson(mean * rng.standard_gamma(np.broadcast_to(theta, (n, len(mean)))) / theta)

    return draw


def own(trained: sl.tl.TrainedModel, cells: ad.AnnData) -> Draw:
    """Draw from the posteriors of the training cells."""
    data = inputs(cells, trained.card)

    def draw(seed: int, n: int = 0) -> np.ndarray:
        rows = np.random.default_rng(seed).choice(cells.n_obs, n, replace=n > cells.n_obs)
        z = trained.vae.draws(data, rows, 1, seed=seed)[0]
        return trained.vae.sample(z, data.library[rows], data.categorical[rows], seed=seed)

    return draw


def peer(python: str, cells: ad.AnnData, column: str, seeds: list[int], where: Path) -> dict[str, np.ndarray]:
    """Train scVI in its own environment; return its draws, and its rates of held-out control cells by level."""
    test = (cells.obs["split"] == "test").to_numpy()
    if not (where / "found.npz").exists():

        def write(name: str, rows: np.ndarray) -> Path:
            obs = pd.DataFrame({column: cells.obs[column].astype(str)[rows]})
            ad.AnnData(cells.X[rows], obs=obs, var=cells.var[[]]).write_h5ad(where / name)
            return where / name

        given = ["--training", write("training.h5ad", ~test), "--column", column, "--cells", test.sum()]
        given += ["--seeds", *seeds, "--out", where / "found.npz"]
        if column == STIMULATED[1]:
            control = test & (cells.obs[column].astype(str) == STIMULATED[2]).to_numpy()
            given += ["--switch", write("control.h5ad", control), "--levels", *STIMULATED[2:]]
        subprocess.run([python, Path(__file__).with_name("_scvi_peer.py"), *map(str, given)], check=True)
    with np.load(where / "found.npz") as found:
        return dict(found)


def trained_in(where: Path, cells: ad.AnnData, column: str) -> sl.tl.TrainedModel:
    """Train ours, or read what was trained there."""
    if not (where / "model.json").exists():
        sl.tl.train(cells, batch=column).save(where)
    return sl.tl.TrainedModel.load(where)


def copula(cells: ad.AnnData, column: str) -> Draw:
    """Draw from negative binomials per batch and cluster, tied by a Gaussian copula of all genes.

    As scDesign3 does it: clusters of the log-normalised cells (k-means on principal components), each gene's mean in
    each, its dispersion over all, and the correlation of the normal scores of the counts, shrunk (Ledoit and Wolf).
    """
    from scipy.special import ndtr, ndtri
    from scipy.stats import nbinom
    from sklearn.cluster import KMeans
    from sklearn.covariance import ledoit_wolf
    from sklearn.decomposition import PCA

    x = cells.X.toarray().astype(np.float64)
    logged = np.log1p(1e4 * x / x.sum(1, keepdims=True))
    place = PCA(20, random_state=0).fit_transform(logged)
    cluster = KMeans(max(2, len(x) // CELLS_PER_CLUSTER), n_init=5, random_state=0).fit_predict(place)
    named = cells.obs[column].astype(str) + "_" + cluster.astype(str)
    few = named.map(named.value_counts()) < FEWEST
    group = pd.factorize(named.where(~few, named.value_counts().index[0]))[0]
    means = np.stack([x[group == g].mean(0) for g in range(group.max() + 1)]) + 1e-6
    mean = means[group]
    excess = np.maximum(((x - mean) ** 2 - mean).sum(0), 1e-9)
    theta = np.clip((mean**2).sum(0) / excess, 1e-3, 1e6)

    def shares(n: np.ndarray) -> np.ndarray:
        return theta / (theta + n)

    rng = np.random.default_rng(0)
    low, high = (nbinom.cdf(x - less, theta, shares(mean)) for less in (1, 0))
    scores = ndtri(np.clip(low + (high - low) * rng.random(x.shape), 1e-6, 1 - 1e-6))
    scores = (scores - scores.mean(0)) / scores.std(0)
    factor = np.linalg.cholesky(ledoit_wolf(scores)[0] + 1e-6 * np.eye(x.shape[1]))
    factor /= np.sqrt((factor**2).sum(1, keepdims=True))

    def draw(seed: int, n: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(x), n, replace=n > len(x))
        level = ndtr(rng.standard_normal((n, x.shape[1])) @ factor.T)
        return nbinom.ppf(np.clip(level, 1e-9, 1 - 1e-9), theta, shares(mean[rows]))

    return draw


def judged(
    name: str, seeds: list[int], skip: list[str], python: str, where: Path
) -> tuple[list[dict[str, Any]], Any, dict[str, np.ndarray], ad.AnnData]:
    """One row per simulator: the mean over draws of every measure."""
    cells, column = prepared(name), COLUMN.get(name, "batch")
    test = (cells.obs["split"] == "test").to_numpy()
    real, training = cells[test].copy(), cells[~test].copy()
    start = time.perf_counter()
    trained = trained_in(where, cells, column)
    trained_s = time.perf_counter() - start
    start = time.perf_counter()
    density = sl.tl.density(cells, trained)
    print(
        f"{name}: trained {trained_s:.0f} s, density {time.perf_counter() - start:.0f} s, {density.about}", flush=True
    )
    draws: dict[str, Any] = {
        "sclatent": lambda seed, n: sl.tl.sample(trained, n, density=density, seed=seed).X.toarray(),
        "posteriors": own(trained, training),
        "independent genes": independent(training),
    }
    if "copula" not in skip:
        draws["copula"] = copula(training, column)
    scvi = peer(python, cells, column, seeds, where) if python else {}
    if python:
        draws["scVI"] = lambda seed, n: scvi[f"drawn_{seed}"]
    rows = []
    for simulator, draw in draws.items():
        tables = []
        for seed in seeds:
            x = csr_matrix(draw(seed, n=real.n_obs), dtype=np.float32)
            drawn = ad.AnnData(x, var=cells.var[[]].copy())
            tables.append(sl.tl.check_samples(real, drawn, seed=seed).set_index("measure"))
        mean = sum(table["drawn"] for table in tables) / len(tables)
        row = {"set": name, "simulator": simulator, "auroc": mean["auroc"]}
        row |= {"low": min(t.loc["auroc", "low"] for t in tables), "high": max(t.loc["auroc", "high"] for t in tables)}
        rows.append(row | mean.drop("auroc").to_dict())
        print(pd.DataFrame(rows[-1:]).to_string(index=False, float_format="%.3f"), flush=True)
    return rows, trained, scvi, cells


def stimulated(trained: Any, scvi: dict[str, np.ndarray], cells: ad.AnnData) -> pd.DataFrame:
    """Log fold changes of held-out control cells as if stimulated, against those of held-out cells.

    Two readings of a prediction: against what the model decodes of the control cells as they are (`decoded`), and
    against the control cells as measured (`measured`), where the noise of these cells is in both numbers.
    """
    _, column, control, other = STIMULATED
    which, test = cells.obs[column].astype(str).to_numpy(), (cells.obs["split"] == "test").to_numpy()
    fraction = csr_matrix(cells.X.multiply(1e4 / np.asarray(cells.X.sum(1))))

    def mean(rows: np.ndarray) -> np.ndarray:
        return np.asarray(fraction[rows].mean(0)).ravel()

    before, after = mean(test & (which == control)), mean(test & (which == other))
    known, changed = mean(~test & (which == control)), mean(~test & (which == other))
    table = sl.tl.counterfactual(cells[test & (which == control)].copy(), trained, {column: other})
    found = {"sclatent": (table["decoded"].to_numpy(), table["as_if"].to_numpy())}
    found["difference of means"] = (known, changed)
    if scvi:
        found["scVI"] = (scvi[f"as_{control}"], scvi[f"as_{other}"])
    real = np.log1p(after) - np.log1p(before)
    chosen = {"held out": real, "training": np.log1p(changed) - np.log1p(known)}
    genes = cells.var_names
    rows = []
    for method, (base, as_if) in found.items():
        shifted = np.maximum(before + as_if - base, 0.0) if method == "difference of means" else as_if
        for reading, change in (
            ("decoded", np.log1p(as_if) - np.log1p(base)),
            ("measured", np.log1p(shifted) - np.log1p(before)),
        ):
            row: dict[str, Any] = {"method": method, "control cells": reading}
            for by, size in chosen.items():
                top = np.argsort(-np.abs(size))[:TOP]
                row[f"r, top 500 {by}"] = np.corrcoef(real[top], change[top])[0, 1]
            rank = pd.Series(-change, index=genes).rank()
            row["median rank of interferon genes"] = rank.reindex(INTERFERON).median()
            row["worst"] = rank.reindex(INTERFERON).max()
            rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(PEER_SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--skip", nargs="*", default=[], help="copula")
    parser.add_argument("--peer-python", default="", help="of an environment with scvi-tools")
    parser.add_argument("--folder", default="", help="keep what was trained here, and go on from it")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows: list[dict[str, Any]] = []
    for name in args.sets:
        with tempfile.TemporaryDirectory() as scratch:
            where = Path(args.folder or scratch) / name
            where.mkdir(parents=True, exist_ok=True)
            more, trained, scvi, cells = judged(name, args.seeds, args.skip, args.peer_python, where)
        rows += more
        if name == STIMULATED[0]:
            print(stimulated(trained, scvi, cells).to_string(index=False, float_format="%.3f"), flush=True)
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
