"""From counts to the parameters of the posterior, at the cost of the non-zeros."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sclatent.model.batch import Batch
from sclatent.model.kernels import sparse_rows
from sclatent.model.kernels.threads import share
from sclatent.model.parts.layers import dropout, init_linear


class _SparseProduct(torch.autograd.Function):
    """Sparse rows times a dense matrix on the CPU; the gradient touches the non-zeros only."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, batch: Batch) -> Tensor:
        out = torch.empty(len(batch), weight.shape[1])
        sparse = (batch.offsets.numpy(), batch.columns.numpy(), values.numpy())
        arrays = (weight.numpy(), bias.numpy(), out.numpy())
        share(len(batch), lambda first, last: sparse_rows.sparse_product(first, last, *sparse, *arrays))
        ctx.sparse, ctx.shape = sparse, weight.shape
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor, None]:
        upstream, gradient = grads[0].contiguous(), torch.empty(ctx.shape)
        n_genes, width = ctx.shape
        offsets, columns, values = ctx.sparse
        none = np.zeros(width, np.float32)
        arrays = (*sparse_rows.by_column(offsets, columns, values, n_genes), upstream.numpy(), none, gradient.numpy())
        share(n_genes, lambda first, last: sparse_rows.sparse_product(first, last, *arrays))
        return None, gradient, upstream.sum(0), None


FLIP = 0.2
"""Share of non-zeros above which the dense product is faster on a CPU (measured: docs/history/engine.md)."""


def _compiled(batch: Batch, weight: Tensor) -> bool:
    """Whether the product should go over the non-zeros."""
    return weight.device.type == "cpu" and len(batch.values) <= FLIP * len(batch) * batch.n_genes


class SparseLinear(nn.Module):
    """First layer of the encoder: log1p(counts) times a dense matrix, at the cost of the non-zeros."""

    def __init__(self, n_genes: int, n_out: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_genes, n_out))
        self.bias = nn.Parameter(torch.zeros(n_out))
        bound = 1.0 / math.sqrt(n_genes)
        with torch.no_grad():
            self.weight.uniform_(-bound, bound, generator=generator)

    def forward(self, batch: Batch) -> Tensor:
        """Return hidden units (B × n_out)."""
        values = torch.log1p(batch.values)
        if _compiled(batch, self.weight):
            return _SparseProduct.apply(values, self.weight, self.bias, batch)
        dense = torch.zeros(len(batch), batch.n_genes, device=values.device)
        dense[batch.rows, batch.columns] = values
        return torch.addmm(self.bias, dense, self.weight)


class Encoder(nn.Module):
    """From counts to the parameters of q(z | x)."""

    def __init__(
        self, n_genes: int, n_parameters: int, n_hidden: int, n_layers: int, rate: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.rate = rate
        self.first = SparseLinear(n_genes, n_hidden, generator)
        self.norms = nn.ModuleList([nn.LayerNorm(n_hidden) for _ in range(n_layers)])
        hidden = [nn.Linear(n_hidden, n_hidden) for _ in range(n_layers - 1)]
        self.layers = nn.ModuleList(hidden)
        self.head = nn.Linear(n_hidden, n_parameters)
        for layer in hidden:
            init_linear(layer, generator, math.sqrt(2.0))
        init_linear(self.head, generator)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        """Return the head (B × n_parameters) that a latent takes; `generator` switches dropout on."""
        return self.head(self.hidden(batch, generator))

    def hidden(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        """Return the last hidden units (B × n_hidden)."""
        h = dropout(torch.relu(self.norms[0](self.first(batch))), self.rate, generator)
        for norm, layer in zip(list(self.norms)[1:], self.layers, strict=True):
            h = dropout(torch.relu(norm(layer(h))), self.rate, generator)
        return h
