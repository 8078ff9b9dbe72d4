"""How good a model is on cells that it does not learn from: what stops a training, and picks its weights."""

from __future__ import annotations

import math

import numpy as np
import torch

from sclatent.model.data import Batches
from sclatent.model.objective import Objective
from sclatent.model.vae import CountVAE


@torch.no_grad()
def score_cells(
    vae: CountVAE, objective: Objective, batches: Batches, index: np.ndarray, seed: int, size: int = 512
) -> np.ndarray:
    """Score of each of the cells `index`, float64, with draws from a generator of `seed`."""
    noise = torch.Generator(device=vae.device).manual_seed(seed)
    parts = [np.empty(0)]
    for batch in batches.stream(index, size):
        parts.append(objective.score(vae, batch, noise).double().cpu().numpy())
    return np.concatenate(parts)


def typical(score: np.ndarray) -> float:
    """Mean of the score of cells without the lowest twentieth.

    With few validation cells one outlying cell moves the mean by more than all the others learn, in either direction.
    """
    return float(np.sort(score)[math.ceil(len(score) / 20) if len(score) > 1 else 0 :].mean())
