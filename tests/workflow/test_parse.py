"""What Snakemake says before any job runs: plans, and one line for each mistake."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import pytest
import yaml

import sclatent
from sclatent.bridge import DEMO_COUNTS, VERSIONS, memory, read_config, source_files
from sclatent.bridge.resources import megabytes
from sclatent.data import DEMOS
from sclatent.settings import InputError, json_schema, load_dataset

from .conftest import ROOT, SNAKEFILES, Study, jobs, said


@pytest.mark.parametrize("snakefile", SNAKEFILES.values(), ids=SNAKEFILES)
def test_both_snakefiles_plan_every_stage_of_the_demo_with_the_default_profile(study: Study, snakefile):
    for path in ("config.yaml", "datasets/demo.yaml", "datasets/pbmc68k.yaml"):
        study.write(f"config/{path}", (ROOT / "config" / path).read_text())
    text = study.ok("--dry-run", snakefile=snakefile)
    assert f"Using workflow specific profile {snakefile.parent}/profiles/default" in text
    planned = jobs(text)
    drawn = {"check_given", "sample", "check_samples", "bundle_samples"}
    not_asked_for = {"gradients", "plot_gradients", "bundle", *drawn}
    assert set(planned) == {*VERSIONS, "all"} - not_asked_for
    assert planned["read"] == 2
    demo = [load_dataset(ROOT / f"config/datasets/{name}.yaml") for name in DEMOS]
    assert planned["train"] == sum(len(dataset.models) * len(dataset.seeds) for dataset in demo)


def test_gradients_are_measured_where_the_dataset_file_says_so(study: Study):
    study.dataset(
        "a", counts="demo/demo.h5ad", gradients=True, seeds=[0, 1], models={"x": {}, "y": {"latent": "gamma"}}
    )
    study.select("a")
    planned = study.planned()
    assert planned["gradients"] == planned["plot_gradients"] == 2
    done = study.run("-n", "results/a/x/gradients.tsv")
    assert done.returncode == 0


def test_a_circle_waits_for_the_cycle_stage_and_nothing_else_does(study: Study):
    models = {"plain": {}, "round": {"latent": {"gaussian": 15, "circle": 1}}}
    study.dataset("a", counts="demo/demo.h5ad", models=models)
    study.select("a")
    assert "cycle" in study.planned("results/a/round/seed-0/model.json")
    assert "cycle" not in study.planned("results/a/plain/seed-0/model.json")


def test_every_stage_has_a_version_and_a_script():
    assert {path.stem for path in (ROOT / "workflow/scripts").glob("[a-z]*.py")} == set(VERSIONS)


def test_a_selection_on_the_command_line_replaces_the_configured_one(study: Study):
    study.dataset("a", counts="demo/demo.h5ad")
    study.dataset("b", counts="demo/pbmc68k.h5ad", seeds=[0, 1, 2], models={"x.1": {}, "y": {"likelihood": "poisson"}})
    study.select("a")
    planned = study.planned("--config", "datasets=[config/b.yaml]")
    assert planned["read"] == 1
    assert planned["train"] == 6


@pytest.mark.parametrize("snakefile", SNAKEFILES.values(), ids=SNAKEFILES)
def test_a_selection_on_the_command_line_needs_no_configuration(study: Study, snakefile):
    study.write("x.yaml", {"counts": "demo/demo.h5ad"})
    assert study.planned("--config", "datasets=[x.yaml]", snakefile=snakefile)["read"] == 1
    done = study.run("-n", snakefile=snakefile)
    assert done.returncode == 1
    assert len(said(done)) == 1, done.stdout
    assert said(done)[0].startswith(f"config: no dataset is named: {study.folder} has no config/config.yaml")


BAD = {
    "unknown key": ({"counts": "c.h5ad", "organsim": "human"}, "organsim: unknown key (did you mean 'organism'?)"),
    "unknown key below": (
        {"counts": "c.h5ad", "models": {"nb": {"likelihod": "nb"}}},
        "models.nb.likelihod: unknown key (did you mean 'likelihood'?)",
    ),
    "wrong type": ({"counts": "c.h5ad", "traverse": {"steps": "many"}}, "traverse.steps: "),
    "no counts": ({"organism": "human"}, "counts: missing: this key is needed"),
    "organism": ({"counts": "c.h5ad", "organism": "humen"}, "organism: no built-in cell-cycle genes for 'humen'"),
    "missing counts": ({"counts": "c.h5da"}, "counts: no such file: c.h5da (did you mean 'c.h5ad'?)"),
    "missing metadata": ({"counts": "c.h5ad", "metadata": "cells.tsv"}, "metadata: no such file: cells.tsv"),
    "missing genes": ({"counts": "c.h5ad", "cycle": {"genes": "g.tsv"}}, "cycle.genes: no such file: g.tsv"),
    "missing programs": ({"counts": "c.h5ad", "axes": {"programs": "h.gmt"}}, "axes.programs: no such file: h.gmt"),
    "not YAML": ("counts: [c.h5ad\nbatch: x\n", "line 2, column 6: "),
    "no checksum": (
        {"counts": {"path": "d.h5ad", "url": "https://example.org/d.h5ad"}},
        "counts.0: `url` needs `sha256`",
    ),
    "model called like a file": (
        {"counts": "c.h5ad", "models": {"counts.h5ad": {}}},
        "models: model name 'counts.h5ad'",
    ),
}


@pytest.mark.parametrize(("content", "line"), BAD.values(), ids=BAD)
def test_a_mistake_in_the_dataset_file_is_one_line(study: Study, content, line, monkeypatch):
    """What the Snakefile says of it is the next test."""
    monkeypatch.chdir(study.folder)
    study.write("config/bad.yaml", content)
    study.write("c.h5ad", "")
    with pytest.raises(InputError) as found:
        read_config({"datasets": ["config/bad.yaml"]})
    assert str(found.value).startswith(f"config/bad.yaml: {line}")
    assert len(str(found.value).splitlines()) == 1


@pytest.mark.parametrize("mistake", ["unknown key", "missing counts", "not YAML"])
@pytest.mark.parametrize("snakefile", SNAKEFILES.values(), ids=SNAKEFILES)
def test_a_mistake_is_all_that_snakemake_says(study: Study, snakefile, mistake):
    content, line = BAD[mistake]
    study.write("config/bad.yaml", content)
    study.write("c.h5ad", "")
    study.select("bad")
    done = study.run("-n", snakefile=snakefile)
    assert done.returncode == 1
    assert len(said(done)) == 1, done.stdout
    assert said(done)[0].startswith(f"config/bad.yaml: {line}"), said(done)


@pytest.mark.parametrize("name", ["$(touch pwned)", "`touch pwned`", 'a"b', "a'b", "a\\b", "a\nb", "a\x1b[2Jb"])
def test_a_name_that_a_shell_would_take_apart_is_one_line(study: Study, name, monkeypatch):
    """Snakemake hands the names of input files to the shells of a cluster; who packed a folder chose those in it."""
    monkeypatch.chdir(study.folder)
    for file in (f"{name}/a.h5ad", f"tenx/{name}matrix.mtx"):
        study.write(file, "")
    for counts in (f"{name}/a.h5ad", "tenx"):
        study.dataset("a", counts=counts)
        with pytest.raises(InputError, match=r"^config/a.yaml: counts: .*a shell of a cluster does not take as a name"):
            read_config({"datasets": ["config/a.yaml"]})


def test_a_file_from_the_future_is_one_line(study: Study, monkeypatch):
    """It would be newer than its results for ever, so every run would make them anew."""
    monkeypatch.chdir(study.folder)
    study.write("a.h5ad", "")
    study.dataset("a", counts="a.h5ad")
    os.utime("a.h5ad", (time.time() + 60, time.time() + 60))
    assert list(read_config({"datasets": ["config/a.yaml"]})) == ["a"]
    os.utime("a.h5ad", (time.time() + 3900, time.time() + 3900))
    with pytest.raises(InputError, match=r"a.h5ad was changed in the future, 65 minutes ahead"):
        read_config({"datasets": ["config/a.yaml"]})


def test_two_datasets_of_one_name_are_one_line(study: Study):
    study.dataset("a", counts="demo/demo.h5ad")
    study.dataset("more/a", counts="demo/demo.h5ad")
    study.select("a", "more/a")
    (line,) = said(study.run("-n"))
    assert "config/more/a.yaml: the name 'a' is taken by config/a.yaml" in line


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"dataset": ["config/a.yaml"]}, "config: `datasets` is missing, found 'dataset' (did you mean 'datasets'?)"),
        ({"datasets": []}, "config: datasets: expected a list of dataset files"),
        ({"datasets": ["config/b.yaml"]}, "config/b.yaml: no such file"),
        (
            {"datasets": ["config/a.yaml"], "of_another_workflow": 3, "dataset": ["config/b.yaml"]},
            "config: unknown key 'dataset' (did you mean 'datasets'?)",
        ),
    ],
)
def test_a_mistake_in_the_selection_is_one_line(study: Study, config, line, monkeypatch):
    monkeypatch.chdir(study.folder)
    study.dataset("a", counts="demo/demo.h5ad")
    with pytest.raises(InputError) as found:
        read_config(config)
    assert str(found.value).startswith(line)
    assert len(str(found.value).splitlines()) == 1


def test_a_mistake_in_the_selection_is_all_that_snakemake_says(study: Study):
    study.dataset("a", counts="demo/demo.h5ad")
    study.write("config/config.yaml", {"datasets": ["config/a.yaml"], "dataset": ["config/b.yaml"]})
    done = study.run("-n")
    assert done.returncode == 1
    assert len(said(done)) == 1, done.stdout
    assert said(done)[0].startswith("config: unknown key 'dataset' (did you mean 'datasets'?)")


def test_names_that_look_like_other_files_do_not_mix_up_rules(study: Study):
    study.dataset("nb", counts="demo/demo.h5ad", models={"atlas.h5ad": {}, "seed-0": {}, "nb": {}})
    study.dataset("n.b", counts="demo/demo.h5ad")
    study.select("nb", "n.b")
    assert study.planned()["train"] == 4


MODULE = """
module latent:
    snakefile:
        "{snakefile}"
    config:
        {{"datasets": ["config/mine.yaml", "config/demo.yaml"]}}
    prefix:
        "vae"


