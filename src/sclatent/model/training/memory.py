"""What to do when the memory of a GPU does not suffice."""

from __future__ import annotations

import logging
import math

import torch

from sclatent.model.data import Batches

log = logging.getLogger("sclatent")

MOST_PIECES = 16


def make_room(batches: Batches, pieces: int, n: int) -> int:
    """Return into how many pieces the `n` cells of a step are cut from now on; then put the counts in CPU memory.

    Called while an out-of-memory error is handled, which is raised again when nothing is left to do. Each is one line.
    """
    torch.cuda.empty_cache()
    if pieces < min(MOST_PIECES, n):
        pieces *= 2
        log.warning("not enough GPU memory: the cells are now gathered %d at a time", math.ceil(n / pieces))
    elif batches.resident:
        batches.to_host()
        log.warning("not enough GPU memory: the counts stay in CPU memory")
    else:
        raise
    return pieces
