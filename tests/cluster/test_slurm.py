"""The cluster profile on a real Slurm: `SCLATENT_SLURM=1 pytest tests/cluster` on a machine that can submit jobs.

What a site wants besides goes into `$SCLATENT_SLURM_FLAGS`, such as
`--default-resources slurm_account=lab slurm_partition=main`, or `--slurm-no-account --slurm-status-command squeue`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import sclatent as sl

ROOT = Path(__file__).resolve().parents[2]
LATENT = "results/tiny/nb/seed-0/latent.h5ad"

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        os.environ.get("SCLATENT_SLURM") != "1" or shutil.which("sbatch") is None,
        reason="needs sbatch and SCLATENT_SLURM=1",
    ),
]


def test_the_slurm_profile_runs_the_workflow_up_to_the_latents(tmp_path):
    counts = tmp_path / "data" / "tiny.h5ad"
    sl.io.write_h5ad(sl.simulate(n_cells=300, seed=0), counts)
    dataset = {"counts": "data/tiny.h5ad", "batch": "batch", "models": {"nb": {"n_latent": 3, "epochs": 3}}}
    (tmp_path / "config").mkdir()
    (tmp_path / "config/tiny.yaml").write_text(yaml.safe_dump(dataset))
    (tmp_path / "config/config.yaml").write_text("datasets: [config/tiny.yaml]\n")
    command = [
        *(sys.executable, "-m", "snakemake"),
        *("--snakefile", ROOT / "Snakefile", "--directory", tmp_path),
        *("--workflow-profile", ROOT / "workflow/profiles/slurm"),
        *("--slurm-init-seconds-before-status-checks", "5", "--seconds-between-status-checks", "5"),
        *shlex.split(os.environ.get("SCLATENT_SLURM_FLAGS", "")),
        *("--", LATENT),
    ]
    done = subprocess.run(
        [str(word) for word in command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Using workflow specific profile" in done.stdout
    # read, prepare, train and embed were submitted; check is a local rule
    assert done.stdout.count("has been submitted with SLURM jobid") == 4, done.stdout
    assert sl.io.read_h5ad(tmp_path / LATENT).shape == (300, 3)
