"""How often the verdict on the cycle is wrong: on resting cells, and on dividing cells made hard.

    python tests/benchmarks/cycle_verdict.py [--resting 600] [--dividing 300] [--one-phase 60] [--each]

Every draw is a few hundred cells. *Resting*: parts of blood data (cells, genes, small panels), random genes in the
place of the listed ones, simulated cell types without a cycle, and dividing cells whose genes were permuted each by
itself. *Dividing*: parts of dividing data with fewer cells or counts, a panel of 253 genes, and with a share of one
list's genes permuted. *One phase*: simulated dividing cells out of a thirteenth of a turn. Verdicts are those of the
listed genes alone (no gene joins), which is all that they rest on. `before` is the rule that stood here before: the
share of variance explained of both lists stands out at p < 0.01. `--each` prints every draw.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from cycle import read, row, settings

from sclatent.data import cycle_genes, match_genes, simulate
from sclatent.tl import cycle
from sclatent.tl._cycle import law_choice
from sclatent.tl._cycle.scores import find_list_genes, log_normalise, symbols

Keys = dict[str, Any]
Draw = tuple[str, str, ad.AnnData, Keys]
LIBRARY = "library_size"
SETS: dict[str, tuple[str, str | None, Keys]] = {
    "ifnb": ("pbmc_ifnb_two_batches", None, {"organism": "human"}),
    "citeseq": ("pbmc_citeseq_two_batches", None, {"organism": "human", "batch": "batch"}),
    "ipsc": ("ipsc_fucci", "n_molecules_all_genes", {"organism": "human"}),
    "mls": ("mls_sorted_ensembl", None, {"organism": "human"}),
    "lung3cl": ("lung3cl_celseq2_dropseq", None, {"organism": "human", "batch": "batch"}),
    "mesc": ("mesc_media_two_batches", None, {"organism": "mouse", "batch": "batch"}),
    "neurosphere": ("neurosphere_mouse", "n_umi_all_genes", {"organism": "mouse"}),
    "h1_sorted": ("h1_fucci_sorted_247", "n_reads_all_genes", {"organism": "human"}),
    "h1_unsorted": ("h1_unsorted_213", "n_reads_all_genes", {"organism": "human", "batch": "batch"}),
}


@cache
def data_set(name: str) -> tuple[ad.AnnData, Keys]:
    """Return a data set with its library in ``library_size``, and its settings."""
    file, library, keys = SETS[name]
    data = read(file, library)
    if library is None:
        data.obs[LIBRARY] = np.asarray(data.X.sum(axis=1), float).ravel()
    return data, {**keys, "library_size": LIBRARY}


def listed(data: ad.AnnData, organism: str, phase: str | None = None) -> np.ndarray:
    """Return which genes are on the list (of one phase)."""
    table = cycle_genes(organism)
    if phase is not None:
        table = table[table["phase"] == phase]
    found = match_genes(symbols(data.var)[0], list(table["gene"]), aliases=list(table["aliases"]), ignore_case=True)
    out = np.zeros(data.n_vars, dtype=bool)
    out[found[found >= 0]] = True
    return out


def part(
    data: ad.AnnData, rng: np.random.Generator, cells: int, genes: float = 1.0, *, keep: np.ndarray | None = None
) -> ad.AnnData:
    """Return some cells and a share of the genes (but all of `keep`), without genes that are hardly there."""
    chosen = rng.random(data.n_vars) < genes
    out = data[np.sort(rng.permutation(data.n_obs)[:cells]), chosen if keep is None else chosen | keep].copy()
    return out[:, np.asarray((sp.csr_matrix(out.X) > 0).sum(axis=0)).ravel() >= 3].copy()


def small(data: ad.AnnData, organism: str, rng: np.random.Generator, cells: int) -> ad.AnnData:
    """Return some cells with all listed genes and at most some 3,000 others."""
    return part(data, rng, cells, min(1.0, 3000 / data.n_vars), keep=listed(data, organism))


def thinned(data: ad.AnnData, rng: np.random.Generator, depth: float) -> ad.AnnData:
    """Return the data as if every cell had been sequenced to `depth` counts over all genes."""
    out, counts = data.copy(), sp.csr_matrix(data.X)
    share = np.minimum(depth / out.obs[LIBRARY].to_numpy(), 1.0)
    counts.data = rng.binomial(counts.data.astype(np.int64), np.repeat(share, np.diff(counts.indptr)))
    out.X = counts.astype(np.float32)
    out.obs[LIBRARY] = np.maximum(out.obs[LIBRARY] * share, 1.0)
    return out[:, np.asarray((counts > 0).sum(axis=0)).ravel() >= 3].copy()


def permuted(data: ad.AnnData, rng: np.random.Generator, genes: np.ndarray, keys: Keys) -> ad.AnnData:
    """Permute each of the genes over the cells of a batch: fractions of the library, rounded at random to counts."""
    counts, library = data.X.toarray().astype(float), data.obs[LIBRARY].to_numpy()
    batch = data.obs[keys["batch"]].astype(str) if "batch" in keys else pd.Series("", index=data.obs_names)
    for cells in batch.reset_index(drop=True).groupby(batch.to_numpy()).indices.values():
        for gene in np.flatnonzero(genes):
            source = rng.permutation(cells)
            value = counts[source, gene] / library[source] * library[cells]
            counts[cells, gene] = np.floor(value + rng.random(len(value)))
    out = data.copy()
    out.X = sp.csr_matrix(counts.astype(np.float32))
    return out


def other_genes(data: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Give the names of the listed genes to random genes of like abundance."""
    mean, names = np.asarray(data.X.mean(axis=0)).ravel(), data.var_names.to_numpy(object).copy()
    on_list = listed(data, "human")
    free = np.flatnonzero(~on_list)
    for gene in np.flatnonzero(on_list):
        near = free[np.argsort(np.abs(np.log((mean[free] + 1e-9) / (mean[gene] + 1e-9))))[:60]]
        taken = rng.choice(near)
        free = free[free != taken]
        names[[gene, taken]] = f"other_{gene}", names[gene]
    return ad.AnnData(data.X, obs=data.obs.copy(), var=pd.DataFrame(index=pd.Index(names.astype(str))))


