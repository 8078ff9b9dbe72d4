"""All weights of a model as one vector: optimiser, gradient norm and average are then one operation each."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FlatWeights:
    """The parameters of some groups laid end to end; each parameter becomes a view of its stretch.

    A step on thirteen small tensors costs more in calls than in arithmetic. The values never move: whoever changes
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
        start = 0
        for p in self.parameters:
            p.data = self.values[start : start + p.numel()].view(p.shape)
            start += p.numel()
        self.parts, start = [], 0
        for group in groups:
            stop = start + sum(p.numel() for p in group)
            part = nn.Parameter(self.values[start:stop])
            part.grad = self.gradient[start:stop]
            self.parts.append(part)
            start = stop

    def forget(self) -> None:
        """Drop the gradients of the parameters."""
        for p in self.parameters:
            p.grad = None

    def collect(self) -> None:
        """Copy the gradients of the parameters to `gradient` (zero where a parameter had no part in the loss)."""
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        torch.cat([g.reshape(-1) for g in grads], out=self.gradient)

    def clip(self, largest: float) -> None:
        """Scale the gradient down when its norm exceeds `largest`."""
        scale = (largest / torch.dot(self.gradient, self.gradient).sqrt()).clamp(max=1.0)
        # on a GPU asking would wait for all that is queued; on a CPU a pass over the weights costs more than asking
        if scale.device.type != "cpu" or float(scale) != 1.0:
            self.gradient.mul_(scale)

    @torch.no_grad()
    def release(self, values: Tensor) -> None:
        """Give every parameter memory of its own again, with its stretch of `values`."""
        start = 0
        for p in self.parameters:
            p.data = values[start : start + p.numel()].view(p.shape).clone()
            start += p.numel()
