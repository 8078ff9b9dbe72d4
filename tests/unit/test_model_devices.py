"""One model trained by several processes is the model of one process."""

from __future__ import annotations

import importlib
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

import sclatent as sl
from sclatent.model import LIKELIHOODS, CountData, CountSource, Diverged, Rows, refit_vae, train_vae
from sclatent.model.csr import MappedCounts
from sclatent.model.distributed import launch
from sclatent.model.distributed.job import Job, read_job, write_job
from sclatent.model.distributed.part import Part
from sclatent.model.distributed.ranks import Several
from sclatent.model.training import trainer
from sclatent.model.training.loop import Run
from sclatent.settings import InputError, ModelSettings, load_dataset
from sclatent.settings.kinds import parts as kinds
from sclatent.tl._model.train import pick_device

CELLS, GENES = 130, 40
TRAIN, VALIDATION = np.arange(101), np.arange(101, CELLS)


def some_data(**more: object) -> CountData:
    rng = np.random.default_rng(0)
    counts = sparse.csr_matrix(rng.poisson(rng.gamma(1, 1, GENES), (CELLS, GENES)).astype(np.float32))
    codes = np.column_stack([rng.integers(0, 3, CELLS)])
    return CountData(counts, np.asarray(counts.sum(1)).ravel(), codes, rng.normal(size=(CELLS, 1)).astype(np.float32))


def some_settings(**settings: object) -> ModelSettings:
    return ModelSettings(**{"n_latent": 4, "n_hidden": 16, "batch_size": 33, "epochs": 6} | settings)


def trained(devices: int, data: CountData | None = None, **more: object):
    settings = more.pop("settings", None) or some_settings(devices=devices)
    return train_vae(data or some_data(), TRAIN, VALIDATION, settings, n_levels=(3,), seed=3, **more)


def weights(vae: torch.nn.Module) -> np.ndarray:
    return torch.cat([p.detach().reshape(-1) for p in vae.parameters()]).numpy()


def a_run(settings: ModelSettings, ranks: Several | None = None) -> Run:
    return Run(some_data(), TRAIN, VALIDATION, settings, n_levels=(3,), rest=False, seed=1, device="cpu", ranks=ranks)


class OneByOne(Several):
    """A process among others that are looked at one after the other."""

    def add(self, *vectors: torch.Tensor) -> None:
        pass


EVERY_KIND = [
    *({"latent": kind} for kind in kinds.LATENTS),
    *({"likelihood": kind} for kind in kinds.LIKELIHOODS),
    *({"decoder": kind} for kind in kinds.DECODERS),
    *({"objective": kind} for kind in kinds.OBJECTIVES if kind != "score"),
    {"objective": {"kind": "score", "draws": 4, "baseline": "others"}},
    *({"objective": {"kind": "elbo", "draws": 4, "noise": way}} for way in ("antithetic", "stratified", "sobol")),
    {"n_layers": 2, "dropout": 0.5, "n_latent": "auto", "latent": {"gaussian": 2, "gamma": 2}},
]


@pytest.mark.parametrize("settings", EVERY_KIND, ids=str)
def test_shares_of_a_step_add_up_to_the_step_whatever_the_model(settings):
    given = some_settings(**settings)
    whole = a_run(given)
    cells = np.arange(7, 40)
    whole.flat.forget()  # the compiled step keeps gradients where they are
    sums = whole._backward(cells)
    whole.flat.collect()
    runs = [a_run(given, OneByOne(rank, 3)) for rank in range(3)]
    runs[1].pieces = 2  # memory is short there
    parts = []
    for run in runs:
        run.flat.forget()
        parts.append(run._backward(cells))
        run.flat.collect()
        assert torch.equal(run.noise.get_state(), whole.noise.get_state())
    torch.testing.assert_close(sum(parts), sums, rtol=1e-5, atol=1e-4)
    total = sum(run.flat.gradient for run in runs)
    scale = float(whole.flat.gradient.abs().max())
    torch.testing.assert_close(total, whole.flat.gradient, rtol=1e-3, atol=1e-5 * scale)
    score = sum(run._validate() for run in runs)
    np.testing.assert_allclose(score, whole._validate(), rtol=1e-5)


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no two GPUs"))],
)
def test_two_processes_have_the_loss_curve_of_one(device):
    alone, of_one = trained(1, device=device)
    both, of_two = trained(2, device=device)
    for column in of_one:
        np.testing.assert_allclose(of_two[column], of_one[column], rtol=1e-5, atol=1e-7, err_msg=column)
    np.testing.assert_allclose(weights(both), weights(alone), atol=1e-3)
    refitted = [refit_vae(vae, some_data(), np.arange(CELLS), 2, seed=3, device=device) for vae in (alone, both)]
    np.testing.assert_allclose(weights(refitted[1]), weights(refitted[0]), atol=2e-3)


