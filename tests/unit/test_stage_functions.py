"""What each stage function takes of a dataset file: what it needs and no more, with the same defaults, or no file."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import sclatent as sl
from sclatent.settings import DatasetSettings, GenesSettings, InputError, ModelSettings, taken_by

ROOT = Path(__file__).resolve().parents[2]

SCRIPTS = sorted((ROOT / "workflow" / "scripts").glob("[a-z]*.py"))
RULES = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")))


def functions(name: str) -> list:
    """Return the stage functions that a script hands settings to."""
    text = (ROOT / "workflow" / "scripts" / f"{name}.py").read_text(encoding="utf-8")
    return [getattr(getattr(sl, room), verb) for room, verb in re.findall(r"job\.parts\(sl\.(\w+)\.(\w+)\)", text)]


def declared(name: str) -> set[str]:
    """Return the settings that a rule declares in its ``params``; of ``sample.given`` the section."""
    rule = re.search(rf"^(?:rule|checkpoint) {name}:\n(.*?)(?=^rule|^checkpoint|\Z)", RULES, flags=re.M | re.S).group(1)
    params = re.search(r"settings=section\((.*?)\)", rule, flags=re.S)
    return set(re.findall(r'"(\w+)[.\w]*"', params.group(1))) if params else set()


@pytest.mark.parametrize("name", [path.stem for path in SCRIPTS])
def test_a_rule_declares_what_its_functions_take_and_no_more(name):
    taken = {key for function in functions(name) for key in taken_by(function)} - {"file"}
    text = (ROOT / "workflow" / "scripts" / f"{name}.py").read_text(encoding="utf-8")
    taken |= {"sample"} if "job.sample" in text else set()
    assert taken == declared(name)


def test_defaults_are_those_of_the_dataset_file():
    fields = DatasetSettings.model_fields
    checked = 0
    for path in SCRIPTS:
        for function in functions(path.stem):
            parameters = inspect.signature(function).parameters
            for key in set(taken_by(function)) - {"file", "counts"}:
                default = parameters[key].default
                assert (list(default) if default == () else default) == fields[key].get_default(), (function, key)
                checked += 1
    assert checked > 20


def test_no_stage_function_takes_a_whole_dataset_file():
    for room in ("atlas", "io", "pl", "pp", "tl"):
        for path in (ROOT / "src" / "sclatent" / room).rglob("*.py"):
            assert "DatasetSettings" not in path.read_text(encoding="utf-8"), path


def test_settings_in_any_form_that_a_dataset_file_has(simulated):
    first = sl.pp.prepare(simulated.copy(), batch="batch", genes={"n_top": 50})
    second = sl.pp.prepare(simulated.copy(), batch=("batch",), genes=GenesSettings(n_top=50))
    assert list(first.var["in_model"]) == list(second.var["in_model"])
    assert first.obs.equals(second.obs)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda a: sl.pp.prepare(a, genes={"n_tpo": 5}), "settings: genes.n_tpo: unknown key (did you mean 'n_top'?)"),
        (lambda a: sl.pp.prepare(a, genes={"n_top": 0}), "settings: genes.n_top: "),
        (lambda a: sl.pp.prepare(a, batch=["x"], covariates=["x"], file="a.yaml"), "a.yaml: 'x' is named under"),
        (lambda a: sl.pp.prepare(a, batch=1), "settings: batch: expected a list"),
        (lambda a: sl.pp.prepare(a, organism="cow"), "settings: organism: no built-in cell-cycle genes for 'cow'"),
        (lambda a: sl.tl.train(a, model="nb"), "settings: model: expected `key: value` lines, found"),
        (lambda a: sl.tl.train(a, model={"likelihood": "nbb"}), "settings: model.likelihood: 'nbb'"),
        (lambda a: sl.tl.map(a, {"resolution": -1}), "settings: map.resolution: "),
        (lambda a: sl.io.read_dataset(counts=[]), "settings: counts: found nothing"),
    ],
)
def test_a_wrong_setting_is_one_line(simulated, call, said):
    with pytest.raises(InputError) as error:
        call(simulated)
    assert str(error.value).startswith(said)


def test_a_dataset_file_is_not_taken_for_a_setting(make_settings, simulated):
    with pytest.raises(TypeError, match="positional argument"):
        sl.pp.prepare(simulated, make_settings())


def _as_documented(atlas, came_in: set[str]) -> None:
    """Check that docs/atlas.md names every slot of an atlas, and that those of its table are there."""
    text = re.sub(r"```.*?```", "", (ROOT / "docs" / "atlas.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", text))))
    held = {"layers": atlas.layers, "obsm": atlas.obsm, "varm": atlas.varm, "obsp": atlas.obsp, "obs": atlas.obs}
    held |= {"var": atlas.var, "uns": atlas.uns}
    for where, names in held.items():
        names = {name for name in names if not name.endswith("_colors")} - came_in
        assert names <= named, (where, names - named)
    assert set(atlas.uns["sclatent"]) <= named, set(atlas.uns["sclatent"]) - named
    slots = re.findall(r"`(\w+)\[\"(\w+)\"\]`", "".join(re.findall(r"^\| (.*?) \|", text, flags=re.MULTILINE)))
    sometimes = {"state", "state_probability", "X_sclatent_neutral", "phase_probability"}
    assert len(slots) > 10
    assert [(where, name) for where, name in slots if name not in held[where] and name not in sometimes] == []


def test_from_counts_to_the_atlas_without_a_dataset_file(simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    simulated[:160].write_h5ad("cells.h5ad")
    counts = sl.io.read_dataset(counts="cells.h5ad")
    asked = {"batch": "batch", "labels": ["cell_type"]}
    assert list(sl.pp.check_columns(counts, **asked)["column"]) == ["batch", "cell_type"]
    prepared = sl.pp.prepare(counts, batch="batch", genes={"n_top": 100})
    model = ModelSettings(n_latent=3, n_hidden=16, epochs=6)
    trained = sl.tl.train(prepared, model=model, batch="batch", seed=0)
    assert trained.card["batch"] == ["batch"]
    latent = sl.tl.embed(prepared, trained)
    metrics = sl.tl.evaluate(prepared, trained, latent=latent)
    cycle = sl.tl.cycle(prepared, batch="batch")
    axes = sl.tl.annotate(prepared, cycle, latent, **asked)
    selected, stability = sl.tl.select({0: metrics}, {0: latent}, {0: axes})
    assert selected["seed"] == 0
    mapped = sl.tl.map(latent)
    verdict, knob = sl.tl.knob(prepared, cycle, latent, trained, **asked)
    steps = sl.tl.traverse(prepared, cycle, latent, trained, knob, traverse={"steps": 5})
    assert steps.obs.groupby("path", observed=True).size().eq(5).all()
    atlas = sl.atlas.build(
        *(prepared, cycle, latent, mapped, axes),
        **asked,
        card=trained.card,
        metrics=metrics,
        knob=knob,
        stability=stability,
    )
    assert atlas.obs["cell_type"].dtype == "category"
    _as_documented(atlas, {*counts.obs, *counts.var})
    about = atlas.uns["sclatent"]
    assert (about["dataset"], about["config"], about["model"]) == ("dataset", "", "model")
    table = sl.tl.compare(
        {("model", 0): metrics}, {("model", 0): axes}, latents={("model", 0): latent}, prepared=prepared
    )
    assert len(table) == 1
    assert sl.pl.page(atlas, steps, verdict, "page.html").exists()
    assert not list(tmp_path.glob("*.y*ml"))


def test_the_code_of_the_readme_runs(simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my").mkdir()
    simulated.obs["donor"] = simulated.obs["batch"]
    simulated[:100].write_h5ad("my/pbmc.h5ad")
    quick = "n_latent: 3, n_hidden: 16, epochs: 5"
    (tmp_path / "my" / "pbmc.yaml").write_text(f"counts: my/pbmc.h5ad\nbatch: donor\nmodels: {{nb: {{{quick}}}}}\n")
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## In a notebook")[2].partition("\n## ")[0]
    code = "\n".join(re.findall(r"```python\n(.*?)```", section, flags=re.S))
    assert code.count('model={"likelihood": "nb"}') == 1
    names: dict = {}
    exec(code.replace('model={"likelihood": "nb"}', f"model=dict({quick.replace(': ', '=')})"), names)
    assert names["atlas"].n_obs == names["prepared"].n_obs == 100
