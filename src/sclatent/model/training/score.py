"""How good a model is on cells that it does not learn from: what stops a training, and picks its weights."""

from __future__ import annotations

import math

import numpy as np
import torch

from sclatent.model.data import Batches
from sclatent.model.distributed.ranks import Ranks
from sclatent.model.objective import Objective
from sclatent.model.vae import CountVAE

TOGETHER = 512
"""Cells that are scored at a time."""


@torch.no_grad()
def score_cells(
    vae: CountVAE,
    objective: Objective,
    batches: Batches,
    index: np.ndarray,
    seed: int,
    *,
    ranks: Ranks | None = None,
    pieces: int = 1,
) -> np.ndarray:
    """Score of each of the cells `index`, float64, with draws from a generator of `seed`.

    They are looked at `TOGETHER` at a time, in `pieces` where memory is short. Of several processes (`ranks`) each
    scores its own of them, and has 0 for the others.
    """
    ranks = ranks or Ranks()
    noise = torch.Generator(device=vae.device).manual_seed(seed)
    score = np.zeros(len(index))
    for at in range(0, len(index), TOGETHER):
        cells, start = index[at : at + TOGETHER], noise.get_state()
        for piece in ranks.part(len(cells)).pieces(pieces):
            with ranks.looking_at(piece, noise, start):
                of_piece = objective.score(vae, batches.gather(cells[piece.first : piece.last]), noise)
            score[at + piece.first : at + piece.last] = of_piece.double().cpu().numpy()
    return score


def typical(score: np.ndarray) -> float:
    """Mean of the score of cells without the lowest twentieth.

    With few validation cells one outlying cell moves the mean by more than all the others learn, in either direction.
    """
    return float(np.sort(score)[math.ceil(len(score) / 20) if len(score) > 1 else 0 :].mean())
