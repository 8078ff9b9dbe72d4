"""What is known of the axes of some cells: their posterior, and the prior that it is held against."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Axes(NamedTuple):
    """The posterior of cells along the axes, as `embed` writes it.

    ``mean``, ``sd`` and ``kl`` are float32 (cells × axes). ``mean`` and ``sd`` are in latent units; ``kl`` is in nats,
    and NaN where the kind of latent has no KL per axis.
    """

    mean: np.ndarray
    sd: np.ndarray
    kl: np.ndarray


class Posterior(ABC):
    """q(z | x) of the cells of a batch, and the prior p(z)."""

    @abstractmethod
    def sample(self, noise: Tensor) -> Tensor:
        """Return codes (draws × cells × n_code) from standard normal `noise` (draws × cells × n_noise).

        Parameters
        ----------
        noise
            Standard normal numbers (draws × cells × n_noise).

        Returns
        -------
        Tensor
            (draws × cells × n_code).
        """

    @abstractmethod
    def log_q(self, code: Tensor) -> Tensor:
        """Log q(code | x), nats, of each draw and cell (draws × cells).

        Parameters
        ----------
        code
            Codes (draws × cells × n_code).

        Returns
        -------
        Tensor
            (draws × cells), nats.
        """

    @abstractmethod
    def log_prior(self, code: Tensor) -> Tensor:
        """Log p(code), nats, of each draw and cell (draws × cells).

        Parameters
        ----------
        code
            Codes (draws × cells × n_code).

        Returns
        -------
        Tensor
            (draws × cells), nats.
        """

    def log_ratio(self, code: Tensor, noise: Tensor) -> Tensor:
        """Log p(code) − log q(code | x) of `code`, which came from `noise` (draws × cells).

        Parameters
        ----------
        code
            Codes (draws × cells × n_code).
        noise
            The noise that `sample` made them of (draws × cells × n_noise).

        Returns
        -------
        Tensor
            (draws × cells), nats.
        """
        return self.log_prior(code) - self.log_q(code)

    def kl(self) -> Tensor | None:
        """KL(q || p) per cell and axis (cells × n_axes), nats; None: it has no closed form.

        Returns
        -------
        Tensor or None
            (cells × n_axes), nats.
        """
        return None

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return `sample` and `kl` in one, for kinds whose gradient is then one pass.

        Parameters
        ----------
        noise
            Standard normal numbers (draws × cells × n_noise).

        Returns
        -------
        tuple
            Codes (draws × cells × n_code), and the KL (cells × n_axes), nats, or None.
        """
        return self.sample(noise), self.kl()

    def exact(self) -> Posterior:
        """Return the posterior of which `log_q` is the density, where `sample` draws something smoother than that.

        Returns
        -------
        Posterior
            Itself for most kinds.
        """
        return self

    @abstractmethod
    def mean(self) -> Tensor:
        """Return the mean along each axis (cells × n_axes).

        Returns
        -------
        Tensor
            (cells × n_axes).
        """

    @abstractmethod
    def sd(self) -> Tensor:
        """Return the standard deviation along each axis (cells × n_axes).

        Returns
        -------
        Tensor
            (cells × n_axes).
        """

    @abstractmethod
    def moved(self, code: Tensor, axis: int, step: float) -> Tensor:
        """Return `code` (… × n_code) a step along an axis; it stays in the support of the prior.

        Parameters
        ----------
        code
            Codes (… × n_code).
        axis
            Number of the axis, from 0 on.
        step
            How far, in the unit of the code.

        Returns
        -------
        Tensor
            (… × n_code).
        """

    @abstractmethod
    def detached(self) -> Posterior:
        """Return the same posterior, through which no gradient flows to the encoder.

        Returns
        -------
        Posterior
            Of the same kind.
        """

    def along(self, rotation: Tensor) -> Axes:
        """Return mean, SD and KL along the axes; `rotation` (axes × axes) is the identity unless the latent rotates.

        Parameters
        ----------
        rotation
            Orthogonal matrix (axes × axes).

        Returns
        -------
        Axes
            ``mean``, ``sd`` and ``kl`` (cells × axes each).
        """
        mean, sd, kl = self.mean(), self.sd(), self.kl()
        missing = torch.full_like(mean, math.nan)
        return Axes(*(part.detach().cpu().numpy() for part in (mean, sd, missing if kl is None else kl)))
