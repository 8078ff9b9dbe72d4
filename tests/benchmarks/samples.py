"""Cells drawn from a model against held-out real cells, and cells "as if stimulated", beside other simulators.

python tests/benchmarks/samples.py                     # both tables; --sets NAME …, --seeds 0 1 2, --skip scvi copula

Three tenths of the cells are held out; every simulator sees the others only. `sclatent` draws from the fitted density,
`posteriors` from the posteriors of the training cells themselves (what density fitting costs), `independent genes` is a
negative binomial per gene by moments. With scvi-tools installed, `scVI` is its posterior predictive of training cells
(default settings, batch as its batch key); with scdesigner installed, `copula` is scDesign3's negative binomial with a
Gaussian copula per batch and cluster (Leiden on PCA). All are judged by `sclatent.tl.check_samples`.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable
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


def scvi_model(cells: ad.AnnData, column: str, seed: int) -> Any:
    """Train scVI with its defaults."""
    import scvi

    scvi.settings.seed = seed
    scvi.settings.verbosity = 40
    mine = cells.copy()
    scvi.model.SCVI.setup_anndata(mine, batch_key=column)
    model = scvi.model.SCVI(mine)
    model.train(accelerator="cpu", enable_progress_bar=False)
    return model


def scvi_draw(model: Any) -> Draw:
    """Draw from scVI's posterior predictive of training cells."""

    def draw(seed: int, n: int = 0) -> np.ndarray:
        rows = np.random.default_rng(seed).choice(model.adata.n_obs, n, replace=n > model.adata.n_obs)
        drawn = model.posterior_predictive_sample(indices=rows, n_samples=1)
        return np.asarray(drawn.todense() if hasattr(drawn, "todense") else drawn).reshape(n, -1)

    return draw


def copula(cells: ad.AnnData, column: str) -> Draw:
    """Fit scDesign3's copula per batch and cluster."""
    import scanpy as sc
    from scdesigner.simulators import NegBinCopula

    mine = ad.AnnData(cells.X.toarray().astype(np.float32), obs=cells.obs[[column]].copy(), var=cells.var[[]].copy())
    seen = mine.copy()
    sc.pp.normalize_total(seen)
    sc.pp.log1p(seen)
    sc.pp.pca(seen, n_comps=20)
    sc.pp.neighbors(seen)
    sc.tl.leiden(seen, flavor="igraph", n_iterations=2, directed=False)
    group = mine.obs[column].astype(str) + "_" + seen.obs["leiden"].astype(str)
    few = group.map(group.value_counts()) < 10
    mine.obs["group"] = pd.Categorical(group.where(~few, group.value_counts().index[0]))
    model = NegBinCopula(mean_formula="~ group", dispersion_formula="~ 1", copula_formula="~ group")
    model.fit(mine)

    def draw(seed: int, n: int = 0) -> np.ndarray:
        np.random.seed(seed)  # noqa: NPY002  it draws from numpy's global generator
        rows = np.random.default_rng(seed).choice(mine.n_obs, n, replace=n > mine.n_obs)
        drawn = model.sample(mine.obs.iloc[rows]).X
        return np.asarray(drawn.todense() if hasattr(drawn, "todense") else drawn)

    return draw


def judged(name: str, seeds: list[int], skip: list[str]) -> tuple[list[dict[str, Any]], Any, Any, ad.AnnData]:
    """One row per simulator: the mean over draws of every measure."""
    cells, column = prepared(name), COLUMN.get(name, "batch")
    test = (cells.obs["split"] == "test").to_numpy()
    real, training = cells[test].copy(), cells[~test].copy()
    start = time.perf_counter()
    trained = sl.tl.train(cells, batch=column)
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
    model = None
    if "scvi" not in skip and importlib.util.find_spec("scvi"):
        model = scvi_model(training, column, 0)
        draws["scVI"] = scvi_draw(model)
    if "copula" not in skip and importlib.util.find_spec("scdesigner"):
        draws["copula"] = copula(training, column)
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
    return rows, trained, model, cells


def stimulated(trained: Any, scvi: Any, cells: ad.AnnData) -> pd.DataFrame:
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
    if scvi is not None:
        ours = cells[test & (which == control)].copy()
        sizes = {"library_size": 1e4, "n_samples": 8, "return_numpy": True, "return_mean": True}
        found["scVI"] = tuple(
            scvi.get_normalized_expression(ours, transform_batch=level, **sizes).mean(0) for level in (control, other)
        )
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
    parser.add_argument("--skip", nargs="*", default=[])
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows: list[dict[str, Any]] = []
    for name in args.sets:
        more, trained, scvi, cells = judged(name, args.seeds, args.skip)
        rows += more
        if name == STIMULATED[0]:
            print(stimulated(trained, scvi, cells).to_string(index=False, float_format="%.3f"), flush=True)
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
