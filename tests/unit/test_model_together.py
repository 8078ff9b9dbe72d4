"""Every latent with every likelihood, decoder and objective trains, all finite, or is refused in one line."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from sclatent.data import simulate
from sclatent.model import DECODERS, LATENTS, LIKELIHOODS, OBJECTIVES, CountData
from sclatent.model.training.loop import Run
from sclatent.settings import DatasetSettings, ModelSettings, first_line, load_dataset
from sclatent.settings.kinds.together import table

REFUSED = {
    ("point", "stl"),
    ("point", "iwae"),
    ("point", "dreg"),
    ("point", "score"),
    ("states", "stl"),
    ("states", "iwae"),
    ("states", "dreg"),
}
NO_KL = ("mixture", "flow")
"""Latents without a KL per axis."""


@cache
def cells() -> CountData:
    counts = simulate(60, 30, seed=1).X.astype(np.float32)
    return CountData(counts, np.asarray(counts.sum(1)).ravel())


@pytest.mark.parametrize("objective", list(OBJECTIVES))
@pytest.mark.parametrize("latent", list(LATENTS))
def test_what_goes_with_what(latent: str, objective: str) -> None:
    for decoder in DECODERS:
        for likelihood in LIKELIHOODS:
            given = {"latent": latent, "objective": objective, "decoder": decoder, "likelihood": likelihood}
            given |= {"n_latent": 3, "n_hidden": 8, "epochs": 2, "batch_size": 25}
            if (latent, objective) in REFUSED:
                with pytest.raises(ValidationError) as caught:
                    DatasetSettings.model_validate(
                        {"name": "t", "file": "t.yaml", "counts": "-", "models": {"m": given}}
                    )
                said = first_line(caught.value, DatasetSettings)
                assert said.startswith(f"models.m: objective: {objective} needs the density of")
                assert "\n" not in said
                continue
            run = Run(
                cells(),
                np.arange(50),
                np.arange(50, 60),
                ModelSettings.model_validate(given),
                n_levels=(),
                rest=False,
                seed=0,
                device="cpu",
            )
            run.one_epoch()
            run.one_epoch()
            assert run.restarts == 0
            assert all(np.isfinite(list(row.values())).all() for row in run.history)
            vae = run.best_model()
            assert all(torch.isfinite(p).all() for p in vae.parameters())
            axes = vae.along_axes(cells())
            assert np.isfinite(axes.mean).all()
            assert np.isfinite(axes.sd).all()
            assert np.isfinite(axes.kl).all() == (latent not in NO_KL)
            assert np.isfinite(vae.log_rate(axes.mean, cells().library)).all()
            assert run.compiled == (
                (latent, objective, decoder) == ("gaussian", "elbo", "mlp") and likelihood in ("poisson", "nb")
            )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"latent": "gamma", "rotate": "varimax"}, "those of latent: gamma cannot be turned: remove `rotate`"),
        ({"latent": "states", "decoder": "linear", "rotate": "ica"}, "rotate: ica turns the axes"),
        ({"latent": "dirichlet", "n_latent": 1}, "n_latent: latent: dirichlet needs 2 axes or more, found 1"),
        ({"latent": "point", "objective": {"kind": "elbo", "draws": 2}}, "latent: point has nothing to draw"),
        (
            {"latent": {"kind": "states", "straight_through": True}, "objective": "score"},
            "objective: score draws the states themselves, so the settings of latent: states would be ignored",
        ),
        ({"latent": {"kind": "states", "temperature": 0}}, "greater than or equal to 0.05"),
        ({"latent": {"kind": "gamma", "bounded": False}}, "gamma has no key 'bounded'"),
        ({"latent": {"gaussian": 3, "lognorml": 2}}, "'lognorml' is not one of .* \\(did you mean 'lognormal'\\?\\)"),
        ({"latent": {"gaussian": 0, "gamma": 2}}, "gaussian: a block needs a whole number of axes, .* found 0"),
        (
            {"latent": {"gaussian": 2, "gamma": True}},
            "a block needs a whole number of axes, .* found True",
        ),
        (
            {"latent": {"gaussian": 2, "gamma": 1.5}},
            "a block needs a whole number of axes, .* found 1.5",
        ),
        (
            {"latent": {"gaussian": 2, "lognormal": {"bounded": True}}},
            "none: write `lognormal: 4` or `lognormal: {",
        ),
        ({"latent": {"gaussian": 2, "gamma": {"axes": 2, "rate": 1}}}, "gamma has no key 'rate'"),
        ({"latent": {"gaussian": 2, "dirichlet": 1}}, "dirichlet: needs 2 axes or more, found 1"),
        ({"latent": {"gaussian": 4}}, "one block alone is not a mixture: write `latent: gaussian` and `n_latent: 4`"),
        ({"latent": {"gaussian": 1000, "gamma": 100}}, "has 1100 axes, 1024 is the maximum"),
        ({"latent": {"gaussian": 3, "gamma": 2}, "n_latent": 6}, "gamma: 2} have 5 axes, found 6: remove `n_latent`"),
        ({"latent": {"gaussian": 3, "states": 2}, "objective": "iwae"}, "but latent: states draws a smooth version"),
        ({"latent": {"gaussian": 3, "point": 2}, "objective": "stl"}, "but point has none: use `objective: elbo`"),
        ({"latent": {"lognormal": 3, "gamma": 2}, "rotate": "ica"}, "{lognormal: 3, gamma: 2} cannot be turned"),
    ],
)
def test_what_else_does_not(given: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ModelSettings.model_validate(given)


@pytest.mark.parametrize("objective", list(OBJECTIVES))
@pytest.mark.parametrize("other", [kind for kind in LATENTS if kind != "gaussian"])
def test_blocks_of_a_gaussian_and_another(other: str, objective: str) -> None:
    decoder = list(DECODERS)[(list(LATENTS).index(other) + list(OBJECTIVES).index(objective)) % 3]
    given = {"latent": {"gaussian": 2, other: 3}, "objective": objective, "decoder": decoder}
    given |= {"n_hidden": 8, "epochs": 2, "batch_size": 25}
    if (other, objective) in REFUSED:
        with pytest.raises(ValueError, match=f"objective: {objective} needs the density of"):
            ModelSettings.model_validate(given)
        return
    settings = ModelSettings.model_validate(given)
    assert ModelSettings.model_validate_json(settings.model_dump_json()) == settings
    run = Run(cells(), np.arange(50), np.arange(50, 60), settings, n_levels=(), rest=False, seed=0, device="cpu")
    run.one_epoch()
    run.one_epoch()
    assert run.restarts == 0
    assert not run.compiled
    vae = run.best_model()
    axes = vae.along_axes(cells())
    assert axes.mean.shape == (60, 5)
    assert np.isfinite(axes.mean).all()
    assert np.isfinite(axes.sd).all()
    assert np.isfinite(axes.kl[:, :2]).all()
    assert np.isfinite(axes.kl[:, 2:]).all() == (other not in NO_KL)
    assert np.isfinite(vae.log_rate(axes.mean, cells().library)).all()


def test_blocks_in_a_dataset_file(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(
        "counts: x.h5ad\nmodels:\n  m: {latent: {gaussian: 28, lognormal: {axes: 4, bounded: false}}}\n"
    )
    latent = load_dataset(tmp_path / "t.yaml").models["m"].latent
    assert latent.own_axes == 32
    assert latent.model_dump(mode="json") == {"gaussian": 28, "lognormal": {"axes": 4, "bounded": False}}


def test_auto_takes_as_many_axes_as_a_latent_needs() -> None:
    assert ModelSettings(latent="states").with_axes(50, 1).n_axes == 2
    assert ModelSettings().with_axes(50, 1).n_axes == 1


def test_the_table_in_the_documentation_is_up_to_date(root: Path) -> None:
    assert table() in (root / "docs" / "randomness.md").read_text(encoding="utf-8")


def test_the_table_says_the_same() -> None:
    rows = [line.strip("| ").split(" | ") for line in table().splitlines() if line.startswith("| ")]
    head = rows[0]
    for row in rows[1:]:
        for objective, goes in zip(head[1:-1], row[1:-1], strict=True):
            assert (goes == "–") == ((row[0], objective) in REFUSED)
