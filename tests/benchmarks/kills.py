"""Kills at random moments: a run is killed with all its processes, again and again, until it gets to its end.

    python tests/benchmarks/kills.py               # 50 kills, on a tiny dataset
    python tests/benchmarks/kills.py --kills 3 --seed 7
    python tests/benchmarks/kills.py --kills 3 --undisturbed FOLDER   # a folder with config/, data/ and all results

Each kill is SIGKILL to every process of the run at once, as of a machine that goes down; the next run begins where it
was. It comes when some stages more have begun, and a random time after: on any machine a try takes about two stages.
When a run has ended, its results must be those of a run that nobody disturbed, byte by byte, and nothing half-written
may lie beside them; then the next folder begins.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import yaml

import sclatent as sl

ROOT = Path(__file__).resolve().parents[2]
RESULTS = (
    *("latent.h5ad", "model.safetensors", "atlas.h5ad", "traversals.h5ad", "knob.html", "stability.tsv", "models.tsv"),
    *("samples.h5ad", "samples.tsv"),
)
INPUTS = ("config", "data")


def study(folder: Path) -> Path:
    """Write a tiny dataset and its configuration."""
    for name in INPUTS:
        (folder / name).mkdir(parents=True)
    sl.io.write_h5ad(sl.simulate(300, 200, seed=0), folder / "data/tiny.h5ad")
    model = {"n_latent": 3, "n_hidden": 16, "epochs": 30}
    dataset = {"counts": "data/tiny.h5ad", "batch": "batch", "models": {"nb": model}, "seeds": [0, 1]}
    (folder / "config/tiny.yaml").write_text(yaml.safe_dump(dataset))
    (folder / "config/config.yaml").write_text("datasets: [config/tiny.yaml]\n")
    return folder


def run(folder: Path, stages_more: int | None = None, seconds: float = 0.0) -> bool:
    """Run the pipeline; return whether it came to its end.

    With `stages_more` it is killed `seconds` after so many stages more have begun.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2", "--nolock"]
    before = under_way(folder)
    seen = set(before)
    with (folder / "said.txt").open("ab") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, start_new_session=True)
        while stages_more is not None and process.poll() is None:
            seen |= under_way(folder)
            if len(seen - before) >= stages_more:
                time.sleep(seconds)
                if process.poll() is None:
                    _kill(process.pid)
                    process.wait()
                    return False
            time.sleep(0.05)
        code = process.wait()
    if code:
        sys.exit((folder / "said.txt").read_text()[-4000:])
    return True


def _kill(group: int) -> None:
    """Kill a process group, at once."""
    os.killpg(group, signal.SIGKILL)


def like(undisturbed: Path, folder: Path) -> Path:
    """Write the dataset and the configuration of `undisturbed` to another folder."""
    for name in INPUTS:
        shutil.copytree(undisturbed / name, folder / name, symlinks=True)
    return folder


def results(folder: Path) -> dict[str, bytes]:
    """Read the results of a run, by their paths."""
    files = (path for path in (folder / "results").rglob("*") if path.name in RESULTS)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def pace(folder: Path) -> float:
    """Return the seconds that a stage took."""
    return float(pd.concat(pd.read_csv(path, sep="\t") for path in (folder / "benchmarks").rglob("*.tsv"))["s"].mean())


def under_way(folder: Path) -> set[str]:
    """Return what jobs say that are at work, or were killed: each attempt something else."""
    found = set()
    for path in (folder / "logs").rglob(".*.running"):
        with contextlib.suppress(FileNotFoundError):
            found.add(path.read_text())
    return found - {""}


def stages(folder: Path) -> int:
    """Number of stages that left a log."""
    return len(list((folder / "logs").rglob("*.log")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--undisturbed", type=Path, help="a run that nobody disturbed; by default it is made first")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    kills = studies = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        undisturbed = arguments.undisturbed
        if undisturbed is None:
            undisturbed = study(Path(name) / "undisturbed")
            run(undisturbed)
        stage, wanted = pace(undisturbed), results(undisturbed)
        print(f"undisturbed: {stage:.1f} s for each of {stages(undisturbed)} stages", flush=True)
        while kills < arguments.kills:
            folder = like(undisturbed, Path(name) / f"study-{studies}")
            studies += 1
            here = 0
            # while Snakemake starts, or in the first, second or third stage from there
            while kills < arguments.kills and not run(folder, rng.choice([0, 1, 1, 2, 2, 3]), rng.uniform(0, stage)):
                kills, here = kills + 1, here + 1
                print(f"kill {kills}, {stages(folder)} stages had begun", flush=True)
            run(folder)
            found = results(folder)
            differs = [path for path in wanted.keys() | found.keys() if found.get(path) != wanted.get(path)]
            hidden = [*(folder / "results").rglob(".*"), *(folder / "results").rglob("*.part")]
            left = [str(path.relative_to(folder)) for path in hidden if path.name != ".snakemake_timestamp"]
            how = "as undisturbed" if not differs + left else f"differs: {differs}, left over: {left}"
            print(f"{here} kills, then the end: {how}", flush=True)
            if differs or left:
                sys.exit(1)
    print(f"{kills} of {kills} kills, in {studies} folders, ended in the same results")


if __name__ == "__main__":
    main()
