"""What the processes of one training tell each other. Process 0 is the first; each is called by its rank."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sclatent.model.distributed.part import Part, looking_at

PATIENCE = timedelta(days=1)
"""How long a process waits for the others. Whoever started them stops all when one is lost, so nobody waits in vain."""


class Lost(Exception):
    """Another process of the training is gone."""


class Ranks:
    """The processes that train one model: here this one, alone.

    Attributes
    ----------
    rank, size
        Which of how many processes this one is.
    """

    rank, size = 0, 1

    def part(self, n: int) -> Part:
        """Return which of the `n` cells of a step are this process's."""
        return Part(0, n, n).pieces(self.size)[self.rank] if n >= self.size else self._few(n)

    def _few(self, n: int) -> Part:
        at = min(self.rank, n)
        return Part(at, min(at + 1, n), n)

    def looking_at(self, part: Part, noise: torch.Generator, start: Tensor) -> AbstractContextManager[None]:
        """Within it, draws from `noise` are those of `part` among those of all cells of the step, begun at `start`."""
        return nullcontext()

    def add(self, *vectors: Tensor) -> None:
        """Replace each vector with its sum over the processes, the same bytes in each of them."""

    def from_first(self, value: Any) -> Any:
        """Return what process 0 has as `value`."""
        return value


class Several(Ranks):
    """A process among others, by `torch.distributed`."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def looking_at(self, part: Part, noise: torch.Generator, start: Tensor) -> AbstractContextManager[None]:
        """Draw anew for every part, so that draws depend neither on the number of parts nor on their sizes."""
        noise.set_state(start)
        return looking_at(part)

    def add(self, *vectors: Tensor) -> None:
        """Sum over the processes."""
        with _together():
            for vector in vectors:
                torch.distributed.all_reduce(vector)

    def from_first(self, value: Any) -> Any:
        """Hear from process 0."""
        box = [value]
        with _together():
            torch.distributed.broadcast_object_list(box, device=torch.device("cpu"))
        return box[0]


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # also `DistBackendError`
        raise Lost(str(error)) from error


@contextmanager
def joined(rank: int, size: int, meeting: Path, device: str) -> Iterator[Ranks]:
    """Meet the other processes at the file `meeting`; yield this one among them.

    Parameters
    ----------
    rank, size
        Which of how many processes this one is.
    meeting
        A file that all of them can write, of this training only.
    device
        ``cpu`` or ``cuda``; processes of GPUs talk through NCCL.
    """
    gpus = device == "cuda" and torch.distributed.is_nccl_available()
    with _together():
        torch.distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if gpus else "gloo",
            store=torch.distributed.FileStore(str(meeting), size),
            rank=rank,
            world_size=size,
            timeout=PATIENCE,
        )
    try:
        yield Several(rank, size)
    finally:
        torch.distributed.destroy_process_group()
