"""Building blocks of the networks, with dropout and initialisation driven by an explicit generator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sclatent.model import _csr
from sclatent.model._parallel import share
from sclatent.model.batches import Batch


def init_linear(layer: nn.Linear, generator: torch.Generator, gain: float = 1.0) -> None:
    """Fill `layer` from `generator`: uniform weights of variance gain²/(3·inputs), zero bias."""
    bound = gain / math.sqrt(layer.in_features)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()


def bytes_left_out(rate: float) -> tuple[int, float]:
    """Return how many of the 256 values of a random byte leave a unit out, and the factor on the others."""
    left_out = min(round(rate * 256), 255)
    return left_out, 256.0 / (256.0 - left_out)


def words_for(n: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the int64 words that hold `n` bytes."""
    return torch.zeros((n + 7) // 8, dtype=torch.int64, device=device)


def fill(words: Tensor, generator: torch.Generator) -> Tensor:
    """Draw uniform bytes, eight at a time, which is an eighth of the cost of floats; return them."""
    return words.random_(-(2**63), None, generator=generator).view(torch.uint8)


def dropout(h: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Leave out a fraction `rate` (met to 1/256) of the units when a generator is given (training), else return `h`."""
    left_out, factor = bytes_left_out(rate)
    if generator is None or left_out == 0:
        return h
    keep = fill(words_for(h.numel(), h.device), generator)[: h.numel()].view(h.shape) >= left_out
    return h * (keep * factor)


class _SparseProduct(torch.autograd.Function):
    """Sparse rows times a dense matrix on the CPU; the gradient touches the non-zeros only."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, batch: Batch) -> Tensor:
        out = torch.empty(len(batch), weight.shape[1])
        sparse = (batch.offsets.numpy(), batch.columns.numpy(), values.numpy())
        arrays = (weight.numpy(), bias.numpy(), out.numpy())
        share(len(batch), lambda first, last: _csr.sparse_product(first, last, *sparse, *arrays))
        ctx.sparse, ctx.shape = sparse, weight.shape
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor, None]:
        upstream, gradient = grads[0].contiguous(), torch.empty(ctx.shape)
        n_genes, width = ctx.shape
        offsets, columns, values = ctx.sparse
        none = np.zeros(width, np.float32)
        arrays = (*_csr.by_column(offsets, columns, values, n_genes), upstream.numpy(), none, gradient.numpy())
        share(n_genes, lambda first, last: _csr.sparse_product(first, last, *arrays))
        return None, gradient, upstream.sum(0), None


FLIP = 0.2
"""Share of non-zeros above which the dense product is faster on a CPU (measured: docs/engine.md)."""


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
        h = dropout(torch.relu(self.norms[0](self.first(batch))), self.rate, generator)
        for norm, layer in zip(list(self.norms)[1:], self.layers, strict=True):
            h = dropout(torch.relu(norm(layer(h))), self.rate, generator)
        return self.head(h)
