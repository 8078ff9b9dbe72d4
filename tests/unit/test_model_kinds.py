"""What the model does not know is refused in one line, never taken for something else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.sparse import csr_matrix

from sclatent.model import DECODERS, LATENTS, LIKELIHOODS, OBJECTIVES, CountData, CountVAE, train_vae
from sclatent.model.rotation import rotate_axes
from sclatent.settings import DatasetSettings, InputError, ModelSettings, first_line
from sclatent.settings.kinds import parts as kinds
from sclatent.settings.kinds.registry import Registry

SMALL = ModelSettings(n_latent=2, n_hidden=8, epochs=1)
ALL = (LIKELIHOODS, DECODERS, LATENTS, OBJECTIVES)


def some_cells() -> CountData:
    return CountData(csr_matrix(np.ones((4, 5), np.float32)), np.full(4, 5.0))


@pytest.mark.parametrize("registry", ALL, ids=lambda registry: registry.key)
def test_every_kind_of_the_settings_is_implemented(registry: Registry) -> None:
    assert set(registry) == set(registry.settings)
    for kind in registry:
        assert registry[kind].settings is registry.settings[kind]


@pytest.mark.parametrize("registry", ALL, ids=lambda registry: registry.key)
@pytest.mark.parametrize("unknown", ["nbb", "", "GAUSSIAN", "_", "gammma"])
def test_unknown_kinds(registry: Registry, unknown: str) -> None:
    with pytest.raises(InputError, match=f"^{registry.key}: no kind '{unknown}'.*known: {next(iter(registry))}"):
        registry[unknown]
    file = {"name": "t", "file": "t.yaml", "counts": "-", "models": {"m": {registry.key: unknown}}}
    with pytest.raises(ValidationError) as caught:
        DatasetSettings.model_validate(file)
    said = first_line(caught.value, DatasetSettings)
    assert said.startswith(f"models.m.{registry.key}: '{unknown}' is not one of '{next(iter(registry.settings))}'")
    assert "\n" not in said


@pytest.mark.parametrize("registry", ALL, ids=lambda registry: registry.key)
def test_a_model_whose_kind_was_not_checked(registry: Registry) -> None:
    """As those of a notebook can be."""

    class Unknown(registry.settings[next(iter(registry))]):  # type: ignore[misc, name-defined]
        kind: str = "gammma"

    settings = SMALL.model_copy(update={registry.key: Unknown()})
    with pytest.raises(InputError, match=f"{registry.key}: no kind 'gammma'"):
        train_vae(some_cells(), np.arange(3), np.arange(3, 4), settings)


def test_options_that_were_not_checked() -> None:
    odd = kinds.NBSettings().model_copy(update={"dispersion": "cell"})
    with pytest.raises(InputError, match=r"dispersion: no kind 'cell'"):
        CountVAE(5, SMALL.model_copy(update={"likelihood": odd}))
    odd = kinds.AdditiveSettings().model_copy(update={"pooling": "max"})
    with pytest.raises(InputError, match=r"pooling: no kind 'max'"):
        CountVAE(5, SMALL.model_copy(update={"decoder": odd}))
    with pytest.raises(InputError, match=r"rotate: no kind 'icaa' \(did you mean 'ica'\?\)"):
        rotate_axes(CountVAE(5, SMALL), some_cells(), np.arange(4), "icaa")


def test_a_registry_names_what_it_knows_and_replaces_nothing() -> None:
    shapes: Registry[int] = Registry("shape")
    shapes.add("round", 1)
    assert shapes["round"] == 1
    assert list(shapes) == ["round"]
    with pytest.raises(InputError, match=r"shape: no kind 'rund' \(did you mean 'round'\?\): known: round"):
        shapes["rund"]
    with pytest.raises(ValueError, match="shape: 'round' is taken"):
        shapes.add("round", 2)


@pytest.mark.parametrize("registry", ALL, ids=lambda registry: registry.key)
def test_a_kind_that_is_taken(registry: Registry) -> None:
    before = registry[next(iter(registry))]

    class Settings(registry.settings[next(iter(registry))]):  # type: ignore[misc, name-defined]
        pass

    with pytest.raises(ValueError, match="is taken"):
        registry.register(before)
    with pytest.raises(ValueError, match="is taken"):
        registry.register(type("Mine", (before,), {"settings": Settings}))
    assert registry[next(iter(registry))] is before


def test_a_model_of_a_kind_that_is_not_registered_here(tmp_path: Path) -> None:
    CountVAE(5, SMALL).save(tmp_path)
    card = json.loads((tmp_path / "model.json").read_text())
    card["architecture"]["settings"]["latent"] = {"kind": "gammma"}
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match=r"model\.json: latent: 'gammma' is not one of 'gaussian'") as caught:
        CountVAE.load(tmp_path)
    assert "\n" not in str(caught.value)


OLD = {
    "n_latent": 2,
    "n_hidden": 8,
    "n_layers": 1,
    "dropout": 0.3,
    "epochs": "auto",
    "batch_size": "auto",
    "learning_rate": 0.004,
    "weight_decay": 0.1,
    "patience": 15,
    "refit": True,
    "device": "auto",
}
"""What stood in every card when the settings of a kind stood beside it."""


@pytest.mark.parametrize(
    ("beside", "inside"),
    [
        ({"likelihood": "nb", "dispersion": "gene", "decoder": "mlp", "rotate": None}, {}),
        (
            {"likelihood": "zinb", "dispersion": "gene-cell", "decoder": "linear", "rotate": "ica"},
            {
                "likelihood": {"kind": "zinb", "dispersion": "gene-cell"},
                "decoder": {"kind": "linear", "rotate": "ica"},
            },
        ),
        (
            {"likelihood": "poisson", "dispersion": "gene-batch", "decoder": "additive", "rotate": None}
            | {"pooling": "counts", "sparsity": 0.5},
            {"likelihood": "poisson", "decoder": {"kind": "additive", "pooling": "counts", "sparsity": 0.5}},
        ),
    ],
)
def test_models_and_files_of_before(beside: dict, inside: dict, tmp_path: Path) -> None:
    old = OLD | {"pooling": "log", "sparsity": 1.0} | beside
    expected = ModelSettings.model_validate(OLD | inside)
    assert ModelSettings.model_validate(old) == expected
    vae = CountVAE(5, expected, n_levels=(2,), seed=3)
    vae.save(tmp_path)
    card = json.loads((tmp_path / "model.json").read_text())
    card["format"], card["architecture"]["settings"] = 1, old
    (tmp_path / "model.json").write_text(json.dumps(card))
    again = CountVAE.load(tmp_path)
    assert again.settings == expected
    assert all((a == b).all() for a, b in zip(vae.state_dict().values(), again.state_dict().values(), strict=True))


def test_the_parameters_are_in_the_file_under_the_names_of_before(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    CountVAE(5, ModelSettings(likelihood="zinb", dispersion="gene-cell", n_hidden=8)).save(tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert {"encoder.first.weight", "encoder.head.bias", "decoder.bias", "log_theta"} < names
    assert {"theta_head.weight", "gate_head.weight", "gate_head.bias", "rotation", "level_frequency"} < names
