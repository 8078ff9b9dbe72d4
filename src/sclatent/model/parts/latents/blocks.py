"""A latent made of blocks of axes, each of a kind of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sclatent.model.parts.latent import LATENTS, Latent
from sclatent.model.parts.posterior import Axes, Posterior
from sclatent.settings.kinds.blocks import BlocksSettings
from sclatent.settings.kinds.parts import LatentSettings

A = TypeVar("A", Tensor, np.ndarray)


def make_latent(settings: LatentSettings, n_axes: int) -> Latent:
    """Return the latent that has these settings."""
    if isinstance(settings, BlocksSettings):
        return Blocks(settings, n_axes)
    return LATENTS[settings.kind](settings, n_axes)


def blocks_of(latent: Latent) -> list[tuple[Latent, slice, slice]]:
    """Return the blocks of a latent, each with where its parameters are in the encoder's head and its code in the code.

    A latent of one kind is one block.
    """
    if isinstance(latent, Blocks):
        return list(zip(latent.parts, latent.heads, latent.codes, strict=True))
    return [(latent, slice(0, latent.n_parameters), slice(0, latent.n_code))]


def _places(sizes: Sequence[int]) -> list[slice]:
    """Return where parts of these sizes are when they stand side by side."""
    ends = list(accumulate(sizes))
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


class BlocksPosterior(Posterior):
    """Independent posteriors of blocks, whose codes stand side by side.

    Parameters
    ----------
    parts
        The posterior of each block.
    axes, codes, noises
        Where the block's axes, its entries of the code, and its numbers of the noise are.
    """

    def __init__(
        self, parts: Sequence[Posterior], axes: Sequence[slice], codes: Sequence[slice], noises: Sequence[slice]
    ) -> None:
        self.parts, self.axes, self.codes, self.noises = parts, axes, codes, noises

    def _over(self, parts: Sequence[Posterior]) -> BlocksPosterior:
        return BlocksPosterior(parts, self.axes, self.codes, self.noises)

    def sample(self, noise: Tensor) -> Tensor:
        """Return the codes of all blocks."""
        return torch.cat([one.sample(noise[..., at]) for one, at in zip(self.parts, self.noises, strict=True)], -1)

    def log_q(self, code: Tensor) -> Tensor:
        """Log density, the sum over the blocks."""
        return _sum([one.log_q(code[..., at]) for one, at in zip(self.parts, self.codes, strict=True)])

    def log_prior(self, code: Tensor) -> Tensor:
        """Log density of the prior, the sum over the blocks."""
        return _sum([one.log_prior(code[..., at]) for one, at in zip(self.parts, self.codes, strict=True)])

    def log_ratio(self, code: Tensor, noise: Tensor) -> Tensor:
        """Log p − log q, the sum over the blocks."""
        places = zip(self.parts, self.codes, self.noises, strict=True)
        return _sum([one.log_ratio(code[..., at], noise[..., eps]) for one, at, eps in places])

    def kl(self) -> Tensor | None:
        """KL per axis, or None where a block has none."""
        return _joined([one.kl() for one in self.parts])

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return draws and KL."""
        drawn = [one.draw(noise[..., at]) for one, at in zip(self.parts, self.noises, strict=True)]
        return torch.cat([code for code, _ in drawn], -1), _joined([kl for _, kl in drawn])

    def exact(self) -> Posterior:
        """Return the posterior of which `log_q` is the density."""
        return self._over([one.exact() for one in self.parts])

    def mean(self) -> Tensor:
        """Return the means."""
        return torch.cat([one.mean() for one in self.parts], -1)

    def sd(self) -> Tensor:
        """Return the SDs."""
        return torch.cat([one.sd() for one in self.parts], -1)

    def moved(self, code: Tensor, axis: int, step: float) -> Tensor:
        """Return the code a step along an axis, in the support of the axis' block."""
        block = _block(self.axes, axis)
        out, at = code.clone(), self.codes[block]
        out[..., at] = self.parts[block].moved(code[..., at], axis - self.axes[block].start, step)
        return out

    def detached(self) -> Posterior:
        """Return the same, without gradient."""
        return self._over([one.detached() for one in self.parts])

    def along(self, rotation: Tensor) -> Axes:
        """Return what each block says along its own axes."""
        found = [one.along(rotation[at, at]) for one, at in zip(self.parts, self.axes, strict=True)]
        return Axes(*(np.concatenate(part, axis=-1) for part in zip(*found, strict=True)))


