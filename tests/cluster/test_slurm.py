"""The Slurm profile on a real Slurm of one node: complete, and as a local run, whatever is done to its jobs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

import sclatent as sl

from .one_node import OneNode, missing

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ("nb/atlas.h5ad", "nb/traversals.h5ad", "nb/knob.html", "nb/stability.tsv", "models.tsv")

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(missing()), reason=f"needs Slurm: {missing()}")]


def study(folder: Path) -> Path:
    """Write a tiny dataset, whose counts have a name that a shell must not see, and its configuration."""
    (folder / "config").mkdir(parents=True)
    counts = folder / "data/;touch pwned; & (a) #*.h5ad"
    sl.io.write_h5ad(sl.simulate(300, 200, seed=0), counts)
    model = {"n_latent": 3, "n_hidden": 16, "epochs": 3}
    dataset = {"counts": str(counts.relative_to(folder)), "batch": "batch", "models": {"nb": model}, "seeds": [0]}
    (folder / "config/tiny.yaml").write_text(yaml.safe_dump(dataset))
    (folder / "config/config.yaml").write_text("datasets: [config/tiny.yaml]\n")
    return folder


def snakemake(folder: Path, *arguments: object, **environment: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder, *arguments]
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1500,
        check=False,
    )
    logs = [*folder.rglob(".snakemake/slurm_logs/**/*.log"), *folder.glob("logs/**/*.log")]
    tails = "".join(f"\n{log.relative_to(folder)}: {log.read_text()[-700:]}" for log in logs)
    assert done.returncode == 0, done.stdout[-4000:] + tails
    return done.stdout


def profile(folder: Path) -> Path:
    """Copy the profile, with too little memory for `read` at its first attempt: the libraries alone take more.

    Resources given on the command line would take the place of all of the profile's, the GPU too.
    """
    content = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text())
    content["set-resources"]["read"] = {"mem_mb": "30 if attempt == 1 else 1500"}
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    return folder


class Trouble(threading.Thread):
    """While a run goes on: cancel its first training, and stop and start the controller when the cells are prepared."""

    def __init__(self, node: OneNode) -> None:
        super().__init__(daemon=True)
        self.node, self.over = node, threading.Event()
        self.cancelled = ""
        self.restarted = False

    def run(self) -> None:
        while not self.over.wait(0.3):
            for line in self.node.ask("squeue", "-h", "-t", "running", "-o", "%i %k").splitlines():
                job, _, about = line.partition(" ")
                if "cells" in about and not self.restarted:
                    self.node.restart_controller()
                    self.restarted = True
                if "train" in about and not self.cancelled:
                    time.sleep(1)
                    self.node.ask("scancel", job)
                    self.cancelled = job


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run the pipeline on Slurm under trouble; return its folder, what it said, Slurm's jobs, and the trouble."""
    folder = study(tmp_path_factory.mktemp("slurm") / "study")
    node = OneNode(tmp_path_factory.mktemp("node"))
    trouble = Trouble(node)
    try:
        node.start()
        trouble.start()
        said = snakemake(
            folder,
            *("--workflow-profile", profile(folder / "profile"), "--latency-wait", 20),
            *("--slurm-init-seconds-before-status-checks", 2, "--seconds-between-status-checks", 4),
            **node.environment,
        )
        jobs = [
            dict(re.findall(r"(\S+?)=(\S*)", line)) for line in node.ask("scontrol", "-o", "show", "job").splitlines()
        ]
    finally:
        trouble.over.set()
        trouble.join(60)
        node.stop()
    return folder, said, jobs, trouble


def of(jobs: list[dict[str, str]], rule: str) -> list[dict[str, str]]:
    return [job for job in jobs if rule in job["Comment"]]


def test_all_is_done_in_few_submissions(run):
    folder, said, jobs, _ = run
    assert "Using workflow specific profile" in said
    assert re.search(r"(\d+) of \1 steps \(100%\) done", said), said[-2000:]
    assert all((folder / "results/tiny" / path).exists() for path in RESULTS)
    # read, cells, train, judge, paths, compare: and a second one of the two that were made to fail
    assert len(jobs) == 8, [job["Comment"] for job in jobs]


def test_training_asked_for_a_gpu_and_nothing_else_did(run):
    _, _, jobs, _ = run
    assert of(jobs, "train")
    assert all("gpu" in job["TresPerJob"] for job in of(jobs, "train"))
    assert not any("gpu" in job.get("TresPerJob", "") for job in jobs if job not in of(jobs, "train"))


def test_a_job_over_its_memory_is_run_again_with_more(run):
    _, _, jobs, trouble = run
    first, second = of(jobs, "read")
    # which of the first three it is depends on what Slurm hears of first: that its process died, or that it killed it
    assert first["JobState"] in {"FAILED", "OUT_OF_MEMORY", "CANCELLED"}
    assert second["JobState"] == "COMPLETED"
    over = re.findall(r"StepId=(\d+)\.\S+ exceeded memory limit", (trouble.node.folder / "slurmd.log").read_text())
    assert set(over) == {first["JobId"]}
    assert (first["MinMemoryNode"], second["MinMemoryNode"]) == ("30M", "1500M")


def test_a_job_that_was_cancelled_is_run_again(run):
    _, _, jobs, trouble = run
    first, second = of(jobs, "train")
    assert (first["JobState"], second["JobState"]) == ("CANCELLED", "COMPLETED")
    assert first["JobId"] == trouble.cancelled


def test_the_results_are_those_of_a_local_run_and_no_name_was_run(run, tmp_path):
    folder, _, _, trouble = run
    assert trouble.restarted
    local = study(tmp_path / "study")
    snakemake(local, "--cores", 2)
    for path in RESULTS:
        assert (folder / "results/tiny" / path).read_bytes() == (local / "results/tiny" / path).read_bytes(), path
    assert not list(folder.rglob("pwned"))
    assert not list(local.rglob("pwned"))
