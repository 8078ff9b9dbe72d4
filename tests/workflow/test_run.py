"""The whole way on a tiny simulated dataset: results, what re-runs after a change, what a kill and a mistake leave."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import pytest

import sclatent as sl
from sclatent.bridge import VERSIONS

from .conftest import ROOT, SNAKEFILES, Study, jobs

TINY = {
    "counts": "data/tiny.h5ad",
    "batch": "batch",
    "labels": ["cell_type"],
    "genes": {"n_top": 120},
    "models": {"m.1": {"n_latent": 3, "n_hidden": 16, "epochs": 4}},
    "seeds": [0, 7],
    "traverse": {"steps": 7},
    "sample": {"n": 50, "given": {"batch": "batch1"}},
}
LATENT = "results/tiny/m.1/seed-0/latent.h5ad"

PER_DATASET = [
    "counts.h5ad",
    "columns.tsv",
    "given.tsv",
    "prepared.h5ad",
    "model_counts.h5ad",
    "cycle.h5ad",
    "models.tsv",
]
PER_SEED = ["model.safetensors", "model.json", "history.tsv", "latent.h5ad", "metrics.json", "axes.tsv"]
PER_MODEL = [
    "selected.json",
    "stability.tsv",
    "map.h5ad",
    "traversals.h5ad",
    "knob.json",
    "knob.h5ad",
    "atlas.h5ad",
    "knob.html",
    "samples.h5ad",
    "density.npz",
    "samples.tsv",
]
FIGURES = [
    "figures/qc",
    "figures/cycle",
    "figures/models",
    "m.1/figures/axes",
    "m.1/figures/traversals",
    "m.1/figures/knob",
    "m.1/figures/samples",
]


@pytest.fixture(scope="module")
def counts(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("counts") / "tiny.h5ad"
    sl.io.write_h5ad(sl.simulate(n_cells=240, seed=3), path)
    return path


def new_study(folder: Path, counts: Path) -> Study:
    study = Study(folder)
    (study / "data").mkdir()
    (study / "data/tiny.h5ad").symlink_to(counts)
    study.dataset("tiny", **TINY)
    study.select("tiny")
    return study


@pytest.fixture(scope="module")
def finished(tmp_path_factory, counts) -> Study:
    study = new_study(tmp_path_factory.mktemp("finished") / "study", counts)
    study.dataset("other", **TINY | {"seeds": [0]})
    study.select("tiny", "other")
    study.ok("--cores", 2, "results/other/prepared.h5ad", "results/tiny/models.tsv")
    study.select("tiny")
    study.ok("--cores", 2)
    return study


@pytest.fixture
def changed(finished):
    """Change the dataset file, and put it back afterwards."""
    yield lambda **keys: finished.dataset("tiny", **TINY | keys)
    finished.dataset("tiny", **TINY)


def test_every_file_of_the_contract_is_there(finished):
    folder = finished / "results/tiny"
    wanted = [
        *PER_DATASET,
        *(f"m.1/{name}" for name in PER_MODEL),
        *(f"m.1/seed-{s}/{n}" for s in (0, 7) for n in PER_SEED),
    ]
    for name in wanted:
        assert (folder / name).stat().st_size > 0, name
    for name in FIGURES:
        stems = {suffix: {path.stem for path in (folder / name).glob(f"*{suffix}")} for suffix in (".png", ".pdf")}
        assert stems[".png"], name
        assert stems[".png"] == stems[".pdf"]
    found = {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and "figures" not in path.parts
    }
    assert found == set(wanted)


def test_every_job_has_a_log_and_a_benchmark(finished):
    stems = [
        {str(path.relative_to(finished / kind)).removesuffix(end) for path in (finished / kind).glob(f"tiny/**/*{end}")}
        for kind, end in (("logs", ".log"), ("benchmarks", ".tsv"))
    ]
    assert stems[0] == stems[1]
    asked = set(VERSIONS) - {"demo_counts", "gradients", "plot_gradients", "bundle", "bundle_samples"}
    assert len(stems[0]) == len(asked) + 4  # four stages run once per seed
    for log in (finished / "logs/tiny").rglob("*.log"):
        text = log.read_text()
        assert "done: " in text.rstrip().splitlines()[-1], text
        assert "Traceback" not in text


def test_the_atlas_opens_in_scanpy(finished):
    atlas = ad.read_h5ad(finished / "results/tiny/m.1/atlas.h5ad")
    assert atlas.obsm["X_sclatent"].shape == (atlas.n_obs, 3)
    assert {"cell_type", "batch", "phase", "leiden", "S_score", "G2M_score", "split"} <= set(atlas.obs)
    assert {"X_umap", "X_sclatent_sd"} <= set(atlas.obsm)


def test_drawn_cells_are_what_was_asked_for_and_are_judged(finished):
    drawn = ad.read_h5ad(finished / "results/tiny/m.1/samples.h5ad")
    assert set(drawn.obs["batch"]) == {"batch1"}
    assert drawn.n_obs == 50
    density = sl.tl.Density.load(finished / "results/tiny/m.1/density.npz")
    trained = sl.tl.TrainedModel.load(finished / LATENT.removesuffix("/latent.h5ad"))
    again = sl.tl.sample(trained, 50, density=density, given={"batch": "batch1"})
    if sl.bridge.read_json(finished / "results/tiny/m.1/selected.json")["seed"] == 0:
        assert (again.X != drawn.X).nnz == 0
    table = sl.bridge.read_table(finished / "results/tiny/m.1/samples.tsv").set_index("measure")
    assert 0 <= table.loc["auroc", "low"] <= table.loc["auroc", "drawn"] <= table.loc["auroc", "high"] <= 1
    assert table["training"].notna().all()


def test_a_second_run_does_nothing(finished):
    assert "Nothing to be done" in finished.ok("--cores", 1)
    # nor from the other Snakefile
    assert finished.planned(snakefile=SNAKEFILES["workflow"]) == {}


def test_more_steps_do_not_train_again(finished, changed):
    changed(traverse={"steps": 9})
    planned = finished.planned()
    assert {"traverse", "plot_model", "page", "export", "all"} >= set(planned) >= {"traverse", "page"}


def test_other_labels_judge_again_but_do_not_train_again(finished, changed):
    changed(labels=["cell_type", "true_phase"])
    planned = finished.planned()
    assert {"check", "annotate", "compare", "export"} <= set(planned)
    assert not {"read", "prepare", "cycle", "train", "embed", "evaluate"} & set(planned)


def test_more_drawn_cells_name_no_axis_again(finished, changed):
    changed(sample=TINY["sample"] | {"n": 60, "seed": 1})
    planned = set(finished.planned())
    assert planned <= {"sample", "check_samples", "export", "page", "plot_model", "all"}
    assert {"sample", "check_samples"} <= planned


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        ({"models": {"m.1": TINY["models"]["m.1"] | {"n_latent": 4}}}, "train"),
        ({"genes": {"n_top": 100}}, "prepare"),
        ({"map": {"resolution": 2.0}}, "map"),
    ],
)
def test_a_change_re_runs_its_stage_and_what_follows(finished, changed, keys, first):
    changed(**keys)
    planned = set(finished.planned())
    order = ["read", "prepare", "train", "embed", "map", "export", "page"]
    assert planned & set(order) == set(order[order.index(first) :]) - ({"embed"} if first == "map" else set())


def test_another_seed_trains_only_itself(finished, changed):
    changed(seeds=[0, 7, 8])
    assert finished.planned()["train"] == 1


def test_one_dataset_does_not_touch_another(finished, changed):
    finished.select("tiny", "other")
    try:
        changed(genes={"n_top": 90}, organism="mouse", seeds=[3])
        text = finished.ok("--dry-run", "results/tiny/models.tsv", "results/other/prepared.h5ad")
        assert jobs(text)["prepare"] == 1
        assert jobs(text)["train"] == 1
        assert "other:" not in text
    finally:
        finished.select("tiny")


def test_another_version_of_a_stage_re_runs_it_and_what_follows(finished, tmp_path):
    copy = tmp_path / "copy"
    for name in ("workflow", "src", "envs"):
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / "Snakefile", copy)
    installed = {"snakefile": copy / "Snakefile", "PYTHONPATH": str(copy / "src")}
    assert finished.planned(**installed) == {}
    versions = copy / "src/sclatent/bridge/versions.py"
    versions.write_text(re.sub(r'"map": \d+', '"map": 1000', versions.read_text()))
    assert set(finished.planned(**installed)) == {
        "map",
        "plot_model",
        "export",
        "page",
        "all",
    }


def test_a_killed_training_ends_at_the_same_place_whatever_the_cores(tmp_path, counts):
    long = TINY | {"seeds": [0], "models": {"m.1": TINY["models"]["m.1"] | {"epochs": 60, "patience": 60}}}
    killed, whole = (new_study(tmp_path / name, counts) for name in ("killed", "whole"))
    for study in (killed, whole):
        study.dataset("tiny", **long)
    killed.ok("--cores", 2, "results/tiny/prepared.h5ad")

    process = subprocess.Popen(
        killed.command("--cores", 2, LATENT),
        cwd=killed.folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log = killed / "logs/tiny/m.1/seed-0/train.log"
    deadline = time.monotonic() + 120
    while not (log.exists() and "0%|" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    seed = killed / "results/tiny/m.1/seed-0"
    assert not (seed / "model.safetensors").exists()

    killed.ok("--unlock")
    text = killed.ok("--cores", 2, LATENT)
    assert jobs(text) == {"train": 1, "embed": 1}
    assert {path.name for path in seed.iterdir()} == {"model.safetensors", "model.json", "history.tsv", "latent.h5ad"}
    whole.ok("--cores", 1, LATENT)
    for name in ("latent.h5ad", "model.safetensors"):
        path = str(Path(LATENT).with_name(name))
        assert (killed / path).read_bytes() == (whole / path).read_bytes()


def test_a_mistake_in_a_stage_is_one_line_and_leaves_nothing(tmp_path, counts):
    study = new_study(tmp_path / "study", counts)
    broken = ad.read_h5ad(counts)
    broken.X.data[5] = -1
    (study / "data/tiny.h5ad").unlink()
    broken.write_h5ad(study / "data/tiny.h5ad")
    done = study.run("--cores", 1)
    assert done.returncode == 1
    line = (study / "logs/tiny/read.log").read_text().splitlines()[-1]
    assert "data/tiny.h5ad" in line
    assert "negative" in line
    assert done.stdout.splitlines().count(line) == 1
    assert "Traceback" not in done.stdout + (study / "logs/tiny/read.log").read_text()
    assert [path for path in (study / "results").rglob("*") if path.is_file()] == []


def test_a_mistake_in_a_column_stops_before_training(tmp_path, counts):
    study = new_study(tmp_path / "study", counts)
    study.dataset("tiny", **TINY | {"labels": ["cell_typ"]})
    done = study.run("--cores", 1)
    line = (study / "logs/tiny/check.log").read_text().splitlines()[-1]
    assert line.startswith("tiny.yaml: labels: no obs column 'cell_typ' (did you mean 'cell_type'?)")
    assert line in done.stdout.splitlines()
    assert not (study / "logs/tiny/prepare.log").exists()


def test_a_run_that_was_killed_three_times_ends_in_the_same_results(finished):
    """Each kill ends all processes at once, at a random moment."""
    kills = ["--kills", "3", "--seed", "1", "--undisturbed", str(finished.folder)]
    command = [sys.executable, str(ROOT / "tests/benchmarks/kills.py"), *kills]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 kills, in 1 folders, ended in the same results" in done.stdout


def test_a_level_that_only_test_cells_have_stops_before_training(tmp_path, counts):
    study = new_study(tmp_path / "study", counts)
    cells = ad.read_h5ad(counts)
    part = ["train"] * 180 + ["validation"] * 30 + ["test"] * 30
    cells.obs["part"], cells.obs["drug"] = part, ["a", "b"] * 105 + ["c"] * 30
    (study / "data/tiny.h5ad").unlink()
    cells.write_h5ad(study / "data/tiny.h5ad")
    split = TINY | {"condition": "drug", "split": {"column": "part"}, "sample": {"n": 9, "given": {"drug": "c"}}}
    study.dataset("tiny", **split)
    done = study.run("--cores", 1, "results/tiny/m.1/samples.h5ad")
    assert done.returncode == 1
    line = (study / "logs/tiny/check_given.log").read_text().splitlines()[-1]
    assert line.startswith("tiny.yaml: sample.given: no training cell has level 'c' of column 'drug' (0 train, ")
    assert "(a, b)" in line
    assert line in done.stdout.splitlines()
    assert not (study / "logs/tiny/m.1").exists()


def test_what_follows_the_selection_runs_again_only_if_it_changes(finished, changed):
    """Last here, since it leaves a third seed behind."""
    folder = finished / "results/tiny/m.1"
    after_selection = ["map.h5ad", "knob.json", "knob.h5ad", "traversals.h5ad"]
    before = {name: (folder / name).stat().st_mtime_ns for name in after_selection}
    chosen = json.loads((folder / "selected.json").read_text())["seed"]
    changed(seeds=[0, 7, 8])
    finished.ok("--cores", 2, *(f"results/tiny/m.1/{name}" for name in [*after_selection, "atlas.h5ad"]))
    now = json.loads((folder / "selected.json").read_text())
    assert set(now["values"]) == {"0", "7", "8"}
    touched = {name for name in after_selection if (folder / name).stat().st_mtime_ns != before[name]}
    assert touched == (set() if now["seed"] == chosen else set(after_selection))
    atlas = ad.read_h5ad(folder / "atlas.h5ad")
    assert (atlas.uns["sclatent"]["axes"]["n_seeds"] > 0).any()  # it shows how the axes hold over all seeds
