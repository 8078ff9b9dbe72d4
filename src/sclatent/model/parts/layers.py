"""Building blocks of the networks: initialisation and dropout, driven by an explicit generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sclatent.model.distributed.part import for_all


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

    def draw(shape: tuple[int, ...]) -> Tensor:
        n = math.prod(shape)
        return fill(words_for(n, h.device), generator)[:n].view(shape)

    return h * ((for_all(draw, tuple(h.shape), 0) >= left_out) * factor)
