"""Kills at random moments: a run is killed with all its processes, again and again, until it gets to its end.

    python tests/benchmarks/kills.py               # 50 kills, on a tiny dataset
    python tests/benchmarks/kills.py --kills 3 --seed 7

Each kill is SIGKILL to every process of the run at once, as of a machine that goes down; the next run begins where it
was. When a run has ended, its results must be those of a run that nobody disturbed, byte by byte, and nothing
half-written may lie beside them; then the next folder begins.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

import sclatent as sl

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ("nb/atlas.h5ad", "nb/traversals.h5ad", "nb/knob.html", "nb/stability.tsv", "models.tsv")


def study(folder: Path) -> Path:
    """Write a tiny dataset and its configuration."""
    (folder / "config").mkdir(parents=True)
    sl.io.write_h5ad(sl.simulate(300, 200, seed=0), folder / "tiny.h5ad")
    model = {"n_latent": 3, "n_hidden": 16, "epochs": 30}
    dataset = {"counts": "tiny.h5ad", "batch": "batch", "models": {"nb": model}}
    (folder / "config/tiny.yaml").write_text(yaml.safe_dump(dataset))
    (folder / "config/config.yaml").write_text("datasets: [config/tiny.yaml]\n")
    return folder


def run(folder: Path, limit: float | None = None) -> bool:
    """Run the pipeline; kill it after `limit` seconds. Return whether it came to its end."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2", "--nolock"]
    with (folder / "said.txt").open("ab") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, start_new_session=True)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            _kill(process.pid)
            process.wait()
            return False
    if code:
        sys.exit((folder / "said.txt").read_text()[-4000:])
    return True


def _kill(group: int) -> None:
    """Kill a process group, at once."""
    os.killpg(group, signal.SIGKILL)


def results(folder: Path) -> dict[str, bytes]:
    return {path: (folder / "results/tiny" / path).read_bytes() for path in RESULTS}


def stages(folder: Path) -> int:
    """Number of stages that left a log."""
    return len(list((folder / "logs").rglob("*.log")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    kills = studies = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        undisturbed = study(Path(name) / "undisturbed")
        start = time.perf_counter()
        run(undisturbed)
        whole = time.perf_counter() - start
        wanted = results(undisturbed)
        print(f"undisturbed: {whole:.0f} s", flush=True)
        while kills < arguments.kills:
            folder = study(Path(name) / f"study-{studies}")
            studies += 1
            here = 0
            # a start of Snakemake and one stage fit into a third of a run, so it gets on between two kills
            while kills < arguments.kills and not run(folder, rng.uniform(0.03, 0.35) * whole):
                kills, here = kills + 1, here + 1
                print(f"kill {kills} after {stages(folder)} stages had begun", flush=True)
            run(folder)
            differs = [path for path, content in results(folder).items() if content != wanted[path]]
            hidden = [*(folder / "results").rglob(".*"), *(folder / "results").rglob("*.part")]
            left = [str(path.relative_to(folder)) for path in hidden if path.name != ".snakemake_timestamp"]
            how = "as undisturbed" if not differs + left else f"differs: {differs}, left over: {left}"
            print(f"{here} kills, then the end: {how}", flush=True)
            if differs or left:
                sys.exit(1)
    print(f"{kills} of {kills} kills, in {studies} folders, ended in the same results")


if __name__ == "__main__":
    main()
