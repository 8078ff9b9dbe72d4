"""One part of what a GPU must show, in a process of its own: `report.py` calls this file."""

from __future__ import annotations

import argparse
import copy
import importlib.util
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import engine
import numpy as np
import torch
from exact import CLOSE, check_likelihoods, check_same, check_training
from report import emit
from scipy.sparse import csr_matrix

from sclatent.data import simulate
from sclatent.model.training.loop import Run
from sclatent.pp import prepare
from sclatent.settings import DatasetSettings, ModelSettings
from sclatent.tl import embed, evaluate, train

ROOT = Path(__file__).resolve().parents[2]


def check_speed(device: str, small: bool) -> None:
    """Seconds per epoch of NB and Poisson, ours and scVI in turn, over batch sizes."""
    sizes = [128] if small else [128, 512, 2048]
    if not importlib.util.find_spec("scvi"):
        emit("scvi-tools", "not there: only sclatent is timed")
    given = {"cells": 1000 if small else 20_000, "epochs": 1 if small else 2, "repeats": 1 if small else 2}
    for likelihood in ("nb", "poisson"):
        options = argparse.Namespace(**given, threads=4, device=device, sizes=sizes, likelihoods=[likelihood])
        for row in engine.speed(options):
            of = f"{likelihood}, batch {row['batch']}, {row['method']}"
            emit(f"{of}: one epoch", row["s/epoch"], "s")
            emit(f"{of}: speed", row["cells/s"], "cells/s")
            if device == "cuda":
                emit(f"{of}: peak GPU memory", row["GPU GB"], "GB")
            if row["method"] != "sclatent":
                emit(f"{of}: time of an epoch, times ours", row["times ours"], "x", least=1)


def check_steps(device: str, small: bool) -> None:
    """What a training step of 128 cells is made of: calls to the GPU, its busy time, and how often it is waited for."""
    counts = engine.simulated(1000, 200 if small else 2000, 0.081)
    for likelihood in ("nb", "poisson"):
        settings = ModelSettings(likelihood=likelihood, n_latent=10, batch_size=128)
        run = engine.make_run(engine.data_of(counts), np.arange(1000), np.arange(0), settings, device=device)
        n, cells = 50, np.arange(128)
        for _ in range(10):
            run._step(cells)
        start = engine.clock(device)[0]
        for _ in range(n):
            run._step(cells)
        emit(f"{likelihood}: one step", (engine.clock(device)[0] - start) / n * 1e3, "ms")
        if device != "cuda":
            continue
        kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=kinds) as profile:
            for _ in range(n):
                run._step(cells)
            torch.cuda.synchronize()
        events = profile.events()
        busy = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
        emit(f"{likelihood}: kernels and copies in a step", len(busy) / n)
        emit(f"{likelihood}: GPU busy in a step", sum(e.self_device_time_total for e in busy) / n / 1e3, "ms")
        for name in ("cudaLaunchKernel", "cudaMemcpyAsync", "cudaStreamSynchronize"):
            emit(f"{likelihood}: {name} in a step", sum(e.name.startswith(name) for e in events) / n)


