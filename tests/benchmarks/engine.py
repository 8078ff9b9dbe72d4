"""Speed and held-out fit of the engine, beside scvi-tools on the same cells, genes, likelihood and held-out cells.

    python tests/benchmarks/engine.py speed                  # seconds per epoch, NB and Poisson, ours and scVI in turn
    python tests/benchmarks/engine.py fit                    # held-out marginal, 3 seeds, beside the recorded peers
    python tests/benchmarks/engine.py reach                  # seconds until the held-out value of scVI is reached
    python tests/benchmarks/engine.py scale                  # 100,000 simulated cells: budget, time, memory
    python tests/benchmarks/engine.py cost                   # seconds per epoch over 4 sizes and 3 densities
    python tests/benchmarks/engine.py jobs                   # whole trainings, by the compiled step and by autograd

Every table goes to stdout as tab-separated text. `speed` needs scvi-tools (the extra `peers`; without it only ours is
timed); `fit` and `reach` need the development data and the peers' results. Wall-clock seconds are of the training loop
alone, after imports and a warm-up step; CPU seconds of the process stand beside them, since other work on the machine
distorts the former more. Methods alternate, and medians over repeats are shown. `speed --device cuda` times a GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import subprocess
import sys
import time
from contextlib import nullcontext

import anndata as ad
import numpy as np
import pandas as pd
import torch
from _common import PEER_SETS, load, peer_results, peer_split, refitted
from scipy.sparse import csr_matrix, vstack

import sclatent as sl
from sclatent.data import slots
from sclatent.model import CountData
from sclatent.model.kernels.threads import only_shared
from sclatent.model.training import loop
from sclatent.model.training.loop import Run
from sclatent.settings import ModelSettings
from sclatent.tl._model.held_out_fit import held_out

BATCH_COLUMN = dict(zip(PEER_SETS, ("condition", "batch", "batch"), strict=True))


def show(rows: list[dict]) -> None:
    """Print a table."""
    print(pd.DataFrame(rows).to_csv(sep="\t", index=False, float_format="%.4g"), flush=True)


def cell_types(genes: int, density: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Fractions of the genes in 10 types of cells, and the library size that gives this density under an NB, θ = 2."""
    weight = rng.gamma(0.5, size=genes)
    types = weight * np.exp(rng.normal(0, 0.7, (10, genes)))
    types /= types.sum(1, keepdims=True)
    low, high = 1.0, 1e6
    while high / low > 1.01:
        middle = (low * high) ** 0.5
        mean = 1 - ((1 + middle * types / 2) ** -2.0).mean()
        low, high = (middle, high) if mean < density else (low, middle)
    return types, low


def simulated(n: int, genes: int, density: float, seed: int = 0) -> csr_matrix:
    """Counts of 10 types of cells under an NB with θ = 2, with about this density, made 5,000 cells at a time."""
    rng = np.random.default_rng(seed)
    types, library = cell_types(genes, density, rng)
    blocks = []
    for start in range(0, n, 5000):
        size = min(5000, n - start)
        mu = (library * rng.lognormal(0, 0.3, size))[:, None] * types[rng.integers(10, size=size)]
        blocks.append(csr_matrix(rng.poisson(mu * rng.gamma(2.0, 0.5, mu.shape)).astype(np.float32)))
    return csr_matrix(vstack(blocks))


def data_of(counts: csr_matrix, categorical: np.ndarray | None = None) -> CountData:
    """Counts with their row sums as library sizes."""
    return CountData(counts, np.asarray(counts.sum(1)).ravel(), categorical)


def make_run(data: CountData, train: np.ndarray, validation: np.ndarray, settings: ModelSettings, **options) -> Run:
    """Return a training that has not begun."""
    options = {"n_levels": (), "rest": False, "seed": 0, "device": "cpu"} | options
    return Run(data, train, validation, settings, **options)


# --- seconds per epoch ------------------------------------------------------------------------------------------------


