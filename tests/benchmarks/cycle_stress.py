"""The phase of each cell on labelled data made harder: fewer cells, fewer genes, fewer counts, phases out of balance.

    python tests/benchmarks/cycle_stress.py [--only ipsc mls lung simulator] [--seeds 0 1 2]

One set of defaults. Every line gives the measure beside that of the score angle on the same cells, and what was chosen.
`lung3cl` has no labels: there the angle is compared with that of all cells and counts.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import anndata as ad
import numpy as np
import scipy.sparse as sp
from cycle import TURN, arc_accuracy, mean_cosine, read, row, settings

from sclatent.data import simulate
from sclatent.tl import cycle

SEEDS = [0, 1, 2]
LIBRARY = "n_molecules_all_genes"
Case = tuple[str, ad.AnnData, dict[str, Any]]


def pick(data: ad.AnnData, keep: np.ndarray) -> ad.AnnData:
    """Return some of the cells, with the genes seen in at least three of them."""
    part = data[keep].copy()
    return part[:, np.asarray((sp.csr_matrix(part.X) > 0).sum(axis=0)).ravel() >= 3].copy()


def thin(data: ad.AnnData, share: float, seed: int) -> ad.AnnData:
    """Return the data as if only a share of the molecules or reads had been sequenced."""
    part, counts = data.copy(), sp.csr_matrix(data.X)
    counts.data = np.random.default_rng(seed).binomial(counts.data.astype(np.int64), share).astype(np.float32)
    part.X = counts
    if "library_size" in part.obs:
        part.obs["library_size"] *= share
    return part[:, np.asarray(counts.sum(axis=0)).ravel() > 0].copy()


def harder(
    name: str, data: ad.AnnData, keys: dict[str, Any], cells: float, shares: tuple[float, ...]
) -> Iterator[Case]:
    """Yield the data, then fewer cells, fewer genes and fewer counts."""
    yield name, data, keys
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        yield f"{name}, {cells:.0%} of the cells", pick(data, rng.random(data.n_obs) < cells), keys
        yield f"{name}, 70% of the genes", data[:, rng.random(data.n_vars) < 0.7].copy(), keys
        for share in shares:
            yield f"{name}, {share:.1%} of the counts", thin(data, share, seed), keys


def rarer(name: str, data: ad.AnnData, keys: dict[str, Any], phase: np.ndarray, share: float) -> Iterator[Case]:
    """Yield the data with only a share of the cells of a phase."""
    for seed in SEEDS:
        drop = phase & (np.random.default_rng(seed).random(data.n_obs) > share)
        yield f"{name}, {share:.0%} of them", pick(data, ~drop), keys


def ipsc() -> Iterator[Case]:
    """Yield iPSCs with the FUCCI angle."""
    data, keys = read("ipsc_fucci", LIBRARY), {"library_size": LIBRARY}
    theta = np.mod(data.obs["fucci_theta"].to_numpy(float), TURN)
    data.obs["truth"] = theta
    yield from harder("ipsc", data, keys, 0.5, (0.5, 0.3, 0.1, 0.03))
    yield from rarer("ipsc G1", data, keys, (theta > 1.3) & (theta < 3.6), 0.25)
    yield from rarer("ipsc S", data, keys, (theta > 3.6) & (theta < 5.2), 0.15)
    for person in data.obs["individual"].unique():
        yield f"ipsc, {person}", pick(data, (data.obs["individual"] == person).to_numpy()), keys


def mls() -> Iterator[Case]:
    """Yield sorted liposarcoma cells."""
    data = read("mls_sorted_ensembl")
    phase = data.obs["phase_sorted"].astype(str).to_numpy()
    data.obs["truth"] = phase
    yield from harder("mls", data, {}, 0.7, (0.3, 0.1, 0.01, 0.003))
    yield from rarer("mls G1", data, {}, phase == "G1", 0.25)
    yield from rarer("mls S", data, {}, phase == "S", 0.15)


def lung() -> Iterator[Case]:
    """Yield three cell lines; the angle of them all stands for the truth."""
    data, keys = read("lung3cl_celseq2_dropseq"), {"batch": "batch"}
    data.obs["truth"] = cycle(data, **settings(organism="human", **keys).parts(cycle)).obs["cycle_angle"].to_numpy()
    yield from harder("lung", data, keys, 0.5, (0.5, 0.25, 0.1))
    for line in data.obs["cell_line"].unique():
        yield f"lung, {line}", pick(data, (data.obs["cell_line"] == line).to_numpy()), keys
    for batch in data.obs["batch"].unique():
        yield f"lung, {batch}", pick(data, (data.obs["batch"] == batch).to_numpy()), {}
    yield "lung, protocol not named", data, {}


def simulator() -> Iterator[Case]:
    """Yield simulated cells: few and shallow, many and very deep, most of them resting, of mixed depth, read counts."""
    for seed in SEEDS:
        for name, data in (("30,000 UMIs, 5% at 500", mixed(seed)), ("read counts", read_counts(seed))):
            data.obs["truth"] = data.obs["true_angle"].astype(float)
            yield f"simulator, {name}", data, {}
        for n, library, resting in (
            (100, 2e3, 0.1),
            (250, 2e4, 0.1),
            (1000, 3e4, 0.3),
            (1000, 1e6, 0.3),
            (2000, 4e3, 0.9),
        ):
            data = simulate(n, 2000, median_library=library, resting=resting, seed=seed)
            data.obs["truth"] = data.obs["true_angle"].astype(float)
            yield f"simulator, {n} cells, {library:,.0f} UMIs, {resting:.0%} resting", data, {}


def mixed(seed: int) -> ad.AnnData:
    """Return simulated cells of 30,000 UMIs, a twentieth of them at 500."""
    data = simulate(1000, 2000, median_library=3e4, resting=0.3, seed=seed)
    rng, counts = np.random.default_rng(seed + 100), sp.csr_matrix(data.X)
    share = np.where(rng.random(data.n_obs) < 0.05, 500 / 3e4, 1.0)
    counts.data = rng.binomial(counts.data.astype(np.int64), np.repeat(share, np.diff(counts.indptr))).astype(
        np.float32
    )
    data.X = counts
    return data


def read_counts(seed: int) -> ad.AnnData:
    """Return 300 simulated cells as full-length reads: molecules caught by cell quality, amplified, by gene length."""
    data = simulate(
        300, 4000, median_library=3e4, resting=0.1, seed=seed, amplitude=(0.2, 0.8), theta=3.0, n_types=2, n_batches=1,
        list_share=0.02,
    )  # fmt: skip
    rng = np.random.default_rng(seed + 100)
    caught = np.exp(rng.normal(0, 0.5, data.n_obs))
    caught = np.minimum(caught / np.quantile(caught, 0.9), 1)
    molecules = rng.binomial(data.X.toarray().astype(np.int64), caught[:, None])
    length = np.exp(rng.normal(0, 0.7, data.n_vars))
    made = rng.gamma(np.maximum(molecules * 0.7, 1e-9)) / 0.7 * length * (molecules > 0)
    total = 1e6 * np.exp(rng.normal(0, 0.4, data.n_obs))
    reads = rng.poisson(made / made.sum(axis=1, keepdims=True) * total[:, None])
    data.X = sp.csr_matrix(reads.astype(np.float32))
    return data[:, (reads > 0).sum(axis=0) >= 3].copy()


def judge(name: str, data: ad.AnnData, keys: dict[str, Any]) -> None:
    """Print one line."""
    truth = data.obs["truth"].to_numpy()
    found = cycle(data, **settings(organism="human", **keys).parts(cycle))
    known = np.ones(len(truth), dtype=bool) if truth.dtype == object else np.isfinite(truth)
    measure: Callable[[np.ndarray, np.ndarray], float]
    measure = (lambda t, a: arc_accuracy(a, t)) if truth.dtype == object else mean_cosine
    scores = found.obs[["S_score", "G2M_score"]].to_numpy()
    s, g = ((scores - scores.mean(axis=0)) / scores.std(axis=0)).T
    beside = f"score angle {measure(truth[known], np.arctan2(g, s)[known]):.3f}"
    facts = found.uns["sclatent"]["cycle"]
    if facts["verdict"] != "cycle":
        return row(name, data.n_obs, "no cycle", beside, facts["reason"])
    note = f"{facts['law']}, H {facts['harmonics']}, temper {facts['temper']:g}, {facts['n_joined']} joined"
    if truth.dtype == object:
        note += f"; phase as called {(found.obs['phase'].astype(str).to_numpy() == truth).mean():.3f}"
    return row(name, data.n_obs, measure(truth[known], found.obs["cycle_angle"].to_numpy()[known]), beside, note)


def main() -> None:
    """Print the table."""
    warnings.filterwarnings("ignore")
    logging.getLogger("sclatent").setLevel(logging.ERROR)
    parts = {"ipsc": ipsc, "mls": mls, "lung": lung, "simulator": simulator}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(parts), default=list(parts))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    args = parser.parse_args()
    SEEDS[:] = args.seeds
    row("data", "cells", "mean cosine or best three arcs", "beside", "note")
    row(*["---"] * 5)
    for name in args.only:
        for case in parts[name]():
            judge(*case)


if __name__ == "__main__":
    main()
