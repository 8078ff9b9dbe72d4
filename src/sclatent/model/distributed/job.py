"""A training as files: what one process hands to others that train together, and what comes back."""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from sclatent.model.csr import MappedCounts
from sclatent.model.data import CountData
from sclatent.model.kinds import Kinds
from sclatent.model.objectives import OBJECTIVES
from sclatent.model.parts.latents import LATENTS
from sclatent.model.parts.likelihoods import LIKELIHOODS
from sclatent.model.parts.modality import DECODERS, Further
from sclatent.model.source import CountSource
from sclatent.model.training.schedule import Schedule
from sclatent.model.vae import CountVAE
from sclatent.settings import InputError, ModelSettings

ROWS = 4096
"""Cells that are written at a time."""
OF_CELLS = ("library", "categorical", "continuous")


@dataclass(frozen=True)
class Job:
    """All that a training is made of.

    Attributes
    ----------
    data, cells, validation, settings, seed, device, threads, angle, checkpoint, keep, progress
        As for `sclatent.model.train_vae`; `cells` are those that are trained on.
    n_levels, rest, further
        Shape of the model beside its settings.
    what
        ``training`` or ``refit``.
    key
        Of the checkpoint.
    save_every
        Seconds between checkpoints.
    start, schedule
        Where a refit begins, and how it goes on.
    """

    data: CountData
    cells: np.ndarray
    validation: np.ndarray
    settings: ModelSettings
    seed: int
    device: str
    threads: int
    what: str
    n_levels: tuple[int, ...] = ()
    rest: bool = False
    further: Mapping[str, Further] = field(default_factory=dict)
    angle: np.ndarray | None = None
    start: CountVAE | None = None
    schedule: Schedule | None = None
    checkpoint: Path | None = None
    key: str = ""
    keep: bool = False
    progress: bool = False
    save_every: float = 20.0

    @property
    def shape(self) -> dict[str, Any]:
        """Shape of the model beside its settings."""
        return {"n_levels": self.n_levels, "rest": self.rest, "further": self.further}

    def model(self) -> CountVAE:
        """Return a model of this job with weights that say nothing."""
        n = 0 if self.data.continuous is None else self.data.continuous.shape[1]
        settings = self.settings.with_axes(len(self.cells), self.data.n_genes)
        return CountVAE(self.data.n_genes, settings, n_continuous=n, **self.shape)


def check_alone(job: Job) -> None:
    """Refuse what several processes cannot share.

    Raises
    ------
    InputError
        One line, with the key.
    """
    settings, n = job.settings, len(job.cells)
    if "__main__" in (modules := from_outside(settings)):
        raise InputError(
            f"devices: {modules['__main__']} is defined in a script or a notebook, which other processes do not run: "
            "put it into a module of its own, or set `devices` to 1"
        )
    if not torch.distributed.is_available():
        raise InputError("devices: this PyTorch cannot train in several processes: set `devices` to 1")
    if job.further:
        raise InputError("devices: several devices train the genes alone, found `modalities`: set `devices` to 1")
    steps = (job.schedule or Schedule.make(settings, n)).steps_per_epoch
    if n // steps < settings.devices:
        raise InputError(
            f"devices: {settings.devices} devices share the cells of a step, and the smallest step has {n // steps}: "
            "set `batch_size` higher, or fewer `devices`"
        )


def from_outside(settings: ModelSettings) -> dict[str, str]:
    """Return the modules in which kinds that are not of the package become known, and one such kind of each."""
    used: list[tuple[Kinds[Any], str]] = [
        (LIKELIHOODS, settings.likelihood.kind),
        (DECODERS, settings.decoder.kind),
        (OBJECTIVES, settings.objective.kind),
        *((LATENTS, one.kind) for one in settings.latent.parts),
    ]
    found = {kinds[kind].__module__: f"{kinds.key}: {kind}" for kinds, kind in used}
    return {module: kind for module, kind in found.items() if module.split(".")[0] != "sclatent"}


