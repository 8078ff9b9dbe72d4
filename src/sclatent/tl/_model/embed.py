"""Where cells lie along the axes, and what each axis does to the genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from sclatent.data import slots
from sclatent.data.blocks.dense import Rows, added, mean_and_variance, rows_at, stretches
from sclatent.data.modalities import RNA, measured
from sclatent.model import ACTIVE_VARIANCE, CountData, CountVAE
from sclatent.settings import LatentSettings, checks_arguments
from sclatent.tl._model.inputs import inputs
from sclatent.tl._model.subset import evenly
from sclatent.tl._model.train import TrainedModel

if TYPE_CHECKING:
    from anndata import AnnData

ROUND = 24
"""Places round a circle at which the decoder is asked for the loadings of an angle."""


@checks_arguments
def embed(prepared: AnnData, trained: TrainedModel) -> AnnData:
    """Return the posterior of every cell, cells × axes.

    ``X`` holds posterior means and ``layers["sd"]`` their SDs (float32); ``obs``: ``split``; ``var``: ``kl`` (mean over
    cells, nats) and ``active`` (see `active_axes`); ``varm["loadings"]`` (axes × genes of the
    model, in the order of ``uns["genes"]``): see `loadings`. With ``latent: states`` or ``mixture`` also
    ``obs["state"]``, the likeliest state (named as its axis, if it has one), and ``obsm["state_probability"]``. An axis
    of ``latent: circle`` is an angle (radians, within ± π, ``var["angle"]``), its SD a circular one.

    With several modalities ``X`` is the posterior of all that was measured of a cell; ``obsm["mean_rna"]``,
    ``obsm["sd_rna"]``, ``obsm["mean_atac"]`` and ``obsm["sd_atac"]`` are those of one modality alone (missing where a
    cell does not have it); ``varm["loadings_atac"]`` is of the peaks in ``uns["features_atac"]``, and
    ``obs["measured"]`` says what a cell has.

    Parameters
    ----------
    prepared
        Cells × genes with whole-number counts in ``X``; must hold every gene of the model.
    trained
        The trained model.

    Returns
    -------
    AnnData
        Cells × axes.
    """
    from anndata import AnnData

    data = inputs(prepared, trained.card)
    mean, sd, kl = _along_axes(trained.vae, data)
    names = [f"axis_{k + 1}" for k in range(mean.shape[1])]
    obs = prepared.obs[[column for column in (slots.SPLIT,) if column in prepared.obs]].copy()
    chosen, obsm = trained.vae.settings.latent, {}
    probability = _states(trained.vae, mean)
    if probability is not None:
        labels = _state_names(chosen, names, probability.shape[1])
        likeliest = np.concatenate([probability[rows].argmax(1) for rows in stretches(len(mean), probability)])
        obs[slots.STATE] = pd.Categorical.from_codes(likeliest, pd.Index(labels))
        obsm[slots.STATE_PROBABILITY] = probability
    angles = over_axes(chosen, "angles", mean.shape[1])
    var = pd.DataFrame(
        {"kl": kl, "active": active_axes(trained.vae, mean)},
        index=pd.Index(names),
    )
    if angles.any():
        var[slots.ANGLE] = angles
    modalities = card_modalities(trained.card)
    for name in (RNA, *modalities) if modalities else ():
        there = measured(prepared, name)
        obsm[slots.latent_of(name)], obsm[slots.latent_sd_of(name)], _ = _along_axes(trained.vae, data, name, there)
    if modalities:
        obs[slots.MEASURED] = prepared.obs[slots.MEASURED]
    return AnnData(
        X=mean,
        # the split, so that `stability` can leave out test cells without another file
        obs=obs,
        obsm=obsm,
        var=var,
        layers={slots.SD: sd},
        varm={
            "loadings": loadings(trained.vae, data, mean, angles=angles),
            **{slots.loadings_of(n): loadings(trained.vae, data, mean, angles=angles, of=n) for n in modalities},
        },
        uns={"genes": np.array(trained.card["genes"], dtype=object)}
        | {slots.features_of(name): np.array(about["features"], dtype=object) for name, about in modalities.items()}
        | ({} if chosen.kind == "gaussian" else {slots.LATENT: chosen.told}),
    )


def _along_axes(
    vae: CountVAE, data: CountData, given: str | None = None, there: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the means and SDs of all cells (cells × axes each), and the mean KL of each axis.

    Those of a modality that is `given` are missing where it is not `there` (cells,).
    """
    mean, sd = Rows(data.n_cells), Rows(data.n_cells)
    kl = np.zeros(vae.settings.n_axes)
    for rows in stretches(data.n_cells):
        axes = vae.along_axes(data, np.arange(rows.start, rows.stop), given=given)
        gone = np.zeros((len(axes.mean), 1), dtype=bool) if there is None else ~there[rows, None]
        mean.append(np.where(gone, np.float32(np.nan), axes.mean))
        sd.append(np.where(gone, np.float32(np.nan), axes.sd))
        kl = added(kl, axes.kl)
    return mean.array(), sd.array(), kl / data.n_cells


