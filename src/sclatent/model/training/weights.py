"""All weights of a model as one vector: optimiser, gradient norm and average are then one operation each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

AVERAGE, AVERAGE_EVERY = 0.99, 5
"""Weights are averaged over the last 100 steps or so, every fifth; the average is what is validated and kept."""


class FlatWeights:
    """The parameters of some groups laid end to end; each parameter becomes a view of its stretch.

    A step on thirteen small tensors costs more in calls than in arithmetic. The values never move: code that changes
    `values` changes the model.

    Attributes
    ----------
    values, gradient
        All weights and their gradients (one vector each).
    parts
        One leaf per group, views of `values` whose ``grad`` are views of `gradient`: what the optimiser gets.
    """

    def __init__(self, groups: list[list[nn.Parameter]]) -> None:
        self.parameters = [p for group in groups for p in group]
        self.values = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        self.gradient = torch.zeros_like(self.values)
        for p, place in zip(self.parameters, self._stretches(self.values), strict=True):
            p.data = place
        self.parts, start = [], 0
        for group in groups:
            stop = start + sum(p.numel() for p in group)
            part = nn.Parameter(self.values[start:stop])
            part.grad = self.gradient[start:stop]
            self.parts.append(part)
            start = stop

    def connect(self) -> None:
        """Make the gradient of each parameter a view of `gradient`, for code that writes gradients in place."""
        for p, place in zip(self.parameters, self._stretches(self.gradient), strict=True):
            p.grad = place

    def forget(self) -> None:
        """Drop the gradients of the parameters."""
        for p in self.parameters:
            p.grad = None

    def collect(self) -> None:
        """Copy the gradients of the parameters to `gradient` (zero where a parameter had no part in the loss)."""
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        torch.cat([g.reshape(-1) for g in grads], out=self.gradient)

    @torch.no_grad()
    def release(self, values: Tensor) -> None:
        """Give every parameter memory of its own again, with its stretch of `values`."""
        for p, place in zip(self.parameters, self._stretches(values), strict=True):
            p.data = place.clone()
        self.forget()

    def _stretches(self, vector: Tensor) -> list[Tensor]:
        """Return the stretch of each parameter in a vector as long as `values`, in its shape."""
        sizes = [p.numel() for p in self.parameters]
        return [part.view(p.shape) for part, p in zip(vector.split(sizes), self.parameters, strict=True)]


@torch.no_grad()
def add_to_average(average: Tensor, values: Tensor, step: int) -> None:
    """Move the running average of the weights towards `values`, which `step` steps have made."""
    if step % AVERAGE_EVERY == 0:
        # the average of the first steps is a plain mean, which forgets where training started
        share = max(1.0 - AVERAGE**AVERAGE_EVERY, AVERAGE_EVERY / (step + AVERAGE_EVERY))
        average.lerp_(values, share)
