"""One modality from the other: what a cell's RNA tells of its open chromatin, and the reverse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from sclatent.data import slots
from sclatent.data.modalities import RNA, measured
from sclatent.model import Batches, only
from sclatent.settings import InputError, checks_arguments
from sclatent.tl._model.conditions import check_modality
from sclatent.tl._model.inputs import inputs
from sclatent.tl._model.train import TrainedModel

if TYPE_CHECKING:
    from anndata import AnnData

SIZE = 32
"""Cells that are decoded at a time."""


@checks_arguments
@torch.no_grad()
def impute(
    trained: TrainedModel,
    cells: AnnData,
    *,
    from_: str = "rna",
    to: str = "atac",
    depth: float | None = None,
    draws: int = 32,
    seed: int = 0,
) -> AnnData:
    """Predict a modality of cells from another one.

    Parameters
    ----------
    trained
        A model of several modalities.
    cells
        Cells × genes, as for `sclatent.tl.train`; counts of `to` are not used.
    from_, to
        Names of the modalities.
    depth
        The library size, or depth, at which rates are given: how many counts of `to` a cell has. By default the median
        of the training cells, the same for all cells: how deeply a cell would have been read, the other modality does
        not tell.
    draws
        From the posterior of each cell given `from_`.
    seed
        Of the draws.

    Returns
    -------
    AnnData
        AnnData of the cells that have `from_` × the model's features of `to`. ``X``: the mean over the posterior of
        the expected count, or for ``bernoulli`` of the probability that a peak is open; ``layers["sd"]``: its standard
        deviation over the posterior; float32. ``uns["impute"]``: ``from``, ``to``, ``depth``, ``draws``, ``seed``.

    Raises
    ------
    InputError
        The model does not know the modality, or no cell has `from_`; fewer than two draws.
    """
    import anndata

    vae, known = trained.vae, list(trained.vae.modalities)
    for key, name in (("from_", from_), ("to", to)):
        check_modality(name, known, f"impute: {key}")
    if from_ == to:
        raise InputError(f"impute: from_ and to are both '{to}': one modality is predicted from another")
    if draws < 2:
        raise InputError(f"impute: draws: found {draws}: a standard deviation needs 2 or more")
    index = np.flatnonzero(measured(cells, from_))
    if not len(index):
        raise InputError(f"impute: no cell was measured for {from_}: give cells that were")
    about = _about(trained.card, to)
    depth = float(about["depth"]) if depth is None else float(depth)
    if not depth > 0:
        raise InputError(f"impute: depth: found {depth:g}: it must be positive")
    data = inputs(cells, trained.card)
    modality, features = vae.modalities[to], about["features"]
    mean, sd = (np.empty((len(index), len(features)), np.float32) for _ in range(2))
    noise, done = torch.Generator(device=vae.device).manual_seed(seed), 0
    for batch in Batches(data, vae.device).stream(index, SIZE):
        posterior = vae.encode(only(batch, from_))
        eps = torch.randn((draws, len(batch), vae.latent.n_noise), generator=noise, device=vae.device)
        design = vae.design(batch.categorical, batch.continuous)
        total, square = (torch.zeros(len(batch), len(features), dtype=torch.float64) for _ in range(2))
        for code in posterior.sample(eps):
            fraction = torch.softmax(modality.decoder(code, design), 1)[:, : len(features)]
            expected, _ = modality.likelihood.moments(
                (depth * fraction.double()).cpu().numpy(), **modality.likelihood.shape(code, batch.categorical)
            )
            value = torch.from_numpy(np.asarray(expected))
            total += value
            square += value * value
        at = slice(done, done + len(batch))
        mean[at] = (total / draws).numpy()
        sd[at] = ((square - total * total / draws).clamp(min=0) / (draws - 1)).sqrt().numpy()
        done += len(batch)
    return anndata.AnnData(
        mean,
        obs=cells.obs.iloc[index].copy(),
        var=pd.DataFrame(index=pd.Index(features)),
        layers={slots.SD: sd},
        uns={"impute": {"from": from_, "to": to, "depth": depth, "draws": draws, "seed": seed}},
    )


def _about(card: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the features of a modality, and the depth of a usual training cell."""
    if name == RNA:
        return {"features": card["genes"], "depth": card["depth"]}
    about: dict[str, Any] = card["modalities"][name]
    return about
