"""Building blocks of the networks, with dropout and initialisation driven by an explicit generator."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from sclatent.model import _kernels
from sclatent.model._parallel import share
from sclatent.model.batches import Batch


def init_linear(layer: nn.Linear, generator: torch.Generator, gain: float = 1.0) -> None:
    """Fill `layer` from `generator`: uniform weights of variance gain²/(3·inputs), zero bias."""
    bound = gain / math.sqrt(layer.in_features)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()


def dropout(h: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Leave out a fraction `rate` of the units when a generator is given (training), else return `h`."""
    if generator is None or rate == 0:
        return h
    keep = torch.rand(h.shape, generator=generator, device=h.device) >= rate
    return h * keep * (1.0 / (1.0 - rate))


class _SparseProduct(torch.autograd.Function):
    """Sparse rows times a dense matrix on the CPU; the gradient touches the non-zeros only."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, batch: Batch) -> Tensor:
        out = torch.empty(len(batch), weight.shape[1])
        sparse = (batch.offsets.numpy(), batch.columns.numpy(), values.numpy())
        arrays = (weight.numpy(), bias.numpy(), out.numpy())
        share(len(batch), lambda first, last: _kernels.sparse_product(first, last, *sparse, *arrays))
        ctx.sparse, ctx.shape = sparse, weight.shape
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor, None]:
        upstream = grads[0].contiguous()
        gradient = torch.zeros(ctx.shape)
        arrays = (upstream.numpy(), gradient.numpy())
        share(ctx.shape[1], lambda a, b: _kernels.sparse_product_gradient(a, b, *ctx.sparse, *arrays))
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
    """From counts to the mean and SD of q(z | x)."""

    def __init__(
        self, n_genes: int, n_latent: int, n_hidden: int, n_layers: int, rate: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.rate = rate
        self.first = SparseLinear(n_genes, n_hidden, generator)
        self.norms = nn.ModuleList([nn.LayerNorm(n_hidden) for _ in range(n_layers)])
        hidden = [nn.Linear(n_hidden, n_hidden) for _ in range(n_layers - 1)]
        self.layers = nn.ModuleList(hidden)
        self.head = nn.Linear(n_hidden, 2 * n_latent)
        for layer in hidden:
            init_linear(layer, generator, math.sqrt(2.0))
        init_linear(self.head, generator)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return mean and SD (B × axes each); `generator` switches dropout on."""
        h = dropout(torch.relu(self.norms[0](self.first(batch))), self.rate, generator)
        for norm, layer in zip(list(self.norms)[1:], self.layers, strict=True):
            h = dropout(torch.relu(norm(layer(h))), self.rate, generator)
        mean, raw = self.head(h).chunk(2, dim=1)
        # softplus with an offset: SD 1 at the start, never 0, no overflow
        return mean, nn.functional.softplus(raw + 0.5413) + 1e-4