def counts_from(device: str, n: int, genes: int, density: float, block: int) -> csr_matrix:
    """Counts as of `engine.simulated`, drawn on the device, `block` cells at a time."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    types, library = engine.cell_types(genes, density, rng)
    rates = torch.from_numpy(types.astype(np.float32)).to(device)
    two = torch.tensor(2.0, device=device)
    parts = []
    for start in range(0, n, block):
        size = min(block, n - start)
        depth = torch.from_numpy((library * rng.lognormal(0, 0.3, size)).astype(np.float32)).to(device)
        mu = depth[:, None] * rates[torch.from_numpy(rng.integers(10, size=size)).to(device)]
        mu *= torch.distributions.Gamma(two, two).sample(mu.shape)
        counts = torch.poisson(mu).to_sparse_csr()
        lengths = counts.crow_indices().diff().cpu().numpy()
        parts.append((lengths, counts.col_indices().int().cpu().numpy(), counts.values().cpu().numpy()))
    lengths, columns, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int64)
    return csr_matrix((values, columns, offsets), shape=(n, genes))


def check_large(device: str, small: bool) -> None:
    """A million cells on the GPU for a few epochs, or as many as fit; then from CPU memory."""
    n = 20_000 if small else 1_000_000
    while True:
        try:
            large(device, n, 2_000 if small else 50_000)
            return
        except (torch.OutOfMemoryError, MemoryError) as error:
            emit(f"{n:,} cells", f"do not fit: {str(error)[:60]}")
            n //= 2
        if n < 1000:
            raise MemoryError("not even a thousand cells fit")
        if device == "cuda":
            torch.cuda.empty_cache()


def large(device: str, n: int, block: int) -> None:
    """Train on so many cells of 2,000 genes at 5 % density, with the defaults but for three epochs."""
    start = time.perf_counter()
    counts = counts_from(device, n, 2000, 0.05, block)
    emit("cells", n)
    emit("density", counts.nnz / n / 2000)
    emit("counts as CSR", (counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes) / 1e9, "GB")
    emit("seconds to simulate", time.perf_counter() - start, "s")
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    order = np.random.default_rng(0).permutation(n)
    fit, validation = order[n // 50 :], order[: n // 50]
    run: Run = engine.make_run(engine.data_of(counts), fit, validation, ModelSettings(epochs=3), device=device)
    emit("seconds to begin: weights and counts to the device", engine.clock(device)[0] - start, "s")
    if device == "cuda":
        emit("all counts on the GPU", int(run.batches.resident), least=1)
    seconds = []
    for _ in range(3):
        start = engine.clock(device)[0]
        run.one_epoch()
        seconds.append(engine.clock(device)[0] - start)
    emit("cells in a step", run.schedule.batch_size)
    emit("one epoch with validation", float(np.median(seconds)), "s")
    emit("speed", len(fit) / float(np.median(seconds)), "cells/s")
    elbo = [row["validation_elbo"] for row in run.history]
    emit("validation ELBO after one epoch", elbo[0], "nats/cell")
    emit("validation ELBO gained in the next two", elbo[-1] - elbo[0], "nats/cell", least=0)
    if device == "cuda":
        emit("peak GPU memory", torch.cuda.max_memory_allocated() / 1e9, "GB")
        emit("... as reserved", torch.cuda.max_memory_reserved() / 1e9, "GB")
        run.batches.to_host()
    emit("peak CPU memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, "GB")
    if device == "cuda":
        start = engine.clock(device)[0]
        run.one_epoch()
        emit("one epoch with the counts in CPU memory", engine.clock(device)[0] - start, "s")


def check_stages(device: str, small: bool) -> None:
    """Stages `train`, `embed` and `evaluate` on the device; the last two against the CPU, on the same model."""
    keys = {"name": "gpu", "file": "gpu.yaml", "counts": "-", "batch": ["batch"]}
    models = {name: {"likelihood": name, "epochs": 5 if small else 30} for name in ("nb", "poisson")}
    settings = DatasetSettings.model_validate({**keys, "models": models})
    prepared = prepare(simulate(*((300, 200) if small else (3000, 1000)), seed=1), **settings.parts(prepare))
    for name in models:
        trained = train(prepared, model=settings.models[name], device=device, threads=4, **settings.parts(train))
        moved = copy.deepcopy(trained)
        moved.vae.to(device)
        here, there = embed(prepared, trained), embed(prepared, moved)
        for what, a, b in (
            ("means", here.X, there.X),
            ("SDs", here.layers["sd"], there.layers["sd"]),
            ("loadings", here.varm["loadings"], there.varm["loadings"]),
        ):
            emit(f"{name}: embed, {what}, largest difference", float(np.abs(a - b).max()), most=1e-3)
        samples = 10 if small else 100
        start = time.perf_counter()
        here = evaluate(prepared, trained, samples=samples)
        emit(f"{name}: evaluate on the CPU", time.perf_counter() - start, "s")
        start = time.perf_counter()
        there = evaluate(prepared, moved, samples=samples)
        emit(f"{name}: evaluate on {device}", time.perf_counter() - start, "s")
        for what in ("elbo", "marginal", "kl"):
            a, b = here["test"][what], there["test"][what]
            limit = 1e-3 if what == "kl" else CLOSE  # of these two, other draws
            emit(f"{name}: evaluate, test {what}, relative difference", abs(a - b) / abs(a), most=limit)
        pit = np.abs(np.array(here["calibration"]["pit"]) - np.array(there["calibration"]["pit"])).max()
        emit(f"{name}: evaluate, PIT density, largest difference", float(pit), most=0.1)


def check_tests(device: str, small: bool) -> None:
    """Run the tests of the model that take a device."""
    files = sorted(str(path) for path in (ROOT / "tests" / "unit").glob("test_model_*.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "formulas" if small else device]
    lines = []
    with subprocess.Popen(
        [*command, *files], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip())
    for word in ("passed", "failed", "skipped", "error"):
        found = re.search(rf"(\d+) {word}", lines[-1])
        emit(f"tests {word}", int(found[1]) if found else 0, **({"least": 1} if word == "passed" else {"most": 0}))
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            emit("... of these", line.split("::")[-1][:60])


def main() -> None:
    """Run the part that the command line names."""
    parts = {
        "likelihoods": check_likelihoods,
        "same": check_same,
        "training": check_training,
        "speed": check_speed,
        "steps": check_steps,
        "large": check_large,
        "stages": check_stages,
        "tests": check_tests,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=list(parts))
    parser.add_argument("--device", required=True)
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    parts[args.part](args.device, args.small)


if __name__ == "__main__":
    main()
