"""Two modalities in the dataset file: what may stand where, and what is refused when it is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sclatent.settings import (
    DatasetSettings,
    InputError,
    from_section_json,
    load_dataset,
    missing_files,
    section_json,
    sections_from_json,
)

APART = {"rna": {"counts": "rna.h5ad", "likelihood": "nb"}, "atac": {"counts": "atac.h5ad", "likelihood": "bernoulli"}}


def load(folder: Path, **content: object) -> DatasetSettings:
    path = folder / "both.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_dataset(path)


def test_two_files(tmp_path):
    settings = load(tmp_path, modalities=APART)
    assert [sample.path for sample in settings.counts] == ["rna.h5ad"]
    assert [sample.path for sample in settings.modalities.atac.counts] == ["atac.h5ad"]
    assert [sample.path for sample in settings.samples] == ["rna.h5ad", "atac.h5ad"]
    assert settings.modalities.atac.likelihood.kind == "bernoulli"


def test_one_file_holds_both(tmp_path):
    for modalities in ({"rna": None, "atac": None}, {"rna": {}, "atac": {"n_top": "all"}}):
        settings = load(tmp_path, counts="multiome.h5", modalities=modalities)
        assert settings.modalities.atac.counts == settings.counts
        assert [sample.path for sample in settings.samples] == ["multiome.h5"]


def test_a_dataset_of_rna_alone_is_what_it_was(tmp_path):
    settings = load(tmp_path, counts="rna.h5ad")
    assert settings.modalities is None
    assert settings.samples == settings.counts


def test_likelihood_of_rna_is_that_of_every_model(tmp_path):
    models = {"a": {}, "b": {"likelihood": "poisson", "n_latent": 4}}
    poisson = {**APART, "rna": {"counts": "rna.h5ad", "likelihood": "poisson"}}
    settings = load(tmp_path, modalities=poisson, models=models)
    assert {model.likelihood.kind for model in settings.models.values()} == {"poisson"}
    own = {**APART, "rna": {"counts": "rna.h5ad"}}
    settings = load(tmp_path, modalities=own, models=models)
    assert [model.likelihood.kind for model in settings.models.values()] == ["nb", "poisson"]


def test_sections_come_back(tmp_path):
    named = [{"path": "a.h5ad", "name": "a"}, {"path": "b.h5ad", "name": "b"}]
    for modalities in (APART, {"rna": {"counts": named}, "atac": {"counts": named}}):
        settings = load(tmp_path, modalities=modalities)
        assert from_section_json(section_json(settings)).modalities == settings.modalities
        # as a rule has them that does not read counts
        part = sections_from_json(section_json(settings, "modalities", model="nb"))
        assert part["modalities"] == settings.modalities


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"modalities": {"rna": {"counts": "r"}}}, "modalities.atac: missing"),
        ({"modalities": {"atac": {"counts": "a"}}}, "modalities.rna: missing"),
        ({"modalities": {"rna": {"counts": "r"}, "atca": {}}}, "modalities.atca: unknown key .did you mean 'atac'"),
        ({"modalities": {"rna": {"counts": "r"}, "atac": {}}}, "modalities.atac.counts: missing"),
        ({"modalities": {"rna": {}, "atac": {"counts": "a"}}}, "modalities.rna.counts: missing"),
        (
            {"counts": "x", "modalities": {"rna": {"counts": "r"}, "atac": {}}},
            "modalities.rna.counts: .* are given twice",
        ),
        (
            {"counts": "x", "modalities": {"rna": {}, "atac": {"likelihood": "nb"}}},
            "atac.likelihood: 'nb' is not one of",
        ),
        (
            {"counts": "x", "modalities": {"rna": {}, "atac": {"ntop": 5}}},
            "atac.ntop: unknown key .did you mean 'n_top'",
        ),
        ({"counts": "x", "modalities": {"rna": {}, "atac": {"n_top": 1}}}, "atac.n_top"),
        ({"modalities": APART, "gradients": True}, "gradients: are measured of models of RNA alone"),
        ({"counts": "x", "modalities": "both"}, "modalities: expected `key: value` lines"),
        (
            {"modalities": APART, "models": {"m": {"likelihood": "zinb"}}},
            "models.m.likelihood: zinb, but modalities.rna.likelihood says nb",
        ),
        ({"modalities": APART, "models": {"m": {"latent": "dirichlet"}}}, "models.m.latent: .* use `latent: gaussian`"),
        (
            {
                "modalities": {
                    "rna": {"counts": [{"path": "a", "name": "a"}, {"path": "b", "name": "b"}]},
                    "atac": {"counts": [{"path": "c", "name": "a"}, {"path": "d", "name": "c"}]},
                }
            },
            "modalities.atac.counts: the samples are called 'a', 'c', those of rna 'a', 'b'",
        ),
    ],
)
def test_refused_when_the_file_is_read(tmp_path, content, line):
    with pytest.raises(InputError, match=line) as error:
        load(tmp_path, **content)
    assert "\n" not in str(error.value)
    assert str(tmp_path / "both.yaml") in str(error.value)


def test_a_missing_file_of_peaks_is_told_by_its_key(tmp_path):
    (tmp_path / "rna.h5ad").touch()
    settings = load(tmp_path, modalities={"rna": {"counts": str(tmp_path / "rna.h5ad")}, "atac": {"counts": "no.h5ad"}})
    with pytest.raises(InputError, match=r"modalities.atac.counts: no such file: no.h5ad"):
        missing_files(settings)
