"""Posteriors of cells, improved one by one: how much the encoder leaves undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from sclatent.data import slots
from sclatent.model import Axes, Batches, CountData, CountVAE, refined
from sclatent.settings import InputError, checks_arguments
from sclatent.tl._model.embed import active_axes
from sclatent.tl._model.inputs import inputs

if TYPE_CHECKING:
    from anndata import AnnData

    from sclatent.tl._model.train import TrainedModel

STEPS = 60


def check_refinable(vae: CountVAE, steps: int) -> None:
    """Refuse what has no posterior that steps could improve.

    Raises
    ------
    InputError
        A latent without a density, or of discrete states; fewer than one step.
    """
    latent = vae.settings.latent
    if not latent.density or latent.relaxed:
        raise InputError(
            f"refine: latent: {latent.told} has no posterior that small steps could improve: do not refine it"
        )
    if steps < 1:
        raise InputError(f"refine: needs 1 step or more, found {steps}: leave it out to keep the encoder's posterior")


@checks_arguments
def refine(prepared: AnnData, trained: TrainedModel, *, steps: int = STEPS, seed: int = 0) -> AnnData:
    """Improve each cell's own posterior by a few pathwise steps, the weights of the model held still.

    Parameters
    ----------
    prepared
        Cells × genes with counts in ``X``; the model's genes are enough.
    trained
        The model.
    steps
        Steps for each cell; 60 of them take about as long as sixty encodings and 240 decodings.
    seed
        Of the draws.

    Returns
    -------
    AnnData
        Cells × axes as from `sclatent.tl.embed`, without loadings: ``X`` posterior means, ``layers["sd"]``; ``obs``:
        ``split``; ``var``: ``kl`` (nats), ``active``; ``uns["refine"]``: ``steps``, ``seed``.

    Raises
    ------
    InputError
        The latent is a point or of discrete states; fewer than one step.
    """
    from anndata import AnnData

    vae = trained.vae
    check_refinable(vae, steps)
    data = inputs(prepared, trained.card)
    noise, parts = torch.Generator(device=vae.device).manual_seed(seed), []
    for batch in Batches(data, vae.device).stream(np.arange(data.n_cells), 64):
        parts.append(refined(vae, batch, steps, noise).along(vae.rotation))
    axes = Axes(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    names = [f"axis_{k + 1}" for k in range(axes.mean.shape[1])]
    return AnnData(
        X=axes.mean,
        obs=prepared.obs[[column for column in (slots.SPLIT,) if column in prepared.obs]].copy(),
        var=pd.DataFrame({"kl": axes.kl.mean(0, dtype=np.float64), "active": active_axes(vae, axes.mean)}, index=names),
        layers={slots.SD: axes.sd},
        uns={"refine": {"steps": steps, "seed": seed}},
    )


def refined_held_out(
    vae: CountVAE, data: CountData, index: np.ndarray, *, steps: int, samples: int, seed: int
) -> dict[str, Any]:
    """ELBO and marginal of the cells `index` under refined posteriors, and the gain over the encoder's, paired."""
    check_refinable(vae, steps)
    if len(index) == 0:
        return {"n_cells": 0, "steps": steps}
    noise = torch.Generator(device=vae.device).manual_seed(seed)
    found = []
    for batch in Batches(data, vae.device).stream(index, 64):
        posterior = refined(vae, batch, steps, noise)
        with torch.no_grad():
            pairs = [vae.marginal(batch, samples, noise, posterior=one) for one in (posterior, None)]
        found.append(torch.stack([*pairs[0], pairs[0][1] - pairs[1][1]]).cpu().numpy())
    elbo, marginal, gain = np.concatenate(found, axis=1)
    n = len(index)
    return {
        "n_cells": n,
        "steps": steps,
        "elbo": float(elbo.mean()),
        "marginal": float(marginal.mean()),
        "gain": float(gain.mean()),
        "gain_se": float(gain.std(ddof=1) / np.sqrt(n)) if n > 1 else None,
    }
