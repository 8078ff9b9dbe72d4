"""The workflow in a repository of the user's: as the README says it, and beside another workflow."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sclatent as sl

from .conftest import ROOT, Study

README = (ROOT / "README.md").read_text(encoding="utf-8")
TINY = {
    "counts": "data/tiny.h5ad",
    "batch": "batch",
    "labels": ["cell_type"],
    "genes": {"n_top": 120},
    "models": {"m": {"n_latent": 3, "n_hidden": 16, "epochs": 2}},
}
OTHER = """
rule all:
    input:
        "other/trained.txt",
    default_target: True


rule prepare:
    output:
        "other/prepared.txt",
    shell:
        "echo prepared > {output}"


rule train:
    input:
        "other/prepared.txt",
    output:
        "other/trained.txt",
    shell:
        "cat {input} > {output}; echo trained >> {output}"
"""


def said_in_readme(heading: str) -> str:
    """The first Snakefile under a heading of the README."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.search(r"^```text\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def git(folder: Path, *arguments: str) -> None:
    name = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *name, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def counts(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("counts") / "tiny.h5ad"
    sl.io.write_h5ad(sl.simulate(n_cells=240, seed=3), path)
    return path


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A git repository with our workflow, as a user gets it from a server."""
    folder = tmp_path_factory.mktemp("ours") / "sclatent"
    for part in ("workflow", "envs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "the workflow")
    return folder


@pytest.fixture
def mine(tmp_path, counts) -> Study:
    """The user's repository: a configuration, counts, no workflow yet."""
    study = Study(tmp_path / "mine")
    (study / "data").mkdir()
    (study / "data/tiny.h5ad").symlink_to(counts)
    study.dataset("tiny", **TINY)
    study.select("tiny")
    return study


def test_deployed_as_a_submodule_of_the_users_repository(mine: Study, repository: Path):
    git(mine.folder, "init", "--quiet", "--initial-branch=main")
    git(mine.folder, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repository), "sclatent")
    mine.write("workflow/Snakefile", said_in_readme("In a repository of your own"))
    snakefile = mine / "workflow/Snakefile"
    planned = mine.planned(snakefile=snakefile)
    assert {"all", "prepare", "cycle", "train", "select", "plot_cells", "compare"} <= set(planned)
    mine.ok("--cores", 1, "results/tiny/m/seed-0/latent.h5ad", snakefile=snakefile)
    assert ad.read_h5ad(mine / "results/tiny/prepared.h5ad").n_obs > 200
    latent = ad.read_h5ad(mine / "results/tiny/m/seed-0/latent.h5ad")
    assert latent.shape == (ad.read_h5ad(mine / "results/tiny/prepared.h5ad").n_obs, 3)
    assert np.isfinite(latent.X).all()
    assert not {"read", "prepare", "train", "embed"} & set(mine.planned(snakefile=snakefile))


def test_with_a_prefix_beside_another_workflow_of_the_same_rules(mine: Study):
    text = said_in_readme("In a workflow of your own")
    assert "PATH_OR_URL_OF_THIS_REPOSITORY" in text
    ours = text.replace("PATH_OR_URL_OF_THIS_REPOSITORY", str(ROOT)).replace("config/pbmc.yaml", "config/tiny.yaml")
    both = """
module other:
    snakefile:
        "other.smk"


use rule * from other as other_*


rule both:
    input:
        "latent/results/tiny/m/atlas.h5ad",
        "latent/results/tiny/columns.tsv",
        rules.other_all.input,
    default_target: True
"""
    mine.write("other.smk", OTHER)
    mine.write("Snakefile", ours + both)
    snakefile = mine / "Snakefile"
    planned = mine.planned(snakefile=snakefile)
    assert {"both", "other_prepare", "other_train", "sclatent_prepare", "sclatent_read"} <= set(planned)
    whole = mine.planned("sclatent_all", snakefile=snakefile)
    assert {"sclatent_train", "sclatent_cycle"} <= set(whole)
    assert not {"other_train", "train"} & set(whole)
    mine.ok("--cores", 1, snakefile=snakefile)
    assert (mine / "other/trained.txt").read_text() == "prepared\ntrained\n"
    assert pd.read_csv(mine / "latent/results/tiny/columns.tsv", sep="\t").shape[0] == 2
    prepared = ad.read_h5ad(mine / "latent/results/tiny/prepared.h5ad")
    assert prepared.n_obs > 200
    # past the checkpoint, to the end
    atlas = ad.read_h5ad(mine / "latent/results/tiny/m/atlas.h5ad")
    assert list(atlas.obs_names) == list(prepared.obs_names)
    assert {"X_sclatent", "X_umap"} <= set(atlas.obsm)
    assert not (mine / "results").exists()
    assert not (mine / "results").exists()
