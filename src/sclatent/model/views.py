"""Which modalities of a cell are looked at: all that were measured, or one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from sclatent.model.data import Batch

T = TypeVar("T")
RNA = "rna"
"""The modality whose counts a batch itself holds."""
TOGETHER = 0.5
"""Share of the cells of a step that are looked at in all their modalities; the others in one of them, each alike."""


def measured(batch: Batch) -> dict[str, Tensor]:
    """Return which cells (B,) were measured, by modality."""
    everywhere = torch.ones(len(batch), dtype=torch.bool, device=batch.library.device)
    parts = {RNA: batch, **batch.others}
    return {name: everywhere if part.measured is None else part.measured for name, part in parts.items()}


def parts(modalities: Mapping[str, T], batch: Batch) -> Iterator[tuple[T, Batch, Tensor]]:
    """Yield each modality with its measured cells, and their positions in `batch`."""
    for name, modality in modalities.items():
        part = batch if name == RNA else batch.others[name]
        if part.measured is None or bool(part.measured.all()):
            yield modality, part, torch.arange(len(batch), device=batch.library.device)
        elif bool(part.measured.any()):
            cells = torch.nonzero(part.measured)[:, 0]
            yield modality, part.some(cells), cells


def seen(batch: Batch, masks: dict[str, Tensor]) -> Batch:
    """Return the batch with only the cells of each modality that its mask (B,) holds."""
    others = {name: replace(other, measured=masks[name]) for name, other in batch.others.items()}
    return replace(batch, measured=masks[RNA], others=others)


def only(batch: Batch, *names: str) -> Batch:
    """Return the batch as if no other modality than these had been measured.

    Parameters
    ----------
    batch
        Cells.
    *names
        The modalities that stay.

    Returns
    -------
    Batch
        The same cells.
    """
    masks = measured(batch)
    return seen(batch, {name: mask if name in names else torch.zeros_like(mask) for name, mask in masks.items()})


def random_view(batch: Batch, generator: torch.Generator) -> Batch:
    """Return the batch with half of the cells in all their modalities, and of each other cell one that is drawn.

    A single posterior of a cell and the one of all its modalities are then trained alike. With one modality there is
    nothing to draw.
    """
    if not batch.others:
        return batch
    masks = measured(batch)
    there = torch.stack(list(masks.values()))
    drawn = torch.rand(there.shape, generator=generator, device=generator.device)
    drawn = drawn.masked_fill(~there, -1.0)
    single = torch.zeros_like(there)
    single.scatter_(0, drawn.argmax(0, keepdim=True), True)
    whole = torch.rand(len(batch), generator=generator, device=generator.device) < TOGETHER
    return seen(batch, dict(zip(masks, there & (whole | single), strict=True)))
