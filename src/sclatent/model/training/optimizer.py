"""AdamW with a clipped gradient, over all weights at once."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from sclatent.model.kernels.threads import share
from sclatent.model.kernels.vector_math import OPTIONS
from sclatent.model.training.weights import FlatWeights

_f = np.float32
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""The defaults of PyTorch."""
TO_MEAN, TO_SQUARE, TINY = _f(1.0 - BETA1), _f(1.0 - BETA2), _f(EPSILON)
PIECE = 1 << 13
"""Least number of weights per thread; the norm is a sum over pieces of this size, whichever thread computes them."""


class Mover(NamedTuple):
    """What the compiled pass needs: moments, the squared norms of the pieces, and of each part its end and numbers."""

    mean: Any
    square: Any
    squares: Any
    ends: Any
    numbers: Any  # of each part: what decay leaves of a weight, pace of the mean, factor on the root of the square
    largest: Any


class AdamW:
    """Decoupled weight decay (Loshchilov and Hutter 2019) on the weights of a model.

    On a GPU this is PyTorch's fused optimiser. On a CPU its bookkeeping takes longer than its arithmetic, so there one
    compiled pass does the same.

    Parameters
    ----------
    flat
        Weights and gradients.
    groups
        ``weight_decay`` and ``speed``, a factor on the learning rate, of each of ``flat.parts``.
    largest
        Gradients of a larger norm are scaled down to it.
    compiled
        Whether to take the compiled pass; by default on a CPU.
    """

    def __init__(
        self, flat: FlatWeights, groups: list[dict[str, Any]], largest: float, *, compiled: bool | None = None
    ) -> None:
        self.flat, self.groups, self.largest = flat, groups, largest
        self.steps = 0
        self.fused: torch.optim.AdamW | None = None
        if compiled or (compiled is None and flat.values.device.type == "cpu"):
            self.moments = torch.zeros(2, len(flat.values))
            self.squares = np.zeros(-(-len(flat.values) // PIECE))
            self.ends = np.cumsum([len(part) for part in flat.parts])
        else:
            parts = [{"params": [part], **group} for part, group in zip(flat.parts, groups, strict=True)]
            self.fused = torch.optim.AdamW(parts, betas=(BETA1, BETA2), eps=EPSILON, fused=True)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move the weights against ``flat.gradient`` at this learning rate."""
        if self.fused is not None:
            # without reading the norm, which would wait for everything that the GPU has queued
            gradient = self.flat.gradient
            gradient.mul_((self.largest / torch.dot(gradient, gradient).sqrt()).clamp(max=1.0))
            for group in self.fused.param_groups:
                group["lr"] = rate * group["speed"]
            self.fused.step()
            return
        vectors, mover = (self.flat.values.numpy(), self.flat.gradient.numpy()), self.mover(rate)
        add_squares(0, len(self.squares), vectors[1], self.squares)
        given = (*vectors, mover.mean, mover.square, mover.ends, mover.numbers, scale_of(mover.squares, mover.largest))
        share(len(self.squares), lambda first, last: move(first, last, *given))

    def mover(self, rate: float) -> Mover:
        """Return what `move` needs for the next step, at this learning rate."""
        self.steps += 1
        toward, shrink = 1.0 - BETA1**self.steps, 1.0 / math.sqrt(1.0 - BETA2**self.steps)
        paces = [rate * group["speed"] for group in self.groups]
        decays = [1.0 - pace * group["weight_decay"] for pace, group in zip(paces, self.groups, strict=True)]
        numbers = [(keep, pace / toward, shrink) for keep, pace in zip(decays, paces, strict=True)]
        mean, square = self.moments.numpy()
        return Mover(mean, square, self.squares, self.ends, np.array(numbers, np.float32), self.largest)

    def state(self) -> dict[str, Any]:
        """Return a copy of what decides how the steps go on, as tensors and numbers."""
        if self.fused is None:
            return {"steps": self.steps, "moments": self.moments.clone()}
        return _copied(self.fused.state_dict())

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        if self.fused is None:
            self.steps = state["steps"]
            self.moments.copy_(state["moments"])
        else:
            self.fused.load_state_dict(_copied(state))


@njit(forceinline=True, **{**OPTIONS, "fastmath": {"reassoc", "nsz", "contract"}})
def _dot(values):  # type: ignore[no-untyped-def]
    total = _f(0.0)
    for i in range(values.shape[0]):
        total += values[i] * values[i]
    return total


@njit(**OPTIONS)
def add_squares(first, last, gradient, squares):  # type: ignore[no-untyped-def]
    """Write the sum of squares of the pieces first..last."""
    for i in range(first, last):
        squares[i] = _dot(gradient[i * PIECE : (i + 1) * PIECE])


@njit(**OPTIONS)
def scale_of(squares, largest):  # type: ignore[no-untyped-def]
    """Factor that clips the gradient, of the squares of all pieces."""
    total = 0.0
    for square in squares:
        total += square
    norm = math.sqrt(total)
    # a norm that is NaN makes all weights NaN, which the next step detects
    return _f(1.0) if norm <= largest else _f(largest / norm)


@njit(**OPTIONS)
def move(first, last, values, gradient, mean, square, ends, numbers, scale):  # type: ignore[no-untyped-def]
    """One step of AdamW on the pieces first..last, with `scale` times the gradient; for the rest see `Mover`."""
    start, stop = first * PIECE, min(last * PIECE, values.shape[0])
    for part in range(len(ends)):
        end = min(stop, ends[part])
        if start < end:
            keep, pace, shrink = numbers[part, 0], numbers[part, 1], numbers[part, 2]
            moments = (mean[start:end], square[start:end])
            _move(values[start:end], gradient[start:end], *moments, scale, keep, pace, shrink)
            start = end


@njit(**OPTIONS)
def _move(w, gradient, mean, square, scale, keep, pace, shrink):  # type: ignore[no-untyped-def]
    for i in range(w.shape[0]):
        g = gradient[i] * scale
        mean[i] += (g - mean[i]) * TO_MEAN
        square[i] += (g * g - square[i]) * TO_SQUARE
        w[i] = w[i] * keep - pace * mean[i] / (np.sqrt(square[i]) * shrink + TINY)


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    """Copy the state of PyTorch's optimiser, which changes its tensors in place."""
    moments = {
        index: {name: value.clone() if isinstance(value, Tensor) else value for name, value in entry.items()}
        for index, entry in state["state"].items()
    }
    return {"state": moments, "param_groups": [dict(group) for group in state["param_groups"]]}
