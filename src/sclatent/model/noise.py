"""Standard normal noise that is handed to the latents: four ways to draw it.

Every number is standard normal in each of them, and cells and axes are independent of each other. They differ in how
the draws of one cell depend on one another.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from sclatent.model.distributed.part import for_all
from sclatent.settings.kinds.registry import unknown_kind

WAYS = ("independent", "antithetic", "stratified", "sobol")
EDGE = 1e-7
"""Uniform numbers are kept this far from 0 and 1, so that the normal ones stay finite (within ±5.2)."""


def standard_normal(way: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return noise (draws × cells × n_noise), float32, on the device of `generator`.

    Parameters
    ----------
    way
        ``independent``; ``antithetic``: the second half is minus the first; ``stratified``: one draw in each of as many
        equally likely intervals as there are draws, for each axis (a Latin hypercube); ``sobol``: a Sobol sequence,
        shifted at random for each cell and axis.
    shape
        Draws, cells, numbers of one draw. ``antithetic`` takes an even number of draws.
    generator
        Where chance comes from.
    """
    if way not in WAYS:
        raise unknown_kind("noise", way, WAYS)
    return for_all(lambda all_cells: _drawn(way, all_cells, generator), shape, 1)


def _drawn(way: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    where: dict[str, Any] = {"generator": generator, "device": generator.device}
    if way == "independent" or not shape[-1]:
        return torch.randn(shape, **where)
    draws = shape[0]
    if way == "antithetic":
        half = torch.randn((draws // 2, *shape[1:]), **where)
        return torch.cat([half, -half])
    if way == "stratified":
        order = torch.rand(shape, **where).argsort(0)
        return _normal((order + torch.rand(shape, dtype=torch.float64, **where)) / draws)
    shift = torch.rand((1, *shape[1:]), dtype=torch.float64, **where)
    points = _sobol(draws, shape[-1]).to(generator.device)
    return _normal((points[:, None, :] + shift) % 1.0)


def _normal(uniform: Tensor) -> Tensor:
    return torch.special.ndtri(uniform.clamp(EDGE, 1 - EDGE)).float()


@cache
def _sobol(draws: int, n: int) -> Tensor:
    """Return the first points (draws × n) of the Sobol sequence, float64."""
    from scipy.stats import qmc

    return torch.from_numpy(qmc.Sobol(n, scramble=False).random(draws))
