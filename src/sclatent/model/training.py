"""The trainer: a one-cycle schedule, early stopping on the validation ELBO, the best weights at the end."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from sclatent.model import resume
from sclatent.model.batches import CountData
from sclatent.model.run import Run
from sclatent.model.trouble import check_data
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
    seed: int = 0,
    device: str = "cpu",
    threads: int = 1,
    checkpoint: Path | None = None,
    progress: bool = False,
) -> tuple[CountVAE, pd.DataFrame]:
    """Train a model on the cells `train`; the cells `validation` say when to stop.

    Parameters
    ----------
    data
        Counts, library sizes and covariates of all cells.
    train, validation
        Positions of the cells.
    settings
        Likelihood, networks, training.
    n_levels
        Levels of each categorical covariate.
    rest
        Whether library sizes count more than the genes of `data`.
    seed
        Same seed, device, versions and thread count: same bytes.
    device
        ``cpu`` or ``cuda``.
    threads
        CPU threads of the arithmetic.
    checkpoint
        File from which an interrupted training of the same data, settings and versions resumes; removed at the end.
    progress
        Show a progress bar on stderr.

    Returns
    -------
    The model with the weights of the best validation ELBO, and one row per epoch: ``epoch``, ``train_elbo`` (with
    dropout), ``validation_elbo`` (of the averaged weights), ``kl`` (nats per cell), ``kl_weight``, ``learning_rate``.

    Raises
    ------
    InputError
        Counts that are no counts; a training that diverged twice.
    """
    train, validation = np.asarray(train, dtype=np.int64), np.asarray(validation, dtype=np.int64)
    check_data(data, train)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        run = Run(data, train, validation, settings, n_levels=n_levels, rest=rest, seed=seed, device=device)
        key = resume.key_of(data, train, validation, settings.model_dump_json(), n_levels, rest, seed, device, threads)
        if checkpoint is not None and (state := resume.read(checkpoint, key)) is not None:
            run.restore(state)
            log.info("%s: training resumes after epoch %d", checkpoint, run.epoch)
        saved = time.monotonic()
        with tqdm(total=run.plan.epochs, initial=run.epoch, unit="epoch", disable=not progress) as bar:
            while not run.finished:
                run.one_epoch()
                bar.update(run.epoch - bar.n)
                if run.history:
                    bar.set_postfix_str(f"validation ELBO {run.history[-1]['validation_elbo']:.1f}", refresh=False)
                if checkpoint is not None and time.monotonic() - saved >= SAVE_EVERY:
                    resume.write(checkpoint, run.state() | {"key": key})
                    saved = time.monotonic()
        vae = run.best_model()
    finally:
        torch.set_num_threads(before)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return vae, pd.DataFrame(run.history)
