"""What the latent axes are: the base of all kinds of latent, and where they are registered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sclatent.model.kinds import Kinds
from sclatent.model.parts.posterior import Posterior
from sclatent.settings.kinds import parts as kinds
from sclatent.settings.kinds.parts import LatentSettings

A = TypeVar("A", Tensor, np.ndarray)


class Latent(ABC):
    """A block of axes of one kind.

    Parameters
    ----------
    settings
        Those of the kind, kept as ``given``.
    n_axes
        Number of axes, as `embed` writes them.

    Attributes
    ----------
    n_parameters
        Outputs of the encoder's head.
    n_code
        What the decoder sees of a cell.
    n_noise
        Standard normal numbers behind one draw of one cell.
    rotates
        Whether prior and likelihood stay the same when the axes are turned.
    unbounded
        Whether cells can lie everywhere along the axes.
    """

    settings: ClassVar[type[LatentSettings]]
    rotates: ClassVar[bool] = False
    unbounded: bool = False

    def __init__(self, settings: LatentSettings, n_axes: int) -> None:
        self.given = settings
        self.n_axes = self.n_code = self.n_noise = n_axes
        self.n_parameters = 2 * n_axes

    @abstractmethod
    def posterior(self, raw: Tensor, progress: float = 1.0) -> Posterior:
        """Return the posterior of cells from the encoder's head `raw` (cells × n_parameters).

        `progress` goes from 0 to 1 over a training, for kinds that change on the way.

        Parameters
        ----------
        raw
            Output of the encoder (cells × n_parameters).
        progress
            Share of the training that is done, 0 to 1.

        Returns
        -------
        Posterior
            q(z | x) of these cells.
        """

    def fill(self, generator: torch.Generator) -> None:  # noqa: B027  most have nothing to fill
        """Fill what the latent itself learns; such a kind is a `torch.nn.Module` too.

        Parameters
        ----------
        generator
            Where the randomness comes from.
        """

    def fast(self) -> list[nn.Parameter]:
        """Return what the latent itself learns and that learns faster than the weights of networks.

        Returns
        -------
        list of Parameter
            Empty if there are none.
        """
        return []

    def states(self, z: Tensor) -> Tensor | None:
        """Return the probability of each state (cells × states) at positions along the axes; None: there are none.

        Parameters
        ----------
        z
            Positions along the axes (… × n_axes).

        Returns
        -------
        Tensor or None
            (… × states), probabilities; None: this kind has no states.
        """
        return None

    def turning(self) -> list[slice]:
        """Return the stretches of axes that can be turned among themselves.

        Returns
        -------
        list of slice
            Ranges of axes; empty if no axis can be rotated.
        """
        return [slice(0, self.n_axes)] if self.rotates else []

    def unseen(self, n: int, like: Tensor, generator: torch.Generator) -> Posterior | None:
        """Return the prior, as the posterior of cells that were not looked at; only drawing from it needs this.

        Parameters
        ----------
        n
            Number of cells.
        like
            A tensor of any shape; its type and device are taken.
        generator
            For kinds whose prior is drawn in two steps.

        Returns
        -------
        Posterior or None
            None: the prior cannot be drawn from.
        """
        return None

    def spread(self) -> Tensor:
        """Return the SD of cells along each axis that counts as that of the prior: the unit of what is active.

        Returns
        -------
        Tensor
            (n_axes,); 1, but for axes whose ends are fixed.
        """
        return torch.ones(self.n_axes)

    def product(self, heads: Sequence[tuple[Tensor, Tensor]], place: Tensor, progress: float = 1.0) -> Posterior:
        """Return the posterior of cells from several experts and the prior.

        Kinds that have it say so in their settings (``several``).

        Parameters
        ----------
        heads
            Of each expert its encoder's head (its cells × n_parameters) and the positions of its cells among all.
        place
            A tensor (cells,), of whose length and device the posterior is.
        progress
            How far the training has come, 0 to 1.

        Returns
        -------
        Posterior
            That of all cells; one without an expert has the prior.
        """
        raise NotImplementedError(f"latent {self.given.kind} has no product of experts")

    def head(self, posterior: Posterior) -> Tensor:
        """Return the encoder's head of which `posterior` would be the posterior; only kinds with a product need it.

        Parameters
        ----------
        posterior
            q(z | x) of some cells.

        Returns
        -------
        Tensor
            (cells × n_parameters).
        """
        raise NotImplementedError(f"latent {self.given.kind} has no product of experts")

    @abstractmethod
    def moved(self, z: A, axis: int, step: float) -> A:
        """Return positions along the axes (… × n_axes) a step along one axis; they stay in the support.

        Parameters
        ----------
        z
            Positions along the axes (… × n_axes).
        axis
            Number of the axis, from 0 on.
        step
            How far, in the unit of `z`.

        Returns
        -------
        array or Tensor
            (… × n_axes), of the kind of `z`.
        """

    def placed(self, z: A, axis: int, value: Any) -> A:
        """Return positions along the axes (… × n_axes) put at `value` along one axis; they stay in the support.

        Parameters
        ----------
        z
            Positions along the axes (… × n_axes).
        axis
            Number of the axis, from 0 on.
        value
            Where to: a number, or one per position.

        Returns
        -------
        array or Tensor
            (… × n_axes), of the kind of `z`.
        """
        out = z.copy() if isinstance(z, np.ndarray) else z.clone()
        out[..., axis] = value
        return out

    def nearest(self, z: A) -> A:
        """Return the positions along the axes (… × n_axes) nearest to `z` where cells can be.

        Parameters
        ----------
        z
            Positions along the axes (… × n_axes), in the support or not.

        Returns
        -------
        array or Tensor
            (… × n_axes), of the kind of `z`.
        """
        return z

    def code_at(self, z: Tensor) -> Tensor:
        """Return the codes (… × n_code) at positions along the axes (… × n_axes), before any rotation.

        Parameters
        ----------
        z
            Positions along the axes (… × n_axes).

        Returns
        -------
        Tensor
            (… × n_code).
        """
        return z

    def axes_at(self, code: Tensor) -> Tensor:
        """Return the positions along the axes (… × n_axes) of codes (… × n_code), before any rotation.

        Parameters
        ----------
        code
            Codes (… × n_code).

        Returns
        -------
        Tensor
            (… × n_axes).
        """
        return code


LATENTS: Kinds[type[Latent]] = Kinds(kinds.LATENTS)