def children() -> list[int]:
    """The processes of the training that this one has started."""
    of_me = Path(f"/proc/self/task/{threading.main_thread().native_id}/children").read_text().split()
    return [int(p) for p in of_me if "distributed.process" in Path(f"/proc/{p}/cmdline").read_text()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_a_training_that_loses_a_process_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    checkpoint = tmp_path / "checkpoint.pt"
    settings = some_settings(devices=2, epochs=100, patience=100)

    def kill(rank: int, after: int) -> None:
        while not checkpoint.exists() or torch.load(checkpoint, weights_only=True)["numbers"][0] <= after:
            time.sleep(0.01)
        os.kill(children()[rank], signal.SIGKILL)

    done = 0
    for lost in (1, 0):
        killer = threading.Thread(target=kill, args=(lost, done), daemon=True)
        killer.start()
        with pytest.raises(InputError) as said:
            trained(2, settings=settings, checkpoint=checkpoint)
        killer.join()
        assert str(said.value) == (
            f"process {lost + 1} of the 2 of the training was ended by signal 9 (SIGKILL): as a rule the machine or "
            "the cluster job had no more memory: run again: it goes on from its last checkpoint"
        )
        assert not children()
        assert not list((tmp_path / "scratch").iterdir())
        before, done = done, torch.load(checkpoint, weights_only=True)["numbers"][0]
        assert before < done < 100
    resumed, history = trained(2, settings=settings, checkpoint=checkpoint)
    assert not checkpoint.exists()
    undisturbed, expected = trained(2, settings=settings)
    assert np.array_equal(weights(resumed), weights(undisturbed))
    assert history.equals(expected)


def test_processes_end_with_the_one_that_started_them(tmp_path):
    job = Job(some_data(), TRAIN, VALIDATION, some_settings(devices=2), 0, "cpu", 1, "training", n_levels=(3,))
    write_job(job, tmp_path)
    process = launch._start(tmp_path, 0, job)  # it waits for the other
    time.sleep(0.1)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(60) == 1


def test_a_training_that_diverges_says_the_same_line():
    data, lines = some_data(), []
    data.continuous[5] = np.inf
    for devices in (1, 2):
        with pytest.raises(Diverged) as said:
            trained(devices, data)
        lines.append((str(said.value), list(said.value.cells)))
    assert lines[0] == lines[1]
    assert "twice, in 1 cell(s) (no. 5)" in lines[0][0]


def test_a_process_that_fails_hands_on_why(monkeypatch):
    monkeypatch.setattr(launch, "write_job", lambda job, folder: None)
    with pytest.raises(RuntimeError, match=r"(?s)process . of the 2 of the training failed:\nTraceback.*job\.json"):
        trained(2)


MODULE = """
from typing import Literal

from sclatent.model import LIKELIHOODS
from sclatent.model.parts.likelihoods import Poisson
from sclatent.settings import LikelihoodSettings


class OwnSettings(LikelihoodSettings):
    kind: Literal["own-poisson"] = "own-poisson"


@LIKELIHOODS.register
class Own(Poisson):
    settings = OwnSettings
"""


def test_kinds_from_outside_the_package_are_known_in_every_process(tmp_path, monkeypatch):
    (tmp_path / "own_kinds.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    own = importlib.import_module("own_kinds")
    try:
        _, history = trained(2, settings=some_settings(devices=2, likelihood="own-poisson", epochs=2))
        assert len(history) == 2
        monkeypatch.setattr(own.Own, "__module__", "__main__")
        with pytest.raises(InputError, match="likelihood: own-poisson is defined in a script or a notebook"):
            trained(2, settings=some_settings(devices=2, likelihood="own-poisson"))
    finally:
        LIKELIHOODS.remove("own-poisson")


class Elsewhere(CountSource):
    """Counts that are held in a way of their own."""

    def __init__(self, matrix: sparse.csr_matrix) -> None:
        self.matrix = matrix

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    def rows(self, index: np.ndarray) -> Rows:
        return Rows.of(self.matrix[index])

    def fingerprint(self) -> str:
        return "one"


def test_a_job_as_files_is_the_same_job(tmp_path, monkeypatch):
    monkeypatch.setattr("sclatent.model.distributed.job.ROWS", 7)
    counts = some_data().counts
    sources = {"csr": counts, "mapped": MappedCounts(counts, lambda matrix: None), "other": Elsewhere(counts)}
    for name, source in sources.items():
        folder = tmp_path / name
        folder.mkdir()
        data = CountData(source, some_data().library, None, some_data().continuous)
        job = Job(data, TRAIN, VALIDATION, some_settings(devices=2), 5, "cpu", 2, "training", rest=True, key="k")
        write_job(job, folder)
        back = read_job(folder)
        assert (back.data.source.matrix != counts).nnz == 0
        assert isinstance(back.data.source, MappedCounts) == (name == "mapped")
        order = [one.source.order(np.random.default_rng(0), TRAIN) for one in (back.data, data)]
        assert np.array_equal(*order)
        np.testing.assert_array_equal(back.data.continuous, data.continuous)
        assert back.data.categorical is None
        for key in ("settings", "seed", "device", "threads", "what", "rest", "key", "checkpoint", "n_levels"):
            assert getattr(back, key) == getattr(job, key), key


@pytest.mark.parametrize(("n", "size"), [(10, 3), (3, 3), (2, 3), (0, 2), (512, 4)])
def test_parts_are_all_cells_once(n, size):
    parts = [Several(rank, size).part(n) for rank in range(size)]
    assert np.array_equal(np.concatenate([np.arange(n)[p.first : p.last] for p in parts]), np.arange(n))
    assert max(p.size for p in parts) - min(p.size for p in parts) <= 1
    for part in parts:
        pieces = part.pieces(4)
        assert [np.arange(n)[p.first : p.last].tolist() for p in pieces] == [
            piece.tolist() for piece in np.array_split(np.arange(n)[part.first : part.last], 4) if len(piece)
        ]
        assert all(isinstance(p, Part) and p.n == n for p in pieces)


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("devices: 0", "models.a.devices: should be greater than or equal to 1, found 0"),
        ("devices: 64", "models.a.devices: should be less than or equal to 16, found 64"),
        (
            "devices: 2, objective: score",
            "models.a: devices: objective: score compares each cell with all of the steps before, of which each of 2 "
            "devices sees its share: set `devices` to 1, or `baseline` to none or others",
        ),
    ],
)
def test_what_several_devices_cannot_share_is_refused_when_the_file_is_read(model, line, tmp_path):
    sl.io.write_h5ad(sl.simulate(30, 20), tmp_path / "x.h5ad")
    path = tmp_path / "d.yaml"
    path.write_text(f"counts: {tmp_path / 'x.h5ad'}\nmodels: {{a: {{{model}}}}}\n")
    with pytest.raises(InputError) as said:
        load_dataset(path)
    assert line in str(said.value)


def test_steps_of_fewer_cells_than_devices_are_refused():
    with pytest.raises(InputError, match=r"devices: 8 devices share the cells of a step, and the smallest step has 3"):
        trained(8, settings=some_settings(devices=8, batch_size=4))


def test_more_gpus_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for device in ("auto", "cuda"):
        with pytest.raises(InputError) as said:
            pick_device(device, "d.yaml: models.a.", 2)
        assert str(said.value) == (
            "d.yaml: models.a.devices: 2 GPUs were asked for, and PyTorch finds 1 on this machine: set `devices` to "
            "what there is, or ask for a job with more GPUs"
        )
    assert pick_device("cpu", devices=2) == "cpu"


def test_one_device_changes_nothing_that_is_written():
    assert "devices" not in ModelSettings(devices=1).model_dump(mode="json")
    assert ModelSettings(devices=2).model_dump(mode="json")["devices"] == 2
    assert ModelSettings.model_validate(ModelSettings(devices=2).model_dump(mode="json")).devices == 2