def resting(number: int) -> Draw:
    """Return a draw of cells without a cycle."""
    rng, kind = np.random.default_rng([1, number]), number % 10
    ifnb, keys = data_set("ifnb")
    cells = 1200 if rng.random() < 0.1 else int(rng.integers(150, 450))
    if rng.random() < 0.5:
        keys = keys | {"batch": "condition"}
    if kind in (0, 1):
        return "ifnb", "cells", part(ifnb, rng, cells), keys
    if kind == 2:
        return "ifnb", "60% of the genes", part(ifnb, rng, cells, 0.6), keys
    if kind == 3:
        others = float(rng.choice([30, 80, 250])) / ifnb.n_vars
        return "ifnb", "listed genes and 30 to 250", part(ifnb, rng, cells, others, keep=listed(ifnb, "human")), keys
    if kind in (4, 5):
        citeseq, its = data_set("citeseq")
        cells = int(rng.integers(120, 400))
        if kind == 4:
            return "citeseq", "cells", part(citeseq, rng, cells), its
        return "citeseq", "random genes as lists", other_genes(part(citeseq, rng, cells), rng), its
    if kind == 6:
        return "ifnb", "random genes as lists", other_genes(part(ifnb, rng, cells), rng), keys
    if kind in (7, 8):
        depth = float(rng.choice([500, 2000, 8000, 30000]))
        types, n = int(rng.integers(1, 7)), int(rng.integers(150, 450))
        data = simulate(n, 1500, resting=0.9999, n_types=types, median_library=depth, seed=number)
        if kind == 8:
            return "simulator", "cell types, random genes as lists", other_genes(data, rng), {"organism": "human"}
        return "simulator", "cell types", data, {"organism": "human"}
    name = str(rng.choice(["mls", "lung3cl", "neurosphere", "h1_unsorted", "h1_sorted"]))
    data, keys = data_set(name)
    data = small(data, keys["organism"], rng, cells)
    return "permuted", name, permuted(data, rng, np.ones(data.n_vars, dtype=bool), keys), keys


def panel(name: str, rng: np.random.Generator) -> tuple[ad.AnnData, Keys]:
    """Return 53 listed genes and 200 of the 400 most variable others, of at most 260 cells."""
    data, keys = data_set(name)
    on_list = listed(data, keys["organism"])
    spread = log_normalise(sp.csr_matrix(data.X), data.obs[LIBRARY].to_numpy()).toarray().var(axis=0)
    spread[on_list] = 0
    others = rng.choice(np.argsort(-spread)[:400], 200, replace=False)
    chosen = np.sort(np.append(rng.choice(np.flatnonzero(on_list), 53, replace=False), others))
    return data[np.sort(rng.permutation(data.n_obs)[: rng.integers(150, 260)]), chosen].copy(), keys


