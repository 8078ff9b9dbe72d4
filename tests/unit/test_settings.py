"""The dataset file: defaults, one-line errors, sections, schema and table."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel

from sclatent.settings import (
    DatasetSettings,
    InputError,
    configuration_table,
    from_section_json,
    json_schema,
    load_dataset,
    load_datasets,
    missing_files,
    section_json,
    sections_from_json,
    write_docs,
)


@pytest.fixture
def write(tmp_path):
    def _write(text, name="pbmc.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
        return path

    return _write


def line(path):
    with pytest.raises(InputError) as error:
        load_dataset(path)
    said = str(error.value)
    assert "\n" not in said
    assert said.startswith(f"{path}: ")
    return said.removeprefix(f"{path}: ")


def test_smallest_file_gets_the_documented_defaults(write):
    settings = load_dataset(write("counts: data/x.h5\n"))
    assert settings.name == "pbmc"
    assert [s.path for s in settings.counts] == ["data/x.h5"]
    assert settings.cells.min_genes == "auto"
    assert settings.genes.n_top == 2000
    assert settings.split.validation == settings.split.test == 0.1
    assert settings.seeds == [0]
    assert list(settings.models) == ["nb"]
    assert settings.traverse.steps == 41


def test_the_file_of_the_design_loads(write):
    settings = load_dataset(
        write(
            """
counts:
  - {name: s1, path: a.h5, donor: d1}
  - {name: s2, path: b.h5, donor: d2}
metadata: null
organism: mouse
batch: donor
labels: [cell_type]
library_size: null
split: {validation: 0.1, test: 0.1, seed: 0}
cells: {min_genes: auto, min_counts: null, max_percent_mito: null}
genes: {n_top: 2000, min_cells: 3, keep: [], symbols: null}
models:
  nb: {likelihood: nb, decoder: mlp, n_latent: 10}
  poisson: {likelihood: poisson}
