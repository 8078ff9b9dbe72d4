"""Counts held once as CSR, and minibatches gathered from them by row index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix, issparse
from scipy.special import gammaln
from torch import Tensor

from sclatent.model._kernels import gather_rows


@dataclass(frozen=True)
class CountData:
    """The counts of some cells and what the model is conditioned on.

    Parameters
    ----------
    counts
        CSR matrix of whole numbers (cells × genes).
    library
        Library size of each cell; the row sums, or a total over more genes.
    categorical
        Level codes (cells × columns), int64; -1 stands for a level the model does not know.
    continuous
        Standardised covariates (cells × columns), float32.
    """

    counts: csr_matrix
    library: np.ndarray
    categorical: np.ndarray | None = None
    continuous: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not issparse(self.counts) or self.counts.format != "csr":
            raise TypeError("counts must be a CSR matrix")
        n = self.counts.shape[0]
        for name in ("library", "categorical", "continuous"):
            value = getattr(self, name)
            if value is not None and len(value) != n:
                raise ValueError(f"{name} has {len(value)} rows, counts have {n}")

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.counts.shape[0])

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return int(self.counts.shape[1])

    def subset(self, index: np.ndarray) -> CountData:
        """Return the cells `index` (positions) as new data."""
        return CountData(
            self.counts[index],
            self.library[index],
            None if self.categorical is None else self.categorical[index],
            None if self.continuous is None else self.continuous[index],
        )


@dataclass
class Batch:
    """The non-zeros of B cells (N in all) and what the decoder needs beside z.

    ``offsets`` (B + 1,) int64 delimits each cell's stretch of ``columns`` (N,) int64 and ``values`` (N,) float32;
    ``rows`` (N,) int64 is the cell of each non-zero; ``log_factorial`` (B,) float64 is Σ_g log(x!).
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

    def __len__(self) -> int:
        return int(self.library.shape[0])

    def dense(self) -> Tensor:
        """Counts as a dense tensor (B × genes)."""
        out = torch.zeros(len(self), self.n_genes, device=self.values.device)
        out[self.rows, self.columns] = self.values
        return out

    def repeat(self, times: int) -> Batch:
        """The same cells `times` times over, cell by cell within each repeat."""
        n, nnz = len(self), int(self.values.shape[0])
        step = torch.arange(times, device=self.values.device)
        return Batch(
            offsets=torch.cat([(self.offsets[:-1] + step[:, None] * nnz).reshape(-1), (times * self.offsets[-1]).reshape(1)]),
            rows=(self.rows + step[:, None] * n).reshape(-1),
            columns=self.columns.repeat(times),
            values=self.values.repeat(times),
            library=self.library.repeat(times),
            total=self.total.repeat(times),
            log_factorial=self.log_factorial.repeat(times),
            categorical=self.categorical.repeat(times, 1),
            continuous=self.continuous.repeat(times, 1),
            n_genes=self.n_genes,
        )


class Batches:
    """Minibatches of `data`: gathers rows by index, on the CPU or on the device that holds the arrays."""

    def __init__(self, data: CountData, device: torch.device | str = "cpu") -> None:
        counts = data.counts
        self.n_cells, self.n_genes = data.n_cells, data.n_genes
        self.device = torch.device(device)
        values = counts.data if counts.data.dtype == np.float32 else counts.data.astype(np.float32)
        self._offsets = self._put(counts.indptr.astype(np.int64))
        self._columns = self._put(counts.indices)
        self._values = self._put(values)
        n = data.n_cells
        log_factorial = np.zeros(n)
        total = np.zeros(n)
        for start in range(0, n, 4096):
            block = counts[start : start + 4096]
            total[start : start + 4096] = np.asarray(block.sum(axis=1, dtype=np.float64)).ravel()
            block = block.astype(np.float64)
            block.data = gammaln(block.data + 1.0)
            log_factorial[start : start + 4096] = np.asarray(block.sum(axis=1)).ravel()
        self._log_factorial = self._put(log_factorial)
        self._total = self._put(total.astype(np.float32))
        self._library = self._put(np.asarray(data.library, dtype=np.float32))
        categorical = np.empty((n, 0)) if data.categorical is None else data.categorical
        continuous = np.empty((n, 0)) if data.continuous is None else data.continuous
        self._categorical = self._put(np.asarray(categorical, dtype=np.int64))
        self._continuous = self._put(np.asarray(continuous, dtype=np.float32))

    def _put(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def gather(self, index: np.ndarray | Tensor) -> Batch:
        """Return the cells at positions `index`."""
        rows = torch.as_tensor(index, dtype=torch.int64, device=self.device)
        start = self._offsets[rows]
        lengths = self._offsets[rows + 1] - start
        offsets = torch.zeros(len(rows) + 1, dtype=torch.int64, device=self.device)
        torch.cumsum(lengths, 0, out=offsets[1:])
        n = int(offsets[-1])
        if self.device.type == "cpu":
            cell, columns = torch.empty(n, dtype=torch.int64), torch.empty(n, dtype=torch.int64)
            values = torch.empty(n)
            source = (self._offsets.numpy(), self._columns.numpy(), self._values.numpy())
            gather_rows(rows.numpy(), *source, offsets.numpy(), cell.numpy(), columns.numpy(), values.numpy())
        else:
            cell = torch.repeat_interleave(torch.arange(len(rows), device=self.device), lengths, output_size=n)
            position = torch.arange(n, device=self.device) + (start - offsets[:-1])[cell]
            columns, values = self._columns[position].long(), self._values[position]
        return Batch(
            offsets=offsets,
            rows=cell,
            columns=columns,
            values=values,
            library=self._library[rows],
            total=self._total[rows],
            log_factorial=self._log_factorial[rows],
            categorical=self._categorical[rows],
            continuous=self._continuous[rows],
            n_genes=self.n_genes,
        )

    def stream(self, index: np.ndarray, size: int) -> Iterator[Batch]:
        """Yield the cells `index` in order, `size` at a time."""
        for start in range(0, len(index), size):
            yield self.gather(index[start : start + size])
