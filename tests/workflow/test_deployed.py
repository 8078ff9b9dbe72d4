"""The workflow in a repository of the user's: as the README says it, and beside another workflow, to its end.

There the models have latents of other kinds: what follows a circle or shares asks more of its files than of an axis.
"""

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
from sclatent.bridge import read_json

from .conftest import ROOT, Study, jobs

README = (ROOT / "README.md").read_text(encoding="utf-8")
TINY = {
    "counts": "data/tiny.h5ad",
    "batch": "batch",
    "labels": ["cell_type"],
    "genes": {"n_top": 120},
    "models": {"m": {"n_latent": 3, "n_hidden": 16, "epochs": 2}},
}
SMALL = {"n_hidden": 32, "epochs": 80}
KINDS = {
    "counts": "cells.h5ad",
    "batch": "batch",
    "labels": ["cell_type"],
    "models": {
        "circle": {"latent": {"gaussian": 3, "circle": 1}, **SMALL},
        "shares": {"latent": "dirichlet", "n_latent": 4, **SMALL},
    },
    "seeds": [0],
    "traverse": {"steps": 5},
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
BOTH = """
module other:
    snakefile:
        "other.smk"


use rule * from other as other_*


rule both:
    input:
        [path for path in rules.sclatent_all.input if "/demo/" not in path],
        "latent/results/demo/counts.h5ad",
        rules.other_all.input,
    default_target: True
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
def repository(tmp_path_factory) -> Path:
    """A git repository with our workflow, as a user gets it from a server."""
    folder = tmp_path_factory.mktemp("ours") / "sclatent"
    for part in ("workflow", "envs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "the workflow")
    return folder


def test_deployed_as_a_submodule_of_the_users_repository(tmp_path, repository: Path):
    mine = Study(tmp_path / "mine")  # a configuration, counts, no workflow yet
    (mine / "data").mkdir()
    sl.io.write_h5ad(sl.simulate(n_cells=240, seed=3), mine / "data/tiny.h5ad")
    mine.dataset("tiny", **TINY)
    mine.select("tiny")
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


@pytest.fixture(scope="module")
def beside(tmp_path_factory) -> tuple[Study, Path, list[dict[str, int]]]:
    """Run our workflow with a prefix beside another; return what was planned by default, and for ours alone."""
    mine = Study(tmp_path_factory.mktemp("beside") / "mine")
    text = said_in_readme("In a workflow of your own")
    assert "PATH_OR_URL_OF_THIS_REPOSITORY" in text
    assert text.count('"config/pbmc.yaml"') == 1
    ours = text.replace("PATH_OR_URL_OF_THIS_REPOSITORY", str(ROOT))
    mine.write("Snakefile", ours.replace('"config/pbmc.yaml"', '"config/kinds.yaml", "config/demo.yaml"') + BOTH)
    mine.write("other.smk", OTHER)
    sl.io.write_h5ad(sl.simulate(600, 200, seed=1), mine / "cells.h5ad")
    mine.dataset("kinds", **KINDS)
    mine.dataset("demo", counts="demo/pbmc68k.h5ad", library_size="n_umi_all_genes")
    snakefile = mine / "Snakefile"
    whole = mine.planned("sclatent_all", snakefile=snakefile)
    return mine, snakefile, [jobs(mine.ok("--cores", 2, snakefile=snakefile)), whole]


def test_with_a_prefix_beside_another_workflow_of_the_same_rules(beside):
    mine, snakefile, (planned, whole) = beside
    assert {"both", "other_prepare", "other_train", "sclatent_prepare", "sclatent_read"} <= set(planned)
    assert {"sclatent_train", "sclatent_cycle"} <= set(whole)
    assert not {"other_train", "train"} & set(whole)
    assert (mine / "other/trained.txt").read_text() == "prepared\ntrained\n"
    # counts of the user, and counts that a rule wrote
    assert ad.read_h5ad(mine / "latent/results/kinds/counts.h5ad").n_obs == 600
    assert ad.read_h5ad(mine / "latent/results/demo/counts.h5ad").n_obs == 700
    assert pd.read_csv(mine / "latent/results/kinds/columns.tsv", sep="\t").shape[0] == 2
    prepared = ad.read_h5ad(mine / "latent/results/kinds/prepared.h5ad")
    assert prepared.n_obs > 200
    # past the checkpoint, to the end
    atlas = ad.read_h5ad(mine / "latent/results/kinds/circle/atlas.h5ad")
    assert list(atlas.obs_names) == list(prepared.obs_names)
    assert {"X_sclatent", "X_umap"} <= set(atlas.obsm)
    assert not (mine / "results").exists()
    assert not (mine / "demo").exists()
    assert mine.planned(snakefile=snakefile) == {}


def test_every_file_of_models_with_a_circle_and_with_shares(beside):
    results = beside[0] / "latent/results/kinds"
    for name in KINDS["models"]:
        assert list((results / name / "figures/knob").glob("*.png")), name
    # with a knob, as a rule, the plane of the circle is drawn
    if read_json(results / "circle/knob.json")["knob"]:
        assert (results / "circle/figures/knob/cells.png").exists()


def test_the_report_of_a_module_names_its_datasets(beside):
    mine, snakefile, _ = beside
    # the configuration is that of the module, which the first page of the report does not see
    mine.ok("--report", "report.html", snakefile=snakefile)
    page = (mine / "report.html").read_text(encoding="utf-8")
    assert re.search(r"Datasets: <[^>]*>kinds<[^>]*>", page)
