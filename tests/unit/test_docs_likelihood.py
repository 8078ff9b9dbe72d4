"""The steps of CONTRIBUTING.md for a new likelihood, taken as they are written there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sclatent as sl
from sclatent.model import LIKELIHOODS, CountVAE
from sclatent.settings import InputError, ModelSettings

ROOT = Path(__file__).resolve().parents[2]
SECTION = "## Add a likelihood, step by step"


def blocks() -> list[str]:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition(SECTION)[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def done() -> Iterator[dict[str, Any]]:
    names: dict[str, Any] = {"__name__": "contributing"}
    found = blocks()
    assert len(found) == 3
    with pytest.raises(ValueError, match="'fixed-nb' is not one of"):
        ModelSettings(likelihood="fixed-nb")
    try:
        for number, block in enumerate(found, start=1):
            exec(compile(block, f"CONTRIBUTING.md, block {number}", "exec", dont_inherit=True), names)
        yield names
    finally:
        LIKELIHOODS.remove("fixed-nb")
    assert "fixed-nb" not in LIKELIHOODS


def test_the_steps_end_in_a_trained_model_that_can_be_saved(done, tmp_path):
    trained = done["trained"]
    assert isinstance(trained.likelihood, done["FixedNB"])
    assert trained.likelihood.theta == 2.0
    trained.save(tmp_path)
    again = CountVAE.load(tmp_path)
    z, library = np.zeros((2, 4), np.float32), np.full(2, 50.0)
    np.testing.assert_array_equal(again.sample(z, library, seed=1), trained.sample(z, library, seed=1))


def test_the_new_kind_is_a_setting_like_any_other(done, tmp_path):
    (tmp_path / "counts.tsv").touch()
    path = tmp_path / "toy.yaml"
    path.write_text("counts: counts.tsv\nmodels: {m: {likelihood: {kind: fixed-nb, theta: 2}}}\n")
    assert sl.load_dataset(path).models["m"].likelihood.theta == 2
    path.write_text("counts: counts.tsv\nmodels: {m: {likelihood: {kind: fixed-nb, theta: -1}}}\n")
    with pytest.raises(InputError, match="theta") as refused:
        sl.load_dataset(path)
    assert "\n" not in str(refused.value)
