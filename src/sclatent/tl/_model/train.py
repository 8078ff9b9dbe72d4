"""Train one model of a dataset file on prepared cells."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

import sclatent
from sclatent.data import slots
from sclatent.data.atomic import atomic
from sclatent.data.expected import need_split
from sclatent.model import (
    CountData,
    CountVAE,
    Diverged,
    Further,
    load_model,
    refit_epochs,
    refit_vae,
    rotate_axes,
    train_vae,
)
from sclatent.settings import NO_FILE, InputError, ModalitiesSettings, ModelSettings, checks_arguments, takes_settings
from sclatent.settings.modalities import ATAC
from sclatent.tl._model.first_angles import first_angles
from sclatent.tl._model.held_out_fit import summarise
from sclatent.tl._model.inputs import describe, modelled
from sclatent.tl._model.subset import evenly

if TYPE_CHECKING:
    from anndata import AnnData

HISTORY = "history.tsv"
WATCHED = 4096
"""Validation cells that decide when training stops and which weights are best; with more, epochs only take longer."""
ROTATED = 20_000
"""Training cells whose posteriors turn the axes."""


@dataclass
class TrainedModel:
    """A model, what it was made from, and how training went.

    Attributes
    ----------
    vae
        The trained model, on the CPU.
    card
        Plain values: ``genes``, ``batch``, ``levels``, ``covariates``, ``centre``, ``scale``, ``rest``, ``model``,
        ``seed``, ``device``, ``threads``, ``versions``, ``cells`` (of each split); after a refit
        its epochs as ``refit``, and as ``validation`` the fit to these cells before.
    history
        One row per epoch.
    """

    vae: CountVAE
    card: dict[str, Any]
    history: pd.DataFrame

    def save(self, folder: Path | str) -> None:
        """Write ``model.safetensors``, ``model.json`` and ``history.tsv``.

        Parameters
        ----------
        folder
            Where the three files go; made if it is missing.
        """
        folder = Path(folder)
        with atomic(folder / HISTORY) as scratch:
            self.history.to_csv(scratch, sep="\t", index=False, float_format="%.6g")
        self.vae.save(folder, {"trained": self.card})

    @classmethod
    @checks_arguments
    def load(cls, folder: Path | str) -> TrainedModel:
        """Read what `save` wrote.

        Parameters
        ----------
        folder
            A folder with the three files.

        Returns
        -------
        TrainedModel
            The model on the CPU.

        Raises
        ------
        InputError
            A file is missing, damaged, or of another version.
        """
        folder = Path(folder)
        vae, card = load_model(CountVAE, folder)
        if "trained" not in card:
            raise InputError(f"{folder}: a model without the names of its genes: it was not written by the train stage")
        history = folder / HISTORY
        return cls(vae, card["trained"], pd.read_csv(history, sep="\t") if history.exists() else pd.DataFrame())


@takes_settings
def train(
    prepared: AnnData,
    *,
    model: ModelSettings = ModelSettings(),
    seed: int = 0,
    modalities: ModalitiesSettings | None = None,
    batch: Sequence[str] = (),
    condition: Sequence[str] = (),
    covariates: Sequence[str] = (),
    library_size: str | None = None,
    name: str = "model",
    device: str = "auto",
    threads: int = 1,
    checkpoint: Path | str | None = None,
    progress: bool = False,
    file: str = NO_FILE,
    start: AnnData | None = None,
) -> TrainedModel:
    """Train a model of prepared cells.

    Parameters
    ----------
    prepared
        Output of `sclatent.pp.prepare`: counts, ``obs["split"]``, ``obs["library_size"]``, ``var["in_model"]``.
    model
        What stands under one of ``models`` of the dataset file.
    seed
        Same seed, device, versions and thread count: same bytes.
    modalities, batch, condition, covariates, library_size
        Keys of the dataset file, as `prepare` got them.
    name
        What the model is called.
    device
        ``auto`` (what the model's settings say), ``cpu`` or ``cuda``.
    threads
        CPU threads of the arithmetic, of all processes together; recorded, since results depend on it in the last
        digits.
    checkpoint
        File from which an interrupted training resumes; removed on success.
    progress
        Show a progress bar on stderr.
    file
        What messages call the place of these settings.
    start
        What `sclatent.tl.cycle` returned for these cells, at whose angles a circle among the latents starts; without,
        it starts at random. Only the angles of the training cells are looked at.

    Returns
    -------
    TrainedModel
        The model, its card and its history.

    Raises
    ------
    InputError
        If a column is missing or holds no numbers, there are more axes than genes, fewer usable GPUs than were asked
        for, or one of several processes was lost.
    """
    where = pick_device(model.device if device == "auto" else device, f"{file}: models.{name}.", model.devices)
    cells = {part: np.flatnonzero((need_split(prepared) == part).to_numpy()) for part in slots.SPLITS}
    card = describe(prepared, [*batch, *condition], covariates, library_size, cells[slots.TRAIN])
    data = modelled(prepared, card, modalities, cells[slots.TRAIN])
    _check_axes(model, len(card["genes"]), name)
    halfway = None if checkpoint is None else Path(checkpoint)
    how: dict[str, Any] = {"seed": seed, "device": where, "threads": threads, "progress": progress}
    try:
        vae, history = train_vae(
            data,
            cells[slots.TRAIN],
            evenly(cells[slots.VALIDATION], WATCHED),
            model,
            n_levels=tuple(len(levels) for levels in card["levels"]),
            rest=card["rest"],
            further=_further(card, modalities),
            checkpoint=halfway,
            keep=True,
            angle=first_angles(prepared, start, model, cells[slots.TRAIN]),
            **how,
        )
    except Diverged as trouble:
        if trouble.largest is None:
            raise
        raise trouble.named(list(prepared.obs_names), card["genes"]) from None
    both = np.sort(np.concatenate([cells[slots.TRAIN], cells[slots.VALIDATION]]))
    epochs = refit_epochs(len(both), len(history)) if model.refit else 0
    if epochs:
        card["validation"] = summarise(vae, data, cells[slots.VALIDATION])  # while these are still unseen
        vae, card["refit"] = _refit(vae, data, both, epochs, checkpoint=halfway, **how)
    if halfway is not None:
        halfway.unlink(missing_ok=True)
    rotate_axes(vae, data, evenly(cells[slots.TRAIN], ROTATED), model.rotation)
    card |= {
        "model": name,
        "seed": seed,
        "device": where,
        "threads": threads,
        "cells": {part: len(index) for part, index in cells.items()},
        "versions": _versions(),
    }
    return TrainedModel(vae, card, history)


def _check_axes(model: ModelSettings, n_genes: int, name: str) -> None:
    if model.n_latent != "auto" and model.n_latent > n_genes:
        raise InputError(
            f"models.{name}.n_latent: {model.n_latent} axes for {n_genes} genes: "
            f"set n_latent to {min(10, n_genes)} or less"
        )


def _versions() -> dict[str, str]:
    """Return the versions that the bytes of a model depend on."""
    return {
        "sclatent": sclatent.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "numpy", "scipy", "anndata")},
    }


def _refit(
    vae: CountVAE, data: CountData, both: np.ndarray, epochs: int, *, checkpoint: Path | None, **how: Any
) -> tuple[CountVAE, int]:
    """Let the model learn from the validation cells too; the model as it was, and 0 epochs, if that diverges."""
    again = None if checkpoint is None else checkpoint.with_name(f"{checkpoint.stem}.refit{checkpoint.suffix}")
    refitted = refit_vae(vae, data, both, epochs, checkpoint=again, **how)
    if again is not None:
        again.unlink(missing_ok=True)
    return (vae, 0) if refitted is None else (refitted, epochs)


def _further(card: dict[str, Any], modalities: ModalitiesSettings | None) -> dict[str, Further]:
    if modalities is None:
        return {}
    return {ATAC: Further(len(card["modalities"][ATAC]["features"]), modalities.atac.likelihood)}


def pick_device(device: str, where: str = "", devices: int = 1) -> str:
    """Return ``cpu`` or ``cuda``; fewer usable GPUs than were asked for are a user's mistake, at the key `where`."""
    usable = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if usable else "cpu"
    if device == "cuda" and not usable:
        raise InputError(
            f"{where}device: cuda was asked for, but PyTorch finds no usable GPU: use `device: auto`, or `cpu`"
        )
    if device == "cuda" and devices > torch.cuda.device_count():
        raise InputError(
            f"{where}devices: {devices} GPUs were asked for, and PyTorch finds {torch.cuda.device_count()} on this "
            "machine: set `devices` to what there is, or ask for a job with more GPUs"
        )
    return device