def clock(device: str) -> tuple[float, float]:
    """Wall and CPU seconds, once the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def time_ours(
    counts: csr_matrix, likelihood: str, size: int, epochs: int, device: str = "cpu"
) -> list[tuple[float, float]]:
    """Wall and CPU seconds of each epoch: 128 hidden units, 10 axes, as scVI's defaults."""
    settings = ModelSettings(likelihood=likelihood, n_latent=10, batch_size=size, dropout=0.1, epochs=100)
    run = make_run(data_of(counts), np.arange(counts.shape[0]), np.arange(0), settings, device=device)
    run._step(np.arange(min(size, counts.shape[0])))
    if device == "cuda":
        run._pass()
    seconds = []
    for _ in range(epochs):
        with only_shared() if run.compiled else nullcontext():  # as `Run.one_epoch` does around this loop
            wall, cpu = clock(device)
            run._pass()
            after = clock(device)
        seconds.append((after[0] - wall, after[1] - cpu))
    return seconds


def time_scvi(
    counts: csr_matrix, likelihood: str, size: int, epochs: int, device: str = "cpu"
) -> list[tuple[float, float]]:
    """Wall and CPU seconds of each epoch of scVI with its default layers."""
    import scvi
    from lightning.pytorch.callbacks import Callback

    class Clock(Callback):
        def __init__(self) -> None:
            self.seconds: list[tuple[float, float]] = []

        def on_train_epoch_start(self, *_: object) -> None:
            self.start = clock(device)

        def on_train_epoch_end(self, *_: object) -> None:
            now = clock(device)
            self.seconds.append((now[0] - self.start[0], now[1] - self.start[1]))

    adata = ad.AnnData(counts)
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata, gene_likelihood=likelihood)
    callback = Clock()
    quiet = {"enable_progress_bar": False, "logger": False, "accelerator": device.replace("cuda", "gpu")}
    model.train(max_epochs=epochs + 1, train_size=1.0, batch_size=size, callbacks=[callback], **quiet)
    return callback.seconds[1:]


def time_one(args: argparse.Namespace) -> None:
    """Time one method in this process: a line per size and epoch, with the peak of GPU memory (GB)."""
    torch.set_num_threads(args.threads)
    counts = simulated(args.cells, 2000, 0.081)
    method = time_ours if args.method == "sclatent" else time_scvi
    for size in args.sizes:
        if args.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        found = method(counts, args.likelihood, size, args.epochs, args.device)
        peak = torch.cuda.max_memory_allocated() / 1e9 if args.device == "cuda" else np.nan
        for wall, cpu in found:
            print(f"@ {size} {wall} {cpu} {peak}", flush=True)


def in_turn(methods: list[str], likelihood: str, args: argparse.Namespace) -> pd.DataFrame:
    """Time the methods one after the other, each in a process of its own, `--repeats` times."""
    rows = []
    for method in methods * args.repeats:
        command = [sys.executable, __file__, "speed", "--method", method, "--likelihood", likelihood]
        for option in ("cells", "epochs", "threads", "device"):
            command += [f"--{option}", str(getattr(args, option))]
        command += ["--sizes", *map(str, args.sizes)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        lines = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("@")]
        rows += [(method, int(size), *map(float, rest)) for size, *rest in lines]
    return pd.DataFrame(rows, columns=["method", "batch", "wall", "cpu", "peak"])


def speed(args: argparse.Namespace) -> list[dict]:
    """Alternate the methods, print the medians and return them."""
    methods = ["sclatent"] + (["scvi"] if importlib.util.find_spec("scvi") else [])
    rows = []
    for likelihood in args.likelihoods:
        found = in_turn(methods, likelihood, args).groupby(["batch", "method"])
        median, timed = found.median(), found.size()
        for size, method in [(size, method) for size in args.sizes for method in methods]:
            wall, cpu, peak = median.loc[size, method]
            ours = median.loc[size, "sclatent"]
            row = {"likelihood": likelihood, "method": method, "threads": args.threads, "device": args.device}
            row |= {"batch": size, "s/epoch": wall, "CPU s/epoch": cpu, "cells/s": args.cells / wall}
            row |= {"GPU GB": peak, "epochs timed": int(timed[size, method])}
            rows.append(row | {"times ours": wall / ours["wall"], "times ours (CPU)": cpu / ours["cpu"]})
    show(rows)
    return rows


# --- held-out fit -----------------------------------------------------------------------------------------------------


