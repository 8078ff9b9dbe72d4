"""The phase of each cell against the truth: ours beside the score angle, the PCA plane and CycleVI.

    python tests/benchmarks/cycle.py [--only ipsc mls phases simulator lung pbmc speed] [--steps]
        [--cyclevi-seeds 0 1 2] [--simulator-seeds 0]

One set of defaults for all data. CycleVI is trained with its own defaults where the package ``cyclevi`` is installed
(human data only), once per seed; without it its rows say so. `--steps` adds the fits one grid step away in harmonics
and in temper, each with the label-free criterion: nats per listed gene, in cells and from an angle that it had no part
in.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from scipy.special import logsumexp
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict

from sclatent.data import oracle_log_fraction, simulate
from sclatent.settings import DatasetSettings
from sclatent.tl import cycle
from sclatent.tl._cycle.grow import MAX_HARMONICS, Plan
from sclatent.tl._cycle.law_choice import DEEP_PLAN, SHALLOW_PLAN

ROOT = Path(__file__).resolve().parents[2]
TURN = 2 * np.pi
PHASES = ("G1", "S", "G2M")
CYCLEVI_SEEDS = [0, 1, 2]
SIMULATOR_SEEDS = [0]


def data_folder() -> Path:
    """Return where the real data is."""
    return Path(os.environ.get("SCLATENT_TEST_DATA") or ROOT.parent / "shared" / "data")


def settings(**keys: Any) -> DatasetSettings:
    """Return settings with defaults for everything that is not named."""
    return DatasetSettings.model_validate({"name": "benchmark", "file": "benchmark.yaml", "counts": "-", **keys})


def read(name: str, library: str | None = None) -> ad.AnnData:
    """Return a data set, with ``library_size`` where its column is named."""
    data = ad.read_h5ad(data_folder() / f"{name}.h5ad")
    if library is not None:
        data.obs["library_size"] = data.obs[library].to_numpy(float)
    return data


def mean_cosine(truth: np.ndarray, angle: np.ndarray) -> float:
    """Return the mean cosine of the angular error after the best rotation and, at need, a reflection."""
    return float(max(abs(np.exp(1j * (truth - angle)).mean()), abs(np.exp(1j * (truth + angle)).mean())))


def arc_accuracy(angle: np.ndarray, labels: np.ndarray) -> float:
    """Return the best accuracy of three arcs in the order G1, S, G2M, over all cut points and both directions."""
    code = np.array([PHASES.index(str(label)) for label in labels])
    n, best = len(code), 0
    for sign in (1, -1):
        ordered = code[np.argsort(np.mod(sign * angle, TURN), kind="stable")]
        seen = np.stack([np.concatenate([[0], np.cumsum(np.tile(ordered, 2) == k)]) for k in range(3)])
        for first in range(n):
            here = slice(first, first + n + 1)
            g1 = seen[0, here] - seen[0, first] - seen[1, here]
            rest = seen[1, here] + seen[2, first + n] - seen[2, here]
            best = max(best, int((np.maximum.accumulate(g1) + rest).max()))
    return best / n


def r_squared(angle: np.ndarray, expression: np.ndarray) -> float:
    """Return the 10-fold cross-validated R² of a gene on two harmonics of an angle."""
    design = np.column_stack([f(h * angle) for h in (1, 2) for f in (np.cos, np.sin)])
    folds = KFold(10, shuffle=True, random_state=0)
    predicted = cross_val_predict(LinearRegression(), design, expression, cv=folds)
    return float(1 - ((expression - predicted) ** 2).sum() / ((expression - expression.mean()) ** 2).sum())


def score_angle(data: ad.AnnData, **keys: Any) -> np.ndarray:
    """Return atan2 of the standardised S and G2/M scores."""
    only_scores = replace(SHALLOW_PLAN, grow=(), beside=False)
    scores = cycle(data, plan=only_scores, **settings(**keys).parts(cycle)).obs[["S_score", "G2M_score"]].to_numpy()
    s, g = ((scores - scores.mean(axis=0)) / scores.std(axis=0)).T
    return np.arctan2(g, s)


def cyclevi_angle(data: ad.AnnData, seed: int) -> np.ndarray:
    """Train CycleVI with its defaults and return its angle; its gene lists are human."""
    import logging

    import scvi
    from cyclevi import CycleVI
    from cyclevi.prepare import compute_phase_initialization

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    scvi.settings.seed = seed
    twin = ad.AnnData(data.X.copy(), obs=data.obs[[]].copy(), var=data.var[[]].copy())
    compute_phase_initialization(twin)
    keys = {name: twin.uns["cyclevi"][name] for name in ("layer", "cycle_label_key", "cycle_angle_key")}
    CycleVI.setup_anndata(
        twin,
        layer=keys["layer"],
        cycle_initiation_label_key=keys["cycle_label_key"],
        cycle_initiation_angle_key=keys["cycle_angle_key"],
    )
    model = CycleVI(twin)
    model.train(max_epochs=400, batch_size=128, plan_kwargs={"lr": 1e-3}, enable_progress_bar=False, accelerator="cpu")
    z = model.get_latent_representation(twin)
    return np.arctan2(z[:, 1], z[:, 0])


def cyclevi_row(name: str, measure: str, data: ad.AnnData, value: Callable[[np.ndarray], float]) -> None:
    """Print what CycleVI reaches, seed by seed."""
    try:
        import cyclevi  # noqa: F401
    except ImportError:
        row(name, "CycleVI", measure, "not run", "", "package cyclevi is not installed")
        return
    found = [value(cyclevi_angle(data, seed)) for seed in CYCLEVI_SEEDS]
    row(name, "CycleVI", measure, float(np.mean(found)), "", " ".join(f"{x:.3f}" for x in found))


def normalised(data: ad.AnnData, library: str | None) -> np.ndarray:
    """Return dense log1p(count / library · median)."""
    counts = data.X.toarray() if hasattr(data.X, "toarray") else np.asarray(data.X)
    size = data.obs[library].to_numpy(float) if library else counts.sum(axis=1)
    return np.log1p(counts / size[:, None] * np.median(size))


def pca_plane(y: np.ndarray, *, top: int = 2000) -> np.ndarray:
    """Return the angle in the plane of the first two components of the most variable genes, standardised."""
    keep = np.argsort(-y.var(axis=0))[:top]
    z = y[:, keep] - y[:, keep].mean(axis=0)
    u, s, _ = np.linalg.svd(z / np.maximum(z.std(axis=0), 1e-9), full_matrices=False)
    return np.arctan2(u[:, 1] * s[1], u[:, 0] * s[0])


def row(*cells: object) -> None:
    """Print one line of the table."""
    print("| " + " | ".join(f"{c:.3f}" if isinstance(c, float) else str(c) for c in cells) + " |", flush=True)


def variants(plan: Plan, steps: bool) -> list[tuple[str, Plan]]:
    """Return the default plan and, with `steps`, those held one grid step away."""
    out = [("default", plan)]
    if steps:
        most = max(plan.grow)
        if most > 1:
            out.append((f"{most - 1} harmonics", replace(plan, grow=tuple(min(h, most - 1) for h in plan.grow))))
        if most < MAX_HARMONICS:
            out.append((f"{most + 1} harmonics", replace(plan, grow=(*plan.grow, most + 1))))
        out += [(f"temper {t}", replace(plan, temper=t)) for t in (0.5, 2.0)]
    return out


def chosen(found: ad.AnnData) -> str:
    """Return what was chosen on held-out counts."""
    facts = found.uns["sclatent"]["cycle"]
    gain = facts["grid"]["held_out_gain"][0]
    return f"H {facts['harmonics']}, temper {facts['temper']:g}, {facts['n_joined']} joined, {gain:.4f} nats held out"


def ipsc(steps: bool) -> None:
    """Print the mean cosine against the FUCCI angle, and R² of TOP2A left out."""
    column = "n_molecules_all_genes"
    data = read("ipsc_fucci", column)
    truth = data.obs["fucci_theta"].to_numpy(float)
    y = normalised(data, column)
    top2a = y[:, data.var_names.get_loc("TOP2A")]
    keys = {"organism": "human", "library_size": column}
    left_out = data[:, data.var_names != "TOP2A"].copy()
    for name, plan in variants(DEEP_PLAN, steps):
        found = cycle(data, plan=plan, **settings(**keys).parts(cycle))
        without = cycle(left_out, plan=plan, **settings(**keys).parts(cycle)).obs["cycle_angle"].to_numpy()
        angle = found.obs["cycle_angle"].to_numpy()
        row(
            "ipsc_fucci",
            f"ours, {name}",
            "mean cosine",
            mean_cosine(truth, angle),
            "target .55",
            chosen(found),
        )
        row("ipsc_fucci", f"ours, {name}", "R² of TOP2A, left out", r_squared(without, top2a), "target .60", "")
    others = {"score angle": score_angle(data, **keys), "PCA plane": pca_plane(y)}
    cyclevi_row("ipsc_fucci", "mean cosine", data, lambda a: mean_cosine(truth, a))
    cyclevi_row("ipsc_fucci", "R² of TOP2A, in the fit", data, lambda a: r_squared(a, top2a))
    for name, angle in others.items():
        row("ipsc_fucci", name, "mean cosine", mean_cosine(truth, angle), "", "")
        row("ipsc_fucci", name, "R² of TOP2A, in the fit", r_squared(angle, top2a), "", "")
    row("ipsc_fucci", "FUCCI angle itself", "R² of TOP2A", r_squared(truth, top2a), "", "")


def mls(steps: bool) -> None:
    """Print the best three-arc accuracy and that of the phase as called."""
    data = read("mls_sorted_ensembl")
    truth = data.obs["phase_sorted"].to_numpy(str)
    for name, plan in variants(DEEP_PLAN, steps):
        found = cycle(data, plan=plan, **settings(organism="human").parts(cycle))
        angle = found.obs["cycle_angle"].to_numpy()
        row("mls_sorted", f"ours, {name}", "best three arcs", arc_accuracy(angle, truth), "target .90", chosen(found))
        called = float((found.obs["phase"].astype(str).to_numpy() == truth).mean())
        row("mls_sorted", f"ours, {name}", "phase as called", called, "", "")
    others = {"score angle": score_angle(data, organism="human"), "PCA plane": pca_plane(normalised(data, None))}
    for name, angle in others.items():
        row("mls_sorted", name, "best three arcs", arc_accuracy(angle, truth), "", "")
    cyclevi_row("mls_sorted", "best three arcs", data, lambda a: arc_accuracy(a, truth))


def phases(steps: bool) -> None:
    """Print how often the called phase is right, how reliable its probabilities are, and blurs beside that chosen."""
    from sclatent.tl._cycle import phase as _cycle_phase

    h1 = read("h1_fucci_sorted_247", "n_reads_all_genes")
    world = simulate(900, 1500, median_library=4000.0, resting=0.3, seed=4)
    sets = {
        "mls_sorted": (read("mls_sorted_ensembl"), "phase_sorted", {}),
        "h1_sorted": (h1, "phase_sorted", {"library_size": "n_reads_all_genes"}),
        "simulator": (world, "true_phase", {}),
    }
    here, beside = _cycle_phase.BLUR, (0.0, 0.02, 0.06, 0.08)
    for blur in (here, *(beside if steps else ())):
        _cycle_phase.BLUR = max(blur, 1e-6)
        for name, (data, column, keys) in sets.items():
            found = cycle(data, **settings(organism="human", **keys).parts(cycle))
            known = found.obs["cycling"].to_numpy() & data.obs[column].notna().to_numpy()
            true = np.array([PHASES.index(x) for x in data.obs[column].astype(str)[known]])
            p = found.obsm["phase_probability"][known]
            right = p.argmax(axis=1) == true
            loss = -np.log(np.maximum(p[np.arange(len(true)), true], 1e-3)).mean()
            row(name, f"ours, blur {blur:g}", "phase as called", float(right.mean()), "", f"log loss {loss:.3f}")
            if blur == here:
                for n, said, so in reliability(p, true):
                    row(name, "ours", f"so, of {n} probabilities", so, f"said {said:.3f}", "")
    _cycle_phase.BLUR = here


def reliability(p: np.ndarray, true: np.ndarray) -> list[tuple[int, float, float]]:
    """Return how many of the (cells, phases) probabilities lie in each bin, their mean, and how often it was so."""
    edge, was = np.array([0.05, 0.2, 0.4, 0.6, 0.8, 0.95]), np.eye(p.shape[1])[true].ravel()
    inside = np.digitize(p.ravel(), edge)[None, :] == np.arange(len(edge) + 1)[:, None]
    return [(int(one.sum()), float(p.ravel()[one].mean()), float(was[one].mean())) for one in inside if one.any()]


def oracle(data: ad.AnnData, resting: float, bins: int = 72) -> tuple[np.ndarray, np.ndarray]:
    """Return angle and cycling probability from the true curves: what no method can beat on average."""
    grid = np.arange(bins) * (TURN / bins)
    theta = data.uns["sclatent"]["simulation"]["theta"]
    counts, library = data.X.toarray(), data.obs["true_library"].to_numpy()[:, None]
    twin = data.copy()
    ll = np.empty((data.n_obs, bins + 1))
    for k in range(bins + 1):
        twin.obs["true_angle"] = grid[k] if k < bins else np.nan
        mu = library * np.exp(oracle_log_fraction(twin))
        ll[:, k] = (counts * np.log(mu) - (counts + theta) * np.log(theta + mu)).sum(axis=1)
    ll += np.log(np.append(np.full(bins, (1 - resting) / bins), resting))
    q = np.exp(ll - logsumexp(ll, axis=1, keepdims=True))
    return np.angle(q[:, :bins] @ np.exp(1j * grid)), 1 - q[:, bins]


def simulator(steps: bool) -> None:
    """Print mean cosine of cycling cells and AUROC of the cycling probability, each with its share of the oracle's.

    The simulator makes two batches; at 500 UMIs there is one row with and one without them being declared.
    """
    for library in (500, 2000, 10000):
        for resting in (0.1, 0.3, 0.6):
            for seed in SIMULATOR_SEEDS:
                data = simulate(resting=resting, median_library=float(library), seed=seed)
                name = f"simulator {library} UMIs, {resting:.0%} resting, seed {seed}"
                simulated(name, data, resting, steps=steps and resting == 0.3, declared=library == 500)


def simulated(name: str, data: ad.AnnData, resting: float, *, steps: bool, declared: bool) -> None:
    """Print the rows of one simulated data set; with `declared` one more, of its batches declared."""
    cycles = data.obs["true_cycling"].to_numpy(bool)
    truth = data.obs["true_angle"].to_numpy()[cycles]
    best_angle, best_p = oracle(data, resting)
    ceiling = mean_cosine(truth, best_angle[cycles]), roc_auc_score(cycles, best_p)
    cases: list[tuple[str, Plan, dict[str, Any]]] = [(label, plan, {}) for label, plan in variants(SHALLOW_PLAN, steps)]
    if declared:
        cases.append(("batches declared", SHALLOW_PLAN, {"batch": "batch"}))
    for label, plan, keys in cases:
        found = cycle(data, plan=plan, **settings(organism="human", **keys).parts(cycle))
        if found.uns["sclatent"]["cycle"]["verdict"] != "cycle":
            row(name, f"ours, {label}", "verdict", "no cycle", "", found.uns["sclatent"]["cycle"]["reason"])
            continue
        ours = mean_cosine(truth, found.obs["cycle_angle"].to_numpy()[cycles])
        auc = float(roc_auc_score(cycles, found.obs["cycling_probability"]))
        joined = found.var_names[found.var["phase"] == "joined"]
        note = f"{ours / ceiling[0]:.1%}; {data.var['true_cycling'][joined].sum()} right; {chosen(found)}"
        row(name, f"ours, {label}", "mean cosine", ours, f"oracle {ceiling[0]:.3f}", note)
        row(name, f"ours, {label}", "AUROC cycling", auc, f"oracle {ceiling[1]:.3f}", f"{auc / ceiling[1]:.1%}")
    others = {"score angle": score_angle(data, organism="human"), "PCA plane": pca_plane(normalised(data, None))}
    for label, angle in others.items():
        row(name, label, "mean cosine", mean_cosine(truth, angle[cycles]), "", "")
    if resting == 0.3:
        cyclevi_row(name, "mean cosine", data, lambda a: mean_cosine(truth, a[cycles]))


def lung(steps: bool) -> None:
    """Print the order of peaks against literature order, and where genes left out of the fit peak."""
    from scipy.stats import spearmanr

    from sclatent.data import cycle_genes, peak_order

    data = read("lung3cl_celseq2_dropseq")
    found = cycle(data, **settings(organism="human", batch="batch").parts(cycle))
    facts = found.uns["sclatent"]["cycle"]
    row("lung3cl", "ours", "verdict", facts["verdict"], "", f"{facts['n_joined']} genes joined")
    order = peak_order().set_index("gene")["rank"]
    known = found.var_names.intersection(order.index)
    rho = spearmanr(order[known], found.var.loc[known, "peak"])
    row(
        "lung3cl",
        "ours",
        "peaks against literature, Spearman",
        float(rho.statistic),
        f"p = {rho.pvalue:.1e}",
        f"{len(known)} genes",
    )
    genes = cycle_genes("human")
    genes = genes[genes["gene"].isin(data.var_names)]
    left = genes.groupby("phase").sample(frac=0.5, random_state=0)
    angle = cycle(
        data[:, ~data.var_names.isin(left["gene"])].copy(), **settings(organism="human", batch="batch").parts(cycle)
    ).obs
    cycles = angle["cycling"].to_numpy()
    y = normalised(data, None)[cycles][:, [data.var_names.get_loc(g) for g in left["gene"]]]
    z = np.exp(1j * angle["cycle_angle"].to_numpy()[cycles]) @ (y - y.mean(axis=0))
    centre = {p: np.angle((z / np.abs(z))[left["phase"].to_numpy() == p].sum()) for p in ("S", "G2M")}
    away = np.abs(np.angle(np.exp(1j * (np.angle(z) - left["phase"].map(centre).to_numpy()))))
    row(
        "lung3cl",
        "ours",
        "held-out genes within 1/8 turn of their list",
        float((away <= TURN / 8).mean()),
        "target .80",
        f"{len(left)} genes",
    )


def pbmc(steps: bool) -> None:
    """Print the verdict on blood cells, hardly any of which cycle."""
    facts = cycle(read("pbmc_ifnb_two_batches"), **settings(organism="human").parts(cycle)).uns["sclatent"]["cycle"]
    row("pbmc_ifnb", "ours", "verdict", facts["verdict"], "target: no cycle", facts["reason"])


def speed(steps: bool) -> None:
    """Print the time of the whole stage on 100,000 cells, and the largest memory of the process."""
    import resource

    data = simulate(20_000, 2000, seed=0)
    data = ad.concat([data] * 5, merge="first")
    data.obs_names_make_unique()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.perf_counter()
    cycle(data, **settings(organism="human").parts(cycle))
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    memory = f"{after:.1f} GiB at most, {before:.1f} before the stage; {os.cpu_count()} cores"
    row("simulator 100,000 × 2,000", "ours", "seconds", f"{seconds:.0f}", "target 120", memory)


def main() -> None:
    """Print the table."""
    parts = {
        "ipsc": ipsc,
        "mls": mls,
        "phases": phases,
        "simulator": simulator,
        "lung": lung,
        "pbmc": pbmc,
        "speed": speed,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(parts), default=list(parts))
    parser.add_argument("--steps", action="store_true", help="also one grid step away in harmonics and temper")
    parser.add_argument("--cyclevi-seeds", nargs="*", type=int, default=CYCLEVI_SEEDS)
    parser.add_argument("--simulator-seeds", nargs="+", type=int, default=SIMULATOR_SEEDS)
    args = parser.parse_args()
    CYCLEVI_SEEDS[:], SIMULATOR_SEEDS[:] = args.cyclevi_seeds, args.simulator_seeds
    row("data", "method", "measure", "value", "reference", "note")
    row(*["---"] * 6)
    for name in args.only:
        parts[name](args.steps)


if __name__ == "__main__":
    main()
