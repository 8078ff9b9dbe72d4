"""Where a circle among the latents starts: at the angles that the cycle stage found."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data import slots
from sclatent.settings import InputError, ModelSettings

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger("sclatent")


def first_angles(
    prepared: AnnData, cycle: AnnData | None, model: ModelSettings, cells: np.ndarray
) -> np.ndarray | None:
    """Return what `sclatent.model.train_vae` takes as ``angle``; None: no circle in the model, or no angle is known.

    Parameters
    ----------
    prepared
        The cells.
    cycle
        What `sclatent.tl.cycle` returned for these cells, in any order; None: nothing is known.
    model
        The model.
    cells
        Positions of the training cells; of all others nothing is handed on.

    Returns
    -------
    (all cells, 2) cosine and sine times the mean resultant length; NaN for all but the training cells that cycle.
    """
    if not any(one.angles for one in model.latent.parts):
        return None
    if cycle is None:
        log.warning("latent: circle: without the cells' angles (`start`) the circle starts at random")
        return None
    names = prepared.obs_names[cells]
    missing = ~names.isin(cycle.obs_names)
    if missing.any():
        raise InputError(
            f"start: {missing.sum()} of the {len(cells)} training cells ('{names[missing][0]}', …) are not among the "
            f"{cycle.n_obs} cells of the cycle stage: give the stage these cells"
        )
    found = cycle.obs.loc[names]
    cycling = found[slots.CYCLING].to_numpy(dtype=bool)
    if not cycling.any():
        log.warning("latent: circle: no training cell cycles, so the circle starts at random")
        return None
    angle, sd = (found[column].to_numpy(dtype=np.float64) for column in (slots.CYCLE_ANGLE, slots.CYCLE_SD))
    sure = np.where(cycling, np.exp(-0.5 * sd**2), np.nan)
    out = np.full((prepared.n_obs, 2), np.nan)
    out[cells] = sure[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return out
