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
from sclatent.settings import DatasetSettings, ModelSettings, first_line
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
                assert said.startswith(f"models.m: objective: {objective} asks for the density of")
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
            assert all(np.isfinite(part).all() for part in axes)
            assert np.isfinite(vae.log_rate(axes.mean, cells().library)).all()
            assert run.compiled == (
                (latent, objective, decoder) == ("gaussian", "elbo", "mlp") and likelihood in ("poisson", "nb")
            )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"latent": "gamma", "rotate": "varimax"}, "those of latent: gamma cannot be turned: remove `rotate`"),
        ({"latent": "states", "decoder": "linear", "rotate": "ica"}, "rotate: ica turns the axes"),
        ({"latent": "dirichlet", "n_latent": 1}, "n_latent: latent: dirichlet takes 2 axes or more, found 1"),
        ({"latent": "point", "objective": {"kind": "elbo", "draws": 2}}, "latent: point has nothing to draw"),
        (
            {"latent": {"kind": "states", "straight_through": True}, "objective": "score"},
            "objective: score draws states themselves, so nothing of latent: states can be set",
        ),
        ({"latent": {"kind": "states", "temperature": 0}}, "greater than or equal to 0.05"),
        ({"latent": {"kind": "gamma", "bounded": False}}, "gamma has no key 'bounded'"),
    ],
)
def test_what_else_does_not(given: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ModelSettings.model_validate(given)


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