def fit(args: argparse.Namespace) -> None:
    """Our defaults on the peers' test cells, 3 seeds (validation cells drawn by the seed too)."""
    peers = peer_results().query("task == 'll' and measure == 'iw100'")
    rows = []
    for name in args.sets:
        adata = load(name)
        best = peers[peers["dataset"] == name].groupby("method")["value"].mean().sort_values()
        for conditioned in (False, True):
            codes = adata.obs[BATCH_COLUMN[name]].astype("category").cat.codes.to_numpy(np.int64)[:, None]
            data = data_of(adata.X, codes if conditioned else None)
            values, before, validation, seconds, epochs = [], [], [], [], []
            for seed in range(args.seeds):
                cells = peer_split(adata.n_obs, seed)
                levels = (int(codes.max()) + 1,) if conditioned else ()
                settings = ModelSettings(likelihood=args.likelihood)
                start = time.process_time()
                run = make_run(data, cells["train"], cells["validation"], settings, n_levels=levels, seed=seed)
                while not run.finished:
                    run.one_epoch()
                vae = run.best_model()
                seconds.append(time.process_time() - start)
                validation.append(held_out(vae, data, cells["validation"])[1].mean())
                before.append(held_out(vae, data, cells["test"])[1].mean())
                start = time.process_time()
                vae = refitted(vae, data, cells["train"], cells["validation"], len(run.history), seed=seed)
                seconds[-1] += time.process_time() - start
                test = held_out(vae, data, cells["test"])[1]
                values.append(test.mean())
                epochs.append(len(run.history))
                line = f"# {name} {conditioned=} {seed=} test {values[-1]:.2f}, before the refit {before[-1]:.2f}"
                print(f"{line} epochs {epochs[-1]} CPU s {seconds[-1]:.1f}", file=sys.stderr, flush=True)
            mean = float(np.mean(values))
            rows.append(
                {
                    "dataset": name,
                    "conditioned": BATCH_COLUMN[name] if conditioned else "no",
                    "test marginal": mean,
                    "before the refit": float(np.mean(before)),
                    "SE over seeds": float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else np.nan,
                    "validation marginal": float(np.mean(validation)),
                    "best peer": f"{best.index[-1]} {best.iloc[-1]:.1f}",
                    "minus best peer": mean - best.iloc[-1],
                    "minus scVI defaults": mean - best["scvi_default"],
                    "CPU s/run": float(np.median(seconds)),
                    "epochs": float(np.mean(epochs)),
                }
            )
    show(rows)


def reach(args: argparse.Namespace) -> None:
    """Seconds of our training until the averaged weights pass scVI's held-out value; looking is not counted."""
    peers = peer_results().query("task == 'll'")
    rows = []
    for name in args.sets:
        adata = load(name)
        data = data_of(adata.X)
        cells = peer_split(adata.n_obs)
        known = peers[peers["dataset"] == name].pivot_table(index="method", columns="measure", values="value")
        goals = {m: known.loc[m] for m in ("scvi_default", "scvi_refit_lr4e-3_wu20")}
        run = make_run(data, cells["train"], cells["validation"], ModelSettings())
        run.objective.score(run.vae, run.batches.gather(cells["train"][:8]), run.noise)
        run.noise.manual_seed(0)
        seconds, cpu = 0.0, 0.0
        while not run.finished and goals:
            wall, used = time.perf_counter(), time.process_time()
            run.one_epoch()
            seconds, cpu = seconds + time.perf_counter() - wall, cpu + time.process_time() - used
            run.exchange()
            now = held_out(run.vae, data, cells["test"])[1].mean()
            run.exchange()
            for method in [m for m, goal in goals.items() if now >= goal["iw100"]]:
                goal = goals.pop(method)
                row = {"dataset": name, "goal": method, "value": goal["iw100"], "ours then": now, "epoch": run.epoch}
                row |= {"s": seconds, "CPU s": cpu, "theirs s": goal["train_s"]}
                rows.append(row | {"times less": goal["train_s"] / seconds, "times less (CPU)": goal["train_s"] / cpu})
    show(rows)


# --- large data -------------------------------------------------------------------------------------------------------


def scale(args: argparse.Namespace) -> None:
    """Defaults on many simulated cells, and with `--budget` times the epochs: time, memory, held-out ELBO."""
    counts = simulated(args.cells, 2000, 0.08)
    order = np.random.default_rng(0).permutation(args.cells)
    tenth = args.cells // 10
    test, validation, train = np.sort(order[:tenth]), np.sort(order[tenth : 2 * tenth]), np.sort(order[2 * tenth :])
    held = counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes
    torch.set_num_threads(args.threads)
    settings = ModelSettings()
    data = data_of(counts)
    run = make_run(data, train, validation, settings)
    if args.budget != 1:
        settings = settings.model_copy(update={"epochs": int(run.schedule.epochs * args.budget)})
        run = make_run(data, train, validation, settings)
    wall, cpu = time.perf_counter(), time.process_time()
    while not run.finished:
        run.one_epoch()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    vae = run.best_model()
    some = test[:2000]
    elbo, marginal = held_out(vae, data, some, samples=20)
    row = {"cells": args.cells, "budget": args.budget, "epochs": len(run.history), "s": wall, "CPU s": cpu}
    row |= {"threads": args.threads, "test ELBO": elbo.mean(), "test marginal (20)": marginal.mean()}
    show([row | {"CSR GB": held / 1e9, "peak GB": peak / 1e9, "peak minus CSR GB": (peak - held) / 1e9}])


