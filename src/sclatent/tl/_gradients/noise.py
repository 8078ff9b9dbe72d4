"""Where the noise of a training step's gradient comes from: the choice of cells, dropout, the draws of the codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from sclatent.model import OBJECTIVES, Batches
from sclatent.settings import InputError, checks_arguments
from sclatent.tl._gradients.moments import LAST, MOMENTS, Moment, moments_of, training_cells
from sclatent.tl._gradients.variance import GROUPS, INTERVAL, grouped_gradient, resampled

if TYPE_CHECKING:
    from anndata import AnnData

    from sclatent.tl._model.train import TrainedModel

SOURCES = ("cells", "dropout", "draws")


@checks_arguments
def gradient_noise(
    prepared: AnnData,
    trained: TrainedModel,
    *,
    cells: int = 64,
    batches: int = 16,
    masks: int = 3,
    draws: int = 3,
    moments: Sequence[str] = MOMENTS,
    seed: int = 0,
) -> pd.DataFrame:
    """Split the variance of a training step's gradient into that of the cells, the dropout masks and the draws ε.

    A nested design: `batches` minibatches, for each of them `masks` dropout masks, for each of these `draws` draws of
    the codes, under the model's own objective. The variance at each level has that of the levels below it taken off.

    Parameters
    ----------
    prepared
        Cells × genes with counts in ``X``; the model's genes are enough.
    trained
        The model.
    cells
        Training cells of a minibatch, drawn at random.
    batches, masks, draws
        How many of each, 2 or more.
    moments
        ``start``, ``tenth`` (after a tenth of the schedule), ``end``: when in the training.
    seed
        Of all that is drawn.

    Returns
    -------
    DataFrame
        One row per moment, group of parameters (``encoder``, ``decoder``) and source (``cells``, ``dropout``,
        ``draws``): ``variance``, the sum over the parameters; ``share`` of the three, with ``low`` and ``high``, a 90 %
        bootstrap interval over the minibatches.

    Raises
    ------
    InputError
        Fewer than 2 of batches, masks or draws; no such moment; no training cells.
    """
    for name, value in (("batches", batches), ("masks", masks), ("draws", draws)):
        if value < 2:
            raise InputError(f"gradient_noise: {name}: {value} is too few for a variance: use 2 or more")
    data, index = training_cells("gradient_noise", prepared, trained)
    rows = []
    for moment in moments_of("gradient_noise", moments, data, index, trained):
        rng = np.random.default_rng(seed)
        chosen = [rng.choice(index, size=min(cells, len(index)), replace=False) for _ in range(batches)]
        found = [_one_batch(moment, Batches(data), batch, masks, draws, seed + k) for k, batch in enumerate(chosen)]
        for group in GROUPS:
            within = np.array([one[group][0] for one in found])
            between = np.array([one[group][1] for one in found])
            means = np.array([one[group][2] for one in found])
            rows += _rows(moment.name, group, within, between, means, masks, draws, seed)
    return pd.DataFrame(rows)


def _one_batch(
    moment: Moment, batches: Batches, index: np.ndarray, masks: int, draws: int, seed: int
) -> dict[str, tuple[float, float, np.ndarray]]:
    """Return, per group, the variance of the draws, that of the masks' means, and the mean gradient of a minibatch."""
    vae = moment.vae
    objective = OBJECTIVES[vae.settings.objective.kind](vae.settings.objective)
    batch = batches.gather(index)
    noise = torch.Generator(device=vae.device).manual_seed(seed)
    before, vae.progress = vae.progress, min(vae.progress, LAST)
    within: dict[str, list[float]] = {group: [] for group in GROUPS}
    means: dict[str, list[np.ndarray]] = {group: [] for group in GROUPS}
    try:
        for mask in range(masks):
            each: dict[str, list[np.ndarray]] = {group: [] for group in GROUPS}
            for _ in range(draws):
                # the same mask for all draws
                dropped = torch.Generator(device=vae.device).manual_seed(1_000_003 * (seed + 1) + mask)
                loss = objective.loss(vae, batch, noise, dropped, moment.kl_weight).cells.mean()
                for group, gradient in grouped_gradient(vae, loss).items():
                    each[group].append(gradient)
            for group, gradients in each.items():
                stacked = np.array(gradients)
                within[group].append(float(stacked.var(0, ddof=1, dtype=np.float64).sum()))
                means[group].append(stacked.mean(0))
    finally:
        vae.progress = before
    out = {}
    for group in GROUPS:
        stacked = np.array(means[group])
        between = float(stacked.var(0, ddof=1, dtype=np.float64).sum())
        out[group] = (float(np.mean(within[group])), between, stacked.mean(0))
    return out


def _rows(
    moment: str,
    group: str,
    within: np.ndarray,
    between: np.ndarray,
    means: np.ndarray,
    masks: int,
    draws: int,
    seed: int,
) -> list[dict[str, object]]:
    def split(draw: np.ndarray | float, mask: np.ndarray | float, cell: np.ndarray | float) -> np.ndarray:
        """Return the three variances, those below taken off; what is left of nothing can come out negative."""
        return np.stack([cell - mask / masks, mask - draw / draws, draw]).clip(0)

    found = split(within.mean(), between.mean(), means.var(0, ddof=1, dtype=np.float64).sum())
    # which minibatches there are is chance: the variance of their means from resamples of the same rows
    times, across = resampled(means, np.random.default_rng(seed))
    n = len(within)
    many = split(times @ within / n, times @ between / n, across)
    shares = many / np.maximum(many.sum(0), 1e-300)
    low, high = np.percentile(shares, INTERVAL, axis=1)
    return [
        {
            "moment": moment,
            "group": group,
            "source": source,
            "variance": float(found[k]),
            "share": float(found[k] / max(found.sum(), 1e-300)),
            "low": float(low[k]),
            "high": float(high[k]),
        }
        for k, source in enumerate(SOURCES)
    ]
