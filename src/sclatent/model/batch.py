"""Some cells as tensors, and which of their modalities are looked at: all that were measured, or one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
RNA = "rna"
"""The modality whose counts a batch itself holds."""
TOGETHER = 0.5
"""Share of the cells of a step that are looked at in all their modalities; the others in one of them, each alike."""


@dataclass
class Batch:
    """The non-zeros of B cells (N in all) and what the decoder needs beside z.

    ``offsets`` (B + 1,) int64 delimits each cell's stretch of ``columns`` (N,) int64 and ``values`` (N,) float32;
    ``rows`` (N,) int64 is the cell of each non-zero. ``library`` (B,) is the library size and ``total`` (B,) the sum of
    the counts; ``log_factorial`` (B,) float64 is Σ_g log(x!). ``categorical`` (B × columns) int64 holds level codes,
    ``continuous`` (B × columns) float32 standardised covariates. ``measured`` (B,) bool says which cells are looked at
    (None: all). ``others`` holds the same cells in further modalities, by name.
    """

    offsets: Tensor
    rows: Tensor
    columns: Tensor
    values: Tensor
    library: Tensor
    total: Tensor
    log_factorial: Tensor
    categorical: Tensor
    continuous: Tensor
    n_genes: int
    measured: Tensor | None = None
    others: Mapping[str, Batch] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.library.shape[0])

    def dense(self) -> Tensor:
        """Counts as a dense tensor (B × genes).

        Returns
        -------
        Tensor
            (B × genes), float32.
        """
        out = torch.zeros(len(self), self.n_genes, device=self.values.device)
        out[self.rows, self.columns] = self.values
        return out

    def repeat(self, times: int) -> Batch:
        """The same cells `times` times over, cell by cell within each repeat.

        Parameters
        ----------
        times
            Number of copies.

        Returns
        -------
        Batch
            times × B cells.
        """
        n, nnz = len(self), int(self.values.shape[0])
        step = torch.arange(times, device=self.values.device)
        return Batch(
            offsets=torch.cat([(self.offsets[:-1] + step[:, None] * nnz).reshape(-1), times * self.offsets[-1:]]),
            rows=(self.rows + step[:, None] * n).reshape(-1),
            columns=self.columns.repeat(times),
            values=self.values.repeat(times),
            library=self.library.repeat(times),
            total=self.total.repeat(times),
            log_factorial=self.log_factorial.repeat(times),
            categorical=self.categorical.repeat(times, 1),
            continuous=self.continuous.repeat(times, 1),
            n_genes=self.n_genes,
            measured=None if self.measured is None else self.measured.repeat(times),
            others={name: other.repeat(times) for name, other in self.others.items()},
        )

    def some(self, cells: Tensor) -> Batch:
        """Return some of the cells, in this modality alone.

        Parameters
        ----------
        cells
            (n,) int64, positions in the batch, ascending.

        Returns
        -------
        Batch
            These cells.
        """
        kept = torch.zeros(len(self), dtype=torch.bool, device=self.values.device)
        kept[cells] = True
        there, place = kept[self.rows], torch.cumsum(kept, 0) - 1
        lengths = (self.offsets[1:] - self.offsets[:-1])[cells]
        offsets = torch.zeros(len(cells) + 1, dtype=torch.int64, device=self.values.device)
        torch.cumsum(lengths, 0, out=offsets[1:])
        by_cell = ("library", "total", "log_factorial", "categorical", "continuous")
        return Batch(
            offsets=offsets,
            rows=place[self.rows[there]],
            columns=self.columns[there],
            values=self.values[there],
            **{name: getattr(self, name)[cells] for name in by_cell},
            n_genes=self.n_genes,
        )


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
