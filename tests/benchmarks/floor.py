"""What a training step costs beside what this machine can do: its parts, and the operations and bytes in them.

python tests/benchmarks/floor.py                         # NB; --likelihood poisson

Rates (a sgemm of the last layer's sizes, exp and log, a triad over the memory of the optimiser) are measured on one
core and on as many at once as `--threads`; a part's floor is its work over these rates. Medians; ms per step of 128
cells.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from engine import data_of, make_run, show, simulated
from numba import njit

from sclatent.model.fused import layers
from sclatent.model.fused import step as frame
from sclatent.model.fused.compiled import CompiledStep, prepare
from sclatent.model.kernels.threads import one_blas_thread, only_shared
from sclatent.model.kernels.vector_math import OPTIONS, exp32, log1p32
from sclatent.model.training import optimizer
from sclatent.settings import ModelSettings

GENES, CELLS = 2000, 128
ONE = np.float32(1.0)


@njit(**OPTIONS)
def _exp(rows):  # type: ignore[no-untyped-def]
    for b in range(rows.shape[0]):
        row = rows[b]
        for g in range(row.shape[0]):
            row[g] = exp32(-row[g])


@njit(**OPTIONS)
def _log(rows):  # type: ignore[no-untyped-def]
    for b in range(rows.shape[0]):
        row = rows[b]
        for g in range(row.shape[0]):
            u = ONE + row[g]
            row[g] = log1p32(row[g], u, ONE / u)


@njit(**OPTIONS)
def _triad(a, b, c):  # type: ignore[no-untyped-def]
    for i in range(a.shape[0]):
        a[i] = b[i] + ONE * c[i]


def median_ms(work: Callable[[], object], repeats: int = 40) -> float:
    """Milliseconds of a call."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) * 1e3


def rates(step: CompiledStep, weights: int) -> dict[str, float]:
    """What one thread can do: GFLOP/s, entries per ns, GB/s."""
    ends, values = step.ends, step.flat.values.numpy()
    layer = layers.matrix(values, step.places.last[0], ends.seen.shape[1], GENES).copy()
    seen, logits, back = np.ones_like(ends.seen), np.ones_like(ends.logits), np.empty_like(ends.seen)
    three = (
        lambda: layers.product(seen, layer, logits),
        lambda: layers.product(logits, layer.T, back),
        lambda: layers.product(seen.T, logits, layer),
    )
    flops = 3 * 2 * CELLS * layer.size
    rows = np.ones((CELLS, GENES), np.float32)
    triple = [np.ones(weights, np.float32) for _ in range(3)]
    return {
        "GFLOP/s": flops / sum(median_ms(one) for one in three) / 1e6,
        "exp/ns": rows.size / median_ms(lambda: _exp(rows)) / 1e6,
        "log/ns": rows.size / median_ms(lambda: _log(rows)) / 1e6,
        "GB/s": 12 * weights / median_ms(lambda: _triad(*triple)) / 1e6,
    }


def main() -> None:
    """Print the rates, and for each part of a step its time on one thread and its floor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--likelihood", default="nb")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    counts = simulated(20_000, GENES, 0.081)
    settings = ModelSettings(likelihood=args.likelihood, n_latent=10, batch_size=CELLS, dropout=0.1, epochs=100)
    run = make_run(data_of(counts), np.arange(20_000), np.arange(0), settings)
    cells = np.arange(CELLS)
    run._step(cells)
    step, weights = run.compiled_steps[CELLS], len(run.flat.values)
    taken = prepare(run.vae, run.batches, cells)
    values, gradient = run.flat.values.numpy(), run.flat.gradient.numpy()
    networks, mover = (step.places, step.encoder, step.decoder, step.ends), run.optimizer.mover(1e-6)
    pieces, n_in = len(mover.squares), step.ends.seen.shape[1]
    with one_blas_thread(), ThreadPoolExecutor(args.threads) as pool:
        one = rates(step, weights)
        every = list(pool.map(lambda _: rates(step, weights), range(args.threads)))
        both = {name: sum(each[name] for each in every) for name in one}
        show([{"threads": 1, **one}, {"threads": args.threads, **both}])
        product, entries = 2 * CELLS * n_in * GENES / 1e6, CELLS * GENES / 1e6
        rows = 4 * len(taken.values) * settings.n_hidden / 1e6  # rows of the first layer's weights, or of its gradient
        grain, nb = step.rates.grain, args.likelihood == "nb"
        order = np.random.default_rng(0).permutation(20_000)
        parts = {
            "gather": (lambda: prepare(run.vae, run.batches, np.roll(order, -CELLS)[:CELLS]), 0, 0, 0, 0),
            "below, forth": (lambda: frame._forward(values, *networks, taken, step.rates), 0, 0, 0, rows),
            "likelihood": (
                lambda: frame._cells(0, CELLS, values, step.places, step.ends, taken, grain),
                *(2 * product, entries, entries * nb, 0),
            ),
            "below, back": (lambda: frame._backward(values, gradient, *networks, taken, step.rates), 0, 0, 0, rows),
            "last, back": (
                lambda: frame._last_gradient(0, n_in, gradient, step.places, step.ends, taken),
                *(product, 0, 0, 0),
            ),
            "norm": (lambda: optimizer.add_squares(0, pieces, gradient, mover.squares), 0, 0, 0, 4 * weights / 1e6),
            "AdamW": (
                lambda: optimizer.move(
                    0, pieces, values, gradient, mover.mean, mover.square, mover.ends, mover.numbers, ONE
                ),
                *(0, 0, 0, 28 * weights / 1e6),
            ),
        }
        table = []
        for name, (work, flops, exps, logs, moved) in parts.items():
            row: dict[str, object] = {"part": name, "MFLOP": flops, "exp, log": (exps + logs) * 1e6, "MB": moved}
            row["ms, one thread"] = median_ms(work)
            for label, rate in (("floor", one), (f"floor, {args.threads} threads", both)):
                row[label] = (
                    flops / rate["GFLOP/s"] + exps / rate["exp/ns"] + logs / rate["log/ns"] + moved / rate["GB/s"]
                )
            table.append(row)
    for threads in (1, args.threads):
        torch.set_num_threads(threads)
        seconds = []
        for _ in range(3):
            with only_shared():
                start = time.perf_counter()
                run._pass()
            seconds.append(time.perf_counter() - start)
        table.append({"part": f"whole step, {threads} threads", "ms, one thread": np.median(seconds) / 157 * 1e3})
    show(table)


if __name__ == "__main__":
    main()
