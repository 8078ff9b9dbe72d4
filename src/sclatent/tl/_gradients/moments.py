"""The moments of a training at which gradients are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data import slots
from sclatent.data.expected import need_split
from sclatent.model import CountData, CountVAE, early_model
from sclatent.settings import InputError
from sclatent.tl._model.inputs import inputs

if TYPE_CHECKING:
    from anndata import AnnData

    from sclatent.tl._model.train import TrainedModel

SHARES = {"start": 0.0, "tenth": 0.1}
MOMENTS = (*SHARES, "end")
LAST = 1.0 - 1e-6
"""How far the training is at its end: where draws can still be differentiated."""


@dataclass(frozen=True)
class Moment:
    """A model at a moment of its training, and the weight of the KL there."""

    name: str
    vae: CountVAE
    kl_weight: float


def training_cells(what: str, prepared: AnnData, trained: TrainedModel) -> tuple[CountData, np.ndarray]:
    """Return the cells as the model sees them, and the positions of the training cells; `what` asks."""
    split = need_split(prepared).astype(str).to_numpy()
    cells = np.flatnonzero(split == slots.TRAIN)
    if not len(cells):
        raise InputError(f"{what}: no training cells: check `split`")
    return inputs(prepared, trained.card), cells


def moments_of(
    what: str, names: Sequence[str], data: CountData, cells: np.ndarray, trained: TrainedModel
) -> list[Moment]:
    """Return the model at the moments `names`: the first tenth of its training is done once more.

    The same cells, settings and seed, so the weights are those that the training went through; but a circle starts at
    random here.
    """
    out = []
    for name in names:
        if name not in MOMENTS:
            raise InputError(f"{what}: no moment '{name}': known: {', '.join(MOMENTS)}")
        if name == "end":
            out.append(Moment(name, trained.vae, 1.0))
            continue
        vae, weight = early_model(
            data,
            cells,
            trained.vae.settings,
            SHARES[name],
            n_levels=trained.vae.n_levels,
            rest=trained.vae.rest,
            seed=int(trained.card["seed"]),
        )
        out.append(Moment(name, vae, weight))
    return out
