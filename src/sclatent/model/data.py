"""The counts of cells with what the model is conditioned on, and minibatches of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from sclatent.model.batch import Batch
from sclatent.model.csr import CSRCounts
from sclatent.model.source import CountSource

log = logging.getLogger("sclatent")


@dataclass(frozen=True)
class CountData:
    """The counts of some cells and what the model is conditioned on.

    Parameters
    ----------
    counts
        Whole numbers (cells × genes): a CSR matrix in memory, or a `CountSource`.
    library
        (cells,) library sizes, in counts: the row sums, or a total over more genes.
    categorical
        Level codes (cells × columns), int64; -1 stands for a level the model does not know.
    continuous
        Standardised covariates (cells × columns), float32.
    measured
        (cells,) bool: whether a cell was measured at all; None: all were. The counts of the others are zeros, which
        say nothing.
    others
        The same cells in further modalities, by name; their covariates are not looked at.
    """

    counts: csr_matrix | CountSource
    library: np.ndarray
    categorical: np.ndarray | None = None
    continuous: np.ndarray | None = None
    measured: np.ndarray | None = None
    others: Mapping[str, CountData] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.counts, CountSource) and getattr(self.counts, "format", None) != "csr":
            raise TypeError("counts must be a CSR matrix or a CountSource")
        n = self.n_cells
        for name in ("library", "categorical", "continuous", "measured"):
            value = getattr(self, name)
            if value is not None and len(value) != n:
                raise ValueError(f"{name} has {len(value)} rows, counts have {n}")
        for name, other in self.others.items():
            if other.n_cells != n:
                raise ValueError(f"{name} has {other.n_cells} cells, counts have {n}")

    @cached_property
    def source(self) -> CountSource:
        """The counts as a source."""
        return self.counts if isinstance(self.counts, CountSource) else CSRCounts(self.counts)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.counts.shape[0])

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return int(self.counts.shape[1])

    def subset(self, index: np.ndarray) -> CountData:
        """Return the cells `index` (positions) as new data.

        Parameters
        ----------
        index
            (n,) positions of the cells, from 0 on.

        Returns
        -------
        CountData
            These cells, in the order of `index`.
        """
        return CountData(
            self.source.subset(index) if isinstance(self.counts, CountSource) else self.counts[index],
            self.library[index],
            None if self.categorical is None else self.categorical[index],
            None if self.continuous is None else self.continuous[index],
            None if self.measured is None else self.measured[index],
            {name: other.subset(index) for name, other in self.others.items()},
        )


class Batches:
    """Minibatches of `data`, gathered by row index from its source.

    On a GPU the arrays of a source in memory are put there once if they fit, where a gather is an index; else they stay
    where they are and each batch is sent.
    """

    def __init__(self, data: CountData, device: torch.device | str = "cpu") -> None:
        self.source = data.source
        self.n_cells, self.n_genes = data.n_cells, data.n_genes
        self.device = torch.device(device)
        total, log_factorial = self.source.row_sums
        self.density = self.source.n_values / max(self.n_cells * self.n_genes, 1)
        """Share of the counts that are not 0."""
        categorical = np.empty((data.n_cells, 0)) if data.categorical is None else data.categorical
        continuous = np.empty((data.n_cells, 0)) if data.continuous is None else data.continuous
        self._cells: dict[str, np.ndarray] = {
            "library": np.asarray(data.library, dtype=np.float32),
            "total": total.astype(np.float32),
            "log_factorial": log_factorial,
            "categorical": np.asarray(categorical, dtype=np.int64),
            "continuous": np.asarray(continuous, dtype=np.float32),
        }
        if data.measured is not None:
            self._cells["measured"] = np.asarray(data.measured, dtype=bool)
        self.others = {name: Batches(other, device) for name, other in data.others.items()}
        self._there: dict[str, Tensor] | None = None
        if self.device.type != "cpu":
            self.to_device()

    @property
    def resident(self) -> bool:
        """Whether the arrays are on the GPU."""
        return self._there is not None

    def to_device(self) -> None:
        """Put the arrays on the GPU, or leave them where they are: with one line if they do not fit."""
        arrays = self.source.arrays()
        if arrays is None:
            return
        self._host_offsets = arrays["offsets"]
        arrays = arrays | self._cells
        try:
            self._there = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
        except torch.OutOfMemoryError:
            self.to_host()
            log.warning("not enough GPU memory for the counts: they stay in CPU memory")

    def to_host(self) -> None:
        """Free the copy on the GPU."""
        self._there = None
        for other in self.others.values():
            other.to_host()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def gather(self, index: np.ndarray) -> Batch:
        """Return the cells at positions `index`.

        Parameters
        ----------
        index
            (n,) positions of the cells, from 0 on.

        Returns
        -------
        Batch
            The cells, in the order of `index`, on the device of the training.
        """
        index = np.ascontiguousarray(index, dtype=np.int64)
        others = {name: other.gather(index) for name, other in self.others.items()}
        if self._there is not None:
            return self._gather_there(self._there, index, others)
        arrays: dict[str, np.ndarray] = self.source.rows(index)._asdict()
        arrays |= {name: array[index] for name, array in self._cells.items()}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if self.device.type != "cpu":
            tensors = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        return Batch(**tensors, n_genes=self.n_genes, others=others)

    def take(self, index: np.ndarray) -> tuple[tuple[Any, ...], dict[str, np.ndarray]]:
        """Return what `sparse_rows.take_rows` makes of the cells at `index`, and what else is known of them.

        Parameters
        ----------
        index
            (n,) positions of the cells, from 0 on.

        Returns
        -------
        tuple
            What `CountSource.take` returns, and by name library sizes (n,) and covariates (n × columns) of these cells.
        """
        return self.source.take(index), {name: array[index] for name, array in self._cells.items()}

    def _gather_there(self, there: dict[str, Tensor], cells: np.ndarray, others: dict[str, Batch]) -> Batch:
        # counted on the host: to read it from the GPU would wait for everything that the GPU has queued
        n = int((self._host_offsets[cells + 1] - self._host_offsets[cells]).sum())
        index = torch.from_numpy(cells).to(self.device)
        start = there["offsets"][index]
        lengths = there["offsets"][index + 1] - start
        offsets = torch.zeros(len(index) + 1, dtype=torch.int64, device=self.device)
        torch.cumsum(lengths, 0, out=offsets[1:])
        rows = torch.repeat_interleave(torch.arange(len(index), device=self.device), lengths, output_size=n)
        position = torch.arange(n, device=self.device) + (start - offsets[:-1])[rows]
        return Batch(
            offsets=offsets,
            rows=rows,
            columns=there["columns"][position].long(),
            values=there["values"][position],
            **{name: there[name][index] for name in self._cells},
            n_genes=self.n_genes,
            others=others,
        )

    def stream(self, index: np.ndarray, size: int) -> Iterator[Batch]:
        """Yield the cells `index` in order, `size` at a time.

        Parameters
        ----------
        index
            (n,) positions of the cells, from 0 on.
        size
            Cells at a time; the last batch may hold fewer.

        Yields
        ------
        Batch
            The next cells.
        """
        for start in range(0, len(index), size):
            yield self.gather(index[start : start + size])