class Blocks(nn.Module, Latent):  # type: ignore[misc]
    """Blocks of axes side by side, in the order of the settings."""

    settings = BlocksSettings

    def __init__(self, settings: LatentSettings, n_axes: int) -> None:
        nn.Module.__init__(self)
        Latent.__init__(self, settings, n_axes)
        assert isinstance(settings, BlocksSettings)
        self.parts = [LATENTS[one.kind](one, n) for one, n in settings.blocks]
        self.learned = nn.ModuleList(part for part in self.parts if isinstance(part, nn.Module))
        self.unbounded = all(one.unbounded for one in self.parts)
        sizes = [(one.n_axes, one.n_code, one.n_noise, one.n_parameters) for one in self.parts]
        self.axes, self.codes, self.noises, self.heads = map(_places, zip(*sizes, strict=True))
        self.n_code, self.n_noise, self.n_parameters = (last[-1].stop for last in (self.codes, self.noises, self.heads))

    def posterior(self, raw: Tensor, progress: float = 1.0) -> BlocksPosterior:
        """Return the posterior of all blocks."""
        made = [one.posterior(raw[..., at], progress) for one, at in zip(self.parts, self.heads, strict=True)]
        return BlocksPosterior(made, self.axes, self.codes, self.noises)

    def fill(self, generator: torch.Generator) -> None:
        """Fill what the blocks learn."""
        for one in self.parts:
            one.fill(generator)

    def fast(self) -> list[nn.Parameter]:
        """Return what the blocks learn faster."""
        return [parameter for one in self.parts for parameter in one.fast()]

    def states(self, z: Tensor) -> Tensor | None:
        """Return the probability of each state of the first block that has states."""
        found = (one.states(z[..., at]) for one, at in zip(self.parts, self.axes, strict=True))
        return next((one for one in found if one is not None), None)

    def unseen(self, n: int, like: Tensor, generator: torch.Generator) -> Posterior | None:
        """Return the priors of all blocks; None if one has none."""
        made = [prior for one in self.parts if (prior := one.unseen(n, like, generator)) is not None]
        return BlocksPosterior(made, self.axes, self.codes, self.noises) if len(made) == len(self.parts) else None

    def spread(self) -> Tensor:
        """Return the unit of each axis, as its block has it."""
        return torch.cat([one.spread() for one in self.parts])

    def turning(self) -> list[slice]:
        """Return the axes of each block that can be turned."""
        places = zip(self.parts, self.axes, strict=True)
        return [slice(at.start + own.start, at.start + own.stop) for one, at in places for own in one.turning()]

    def moved(self, z: A, axis: int, step: float) -> A:
        """Return positions a step along one axis, in the support of its block."""
        block = _block(self.axes, axis)
        at = self.axes[block]
        return _with(z, at, self.parts[block].moved(z[..., at], axis - at.start, step))

    def placed(self, z: A, axis: int, value: object) -> A:
        """Return positions put at `value` along one axis, in the support of its block."""
        block = _block(self.axes, axis)
        at = self.axes[block]
        return _with(z, at, self.parts[block].placed(z[..., at], axis - at.start, value))

    def nearest(self, z: A) -> A:
        """Return the nearest positions in the support of each block."""
        for one, at in zip(self.parts, self.axes, strict=True):
            z = _with(z, at, one.nearest(z[..., at]))
        return z

    def code_at(self, z: Tensor) -> Tensor:
        """Return the codes of all blocks."""
        return torch.cat([one.code_at(z[..., at]) for one, at in zip(self.parts, self.axes, strict=True)], -1)

    def axes_at(self, code: Tensor) -> Tensor:
        """Return the positions along the axes of all blocks."""
        return torch.cat([one.axes_at(code[..., at]) for one, at in zip(self.parts, self.codes, strict=True)], -1)


def _block(axes: Sequence[slice], axis: int) -> int:
    """Return the number of the block that holds an axis."""
    axis = axis if axis >= 0 else axes[-1].stop + axis
    return next(k for k, at in enumerate(axes) if axis < at.stop)


def _with(z: A, at: slice, part: A) -> A:
    """Return a copy of `z` with other positions in one block."""
    out = z.copy() if isinstance(z, np.ndarray) else z.clone()
    out[..., at] = part
    return out


def _sum(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for one in parts[1:]:
        total = total + one
    return total


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    known = [one for one in parts if one is not None]
    return torch.cat(known, -1) if len(known) == len(parts) else None
