"""What the latent axes are: one class per kind of latent, and its posterior for the cells of a batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sclatent.model.kinds import Kinds
from sclatent.settings.kinds import parts as kinds
from sclatent.settings.kinds.parts import GaussianSettings, LatentSettings

A = TypeVar("A", Tensor, np.ndarray)


class Axes(NamedTuple):
    """The posterior of cells along the axes, as `embed` writes it: float32 arrays (cells × axes each).

    ``kl`` is in nats, and NaN where the kind of latent has no KL per axis.
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
            None: this kind has no states.
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
            Any tensor of the wanted type and device.
        generator
            For kinds whose prior is drawn in two steps.

        Returns
        -------
        Posterior or None
            None: the prior cannot be drawn from.
        """
        return None

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

SD_OFFSET, SMALLEST_SD = 0.5413, 1e-4
"""The SD of the posterior is softplus(raw + offset) + smallest: 1 at the start, never 0, no overflow."""


class _Draw(torch.autograd.Function):
    """Draws z = mean + sd · ε (draws × cells × axes) and KL(N(mean, sd²) || N(0, 1)) (cells × axes), with gradients."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, sd: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(mean, sd, eps)
        return torch.addcmul(mean, sd, eps), kl_divergence(mean, sd)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        mean, sd, eps = ctx.saved_tensors
        to_z, to_kl = grads
        to_sd = to_z * eps
        to_z, to_sd = (part.squeeze(0) if len(part) == 1 else part.sum(0) for part in (to_z, to_sd))
        return torch.addcmul(to_z, to_kl, mean), to_sd + to_kl * (sd - sd.reciprocal()), None


def kl_divergence(mean: Tensor, sd: Tensor) -> Tensor:
    """KL(N(mean, sd²) || N(0, 1)), per cell and axis."""
    return 0.5 * (mean * mean + sd * sd - 1.0) - sd.log()


def log_normal(z: Tensor, mean: Tensor | float = 0.0, sd: Tensor | None = None) -> Tensor:
    """Log density of independent normal axes, summed over the last of them."""
    scaled = (z - mean) if sd is None else (z - mean) / sd
    each = -0.5 * (scaled * scaled + math.log(2 * math.pi))
    return (each if sd is None else each - sd.log()).sum(-1)


class GaussianPosterior(Posterior):
    """N(mean, sd²) along each axis, under the prior N(0, 1)."""

    def __init__(self, mean: Tensor, sd: Tensor) -> None:
        self._mean, self._sd = mean, sd

    def sample(self, noise: Tensor) -> Tensor:
        """Return mean + sd · ε (draws × cells × axes)."""
        return self._mean + self._sd * noise

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return draws (draws × cells × axes) and KL (cells × axes)."""
        return _Draw.apply(self._mean, self._sd, noise)

    def log_q(self, code: Tensor) -> Tensor:
        """Log N(code; mean, sd²) (draws × cells)."""
        return log_normal(code, self._mean, self._sd)

    def log_prior(self, code: Tensor) -> Tensor:
        """Log N(code; 0, 1) (draws × cells)."""
        return log_normal(code)

    def log_ratio(self, code: Tensor, noise: Tensor) -> Tensor:
        """Log p − log q (draws × cells); the 2π terms cancel, and ε is known, not computed back."""
        return (-0.5 * code * code + 0.5 * noise * noise + self._sd.log()).sum(-1)

    def kl(self) -> Tensor | None:
        """KL per cell and axis."""
        return kl_divergence(self._mean, self._sd)

    def mean(self) -> Tensor:
        """Return the means."""
        return self._mean

    def sd(self) -> Tensor:
        """Return the SDs."""
        return self._sd

    def moved(self, code: Tensor, axis: int, step: float) -> Tensor:
        """Add the step."""
        return _added(code, axis, step)

    def detached(self) -> GaussianPosterior:
        """Return the same, without gradient."""
        return GaussianPosterior(self._mean.detach(), self._sd.detach())

    def along(self, rotation: Tensor) -> Axes:
        """Return mean and SD along the turned axes, and the KL of each of these marginals."""
        # the diagonal of R Σ Rᵀ; Σ is diagonal in the network's coordinates
        variance = (self._sd * self._sd) @ (rotation * rotation).T
        mean, sd = (part.detach().cpu().numpy() for part in (self._mean @ rotation.T, variance.sqrt()))
        return Axes(mean, sd, 0.5 * (mean * mean + sd * sd - 1.0) - np.log(sd))


@LATENTS.register
class Gaussian(Latent):
    """Axes with a standard normal prior, and a normal posterior of diagonal covariance."""

    settings: ClassVar[type[LatentSettings]] = GaussianSettings
    rotates = unbounded = True

    def posterior(self, raw: Tensor, progress: float = 1.0) -> GaussianPosterior:
        """Return the posterior: the head's first half is the mean, the second gives the SD."""
        return GaussianPosterior(*_mean_and_sd(raw))

    def product(
        self, heads: Sequence[tuple[Tensor, Tensor]], place: Tensor, progress: float = 1.0
    ) -> GaussianPosterior:
        """Return N(0, 1) · Π N(mean, sd²), normalised: an expert that is absent leaves the others and the prior."""
        weighted, precision = place.new_zeros(len(place), self.n_axes), place.new_ones(len(place), self.n_axes)
        for raw, cells in heads:
            mean, sd = _mean_and_sd(raw)
            sharp = 1.0 / (sd * sd)
            weighted = weighted.index_add(0, cells, sharp * mean)
            precision = precision.index_add(0, cells, sharp)
        return GaussianPosterior(weighted / precision, precision.rsqrt())

    def unseen(self, n: int, like: Tensor, generator: torch.Generator) -> Posterior:
        """N(0, 1) along each axis."""
        return GaussianPosterior(like.new_zeros(n, self.n_axes), like.new_ones(n, self.n_axes))

    def moved(self, z: A, axis: int, step: float) -> A:
        """Add the step."""
        return _added(z, axis, step)


def _mean_and_sd(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and SD from the encoder's head."""
    mean, spread = raw.chunk(2, dim=-1)
    return mean, nn.functional.softplus(spread + SD_OFFSET) + SMALLEST_SD


def _added(z: A, axis: int, step: float) -> A:
    """Return a copy of `z` with `step` added to one of the last dimension's entries."""
    out = z.copy() if isinstance(z, np.ndarray) else z.clone()
    out[..., axis] += step
    return out
