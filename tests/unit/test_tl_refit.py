"""The refit on training and validation cells: what it learns, what is said of it, and how it is interrupted."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from anndata import AnnData

import sclatent as sl
from sclatent.data import slots
from sclatent.model.training import checkpoint, loop, trainer
from sclatent.model.training.diagnose import Diverged
from sclatent.model.training.schedule import refit_epochs
from sclatent.tl._model.train import TrainedModel


@pytest.fixture
def prepared(simulated: AnnData) -> AnnData:
    return sl.pp.prepare(simulated)


SMALL = {"n_latent": 3, "n_hidden": 16, "epochs": 80}


def same(a: TrainedModel, b: TrainedModel) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.vae.state_dict().values(), b.vae.state_dict().values(), strict=True))


def test_validation_cells_are_judged_before_they_are_learned_from(prepared: AnnData) -> None:
    without = sl.tl.train(prepared, model=SMALL | {"refit": False})
    again = sl.tl.train(prepared, model=SMALL)
    assert again.card["refit"] == 5
    assert "refit" not in without.card
    assert not same(without, again)
    before, after = sl.tl.evaluate(prepared, without), sl.tl.evaluate(prepared, again)
    for measure in ("n_cells", "elbo", "marginal", "marginal_se"):
        assert after["validation"][measure] == before["validation"][measure]
    assert after["test"] != before["test"]
    assert again.history.equals(without.history)


def test_each_split_says_how_many_draws_are_behind_it(prepared: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    """Validation cells were judged before the refit, by a model that is gone: no number of draws changes that."""
    again = sl.tl.train(prepared, model=SMALL)
    usual = sl.tl.evaluate(prepared, again)
    assert "draws" not in caplog.text
    assert usual["validation"]["samples"] == usual["test"]["samples"] == usual["samples"] == 100
    few = sl.tl.evaluate(prepared, again, samples=7)
    assert (few["validation"]["samples"], few["test"]["samples"], few["samples"]) == (100, 7, 7)
    assert few["validation"] == usual["validation"]
    assert "judged before the refit with 100 draws, test cells now with 7" in caplog.text
    without = sl.tl.train(prepared, model=SMALL | {"refit": False})
    plain = sl.tl.evaluate(prepared, without, samples=7)
    assert plain["validation"]["samples"] == plain["test"]["samples"] == 7
    del again.card["validation"]["samples"]  # as in a card of an older version
    assert sl.tl.evaluate(prepared, again)["validation"] == usual["validation"]


def test_all_cells_but_the_test_cells_are_learned_from(prepared: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    whole = loop.Run.__init__
    monkeypatch.setattr(loop.Run, "__init__", lambda self, *a, **k: (runs.append(self), whole(self, *a, **k))[1])
    sl.tl.train(prepared, model=SMALL)
    _, second = runs
    split = prepared.obs[slots.SPLIT].astype(str).to_numpy()
    assert (np.sort(second.train) == np.flatnonzero(split != slots.TEST)).all()
    assert len(second.validation) == 0
    assert (second.epoch, second.step) == (5, 5 * second.schedule.steps_per_epoch)
    assert second.schedule.kl_weight(0) == 1.0
    assert torch.equal(second.best_weights, second.average)  # no cell says when to stop


def test_interrupted_in_the_refit(prepared: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "checkpoint.pt"
    whole = sl.tl.train(prepared, model=SMALL)
    monkeypatch.setattr(trainer, "SAVE_EVERY", 0.0)
    write, one_epoch = checkpoint.write, loop.Run.one_epoch

    def write_then_die(path: Path, state: dict) -> None:
        write(path, state)
        if path != file and len(state["history"]) > 300:  # a few epochs into the refit
            raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(checkpoint, "write", write_then_die)
        with pytest.raises(KeyboardInterrupt):
            sl.tl.train(prepared, model=SMALL, checkpoint=file)
    assert len(list(tmp_path.iterdir())) == 2
    epochs = []
    monkeypatch.setattr(loop.Run, "one_epoch", lambda self: (epochs.append(self.schedule.epochs), one_epoch(self))[1])
    resumed = sl.tl.train(prepared, model=SMALL, checkpoint=file)
    assert set(epochs) == {5}  # the training itself is not done again
    assert 0 < len(epochs) < 5
    assert same(whole, resumed)
    assert resumed.card == whole.card
    assert not list(tmp_path.iterdir())


def test_a_refit_that_diverges_is_left_out(
    prepared: AnnData, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without = sl.tl.train(prepared, model=SMALL | {"refit": False})
    one_epoch = loop.Run.one_epoch

    def diverges(self: loop.Run) -> None:
        if not len(self.validation):
            raise Diverged(self.train)
        one_epoch(self)

    monkeypatch.setattr(loop.Run, "one_epoch", diverges)
    with caplog.at_level(logging.WARNING, logger="sclatent"):
        kept = sl.tl.train(prepared, model=SMALL)
    assert "no refit" in caplog.text
    assert kept.card["refit"] == 0
    assert same(without, kept)
    assert sl.tl.evaluate(prepared, kept)["validation"] == sl.tl.evaluate(prepared, without)["validation"]


@pytest.mark.parametrize(
    ("cells", "epochs", "expected"),
    [(500, 100, 12), (2000, 100, 50), (2000, 1, 0), (10_000, 45, 4), (90_000, 15, 0), (0, 5, 0)],
)
def test_most_epochs_for_two_thousand_cells(cells: int, epochs: int, expected: int) -> None:
    assert refit_epochs(cells, epochs) == expected