def dividing(number: int) -> Draw:
    """Return a draw of dividing cells made hard."""
    rng, kind = np.random.default_rng([2, number]), number % 10
    full = ["mls", "lung3cl", "neurosphere", "h1_sorted", "h1_unsorted"]
    if kind in (0, 1):
        name, cells = str(rng.choice([*full, "mesc"])), int(rng.choice([60, 90, 130, 180]))
        data, keys = data_set(name)
        return "fewer cells", f"{cells}", small(data, keys["organism"], rng, cells), keys
    if kind in (2, 3):
        name, depth = str(rng.choice(["h1_sorted", "h1_unsorted", "lung3cl"])), int(rng.choice([500, 1000, 2000, 5000]))
        data, keys = data_set(name)
        return "fewer counts", f"{depth:,} a cell", thinned(small(data, keys["organism"], rng, 250), rng, depth), keys
    if kind == 4:
        name = str(rng.choice(["h1_sorted", "h1_unsorted", "lung3cl", "neurosphere"]))
        return "panel of 253 genes", "", *panel(name, rng)
    if kind in (5, 6, 7, 8):
        phase, share = ("S", "G2M")[kind % 2], float(rng.choice([0.3, 0.5, 0.7, 0.9]))
        data, keys = data_set(str(rng.choice(full)))
        data = small(data, keys["organism"], rng, 220)
        weak = listed(data, keys["organism"], phase) & (rng.random(data.n_vars) < share)
        return f"{phase} list weakened", f"{share:.0%} of it permuted", permuted(data, rng, weak, keys), keys
    depth, resting = int(rng.choice([500, 1000, 3000])), float(rng.choice([0, 0.3, 0.6, 0.9]))
    data = simulate(400, 1500, resting=resting, median_library=float(depth), seed=number)
    return "simulator, 400 cells", f"{depth:,} a cell", data, {"organism": "human"}


def one_phase(number: int) -> Draw:
    """Return a draw of dividing cells that are all in one phase."""
    rng = np.random.default_rng([3, number])
    depth, middle = int(rng.choice([500, 2000, 8000, 30000])), rng.uniform(0, 2 * np.pi)
    data = simulate(2500, 1500, resting=0.0, n_types=2, median_library=float(depth), seed=number)
    here = np.cos(data.obs["true_angle"].to_numpy() - middle) > 0.97
    return "simulator, one phase", f"{depth:,} a cell", data[here].copy(), {"organism": "human"}


def judge(data: ad.AnnData, keys: Keys) -> tuple[str, str, str]:
    """Return the verdict before, that of now, and the p-values."""
    found = settings(**keys)
    counts = sp.csr_matrix(data.X)
    genes = find_list_genes(data.var, np.asarray(counts.sum(axis=0)).ravel(), found.organism, None)
    if genes.reason:
        return "no cycle", "no cycle", "too few genes"
    plans = law_choice.DEEP_PLAN, law_choice.SHALLOW_PLAN
    # the verdict comes before genes join
    law_choice.DEEP_PLAN, law_choice.SHALLOW_PLAN = (replace(plan, grow=(), beside=False) for plan in plans)
    try:
        facts = cycle(data, **found.parts(cycle)).uns["sclatent"]["cycle"]
    finally:
        law_choice.DEEP_PLAN, law_choice.SHALLOW_PLAN = plans
    if "p_S" not in facts:
        return "no cycle", "no cycle", facts["reason"]
    before = "cycle" if max(facts["p_S"], facts["p_G2M"]) < 0.01 else "no cycle"
    keys_of_p = ("p_S", "p_G2M", "p_S_apart", "p_G2M_apart")
    return before, str(facts["verdict"]), " ".join(f"{key} {facts[key]:.1e}" for key in keys_of_p)


def table(draw: Callable[[int], Draw], n: int, *, each: bool) -> None:
    """Print how often each verdict is given, by kind of draw."""
    seen: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for number in range(n):
        name, level, data, keys = draw(number)
        before, now, numbers = judge(data, keys)
        seen[name, level].append((before, now))
        if each:
            print(f"  {number} {name}, {level}: {data.n_obs} cells, {before} | {now}: {numbers}", flush=True)
    row("data", "made how", "draws", "before: cycle", "now: cycle", "now: part of a cycle")
    row(*["---"] * 6)
    for name, level in sorted(seen):
        row(name, level, *_counts(seen[name, level]))
    row("all", "", *_counts([pair for pairs in seen.values() for pair in pairs]))


def _counts(pairs: list[tuple[str, str]]) -> tuple[int, int, int, int]:
    before, now = Counter(pair[0] for pair in pairs), Counter(pair[1] for pair in pairs)
    return len(pairs), before["cycle"], now["cycle"], now["part of a cycle"]


def main() -> None:
    """Print the three tables."""
    warnings.filterwarnings("ignore")
    logging.getLogger("sclatent").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resting", type=int, default=600)
    parser.add_argument("--dividing", type=int, default=300)
    parser.add_argument("--one-phase", type=int, default=60)
    parser.add_argument("--each", action="store_true", help="print every draw")
    args = parser.parse_args()
    table(resting, args.resting, each=args.each)
    table(dividing, args.dividing, each=args.each)
    table(one_phase, args.one_phase, each=args.each)


if __name__ == "__main__":
    main()
