"""What the profile for PBS, SGE and LSF asks of each: the line, recorded by a stand-in that refuses every job."""

from __future__ import annotations

import os
import re
import subprocess
from types import SimpleNamespace

import pytest
import yaml

from .conftest import ROOT, Study

pytest.importorskip("snakemake_executor_plugin_cluster_generic")

PROFILE = ROOT / "workflow/profiles/cluster-generic/config.yaml"
REFUSES = """#!/bin/sh
echo "$(basename "$0") $*" >> {record}
echo "no job today" >&2
exit 1
"""


def block(scheduler: str) -> str:
    """Return the profile as a user edits it: the block of one scheduler, without the others."""
    parts = PROFILE.read_text().split("\n\n")
    blocks = [part for part in parts if "cluster-generic-submit-cmd" in part]
    (mine,) = [part for part in blocks if re.match(rf"# {scheduler}\b", part)]
    comment, _, lines = mine.partition("\n")
    mine = comment + "\n" + "\n".join(line.removeprefix("# ") for line in lines.splitlines())
    return "\n\n".join(mine if part == blocks[0] else part for part in parts if part not in blocks[1:])


@pytest.mark.parametrize(
    ("scheduler", "command", "words"),
    [
        ("PBS", "qsub", [r"select=1:ncpus=2:mem=\d{4,}mb:ngpus=1", r"-l walltime=\d+:00"]),
        ("SGE", "qsub", [r"-pe smp 2", r"mem_free=\d{4,}M", r"h_rt=0:\d+:0", "gpu=1", "-terse"]),
        ("LSF", "bsub", [r"-n 2", r"rusage\[mem=\d{4,}MB\]", r"-W \d+", "-gpu num=1"]),
    ],
)
def test_the_line_of_each_scheduler(study: Study, tmp_path, scheduler, command, words):
    commands, record = tmp_path / "bin", tmp_path / "record"
    commands.mkdir()
    (commands / command).write_text(REFUSES.format(record=record))
    (commands / command).chmod(0o755)
    study.write("profile/config.yaml", block(scheduler))
    assert (
        yaml.safe_load(block(scheduler))["groups"]
        == yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text())["groups"]
    )
    study.dataset("a", counts="demo/demo.h5ad")
    study.select("a")
    study.write("results/a/model_counts.h5ad", "x" * 10**6)
    wanted = "results/a/nb/seed-0/model.safetensors"
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    done = study.run(
        "--workflow-profile", study / "profile", "--allowed-rules", "train", "--", wanted, PATH=path
    )  # fmt: skip
    assert done.returncode == 1
    assert "no job today" in done.stdout
    line = record.read_text().splitlines()[0]
    for word in words:
        assert re.search(word, line), line


def test_the_number_of_a_job_is_found_in_the_sentence_of_lsf(tmp_path):
    (tmp_path / "bsub").write_text('#!/bin/sh\nshift $(($# - 1))\necho "Job <4711> is submitted to queue <$1>."\n')
    (tmp_path / "bsub").chmod(0o755)
    job = tmp_path / "job script.sh"
    resources = SimpleNamespace(mem_mb=1000, runtime=30, gpu=1)
    command = yaml.safe_load(block("LSF"))["cluster-generic-submit-cmd"].format(threads=2, resources=resources)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        f'{command} "{job}"', shell=True, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "4711\n"  # and the script was the last word of the line, or sed would not end