def write_job(job: Job, folder: Path) -> None:
    """Write a job into an empty folder."""
    arrays = {name: getattr(job.data, name) for name in OF_CELLS}
    arrays |= {"cells": job.cells, "validation": job.validation, "angle": job.angle}
    for name, array in arrays.items():
        if array is not None:
            np.save(folder / f"{name}.npy", np.asarray(array))
    _write_counts(job.data.source, folder)
    if job.start is not None:
        torch.save(job.start.state_dict(), folder / "start.pt")
    plain = {
        "settings": job.settings.model_dump(mode="json"),
        "checkpoint": None if job.checkpoint is None else str(job.checkpoint.resolve()),
        "schedule": None if job.schedule is None else asdict(job.schedule),
        "modules": list(from_outside(job.settings)),
        "counts": [*job.data.source.shape, isinstance(job.data.source, MappedCounts)],
        **{name: getattr(job, name) for name in ("seed", "device", "threads", "what", "n_levels", "rest")},
        **{name: getattr(job, name) for name in ("key", "keep", "progress", "save_every")},
    }
    (folder / "job.json").write_text(json.dumps(plain), encoding="utf-8")


def read_job(folder: Path) -> Job:
    """Read what `write_job` wrote; the counts stay in their files, of which all processes hold one copy."""
    plain = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    for module in plain.pop("modules"):
        import_module(module)
    arrays = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    n_cells, n_genes, mapped = plain.pop("counts")
    matrix, held = _mapped(folder, (n_cells, n_genes))
    counts = MappedCounts(matrix, lambda _: _give_back(held)) if mapped else matrix
    job = Job(
        data=CountData(counts, **{name: arrays[name] for name in OF_CELLS if name in arrays}),
        **{name: arrays[name] for name in ("cells", "validation")},
        angle=arrays.get("angle"),
        settings=ModelSettings.model_validate(plain.pop("settings")),
        schedule=None if (schedule := plain.pop("schedule")) is None else Schedule(**schedule),
        checkpoint=None if (path := plain.pop("checkpoint")) is None else Path(path),
        n_levels=tuple(plain.pop("n_levels")),
        **plain,
    )
    if (folder / "start.pt").exists():
        start = job.model()
        start.load_state_dict(torch.load(folder / "start.pt", weights_only=True))
        job = replace(job, start=start)
    return job


def forget_counts(folder: Path) -> None:
    """Remove the files of the counts: who has opened them keeps them, and nothing large is left by a kill."""
    for path in folder.glob("counts.*"):
        path.unlink()


def _write_counts(source: CountSource, folder: Path) -> None:
    """Write the rows of a source one after the other, whatever holds them."""
    n, index = source.shape[0], np.int32 if source.n_values < 2**31 else np.int64
    offsets = np.zeros(n + 1, np.int64)
    with (folder / "counts.columns").open("wb") as columns, (folder / "counts.values").open("wb") as values:
        for first in range(0, n, ROWS):
            rows = source.rows(np.arange(first, min(first + ROWS, n)))
            offsets[first + 1 : first + len(rows.offsets)] = offsets[first] + rows.offsets[1:]
            columns.write(rows.columns.astype(index).data)
            values.write(rows.values.astype(np.float32, copy=False).data)
    np.save(folder / "counts.offsets", offsets.astype(index))


def _mapped(folder: Path, shape: tuple[int, int]) -> tuple[csr_matrix, list[mmap.mmap]]:
    with (folder / "counts.offsets.npy").open("rb") as file:
        offsets = np.load(file)
    held, arrays = [], []
    for name, kind in (("values", np.float32), ("columns", offsets.dtype)):
        with (folder / f"counts.{name}").open("rb") as file:
            if offsets[-1] == 0:
                arrays.append(np.empty(0, kind))
                continue
            held.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            arrays.append(np.frombuffer(held[-1], kind))
    return csr_matrix((*arrays, offsets), shape=shape, copy=False), held


def _give_back(held: list[mmap.mmap]) -> None:
    if hasattr(mmap, "MADV_DONTNEED"):
        for one in held:
            one.madvise(mmap.MADV_DONTNEED)