use rule * from latent as latent_*
use rule read from latent as latent_read with:
    message:
        "INPUT {{input}}"
use rule prepare from latent as latent_prepare with:
    message:
        "INPUT {{input}}"


rule all:
    default_target: True
    input:
        rules.latent_all.input,
"""


def test_as_a_module_with_a_prefix_user_files_stay_where_they_are(study: Study):
    for snakefile in SNAKEFILES.values():
        study.write("Snakefile", MODULE.format(snakefile=snakefile))
        folder = ["matrix.mtx", "barcodes.tsv", "genes.tsv"]
        for name in folder:
            study.write(f"data/10x/{name}", "")
        study.write("genes.tsv", "")
        study.dataset("mine", counts="data/10x", cycle={"genes": "genes.tsv"}, organism="yeast")
        study.dataset("demo", counts="demo/demo.h5ad")
        text = study.ok(
            "-n", "vae/results/mine/prepared.h5ad", "vae/results/demo/prepared.h5ad", snakefile=study / "Snakefile"
        )
        assert {line.split("INPUT ")[1] for line in text.splitlines() if "INPUT" in line} == {
            "data/10x/barcodes.tsv data/10x/genes.tsv data/10x/matrix.mtx",
            "vae/results/mine/counts.h5ad genes.tsv",
            "vae/demo/demo.h5ad",
            "vae/results/demo/counts.h5ad",
        }


def test_a_10x_folder_is_declared_by_its_files(tmp_path):
    for name in ("s1_matrix.mtx.gz", "s1_features.tsv.gz", "s1_barcodes.tsv.gz", "web_summary.html"):
        (tmp_path / name).touch()
    declared = [path.removeprefix(f"{tmp_path}/") for path in source_files(str(tmp_path))]
    assert declared == ["s1_barcodes.tsv.gz", "s1_features.tsv.gz", "s1_matrix.mtx.gz"]
    assert source_files(str(tmp_path / "web_summary.html")) == [str(tmp_path / "web_summary.html")]


def test_memory_grows_with_the_input_and_with_each_attempt(tmp_path):
    counts = tmp_path / "counts.h5ad"
    counts.write_bytes(bytes(10**6))
    ask = memory(2000, 1000)
    assert ask(None, input=[str(counts)], attempt=1) == 3000
    assert ask(None, input=[str(counts)], attempt=3) == 6750
    assert memory(2000, lambda wildcards: wildcards)(500, input=[str(counts)], attempt=1) == 2500


def test_a_file_that_is_not_there_yet_counts_as_what_it_is_made_of(tmp_path):
    """A group of jobs is submitted before the files are there that its first jobs write."""
    of = tmp_path / "results/a"
    (of / "nb").mkdir(parents=True)
    (of / "counts.h5ad").write_bytes(bytes(3_000_000))
    assert megabytes([of / "prepared.h5ad", of / "cycle.h5ad"]) == 3
    assert megabytes([of / "model_counts.h5ad"]) == 3
    assert megabytes([of / "nb/atlas.h5ad"]) == 3
    (of / "prepared.h5ad").write_bytes(bytes(2_000_000))
    assert megabytes([of / "nb/atlas.h5ad", of / "nb/knob.json"]) == 2
    assert megabytes([tmp_path / "nothing.h5ad", tmp_path / "atlas.h5ad"]) == 0


def test_a_zarr_store_is_as_large_as_all_that_is_in_it(tmp_path):
    (tmp_path / "a.zarr/X/data").mkdir(parents=True)
    (tmp_path / "a.zarr/X/data/0").write_bytes(bytes(5_000_000))
    for name in (".zgroup", ".zattrs"):
        (tmp_path / "a.zarr" / name).write_text("{}")
    files = source_files(str(tmp_path / "a.zarr"))
    assert len(files) == 2
    assert megabytes(files) == pytest.approx(5, rel=0.01)


def test_demo_counts_are_those_of_the_library():
    assert [f"demo/{name}.h5ad" for name in DEMOS] == list(DEMO_COUNTS)


@pytest.mark.parametrize("path", sorted((ROOT / "config/datasets").rglob("*.yaml")), ids=lambda path: path.stem)
def test_dataset_files_that_we_ship_are_right(path, request):
    import jsonschema

    assert load_dataset(path).name == path.stem
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), json_schema())
    said = re.search(r"\$schema=(\S+)", path.read_text(encoding="utf-8"))
    assert said is not None
    assert (path.parent / said[1]).resolve() == ROOT / "workflow/schemas/dataset.schema.json"


def test_scripts_find_the_package_that_is_installed_beside_snakemake(tmp_path):
    """In a rule's conda environment, too: Snakemake puts its own search path behind that of the environment."""
    from snakemake.common import get_snakemake_searchpaths

    code = "import sys; sys.path.extend(sys.argv[1:]); import sclatent.bridge; print(sclatent.__file__)"
    # -I: no PYTHONPATH, no user site; -S: no site-packages, as if this were another Python
    python = [sys.executable, "-I", "-S", "-c", code]
    found = subprocess.run(
        [*python, *get_snakemake_searchpaths()], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == sclatent.__file__


@pytest.mark.parametrize("snakefile", SNAKEFILES.values(), ids=SNAKEFILES)
@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("sys.modules['sclatent'] = None", "is not there"),
        ("import sclatent; sclatent.__version__ = '0.0.1'", "is of version 0.0.1"),
    ],
)
def test_without_the_right_package_there_is_one_line(study: Study, snakefile, change, found):
    study.dataset("demo", counts="demo/demo.h5ad")
    study.select("demo")
    start = f"import sys; {change}; from snakemake.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", start, "-n", "--snakefile", snakefile, "--directory", study.folder],
        cwd=study.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"this workflow needs the Python package sclatent {sclatent.__version__}, which {found}: "
        f"{sys.executable} -m pip install '{ROOT}'"
    )
    assert "Traceback" not in done.stdout + done.stderr
