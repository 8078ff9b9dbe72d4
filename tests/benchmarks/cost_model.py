"""A cost model: seconds and memory of every rule by the number of cells, from the tables of docs/scaling.md.

    python tests/benchmarks/cost_model.py                          # print it
    python tests/benchmarks/cost_model.py --write docs/scaling.md  # put it into the page

The sizes of one number of genes and one density are fitted, those of `--judge` are left out and predicted. Seconds are
those of the CPU, which a busy machine changes least. Relative errors count, not absolute ones: a fit of absolute
ones would see nothing but the largest size.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import large
import numpy as np
from scipy.optimize import nnls

from sclatent.data.blocks import IN_MEMORY
from sclatent.model.training.schedule import n_epochs, refit_epochs
from sclatent.settings import ModelSettings

PAGE = Path(__file__).resolve().parents[2] / "docs/scaling.md"
SIZE = re.compile(r"## ([\d,]+) cells × ([\d,]+) genes\n\nDensity ([\d.]+)%")
ROW = re.compile(r"\| `(\w+)` \| [\d.]+ \| ([\d.]+) \| ([\d.]+) \|")
EXACT = 100_000
"""Cells up to which neighbours are searched exactly, in time that grows with their square."""
UNIT = 100_000
"""Cells that the table counts by."""
LARGER = (1_000_000, 10_000_000, 100_000_000)


class Used(NamedTuple):
    """What a rule used at a size."""

    cells: int
    seconds: float
    gigabytes: float


def passes(cells: float) -> float:
    """Return how many cells a training looks at, counted once for every epoch."""
    training, more = 0.8 * cells, 0.9 * cells
    epochs = n_epochs(ModelSettings(), round(training))
    return training * epochs + more * refit_epochs(round(more), epochs)


def terms_of_time(rule: str) -> list[Callable[[float], float]]:
    """Return what the seconds of a rule are a sum of, beside a constant."""
    if rule == "train":
        return [passes]
    if rule == "map":
        return [lambda cells: cells, lambda cells: min(cells, EXACT) ** 2]
    return [lambda cells: cells]


def terms_of_memory(counts: float) -> list[Callable[[float], float]]:
    """Return what memory is a sum of: something of every cell, and its counts, up to what is held in memory."""
    held = IN_MEMORY / 8 / counts
    return [lambda cells: cells, lambda cells: min(cells, held)]


class Fit:
    """A sum of terms with factors of 0 or more."""

    def __init__(self, terms: list[Callable[[float], float]], cells: list[int], values: list[float]) -> None:
        self.terms = terms
        design = np.array([self._row(n) for n in cells])
        weight = 1 / np.maximum(values, 1e-9)[:, None]
        scale = (design * weight).max(0)
        self.factors = nnls(design * weight / scale, np.ones(len(cells)))[0] / scale

    def _row(self, cells: float) -> list[float]:
        return [1.0, *(term(cells) for term in self.terms)]

    def __call__(self, cells: float) -> float:
        return float(np.dot(self._row(cells), self.factors))


def read(page: str, genes: int, density: float) -> tuple[dict[str, list[Used]], float]:
    """Return what each rule used at every size of so many genes and about this density, and the counts of a cell."""
    found: dict[str, list[Used]] = {}
    counts = []
    for part in re.split(r"(?m)^(?=## )", page):
        size = SIZE.match(part)
        if size is None or int(size[2].replace(",", "")) != genes or abs(float(size[3]) / 100 - density) > density / 5:
            continue
        counts.append(float(size[3]) / 100 * genes)
        for rule, seconds, gigabytes in ROW.findall(part):
            # a table of whole seconds says 0 of half a one
            used = Used(int(size[1].replace(",", "")), max(float(seconds), 0.5), float(gigabytes))
            found.setdefault(rule, []).append(used)
    return found, float(np.mean(counts))


def fitted(used: dict[str, list[Used]], sizes: set[int], counts: float) -> dict[str, tuple[Fit, Fit]]:
    """Return the fit of seconds and of gigabytes of every rule over these sizes."""
    out = {}
    for rule, rows in used.items():
        rows = [one for one in rows if one.cells in sizes]
        cells = [one.cells for one in rows]
        time = Fit(terms_of_time(rule), cells, [one.seconds for one in rows])
        out[rule] = (time, Fit(terms_of_memory(counts), cells, [one.gigabytes for one in rows]))
    return out


def judged(used: dict[str, list[Used]], sizes: set[int], size: int, counts: float) -> str:
    """Return a row: what a fit over `sizes` says of another size, and what was measured there."""
    fits = fitted(used, sizes, counts)
    there = {rule: one for rule, rows in used.items() for one in rows if one.cells == size}
    said, was = sum(fits[rule][0](size) for rule in there), sum(one.seconds for one in there.values())
    memory, largest = max(fits[rule][1](size) for rule in there), max(one.gigabytes for one in there.values())
    names = ", ".join(f"{n:,}" for n in sorted(sizes))
    return (
        f"| {names} | {size:,} | {said:.0f} s | {was:.0f} s | {said / was - 1:+.0%} "
        f"| {memory:.2f} GB | {largest:.2f} GB | {memory / largest - 1:+.0%} |"
    )


def section(used: dict[str, list[Used]], judges: set[int], genes: int, counts: float) -> str:
    """Return the part of the page."""
    sizes = {one.cells for rows in used.values() for one in rows}
    fits = fitted(used, sizes - judges, counts)
    by_time = sorted(fits, key=lambda rule: -fits[rule][0](UNIT))
    rows = []
    for rule in by_time:
        time, memory = fits[rule]
        far = " | ".join(f"{_time(time(n))}, {memory(n):.2g} GB" for n in LARGER)
        rows.append(f"| `{rule}` | {time(0):.1f} | {time(UNIT):.0f} | {memory(0):.2f} | {memory(UNIT):.2f} | {far} |")
    far = " | ".join(
        f"**{_time(sum(fits[rule][0](n) for rule in fits))}, {max(fits[rule][1](n) for rule in fits):.2g} GB**"
        for n in LARGER
    )
    largest = max(fits[rule][1](UNIT) for rule in fits)
    whole = f"| all | {sum(fits[rule][0](0) for rule in fits):.0f} | {sum(fits[rule][0](UNIT) for rule in fits):.0f} "
    tests = [judged(used, sizes - judges, size, counts) for size in sorted(judges & sizes)]
    smaller = sizes - judges - {max(sizes)}
    if len(smaller) > 2:
        tests.append(judged(used, smaller, max(sizes), counts))
    return "\n".join(
        [
            "## A cost model",
            "",
            f"For {genes:,} genes, of which a cell has {counts:,.0f}, fitted by `tests/benchmarks/cost_model.py` to "
            f"the tables above with {', '.join(f'{n:,}' for n in sorted(sizes - judges))} cells. Seconds of CPU and "
            "GB of each rule are a + b × cells. Two rules have other terms: `train` goes with cells × epochs "
            "(`epochs: auto` takes fewer passes over more cells, but never fewer than 8), `map` also with the square "
            f"of the cells up to {EXACT:,}, where neighbours are searched exactly. Memory also holds counts, up to "
            "256 MB. Relative errors are fitted, and no factor is below 0.",
            "",
            "| fitted to | size | said | was | | memory said | was | |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
            *tests,
            "",
            f"| rule | s, 0 cells | s, {UNIT:,} | GB, 0 cells | GB, {UNIT:,} | "
            + " | ".join(f"{n:,} cells" for n in LARGER)
            + " |",
            "|---|---:|---:|---:|---:|" + "---:|" * len(LARGER),
            *rows,
            f"{whole}| | {largest:.2f} | {far} |",
            "",
        ]
    )


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 600
        else f"{seconds / 60:.0f} min"
        if seconds < 36000
        else f"{seconds / 3600:.0f} h"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=PAGE, help="where the tables are")
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--density", type=float, default=0.052)
    parser.add_argument("--judge", type=int, nargs="*", default=[30_000], help="sizes that are not fitted")
    parser.add_argument("--write", type=Path, help="a Markdown page whose section is written anew")
    arguments = parser.parse_args()
    used, counts = read(arguments.page.read_text(encoding="utf-8"), arguments.genes, arguments.density)
    part = section(used, set(arguments.judge), arguments.genes, counts)
    print(part)
    if arguments.write:
        large.write(arguments.write, part)


if __name__ == "__main__":
    main()
