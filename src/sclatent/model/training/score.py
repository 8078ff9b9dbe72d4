"""How good a model is on cells that it does not learn from: what stops a training, and picks its weights."""

from __future__ import annotations

import math

import numpy as np
import torch

from sclatent.model.batch import RNA
from sclatent.model.data import Batches
from sclatent.model.distributed.ranks import Ranks
from sclatent.model.objective import Objective
from sclatent.model.vae import CountVAE

CELLS, RATES = 512, 1 << 22
"""Cells that are scored at a time; with tens of thousands of peaks fewer, of so many rates in all."""


def cells_at_once(vae: CountVAE) -> int:
    """Cells that are scored at a time, so that their rates take some megabytes only."""
    widest = max((modality.n_genes for name, modality in vae.modalities.items() if name != RNA), default=0)
    return CELLS if widest == 0 else min(CELLS, max(16, RATES // widest))


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

    They are looked at `cells_at_once` at a time, in `pieces` where memory is short. Several processes (`ranks`) share
    them, and each gets the scores of all.
    """
    ranks, together = ranks or Ranks(), cells_at_once(vae)
    noise = torch.Generator(device=vae.device).manual_seed(seed)
    score = torch.zeros(len(index), dtype=torch.float64, device=vae.device)
    for at in range(0, len(index), together):
        cells, start = index[at : at + together], noise.get_state()
        for piece in ranks.part(len(cells)).pieces(pieces):
            with ranks.looking_at(piece, noise, start):
                of_piece = objective.score(vae, batches.gather(cells[piece.first : piece.last]), noise)
            score[at + piece.first : at + piece.last] = of_piece.double()
    ranks.add(score)
    return score.cpu().numpy()


def typical(score: np.ndarray) -> float:
    """Mean of the score of cells without the lowest twentieth.

    With few validation cells one outlying cell moves the mean by more than all the others learn, in either direction.
    """
    return float(np.sort(score)[math.ceil(len(score) / 20) if len(score) > 1 else 0 :].mean())
