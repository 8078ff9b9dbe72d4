"""All weights of a model as one vector, so that averaging, keeping and exchanging them is one operation."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FlatWeights:
    """The parameters of a model laid end to end; each parameter becomes a view of its stretch.

    The values never move: whoever changes `values` changes the model. Gradients stay with the parameters: to lay them
    end to end as well would send each step's through the memory once more.

    Attributes
    ----------
    values
        All weights (one vector).
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.values = torch.cat([p.detach().reshape(-1) for p in parameters])
        self._give(self.values)

    def forget(self) -> None:
        """Drop the gradients of the parameters."""
        for p in self.parameters:
            p.grad = None

    def clip(self, largest: float) -> None:
        """Scale the gradients down when their norm exceeds `largest`."""
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        # on a GPU asking would wait for all that is queued; on a CPU a pass over the weights costs more than asking
        if norm.device.type != "cpu" or float(norm) > largest:
            nn.utils.clip_grads_with_norm_(self.parameters, largest, norm)

    @torch.no_grad()
    def release(self, values: Tensor) -> None:
        """Give every parameter memory of its own again, with its stretch of `values`."""
        self._give(values)
        for p in self.parameters:
            p.data = p.data.clone()

    def _give(self, values: Tensor) -> None:
        """Make each parameter a view of its stretch of `values`."""
        start = 0
        for p in self.parameters:
            p.data = values[start : start + p.numel()].view(p.shape)
            start += p.numel()
