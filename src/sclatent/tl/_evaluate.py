"""How well a trained model predicts cells it has not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from sclatent.data import slots
from sclatent.model.batches import Batches, CountData
from sclatent.model.vae import CountVAE
from sclatent.tl._calibration import calibration
from sclatent.tl._embed import active_axes
from sclatent.tl._inputs import inputs
from sclatent.tl._train import TrainedModel

if TYPE_CHECKING:
    from anndata import AnnData


def evaluate(prepared: AnnData, trained: TrainedModel, *, samples: int = 100, seed: int = 0) -> dict[str, Any]:
    """Held-out fit of a model, in nats per cell, constants included.

    Returns
    -------
    ``validation`` and ``test``, each with ``n_cells``, ``elbo``, ``marginal`` (importance-weighted log p(x) with
    `samples` draws, Burda et al. 2016; a lower bound that tightens with draws), ``marginal_se`` (standard error of the
    mean over cells), ``kl``; ``n_active`` axes, ``kl_per_axis`` (over all cells), ``n_latent``, ``samples``,
    ``likelihood``, ``decoder``, ``epochs``; and ``calibration`` on test cells: see `sclatent.tl.calibration`.
    """
    data = inputs(prepared, trained.card)
    split = prepared.obs[slots.SPLIT].astype(str).to_numpy()
    result: dict[str, Any] = {
        "model": trained.card["model"],
        "seed": trained.card["seed"],
        "likelihood": trained.vae.settings.likelihood,
        "decoder": trained.vae.settings.decoder,
        "n_latent": trained.vae.settings.n_axes,
        "samples": samples,
        "epochs": len(trained.history),
    }
    for name in (slots.VALIDATION, slots.TEST):
        result[name] = summarise(trained.vae, data, np.flatnonzero(split == name), samples=samples, seed=seed)
    mean, sd = trained.vae.posterior(data)
    result["n_active"] = int(active_axes(mean).sum())
    result["kl_per_axis"] = [round(float(kl), 6) for kl in CountVAE.kl(mean, sd).mean(0, dtype=np.float64)]
    test = np.flatnonzero(split == slots.TEST)
    if len(test):
        result["calibration"] = pack(*calibration(trained.vae, data, test, trained.card["genes"], seed=seed))
    return result


def pack(table: pd.DataFrame, pit: np.ndarray, most: int = 2000) -> dict[str, Any]:
    """Return the tables of `calibration` as plain lists, of at most the `most` most abundant genes."""
    kept = table.loc[table["mean"].rank(ascending=False, method="first") <= most]
    columns = {name: [_number(v) for v in kept[name]] for name in kept.columns}
    return {"pit": [_number(v) for v in pit], "genes": kept.index.tolist(), **columns}


def _number(value: float) -> float | None:
    """Five digits, and None for what JSON cannot hold."""
    return float(f"{value:.5g}") if np.isfinite(value) else None


def summarise(
    vae: CountVAE, data: CountData, index: np.ndarray, *, samples: int = 100, seed: int = 0
) -> dict[str, Any]:
    """ELBO, marginal and KL of the cells `index`, means in nats per cell; None where there is no cell."""
    if len(index) == 0:
        return {"n_cells": 0, "elbo": None, "marginal": None, "marginal_se": None, "kl": None}
    elbo, marginal = held_out(vae, data, index, samples=samples, seed=seed)
    mean, sd = vae.posterior(data, index)
    n = len(index)
    return {
        "n_cells": n,
        "elbo": float(elbo.mean()),
        "marginal": float(marginal.mean()),
        "marginal_se": float(marginal.std(ddof=1) / np.sqrt(n)) if n > 1 else None,
        "kl": float(CountVAE.kl(mean, sd).sum(1).mean()),
    }


@torch.no_grad()
def held_out(
    vae: CountVAE, data: CountData, index: np.ndarray, *, samples: int = 100, seed: int = 0, size: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """ELBO (mean over the draws) and importance-weighted log p(x) of each cell of `index`, float64, in nats.

    Streams over cells: memory holds `size` cells and 8 draws at a time.
    """
    noise = torch.Generator(device=vae.device).manual_seed(seed)
    batches = Batches(data, vae.device)
    pairs = [vae.marginal(batch, samples, noise) for batch in batches.stream(index, size)]
    elbo, marginal = (torch.cat(part).cpu().numpy() for part in zip(*pairs, strict=True))
    return elbo, marginal
