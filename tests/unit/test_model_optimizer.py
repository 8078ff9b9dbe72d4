"""The compiled optimiser against PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sclatent.model.training import optimizer
from sclatent.model.training.weights import FlatWeights

GROUPS = [{"weight_decay": 0.1, "speed": 1.0}, {"weight_decay": 0.0, "speed": 5.0}]


def two_groups(width: int) -> list[list[nn.Parameter]]:
    generator = torch.Generator().manual_seed(0)
    shapes = [[(width, 7), (3,)], [(11,)]]
    return [[nn.Parameter(torch.randn(shape, generator=generator)) for shape in group] for group in shapes]


@pytest.mark.parametrize("width", [5, optimizer.PIECE // 7 + 1])
@pytest.mark.parametrize(("threads", "compiled"), [(1, True), (3, True), (1, False)])  # False: what a GPU runs
def test_same_steps_as_pytorch(width: int, threads: int, compiled: bool) -> None:
    ours, theirs = two_groups(width), [[nn.Parameter(p.double()) for p in group] for group in two_groups(width)]
    flat = FlatWeights(ours)
    own_steps = optimizer.AdamW(flat, GROUPS, largest=9.0, compiled=compiled)
    # in float64
    reference = torch.optim.AdamW([{"params": params, **group} for params, group in zip(theirs, GROUPS, strict=True)])
    rng, before = np.random.default_rng(1), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for step in range(20):
            rate = 0.01 / (1 + step)
            for own, other in zip(flat.parameters, [p for group in theirs for p in group], strict=True):
                # some steps are clipped, some are not
                own.grad = torch.as_tensor(rng.normal(size=own.shape), dtype=torch.float32) * (1 + step % 3) / 3
                other.grad = own.grad.double()
            flat.collect()
            own_steps.step(rate)
            nn.utils.clip_grad_norm_([p for group in theirs for p in group], 9.0)
            for group in reference.param_groups:
                group["lr"] = rate * group["speed"]
            reference.step()
    finally:
        torch.set_num_threads(before)
    for own, other in zip(flat.parameters, [p for group in theirs for p in group], strict=True):
        torch.testing.assert_close(own.detach().double(), other.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compiled", [True, False])
def test_restored_state_goes_on_to_the_same_bytes(compiled: bool) -> None:
    flat = FlatWeights(two_groups(5))
    steps = optimizer.AdamW(flat, GROUPS, largest=1.0, compiled=compiled)
    flat.gradient.copy_(torch.linspace(-1, 1, len(flat.gradient)))
    # clipped in place on a GPU: a gradient that needs none
    flat.gradient.mul_(0.1 / flat.gradient.norm())
    steps.step(0.1)
    weights, state = flat.values.clone(), steps.state()
    ends = []
    for _ in range(2):
        flat.values.copy_(weights)
        steps.restore(state)
        steps.step(0.1)
        steps.step(0.2)
        ends.append(flat.values.clone())
    assert torch.equal(*ends)
    assert not torch.equal(ends[0], weights)


def test_no_gradient_moves_nothing_but_the_decay() -> None:
    flat = FlatWeights(two_groups(5))
    before = flat.values.clone()
    optimizer.AdamW(flat, GROUPS, largest=1.0).step(0.5)
    decayed = len(flat.parts[0])
    torch.testing.assert_close(flat.values[:decayed], before[:decayed] * (1 - 0.5 * 0.1))
    assert torch.equal(flat.values[decayed:], before[decayed:])
