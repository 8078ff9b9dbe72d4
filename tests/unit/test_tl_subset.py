"""With many cells, what need not look at all of them looks at as many as tell something."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sclatent as sl
from sclatent.tl._model import evaluate as _evaluate
from sclatent.tl._model import train as _train
from sclatent.tl._model.subset import evenly


@given(st.integers(0, 500), st.integers(1, 300))
def test_evenly_spaced_cells_keep_the_order_and_reach_both_ends(n, most):
    cells = np.arange(n) * 3
    some = evenly(cells, most)
    assert len(some) == min(n, most)
    assert (np.diff(some) > 0).all()
    assert np.isin(some, cells).all()
    if 2 <= most < n:
        assert some[0] == cells[0]
        assert some[-1] == cells[-1]
        gaps = np.diff(some) // 3
        assert gaps.max() - gaps.min() <= 1


@pytest.fixture
def prepared(simulated, make_settings):
    settings = make_settings(models={"nb": {"n_latent": 3, "n_hidden": 16, "epochs": 3}}, split={"test": 0.3})
    return sl.pp.prepare(simulated, **settings.parts(sl.pp.prepare)), settings


def test_training_watches_and_turns_with_so_many_cells(prepared, monkeypatch):
    seen = {}
    train, rotate = _train.train_vae, _train.rotate_axes

    def spy_train(data, cells, validation, *args, **more):
        seen["watched"] = validation
        return train(data, cells, validation, *args, **more)

    def spy_rotate(vae, data, cells, how):
        seen["rotated"] = cells
        return rotate(vae, data, cells, how)

    monkeypatch.setattr(_train, "train_vae", spy_train)
    monkeypatch.setattr(_train, "rotate_axes", spy_rotate)
    monkeypatch.setattr(_train, "WATCHED", 10)
    monkeypatch.setattr(_train, "ROTATED", 50)
    adata, settings = prepared
    trained = sl.tl.train(adata, model=settings.models["nb"], seed=0, **settings.parts(sl.tl.train))
    split = adata.obs["split"].astype(str).to_numpy()
    assert len(seen["watched"]) == 10
    assert (split[seen["watched"]] == "validation").all()
    assert len(seen["rotated"]) == 50
    assert (split[seen["rotated"]] == "train").all()
    assert trained.card["cells"]["validation"] == (split == "validation").sum()  # the card tells of all cells


def test_the_held_out_fit_of_some_cells_is_that_of_all_within_its_error(prepared, monkeypatch):
    adata, settings = prepared
    trained = sl.tl.train(adata, model=settings.models["nb"], seed=0, **settings.parts(sl.tl.train))
    latent = sl.tl.embed(adata, trained)
    everyone = sl.tl.evaluate(adata, trained, latent=latent, samples=10)
    assert everyone == sl.tl.evaluate(adata, trained, samples=10)  # what was embedded is not computed again
    monkeypatch.setattr(_evaluate, "JUDGED", 40)
    some = sl.tl.evaluate(adata, trained, latent=latent, samples=10)["test"]
    assert some["n_cells"] == 40
    assert everyone["test"]["n_cells"] == 90
    assert abs(some["marginal"] - everyone["test"]["marginal"]) < 3 * some["marginal_se"]
