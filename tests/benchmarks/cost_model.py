"""A cost model: seconds and memory of every rule by the size of the data, from the tables of docs/scaling.md.

    python tests/benchmarks/cost_model.py                          # print it
    python tests/benchmarks/cost_model.py --write docs/scaling.md  # put it into the page

Every table of the page is a size (cells, and counts that are not 0). Each is also left out, and predicted from the
others. Seconds are CPU time, which other work on the machine changes least. Relative errors are fitted: absolute ones
would be those of the largest size alone.
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
"""Cells up to which neighbours are searched exactly, in time that grows with their square, and laid out as a whole."""
LARGER = (100_000, 1_000_000, 10_000_000, 100_000_000)
TITLE = "## A cost model"

Size = tuple[float, float]
"""Cells, and counts that are not 0."""
Term = Callable[[float, float], float]


class Used(NamedTuple):
    """What a rule used at a size."""

    size: Size
    seconds: float
    gigabytes: float


def passes(cells: float, counts: float) -> float:
    """Return how many cells a training looks at, counted once for every epoch."""
    training, more = 0.8 * cells, 0.9 * cells
    epochs = n_epochs(ModelSettings(), round(training))
    return training * epochs + more * refit_epochs(round(more), epochs)


def of_cells(cells: float, counts: float) -> float:
    """Return the cells."""
    return cells


def of_counts(cells: float, counts: float) -> float:
    """Return the counts."""
    return counts


def pairs(cells: float, counts: float) -> float:
    """Return the pairs of cells that an exact search of neighbours looks at."""
    return min(cells, EXACT) ** 2


def together(cells: float, counts: float) -> float:
    """Return the cells that are clustered and laid out as a whole."""
    return min(cells, EXACT)


def in_memory(cells: float, counts: float) -> float:
    """Return the counts that are held at once: of more, a stage holds blocks."""
    return min(counts, IN_MEMORY / 8)


TIME: dict[str, list[Term]] = {"train": [passes], "map": [of_cells, together, pairs]}
MEMORY: dict[str, list[Term]] = {"map": [of_cells, together]}


class Fit:
    """A sum of a constant and terms, with factors of 0 or more."""

    def __init__(self, terms: list[Term], sizes: list[Size], values: list[float]) -> None:
        self.terms = terms
        weighted = np.array([self._row(size) for size in sizes]) / np.array(values)[:, None]
        scale = weighted.max(0)
        self.factors = nnls(weighted / scale, np.ones(len(sizes)))[0] / scale

    def _row(self, size: Size) -> list[float]:
        return [1.0, *(term(*size) for term in self.terms)]

    def __call__(self, size: Size) -> float:
        return float(np.dot(self._row(size), self.factors))


def read(page: str) -> dict[str, list[Used]]:
    """Return what each rule used at every size of the page."""
    found: dict[str, list[Used]] = {}
    for part in re.split(r"(?m)^(?=## )", page):
        if (told := SIZE.match(part)) is None:
            continue
        cells, genes = (float(number.replace(",", "")) for number in told.groups()[:2])
        for rule, seconds, gigabytes in ROW.findall(part):
            # a table of whole seconds has 0 for half a second
            used = Used((cells, float(told[3]) / 100 * cells * genes), max(float(seconds), 0.5), float(gigabytes))
            found.setdefault(rule, []).append(used)
    return found


def fitted(used: dict[str, list[Used]], sizes: set[Size]) -> dict[str, tuple[Fit, Fit]]:
    """Return the fit of seconds and of gigabytes of every rule over these sizes."""
    out = {}
    for rule, of_rule in used.items():
        rows = [one for one in of_rule if one.size in sizes]
        where = [one.size for one in rows]
        time = Fit(TIME.get(rule, [of_cells, of_counts]), where, [one.seconds for one in rows])
        out[rule] = (time, Fit(MEMORY.get(rule, [of_cells, in_memory]), where, [one.gigabytes for one in rows]))
    return out


def named(size: Size) -> str:
    """Return a size in words."""
    return f"{size[0]:,.0f} ({size[1] / 1e6:,.0f} million)"


def judged(used: dict[str, list[Used]], sizes: set[Size], size: Size) -> str:
    """Return a row: what a fit over `sizes` says of another size, and what was measured there."""
    fits = fitted(used, sizes)
    there = {rule: one for rule, rows in used.items() for one in rows if one.size == size}
    said, was = sum(fits[rule][0](size) for rule in there), sum(one.seconds for one in there.values())
    memory, largest = max(fits[rule][1](size) for rule in there), max(one.gigabytes for one in there.values())
    return (
        f"| {named(size)} | {said:.0f} s | {was:.0f} s | {said / was - 1:+.0%} "
        f"| {memory:.2f} GB | {largest:.2f} GB | {memory / largest - 1:+.0%} |"
    )


def section(used: dict[str, list[Used]], counts: float) -> str:
    """Return the part of the page: how well each size is predicted from the others, and the forecast of all."""
    sizes = {one.size for rows in used.values() for one in rows}
    fits = fitted(used, sizes)
    columns = [(float(n), n * counts) for n in LARGER]
    rows = []
    for rule in sorted(fits, key=lambda rule: -fits[rule][0](columns[1])):
        time, memory = fits[rule]
        rows.append(f"| `{rule}` | " + " | ".join(f"{_time(time(at))}, {_memory(memory(at))}" for at in columns) + " |")
    whole = " | ".join(
        f"**{_time(sum(time(at) for time, _ in fits.values()))}, {_memory(max(m(at) for _, m in fits.values()))}**"
        for at in columns
    )
    return "\n".join(
        [
            TITLE,
            "",
            "`tests/benchmarks/cost_model.py` fits it to the tables above. CPU seconds of a rule are a + b × cells + "
            "c × counts that are not 0. GB are the same, with only the counts held at once (at most 256 MB). Two rules "
            "have other terms: `train` has cells × epochs (`epochs: auto` takes fewer passes over more cells, at least "
            f"8), and `map` has the cells, and of up to {EXACT:,} also their number and its square, since so many are "
            "searched exactly and laid out as a whole. Relative errors are fitted, and no factor is negative.",
            "",
            "Each size predicted from the others (cells, and counts in brackets), all rules together. The memory of a "
            "million cells cannot be told from smaller sizes: an array of 32 axes of up to 520,000 cells is in memory, "
            "and that of more in a scratch file.",
            "",
            "| size that was not fitted | predicted | measured | | predicted memory | measured | |",
            "|---|---:|---:|---:|---:|---:|---:|",
            *(judged(used, sizes - {size}, size) for size in sorted(sizes)),
            "",
            f"Forecast from all of them, for {counts:,.0f} counts in a cell; the last row has the largest memory:",
            "",
            "| rule | " + " | ".join(f"{n:,} cells" for n in LARGER) + " |",
            "|---" + "|---:" * len(LARGER) + "|",
            *rows,
            f"| all | {whole} |",
            "",
        ]
    )


def _time(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 10 else f"{minutes:.0f} min" if minutes < 600 else f"{minutes / 60:.0f} h"


def _memory(gigabytes: float) -> str:
    return f"{gigabytes:.2f} GB" if gigabytes < 10 else f"{gigabytes:.0f} GB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=PAGE, help="where the tables are")
    parser.add_argument("--counts", type=float, default=1040, help="counts of a cell that are not 0, in the forecast")
    parser.add_argument("--write", type=Path, help="a Markdown page whose section is written anew")
    arguments = parser.parse_args()
    part = section(read(arguments.page.read_text(encoding="utf-8")), arguments.counts)
    print(part)
    if arguments.write:
        large.write(arguments.write, part)


if __name__ == "__main__":
    main()
