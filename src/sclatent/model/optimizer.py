"""AdamW with a clipped gradient, over all weights at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from sclatent.model._parallel import share
from sclatent.model._vector_math import OPTIONS
from sclatent.model.flat import FlatWeights

_f = np.float32
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""The defaults of PyTorch."""
TO_MEAN, TO_SQUARE, TINY = _f(1.0 - BETA1), _f(1.0 - BETA2), _f(EPSILON)
FEW = 1 << 16
"""Weights of a group that one thread does sooner than two."""


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
        else:
            parts = [{"params": [part], **group} for part, group in zip(flat.parts, groups, strict=True)]
            self.fused = torch.optim.AdamW(parts, betas=(BETA1, BETA2), eps=EPSILON, fused=True)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move the weights against ``flat.gradient`` at this learning rate."""
        if self.fused is not None:
            # without asking how large it is, which would wait for all that the GPU has queued
            gradient = self.flat.gradient
            gradient.mul_((self.largest / torch.dot(gradient, gradient).sqrt()).clamp(max=1.0))
            for group in self.fused.param_groups:
                group["lr"] = rate * group["speed"]
            self.fused.step()
            return
        self.steps += 1
        norm = math.sqrt(float(torch.dot(self.flat.gradient, self.flat.gradient)))
        # a norm that is not a number spoils all weights, which the next step notices
        scale = 1.0 if norm <= self.largest else self.largest / norm
        toward, shrink = 1.0 - BETA1**self.steps, 1.0 / math.sqrt(1.0 - BETA2**self.steps)
        mean, square = self.moments.numpy()
        arrays = (self.flat.values.numpy(), self.flat.gradient.numpy(), mean, square)
        start = 0
        for part, group in zip(self.flat.parts, self.groups, strict=True):
            pace = rate * group["speed"]
            numbers = [_f(x) for x in (scale, 1.0 - pace * group["weight_decay"], pace / toward, shrink)]
            _move_part(start, len(part), *arrays, *numbers)
            start += len(part)

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


def _move_part(start: int, n: int, *rest: Any) -> None:
    if n < FEW:
        _move(start, start + n, *rest)
    else:
        share(n, lambda first, last: _move(start + first, start + last, *rest))


@njit(**OPTIONS)
def _move(first, last, values, gradient, mean, square, scale, keep, pace, shrink):  # type: ignore[no-untyped-def]
    """One step of AdamW on the weights first..last."""
    w, gradients, means, squares = values[first:last], gradient[first:last], mean[first:last], square[first:last]
    for i in range(w.shape[0]):
        g = gradients[i] * scale
        means[i] += (g - means[i]) * TO_MEAN
        squares[i] += (g * g - squares[i]) * TO_SQUARE
        w[i] = w[i] * keep - pace * means[i] / (np.sqrt(squares[i]) * shrink + TINY)


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    """Copy the state of PyTorch's optimiser, which changes its tensors in place."""
    moments = {
        index: {name: value.clone() if isinstance(value, Tensor) else value for name, value in entry.items()}
        for index, entry in state["state"].items()
    }
    return {"state": moments, "param_groups": [dict(group) for group in state["param_groups"]]}
