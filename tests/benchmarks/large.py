"""The whole pipeline at the size of real data: time and memory of every rule.

    python tests/benchmarks/large.py                                # 100,000 cells × 10,000 genes
    python tests/benchmarks/large.py --cells 20000 --write docs/scaling.md

Counts are simulated once per size (a million cells × 20,000 genes take 20 minutes) and kept in the folder; the results
are made anew. Time and memory are what each job says at the end of its log: its own clock, its CPU time, and its
largest memory.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import pandas as pd
import yaml

import sclatent as sl

ROOT = Path(__file__).resolve().parents[2]
USED = re.compile(r"done: ([\d.]+) s, ([\d.]+) s of CPU, at most ([\d.]+) GB of memory")


def simulate(path: Path, cells: int, genes: int, library: float) -> float:
    """Write simulated counts, unless they are there; return the density."""
    if not path.exists():
        sl.io.write_h5ad(sl.simulate(cells, genes, median_library=library, seed=0), path)
    with h5py.File(path) as file:
        return file["X/data"].size / cells / genes


def run(folder: Path, counts: Path, cores: int) -> float:
    """Run the pipeline in an empty folder; return the seconds."""
    (folder / "config").mkdir(parents=True)
    dataset = {"counts": str(counts), "batch": "batch", "labels": ["cell_type"], "models": {"nb": {"likelihood": "nb"}}}
    (folder / "config/large.yaml").write_text(yaml.safe_dump(dataset))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", str(cores)]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--benchmark-extended", "--config", "datasets=[config/large.yaml]"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stdout[-4000:])
    return time.perf_counter() - start


def measure(folder: Path) -> pd.DataFrame:
    """Return rule, seconds, CPU seconds and GB of every job, and the GB that a cluster is asked for; slowest first."""
    rows = []
    for path in sorted((folder / "logs").rglob("*.log")):
        if found := USED.findall(path.read_text(encoding="utf-8", errors="replace")):
            benchmark = folder / "benchmarks" / path.relative_to(folder / "logs").with_suffix(".tsv")
            asked = ast.literal_eval(pd.read_csv(benchmark, sep="\t")["resources"][0])["mem_mb"] / 1000
            rows.append((path.stem, *map(float, found[-1]), asked))
    return pd.DataFrame(rows, columns=["rule", "s", "CPU s", "GB", "asked"]).sort_values("CPU s", ascending=False)


def section(cells: int, genes: int, density: float, seconds: float, cores: int, table: pd.DataFrame) -> str:
    """Return the part of the page that tells of this size."""
    rows = [
        f"| `{rule}` | {s:.0f} | {cpu:.0f} | {gb:.2f} | {asked:.2f} | {asked / gb:.1f} |"
        for rule, s, cpu, gb, asked in table.itertuples(index=False)
    ]
    return "\n".join(
        [
            title(cells, genes),
            "",
            f"Density {density:.1%}, {cores} cores, {os.uname().machine}, Python {platform.python_version()}: "
            f"**{seconds / 60:.1f} minutes** from counts to the page, at most **{table['GB'].max():.2f} GB** in a job.",
            "",
            "| rule | s | s of CPU | GB | GB asked of a cluster | times |",
            "|---|---:|---:|---:|---:|---:|",
            *rows,
            f"| all | {seconds:.0f} | {table['CPU s'].sum():.0f} | {table['GB'].max():.2f} | | |",
            "",
        ]
    )


def title(cells: int, genes: int) -> str:
    return f"## {cells:,} cells × {genes:,} genes"


def write(page: Path, part: str) -> None:
    """Put the part into the page, in place of the one with the same title."""
    head, *parts = re.split(r"(?m)^(?=## )", page.read_text(encoding="utf-8"))
    by_title = {text.splitlines()[0]: text for text in [*parts, part + "\n"]}  # a dict keeps the old place
    page.write_text(head + "".join(by_title.values()), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=10_000)
    parser.add_argument("--library", type=float, default=1250.0, help="median counts of a cell: sets the density")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "sclatent-large")
    parser.add_argument("--write", type=Path, help="a Markdown page whose section of this size is written anew")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    size = f"{arguments.cells}-{arguments.genes}-{arguments.library:.0f}"
    counts = arguments.folder.resolve() / f"counts-{size}.h5ad"
    density = simulate(counts, arguments.cells, arguments.genes, arguments.library)
    study = arguments.folder / f"study-{size}"
    shutil.rmtree(study, ignore_errors=True)
    seconds = run(study, counts, arguments.cores)
    part = section(arguments.cells, arguments.genes, density, seconds, arguments.cores, measure(study))
    print(part)
    print(json.loads((study / "results/large/nb/knob.json").read_text())["reason"])
    if arguments.write:
        write(arguments.write, part)


if __name__ == "__main__":
    main()
