"""The trainer: a one-cycle schedule, early stopping on the validation ELBO, the best weights at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from sclatent.model.data import CountData
from sclatent.model.distributed.job import Job
from sclatent.model.distributed.launch import run_together
from sclatent.model.distributed.ranks import Ranks
from sclatent.model.parts.modality import Further
from sclatent.model.training import checkpoint as checkpoints
from sclatent.model.training.diagnose import Diverged, check_data
from sclatent.model.training.loop import Run
from sclatent.model.training.schedule import Schedule
from sclatent.model.vae import CountVAE
from sclatent.settings import ModelSettings

log = logging.getLogger("sclatent")

SAVE_EVERY = 20.0
"""Seconds between checkpoints."""


def train_vae(
    data: CountData,
    train: np.ndarray,
    validation: np.ndarray,
    settings: ModelSettings,
    *,
    n_levels: tuple[int, ...] = (),
    rest: bool = False,
    further: Mapping[str, Further] | None = None,
    seed: int = 0,
    device: str = "cpu",
    threads: int = 1,
    checkpoint: Path | None = None,
    keep: bool = False,
    progress: bool = False,
    angle: np.ndarray | None = None,
) -> tuple[CountVAE, pd.DataFrame]:
    """Train a model on the cells `train`; the cells `validation` decide when to stop.

    The loss is minus the ELBO (Kingma & Welling 2014) unless the settings name another objective.

    Parameters
    ----------
    data
        Counts, library sizes and covariates of all cells.
    train, validation
        (n,) positions of the cells.
    settings
        Likelihood, networks, training.
    n_levels
        Levels of each categorical covariate.
    rest
        Whether library sizes count more than the genes of `data`.
    further
        The modalities beside the genes, which `data` holds as ``others``.
    seed
        Same seed, device, versions and thread count: same bytes.
    device
        ``cpu`` or ``cuda``.
    threads
        CPU threads of the arithmetic; several processes share them.
    checkpoint
        File from which an interrupted training of the same data, settings and versions resumes; removed at the end.
    keep
        Keep the checkpoint of the finished training, so that a refit can continue from it.
    progress
        Show a progress bar on stderr.
    angle
        (cells, 2) where a circle among the latents starts: see `sclatent.model.training.round`. None: at random.

    Returns
    -------
    tuple
        The model with the weights of the best validation ELBO, and one row per epoch: ``epoch``, ``train_elbo`` (with
        dropout), ``validation_elbo`` (of the averaged weights), ``kl`` (nats per cell), ``kl_weight``,
        ``learning_rate``.

    Raises
    ------
    InputError
        Counts that are no counts; a training that diverged twice; with several ``devices`` in the settings, a process
        that was lost, or what they cannot share.
    """
    train, validation = np.asarray(train, dtype=np.int64), np.asarray(validation, dtype=np.int64)
    check_data(data, train)
    options: dict[str, Any] = {"n_levels": n_levels, "rest": rest, "further": dict(further or {})}
    guess = () if angle is None else (angle,)
    key = checkpoints.key_of(
        data, train, validation, settings.model_dump_json(), *options.values(), seed, device, threads, *guess
    )
    how: dict[str, Any] = {"seed": seed, "device": device, "threads": threads, "key": key, "angle": angle}
    where: dict[str, Any] = {"checkpoint": checkpoint, "keep": keep, "progress": progress, "save_every": SAVE_EVERY}
    vae, history = _train(Job(data, train, validation, settings, what="training", **options, **how, **where))
    if checkpoint is not None and not keep:
        checkpoint.unlink(missing_ok=True)
    return vae, pd.DataFrame(history)


def early_model(
    data: CountData,
    train: np.ndarray,
    settings: ModelSettings,
    share: float,
    *,
    n_levels: tuple[int, ...] = (),
    rest: bool = False,
    seed: int = 0,
) -> tuple[CountVAE, float]:
    """Train for the first `share` (0 to 1) of the schedule, on the CPU with one thread.

    Parameters
    ----------
    data
        Counts and covariates of all cells.
    train
        (n,) positions of the training cells.
    settings
        One model of the dataset file.
    share
        Share of the schedule, 0 to 1.
    n_levels
        Number of levels of each categorical column.
    rest
        Whether library sizes count more genes than `data` has.
    seed
        Same seed, same bytes.

    Returns
    -------
    tuple
        The model with the weights of the last step, not their average, and the weight that the KL then has. Above 0 a
        share is one epoch or more.
    """
    train = np.asarray(train, dtype=np.int64)
    check_data(data, train)
    with _threads(1):
        options: dict[str, Any] = {"n_levels": n_levels, "rest": rest, "seed": seed, "device": "cpu"}
        run = Run(data, train, np.empty(0, np.int64), settings, **options)
        epochs = max(1, round(share * run.schedule.epochs)) if share else 0
        while run.epoch < epochs:
            run.one_epoch()
        run.flat.release(run.flat.values)
        run.vae.progress = run.schedule.progress(run.step)
        return run.vae.eval(), run.schedule.kl_weight(run.step)


def refit_vae(
    vae: CountVAE,
    data: CountData,
    cells: np.ndarray,
    epochs: int,
    *,
    seed: int = 0,
    device: str = "cpu",
    threads: int = 1,
    checkpoint: Path | None = None,
    progress: bool = False,
) -> CountVAE | None:
    """Go on training for a while on more cells: those that said when to stop join those that were learned from.

    The learning rate goes through a second, shorter cycle.

    Parameters
    ----------
    vae
        The model from `train_vae`, not yet rotated; it is left as it is.
    data
        Counts, library sizes and covariates of all cells.
    cells
        (n,) positions of the training and validation cells.
    epochs
        Passes through these cells.
    seed, device, threads, progress
        As for `train_vae`.
    checkpoint
        File from which an interrupted refit resumes; left where it is at the end.

    Returns
    -------
    CountVAE | None
        The refitted model, or None if the refit diverged.
    """
    cells = np.asarray(cells, dtype=np.int64)
    shape: dict[str, Any] = {"n_levels": vae.n_levels, "rest": vae.rest, "further": vae.further}
    weights = torch.cat([p.detach().reshape(-1) for p in vae.parameters()]).cpu().numpy()
    key = checkpoints.key_of(data, cells, weights, epochs, *shape.values(), seed, device, threads)
    how: dict[str, Any] = {"seed": seed, "device": device, "threads": threads, "key": key, "save_every": SAVE_EVERY}
    again: dict[str, Any] = {"start": vae, "schedule": Schedule.again(vae.settings, len(cells), epochs)}
    where: dict[str, Any] = {"checkpoint": checkpoint, "progress": progress}
    none = np.empty(0, np.int64)
    try:
        return _train(Job(data, cells, none, vae.settings, what="refit", **shape, **how, **again, **where))[0]
    except Diverged as trouble:
        log.warning("no refit on training and validation cells: %s", trouble)
        return None


def _train(job: Job) -> tuple[CountVAE, list[dict[str, float]]]:
    """Carry a job out here, or in as many processes as it has devices."""
    return carry_out(job, Ranks()) if job.settings.devices == 1 else run_together(job)


def carry_out(job: Job, ranks: Ranks) -> tuple[CountVAE, list[dict[str, float]]]:
    """Train, alone or as one of several processes, of which the first writes the checkpoint.

    Returns
    -------
    tuple
        The model with its best weights, on the CPU, and its history, the same in every process.

    Raises
    ------
    InputError
        A training that diverged twice, in every process.
    """
    threads = max(1, job.threads // ranks.size)
    with _threads(threads):
        more: dict[str, Any] = {"start": job.start, "schedule": job.schedule, "angle": job.angle, "ranks": ranks}
        how: dict[str, Any] = {"seed": job.seed, "device": job.device, **job.shape}
        run = Run(job.data, job.cells, job.validation, job.settings, **how, **more)
        _go(run, job)
        if job.checkpoint is not None and job.keep and ranks.rank == 0:
            checkpoints.write(job.checkpoint, run.state() | {"key": job.key})
        return run.best_model(), run.history


def _go(run: Run, job: Job) -> None:
    """Take up a run where its checkpoint left it, and bring it to its end."""
    first = run.ranks.rank == 0
    checkpoint = job.checkpoint if first else None
    state = None if checkpoint is None else checkpoints.read(checkpoint, job.key)
    if (state := run.ranks.from_first(state)) is not None:
        run.restore(state)
        log.info("%s: %s resumes after epoch %d", job.checkpoint, job.what, run.epoch)
    saved, shown = time.monotonic(), job.progress and first
    with tqdm(total=run.schedule.epochs, initial=run.epoch, desc=job.what, unit="epoch", disable=not shown) as bar:
        while not run.finished:
            run.one_epoch()
            bar.update(run.epoch - bar.n)
            if run.history and len(run.validation):
                bar.set_postfix_str(f"validation ELBO {run.history[-1]['validation_elbo']:.1f}", refresh=False)
            if checkpoint is not None and time.monotonic() - saved >= job.save_every:
                checkpoints.write(checkpoint, run.state() | {"key": job.key})
                saved = time.monotonic()


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Within it, PyTorch uses `n` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