def _states(vae: CountVAE, mean: np.ndarray) -> np.ndarray | None:
    """Return the probability of each state (cells × states), where the latent has states."""
    out = Rows(len(mean))
    with torch.no_grad():
        for rows in stretches(len(mean), mean):
            probability = vae.latent.states(torch.from_numpy(np.array(mean[rows])))
            if probability is None:
                return None
            out.append(probability.numpy())
    return out.array()


def over_axes(latent: LatentSettings, what: str, n_axes: int) -> np.ndarray:
    """Return for each axis what the settings of its block say of `what`, a truth value."""
    parts = zip(latent.parts, latent.sizes(n_axes), strict=True)
    return np.concatenate([np.full(n, getattr(one, what)) for one, n in parts])


def _state_names(latent: LatentSettings, names: list[str], n: int) -> list[str]:
    """Return the names of states: those of their axes, where each has one."""
    own = [name for name, state in zip(names, over_axes(latent, "relaxed", len(names)), strict=True) if state]
    return own if len(own) == n else [f"state_{k + 1}" for k in range(n)]


def active_axes(vae: CountVAE, mean: np.ndarray) -> np.ndarray:
    """Whether each axis' posterior mean varies over cells, from means (cells × axes).

    Its variance exceeds 0.01, in units of the prior's where the ends of an axis are fixed (shares, states, 0 to 1).
    """
    return mean_and_variance(mean)[1] > ACTIVE_VARIANCE * vae.latent.spread().numpy().astype(np.float64) ** 2


def card_modalities(card: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a card says of the modalities beside RNA, by name."""
    return dict(card.get("modalities", {}))


def loadings(
    vae: CountVAE,
    data: CountData,
    mean: np.ndarray,
    *,
    angles: np.ndarray | None = None,
    cells: int = 2000,
    size: int = 256,
    of: str = RNA,
) -> np.ndarray:
    """Effect of each axis on the log rate of each gene, or feature of the modality `of` (axes × genes), float32.

    Half the difference between the log rates one SD (of the posterior means over cells) above and below each cell's
    own position, averaged over at most `cells` evenly spaced cells, the other axes and the covariates at each cell's
    own values. Unit: nats per SD. Of an axis that is an angle (`angles`, a truth value for each axis), a quarter of
    what separates the highest mean log rate round the circle from the lowest: it is never below 0, and four of it are
    the whole way, as four SD are along another axis.
    """
    n, n_axes = mean.shape
    picked = evenly(np.arange(n), cells)
    step = np.sqrt(mean_and_variance(mean)[1]).astype(np.float32)
    turning = np.zeros(n_axes, bool) if angles is None else angles
    result = np.zeros((n_axes, vae.modalities[of].n_genes), np.float64)
    turns = {k: np.zeros((ROUND, result.shape[1])) for k in np.flatnonzero(turning).tolist()}
    for start in range(0, len(picked), size):
        index = picked[start : start + size]
        at_cells = rows_at(mean, index)
        categorical = None if data.categorical is None else data.categorical[index]
        continuous = None if data.continuous is None else data.continuous[index]

        def level(
            z: np.ndarray, categorical: np.ndarray | None = categorical, continuous: np.ndarray | None = continuous
        ) -> np.ndarray:
            return vae.log_fraction(z, categorical, continuous, of=of).sum(0, dtype=np.float64)

        for axis in np.flatnonzero(~turning).tolist():
            up, down = (level(vae.moved(at_cells, axis, sign * step[axis])) for sign in (1, -1))
            result[axis] += 0.5 * (up - down)
        for axis, levels in turns.items():
            for at in range(ROUND):
                levels[at] += level(vae.latent.placed(at_cells, axis, 2 * np.pi * at / ROUND))
    for axis, levels in turns.items():
        result[axis] = np.ptp(levels, axis=0) / 4
    return (result / max(len(picked), 1)).astype(np.float32)