def cost(args: argparse.Namespace) -> None:
    """CPU seconds per epoch over sizes and densities, and per thousand cells and million non-zeros."""
    torch.set_num_threads(args.threads)
    rows = []
    grid = [(n, 0.08) for n in (2500, 5000, 10_000, 20_000)] + [(5000, d) for d in (0.02, 0.08, 0.32)]
    for n, density in grid:
        counts = simulated(n, 2000, density)
        wall, cpu = np.median(time_ours(counts, args.likelihood, 128, args.epochs), axis=0)
        row = {"cells": n, "density": counts.nnz / n / 2000, "s/epoch": wall, "CPU s/epoch": cpu}
        rows.append(row | {"CPU ms/1000 cells": cpu / n * 1e6})
    show(rows)


def job(args: argparse.Namespace) -> None:
    """Train one model from start to end in this process: a line with wall and CPU seconds, and the peak of memory."""
    counts = simulated(args.cells, 2000, 0.08)
    prepared = ad.AnnData(counts)
    prepared.obs[slots.SPLIT] = np.random.default_rng(0).choice(slots.SPLITS, args.cells, p=[0.8, 0.1, 0.1])
    prepared.obs[slots.LIBRARY_SIZE] = np.asarray(counts.sum(1)).ravel()
    prepared.var[slots.IN_MODEL] = True
    if args.method == "autograd":
        loop.compiles = lambda *_: False
    wall, cpu = clock("cpu")
    sl.tl.train(prepared, model=ModelSettings(likelihood=args.likelihood), threads=args.threads)
    after = clock("cpu")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"@ {after[0] - wall} {after[1] - cpu} {peak}", flush=True)


def jobs(args: argparse.Namespace) -> None:
    """Whole trainings, in turn: does the compiled step earn its keep?"""
    rows = []
    for likelihood, cells in [(likelihood, cells) for likelihood in args.likelihoods for cells in args.job_cells]:
        for method in ["compiled", "autograd"] * args.repeats:
            command = [sys.executable, __file__, "jobs", "--method", method, "--likelihood", likelihood]
            command += ["--cells", str(cells), "--threads", str(args.threads)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            (line,) = (line.split()[1:] for line in done.stdout.splitlines() if line.startswith("@"))
            rows.append((likelihood, cells, method, *map(float, line)))
    found = pd.DataFrame(rows, columns=["likelihood", "cells", "method", "s", "CPU s", "GB"])
    table = found.groupby(["likelihood", "cells", "method"], sort=False).median().reset_index()
    for name in ("s", "CPU s"):
        ours = table.groupby(["likelihood", "cells"], sort=False)[name].transform("first")
        table[f"{name} / compiled"] = table[name] / ours
    show(table.to_dict("records"))


def main() -> None:
    """Parse the command line and run one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["speed", "fit", "reach", "scale", "cost", "jobs"])
    methods = ["sclatent", "scvi", "compiled", "autograd"]
    parser.add_argument("--method", choices=methods, help="speed, jobs: time one method in this process")
    parser.add_argument("--likelihood", default="nb")
    parser.add_argument("--likelihoods", nargs="+", default=["nb", "poisson"])
    parser.add_argument("--sets", nargs="+", default=list(PEER_SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--job-cells", type=int, nargs="+", default=[2000, 20_000, 100_000])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128], help="speed: cells per step")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="speed: where to train")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--budget", type=float, default=1.0)
    args = parser.parse_args()
    tables = {"speed": speed, "fit": fit, "reach": reach, "scale": scale, "cost": cost, "jobs": jobs}
    one = {"speed": time_one, "jobs": job}
    work = one[args.table] if args.method else tables[args.table]
    work(args)


if __name__ == "__main__":
    main()