seeds: [0, 1]
cycle: {genes: null}
traverse: {steps: 41}
"""
        )
    )
    assert settings.batch == ["donor"]
    assert settings.counts[1].columns == {"donor": "d2"}
    assert settings.models["poisson"].likelihood.kind == "poisson"


WORDS = ["NO", "no", "off", "yes", "y", "010", "0x1F", "0o17", "12:30", "1e3", "1E3", "1_000", "2024-01-01", "true"]
WORDS += ["1.0", "+5", ".5", ".inf", ".nan", "NA", "none", "None", "=", "1.10", "9007199254740993"]


@pytest.mark.parametrize("word", WORDS)
def test_a_name_is_what_was_written(write, word):
    settings = load_dataset(
        write(
            f"counts:\n- {{name: s1, path: a.h5, x: {word}, layer: {word}}}\n- {{name: s2, path: b.h5, x: other}}\n"
            f"batch: {word}\nlabels: [{word}]\nlibrary_size: {word}\ngenes: {{keep: [{word}], symbols: {word}}}\n"
            f"split: {{column: {word}}}\n"
        )
    )
    again = from_section_json(section_json(settings, *DatasetSettings.model_fields))
    for found in (settings, again):
        assert [sample.columns["x"] for sample in found.counts] == [word, "other"]
        assert found.counts[0].layer == found.library_size == found.genes.symbols == found.split.column == word
        assert found.batch == found.labels == found.genes.keep == [word]


def test_names_of_samples_and_models_are_what_was_written(write):
    settings = load_dataset(
        write("counts:\n- {name: 010, path: a.h5}\n- {name: 1.0, path: 1e3}\nmodels: {1: {}, on: {}, 1.0: {}}\n")
    )
    assert [(sample.name, sample.path) for sample in settings.counts] == [("010", "a.h5"), ("1.0", "1e3")]
    assert list(settings.models) == ["1", "on", "1.0"]


def test_a_column_of_samples_is_a_number_by_the_rule_of_tables(write):
    rows = {
        "age": ("30", "4.5"),
        "donor": ("9", "010"),
        "clone": ("1", "1E3"),
        "quoted": ("1", "'2'"),
        "twin": ("1", "1.0"),
    }
    first, second = (", ".join(f"{key}: {row[i]}" for key, row in rows.items()) for i in (0, 1))
    settings = load_dataset(
        write(f"counts:\n- {{name: a, path: a, {first}}}\n- {{name: b, path: b, {second}, only: 3}}\n")
    )
    one, two = (sample.columns for sample in from_section_json(section_json(settings, "counts")).counts)
    assert one == {"age": 30, "donor": "9", "clone": "1", "quoted": "1", "twin": "1"}
    assert two == {"age": 4.5, "donor": "010", "clone": "1E3", "quoted": "2", "twin": "1.0", "only": 3}


def test_numbers_and_truth_values_of_settings_are_those_of_yaml_1_2(write):
    settings = load_dataset(
        write(
            "counts: a.h5\ngenes: {n_top: 2e3}\nsplit: {seed: 010, test: 1e-1}\ncells: {doublets: true}\n"
            "seeds: [0x10]\nmodels: {nb: {learning_rate: 1e-3, refit: False, n_latent: 12}}\n"
        )
    )
    assert (settings.genes.n_top, settings.split.seed, settings.split.test, settings.seeds) == (2000, 10, 0.1, [16])
    assert settings.cells.doublets is True
    assert settings.models["nb"].learning_rate == 1e-3
    assert settings.models["nb"].refit is False
    assert settings.models["nb"].n_latent == 12


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("counts: {path: a, genotype: null}", "counts.0: `genotype` has no value (null): give one, or quote the word"),
        ("counts: a\nbatch: x\ncovariates: [y, x]", "'x' is named under `batch` and under `covariates`"),
        ("counts: a\ngenes: {n_top: 12:30}", "genes.n_top: should be 'all' or a valid integer"),
        ("counts: a\nmodels: {nb: {refit: maybe}}", "models.nb.refit: should be a valid boolean"),
        ("counts: a\nmodels: {1: {}, 1: {}}", "line 2, column 17: the key '1' occurs twice"),
        ("counts: x.h5\nn_top: 9", "n_top: unknown key: it belongs under `genes`: `genes: {n_top: …}`"),
        ("counts: x.h5\nmin_genes: 9", "min_genes: unknown key: it belongs under `cells`: `cells: {min_genes: …}`"),
        ("counts: x.h5\nepochs: 9", "epochs: unknown key: it belongs under a model: `models: {nb: {epochs: …}}`"),
        ("counts: x.h5\nmodels: {a: {seeds: [1]}}", "models.a.seeds: unknown key: it belongs to the top level, as `se"),
        ("counts: x.h5\nseed: 9", "seed: unknown key (did you mean 'seeds'?)"),
        ("counts: x.h5\ngenes: {n_top: 2,000}", "genes.000: unknown key: a comma between braces begins a new key"),
        (
            "counts: x.h5\nmodels: {a: {epochs: 0}}",
            "models.a.epochs: should be 'auto' or greater than or equal to 1, f",
        ),
        ("counts: x.h5\nmodels: {a: {epochs: no}}", "models.a.epochs: should be 'auto' or a valid integer"),
        ("counts: x.h5\nbatch: [a, a]", "batch: 'a' is listed twice"),
        ("counts: x.h5\ncells: {min_counts: 9, max_counts: 8}", "cells: min_counts: 9 is more than max_counts: 8"),
        (
            "counts: x.h5\nmodels: {a: &a {}, b: {<<: *a}}",
            "line 2, column 24: merge keys (<<) are not part of YAML 1.2",
        ),
        ("counts:\u00a0x.h5", "found text: a blank (U+00A0) is not the one of a keyboard"),
        ("counts\uff1a x.h5", "found text: a colon (U+FF1A) is not the one of a keyboard"),
        ("counts:x.h5", "found text: put a space after each colon"),
        ("counts = x.h5", "found text: write `counts: FILE`"),
        ("counts: {s1: a, s2: b}", "counts.0.path: missing: this key is needed (found: s1, s2)"),
        ("counts: {path: a, layers: b}", "counts.0: `layers`: is `layer` meant? Any other key becomes an obs column"),
        ("counts: {path: a, Layer: b}", "counts.0: `Layer`: is `layer` meant?"),
        ("counts: {path: a, rounding: b}", "counts.0: `rounding`: is `round` meant?"),
        ("counts: {path: a, feature_type: b, orientaton: b}", "counts.0: `orientaton`: is `orientation` meant?"),
        ("count: x.h5", "count: unknown key (did you mean 'counts'?)"),
        ("counts: x.h5\ncells: {min_gene: 3}", "cells.min_gene: unknown key (did you mean 'min_genes'?)"),
        ("counts: x.h5\nmodels: {a: {liklihood: nb}}", "models.a.liklihood: unknown key (did you mean 'likelihood'?)"),
        ("counts: x.h5\nmodels: {a: {likelihood: nbb}}", "models.a.likelihood: 'nbb' is not one of"),
        ("counts: x.h5\nmodels: {a: {likelihood: [nb]}}", "models.a.likelihood: expected one of 'poisson', 'nb'"),
        ("counts: x.h5\nmodels: {a: {likelihood: {}}}", "models.a.likelihood: `kind` is missing: one of 'poisson'"),
        ("counts: x.h5\nmodels: {a: {likelihood: {kind: [nb]}}}", "models.a.likelihood: '['nb']' is not one of"),
        (
            "counts: x.h5\nmodels: {mlp: {decoder: {kind: additive, poolin: log}}}",
            "models.mlp.decoder: additive has no key 'poolin' (did you mean 'pooling'?)",
        ),
        ("counts: x.h5\nmodels: {a: {latent: {kind: gaussian, n: 3}}}", "models.a.latent: gaussian has no key 'n': it"),
        (
            "counts: x.h5\nmodels: {additive: {decoder: {kind: additive, sparsity: -1}}}",
            "models.additive.decoder.sparsity: should be greater than or equal to 0, found -1",
        ),
        ("counts: x.h5\nmodels: {a: {poolin: log}}", "models.a: poolin: unknown key (did you mean 'pooling'?)"),
        (
            "counts: x.h5\nmodels: {a: {decoder: {kind: additive, sparsity: 2}, sparsity: 3}}",
            "models.a: sparsity: is given twice, beside `decoder` and inside it",
        ),
        (
            "counts: x.h5\nmodels: {a: {decoder: linear, sparsity: 3}}",
            "models.a: sparsity: is for decoder: additive only, found decoder: linear: remove `sparsity`",
        ),
        ("counts: x.h5\ngenes: {n_top: many}", "genes.n_top: should be 'all' or a valid integer"),
        ("counts: x.h5\ngenes: {n_top: 0}", "genes.n_top: should be 'all' or greater than or equal to 1, found 0"),
        ("counts: x.h5\ncells: {min_genes: several}", "cells.min_genes: "),
        ("counts: x.h5\nsplit: {test: 0.7}", "split.test: should be less than 0.5, found 0.7"),
        (
            "counts: x.h5\nsplit: {column: s, seed: 1}",
            "split: `column` says which cell is where, so `seed` would do nothing",
        ),
        ("counts: x.h5\norganism: yeast", "organism: no built-in cell-cycle genes for 'yeast'"),
        ("counts: x.h5\nmodels: {a b: {}}", "model name 'a b' must start with"),
        ("counts: x.h5\nmodels: {figures: {}}", "model name 'figures' is taken in the folder of results"),
        ("counts: x.h5\nseeds: [1, 1]", "seeds: a seed is listed twice"),
        ("counts: x.h5\nseeds: [-1]", "seeds.0: should be greater than or equal to 0, found -1"),
        ("counts: [{path: a}, {path: b}]", "counts: with several samples every one needs a `name`"),
        ("counts: [{path: a, name: s}, {path: b, name: s}]", "counts: two samples are called 's'"),
        ("counts: {layer: x}", "counts.0.path: missing"),
        ("counts: {path: a, url: 'https://example.org/a'}", "`url` needs `sha256`"),
        ("organism: human", "counts: missing"),
        ("counts: a\ncounts: b", "line 2, column 1: the key 'counts' occurs twice"),
        ("counts: [a", "line 1"),
        ("- a", "expected `key: value` lines, found list"),
        ("", "expected `key: value` lines, found nothing"),
        ("counts: a\nname: b", "name: unknown key: a dataset is called after its file"),
        ("counts: 3", "counts: "),
        ("counts: []", "counts: found nothing, expected at least 1"),
        ("counts: x.h5\nseeds: []", "seeds: found nothing, expected at least 1"),
        ("counts: x.h5\norganism: Mouse", "for 'Mouse' (did you mean 'mouse'?): use"),
        ("counts: x.h5\nseeds: 3", "seeds: expected a list such as [0, 1, 2], found 3"),
        ("counts: x.h5\ngenes:", "genes: expected `key: value` lines, found null: give it a key, or remove it"),
        (
            "counts: x.h5\nmodels: {nb: }",
            "models.nb: expected `key: value` lines, found null: give it a key, or remove",
        ),
        ("counts: x.h5\nmap: {resolution: .inf}", "map.resolution: should be a finite number, found Infinity"),
        ("counts: " + "[" * 5000, "lists nested too deeply to be read"),
        (
            "a: &a [x, x, x, x]\n"
            + "".join(
                f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n"
                for old, new in zip("abcdefgh", "bcdefghi", strict=True)
            )
            + "counts: *i",
            "more than 100,000 values once every alias (*) is written out",
        ),
        ("counts: x.h5\nmodels: nb", 'models: expected a mapping such as {nb: {likelihood: nb}}, found "nb"'),
        (
            "counts: x.h5\n  batch: b",
            "line 2, column 8: mapping values are not allowed here: is this line indented",
        ),
        (
            "models:\n\tnb: {}",
            "line 2, column 1: found character '\\t' that cannot start any token: indent with",
        ),
        ("counts:x.h5", "expected `key: value` lines, found text: put a space after each colon"),
        (f"counts: {{path: a, url: 's3://b/a', sha256: {'a' * 64}}}", "url: 's3://b/a' must start with https://"),
    ],
)
def test_a_mistake_gets_one_line(write, text, said):
    assert said in line(write(text))


def test_settings_of_a_kind_stand_in_it_or_beside_it(write):
    text = "counts: x.h5\nmodels:\n  a: {decoder: additive, pooling: counts, sparsity: 0.5, rotate: null}\n"
    text += "  b: {decoder: {kind: additive, pooling: counts, sparsity: 0.5}}\n"
    text += "  c: {decoder: linear, sparsity: 1, pooling: log, likelihood: poisson, dispersion: gene-cell}\n"
    text += "  d: {decoder: {kind: linear}, likelihood: {kind: poisson}}"
    models = load_dataset(write(text)).models
    assert models["a"] == models["b"]
    assert models["a"].decoder.sparsity == 0.5
    assert models["c"] == models["d"]


def test_missing_and_unreadable_dataset_files(tmp_path, write):
    assert line(tmp_path / "none.yaml") == "no such file"
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"counts: \xff\xfe")
    assert "cannot be read as UTF-8 text: a dataset file is YAML" in line(path)


def test_two_datasets_of_one_name_are_refused(write):
    a, b = write("counts: x", "a/pbmc.yaml"), write("counts: x", "b/pbmc.yaml")
    with pytest.raises(InputError, match="the name 'pbmc' is taken by"):
        load_datasets([a, b])


@pytest.mark.parametrize("selection", [[], {"a": 1}, None, [1]])
def test_the_selection_of_datasets_is_a_list_of_files(selection):
    with pytest.raises(InputError, match="expected a list of dataset files"):
        load_datasets(selection)


def test_dataset_name_must_be_usable_in_paths(write):
    assert "dataset name 'my data'" in line(write("counts: x", "my data.yaml"))


@pytest.mark.parametrize(
    "text",
    [
        *("genes: {n_top: true}", "cells: {max_percent_mito: false}", "cells: {min_genes: true}", "seeds: [true]"),
        *("models: {nb: {patience: false}}", "models: {nb: {n_latent: true}}", "sample: {axis: {axis_1: true}}"),
        *("sample: {library: true}", "models: {nb: {objective: {kind: dreg, draws: true}}}", "map: {resolution: true}"),
    ],
)
def test_truth_values_are_no_numbers(write, text):
    said = line(write(f"counts: x.h5\n{text}"))
    assert re.search("valid (integer|number)", said), said
    assert said.endswith(('"true"', '"false"')), said


def test_truth_values_where_they_are_meant(write):
    read = load_dataset(write("counts: x.h5\ncells: {doublets: true}\nmodels: {a: {refit: false}}\ngradients: true"))
    assert (read.cells.doublets, read.models["a"].refit, read.gradients) == (True, False, True)


@pytest.mark.parametrize("key", ["metadata: {}", "cycle: {{genes: {}}}", "axes: {{programs: {}}}"])
def test_an_empty_path_and_a_folder_in_place_of_a_table(write, tmp_path, monkeypatch, key):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.h5").touch()
    (tmp_path / "tables").mkdir()
    for path in ("''", "' '"):
        with pytest.raises(InputError, match=r"(metadata|cycle.genes|axes.programs): found ' ?', which is no path"):
            missing_files(load_dataset(write(f"counts: x.h5\n{key.format(path)}")))
        with pytest.raises(InputError, match=r"counts: found ' ?', which is no path: name a file"):
            missing_files(load_dataset(write(f"counts: {path}")))
    with pytest.raises(InputError, match=r"(metadata|genes|programs): tables is a folder: name the file in it"):
        missing_files(load_dataset(write(f"counts: x.h5\n{key.format('tables')}")))


def test_missing_files_are_named_with_a_near_match(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "matrix.h5").touch()
    settings = load_dataset(write("counts: matrx.h5"))
    with pytest.raises(InputError, match=r"counts: no such file: matrx.h5 \(did you mean 'matrix.h5'\?\)"):
        missing_files(settings)
    missing_files(settings, made=["matrx.h5"])
    with pytest.raises(InputError, match="metadata: no such file"):
        missing_files(load_dataset(write("counts: matrix.h5\nmetadata: m.tsv")))
    (tmp_path / "{x}.h5").touch()
    with pytest.raises(InputError, match="Snakemake takes braces for wildcards"):
        missing_files(load_dataset(write("counts: '{x}.h5'")))
    with pytest.raises(InputError, match="counts: "):  # longer than any file system takes
        missing_files(load_dataset(write(f"counts: {'x' * 300}.h5")))
    missing_files(
        load_dataset(write({"counts": {"path": "later.h5", "url": "https://example.org/a", "sha256": "0" * 64}}))
    )


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("~/a.h5ad", "`~` is not expanded: write the whole path"),
        ("data/*.h5ad", "patterns are not expanded: list the files, each with a `name`"),
        ("https://example.org/a.h5ad", "an address goes under `url`, with its `sha256`, beside the `path` of a local"),
        ("a.h5ad/", "did you mean 'a.h5ad'?"),
    ],
)
def test_paths_that_only_a_shell_or_a_browser_understands(write, tmp_path, monkeypatch, path, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.h5ad").touch()
    with pytest.raises(InputError, match=re.escape(said)):
        missing_files(load_dataset(write(f"counts: {path}")))


def test_a_dataset_file_that_is_listed_twice(write):
    path = write("counts: a")
    with pytest.raises(InputError, match="is listed twice"):
        load_datasets([path, path])


def test_sections_carry_only_what_a_rule_asks_for(write):
    one = load_dataset(write("counts: x\ntraverse: {steps: 11}\nmodels: {a: {}, b: {likelihood: poisson}}"))
    two = load_dataset(write("counts: x\ntraverse: {steps: 21}\nmodels: {a: {}, b: {}}"))
    assert section_json(one, "batch", model="a") == section_json(two, "batch", model="a")
    assert section_json(one, "traverse") != section_json(two, "traverse")
    back = from_section_json(section_json(one, "traverse", "batch", model="b"))
    assert back.traverse == one.traverse
    assert back.models == {"b": one.models["b"]}
    assert back.name == "pbmc"


def test_every_section_survives_the_round_trip(write):
    settings = load_dataset(write("counts: [{path: a, name: s, donor: d}]\nbatch: [x, y]\nsplit: {column: s}"))
    back = from_section_json(section_json(settings, *type(settings).model_fields))
    assert back.model_dump() == settings.model_dump()


def test_schema_accepts_what_loads_and_refuses_typos():
    schema = json_schema()
    assert json.dumps(schema)
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {k for k, f in DatasetSettings.model_fields.items() if not f.exclude}
    assert schema["anyOf"] == [{"required": ["counts"]}, {"required": ["modalities"]}]


def test_every_key_stands_in_the_configuration_table():
    table = configuration_table()

    def keys(model: type[BaseModel]):
        return model.model_fields

    for key in keys(DatasetSettings):
        if key not in ("name", "file"):
            assert f"`{key}" in table
    assert "`cells.min_genes`" in table
    assert "`models.*.likelihood`" in table
    assert "`counts.path` | needed" in table


def test_schema_and_readme_are_those_of_the_code(tmp_path, root):
    for file in ("README.md", "workflow/schemas/dataset.schema.json"):
        (tmp_path / Path(file).name).write_text((root / file).read_text())
    write_docs(tmp_path / "README.md", tmp_path / "dataset.schema.json")
    assert (tmp_path / "README.md").read_text() == (root / "README.md").read_text(), "run make docs"
    kept = (root / "workflow/schemas/dataset.schema.json").read_text()
    assert (tmp_path / "dataset.schema.json").read_text() == kept, "run make docs"


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "counts",
                        "cells",
                        "genes",
                        "models",
                        "split",
                        "min_genes",
                        "path",
                        "nb",
                        "likelihood",
                        "seeds",
                        "x",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    )
)
def test_whatever_stands_in_the_file_it_loads_or_gets_one_line(write, content):
    path = write(yaml.safe_dump(content))
    try:
        said = ""
        assert load_dataset(path).counts
    except InputError as error:
        said = str(error)
    assert not said or (said.startswith(str(path)) and "\n" not in said)


def test_importing_the_package_and_its_settings_is_light():
    code = (
        "import sys, sclatent, sclatent.settings; "
        "heavy = {'torch', 'scanpy', 'anndata', 'numba', 'matplotlib', 'pandas', 'numpy'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_columns_of_samples_with_ordinary_names(write):
    """A further key of a sample is a column, unless it is nearly a key."""
    columns = ("donor", "patient", "condition", "batch", "lane", "genotype", "age", "sex", "sampel", "organ", "pathway")
    given = load_dataset(write("counts: {path: a, " + ", ".join(f"{column}: x" for column in columns) + "}"))
    assert tuple(given.counts[0].columns) == columns


def test_one_key_of_a_section_as_parameters(write):
    """What a rule is told of a section that it needs one key of: the same text whatever the other keys are."""

    def told(text):
        return section_json(load_dataset(write(f"counts: x.h5\n{text}")), "split", "sample.given")

    plain = told("")
    assert told("sample: {n: 5, seed: 3}") == plain
    assert sections_from_json(plain)["sample"] is None
    given = told("batch: donor\nsample: {n: 5, given: {donor: d1}}")
    assert given == told("batch: donor\nsample: {n: 9, seed: 1, given: {donor: d1}}")
    assert given != plain
    assert sections_from_json(given)["sample"].given == {"donor": "d1"}
