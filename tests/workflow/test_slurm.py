"""What the cluster profile asks of Slurm: the `sbatch` line, recorded by a stand-in that refuses every job."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from .conftest import ROOT, SNAKEFILES, Study

SBATCH = """#!/bin/sh
for word in "$@"; do case "$word" in --wrap*) ;; *) printf '%s ' "$word" ;; esac; done >> {record}
echo >> {record}
echo "no job today" >&2
exit 1
"""


@pytest.fixture
def refused(study: Study, tmp_path: Path):
    """Submit one job of `train`; return what Snakemake said and the `sbatch` line of each attempt."""
    commands, record = tmp_path / "bin", tmp_path / "record"
    commands.mkdir()
    for name in ("sacct", "squeue", "sinfo", "scontrol", "sacctmgr"):
        (commands / name).write_text("#!/bin/sh\nexit 0\n")
    (commands / "sbatch").write_text(SBATCH.format(record=record))
    for command in commands.iterdir():
        command.chmod(0o755)
    study.dataset("a", counts="demo/demo.h5ad", models={"nb": {}, "wide": {"devices": 3}})
    study.select("a")
    study.write("results/a/model_counts.h5ad", "x" * 10**6)

    def submit(*arguments: object, model: str = "nb", snakefile: Path = SNAKEFILES["root"]) -> tuple[str, list[str]]:
        record.write_text("")
        path = f"{commands}{os.pathsep}{os.environ['PATH']}"
        wanted = f"results/a/{model}/seed-0/model.safetensors"
        done = study.run(
            "--workflow-profile", ROOT / "workflow/profiles/slurm", "--slurm-no-account",
            "--slurm-init-seconds-before-status-checks", 1, "--allowed-rules", "train",
            *arguments, "--", wanted, PATH=path, snakefile=snakefile,
        )  # fmt: skip
        assert done.returncode == 1
        return done.stdout, record.read_text().splitlines()

    return submit


def test_the_profile_submits_a_training_with_gpu_memory_and_time(refused):
    text, lines = refused()
    assert "Using workflow specific profile" in text
    assert "no job today" in text
    # refused three times: the first attempt and two retries, each asking for more
    memory = [int(re.search(r"--mem (\d+)", line)[1]) for line in lines]
    runtime = [int(re.search(r" -t (\d+)", line)[1]) for line in lines]
    assert len(lines) == 3, text
    assert memory[0] >= 4000
    assert memory[1:] == [pytest.approx(memory[0] * 1.5, abs=1), pytest.approx(memory[0] * 2.25, abs=2)]
    assert runtime == pytest.approx([runtime[0], 2 * runtime[0], 4 * runtime[0]], abs=4)
    assert runtime[0] >= 120
    for line in lines:
        assert "--gpus=1" in line
        assert "--gres" not in line
        assert "--cpus-per-gpu=2" in line or "--cpus-per-task=2" in line


def test_a_partition_and_threads_reach_the_line(refused):
    _, lines = refused("--default-resources", "slurm_partition=long", "--set-threads", "train=5", "--retries", "0")
    assert re.search(r"-p '?long", lines[0])
    assert re.search(r"--cpus-per-(task|gpu)=5", lines[0])


@pytest.mark.parametrize("gpu", ["1", "1 if shutil.which('python3') and attempt and threads else 0"])
@pytest.mark.parametrize("snakefile", SNAKEFILES.values(), ids=SNAKEFILES)
def test_a_training_asks_for_every_one_of_its_devices(refused, snakefile, gpu):
    _, lines = refused("--set-resources", f"train:gpu={gpu}", model="wide", snakefile=snakefile)
    for line in lines:  # a retry asks for no more GPUs
        assert "--gpus=3" in line
        assert int(re.search(r"--cpus-per-(?:task|gpu)=(\d+)", line)[1]) == 3
    assert int(re.search(r"--mem (\d+)", lines[0])[1]) >= 3 * 4000
