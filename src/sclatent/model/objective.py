"""What training minimises, and the score that stops it: one class per kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from sclatent.model.batch import Batch
from sclatent.model.kinds import Kinds
from sclatent.model.noise import standard_normal
from sclatent.model.parts.posterior import Posterior
from sclatent.settings.kinds import parts as kinds
from sclatent.settings.kinds.parts import DrawnSettings, ObjectiveSettings, PathwiseSettings

if TYPE_CHECKING:
    from sclatent.model.vae import CountVAE


class Loss(NamedTuple):
    """What a step minimises, and what it tells of it.

    Attributes
    ----------
    cells
        (B,) loss of each cell, nats; the step follows the gradient of its mean.
    fit, kl
        (B,) how well each cell is predicted, and how far its posterior is from the prior, nats; ``fit - kl`` is the
        bound that the history holds.
    """

    cells: Tensor
    fit: Tensor
    kl: Tensor

    def sums(self) -> Tensor:
        """Return the sums of fit and KL over the cells, float64.

        Returns
        -------
        Tensor
            (2,), nats.
        """
        return torch.stack([self.fit.detach(), self.kl.detach()]).sum(1, dtype=torch.float64)


class Objective(ABC):
    """What training minimises.

    Parameters
    ----------
    settings
        Those of the kind, kept as ``given``.

    Attributes
    ----------
    draws
        Draws from the posterior of each cell in a step.
    """

    settings: ClassVar[type[ObjectiveSettings]]
    draws: int = 1

    def __init__(self, settings: ObjectiveSettings) -> None:
        self.given = settings

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return standard normal noise (draws × cells × n_noise); here each number independent of the others.

        Parameters
        ----------
        shape
            Draws, cells, n_noise.
        generator
            Where the randomness comes from.

        Returns
        -------
        Tensor
            (draws × cells × n_noise), float32.
        """
        return standard_normal("independent", shape, generator)

    @abstractmethod
    def loss(
        self, model: CountVAE, batch: Batch, noise: torch.Generator, masks: torch.Generator | None, kl_weight: float
    ) -> Loss:
        """Return the loss of the cells of `batch`.

        `noise` is the generator behind the draws from the posterior, `masks` behind dropout (None: no dropout);
        `kl_weight` grows from 0 to 1 as training begins.

        Parameters
        ----------
        model
            The model.
        batch
            The minibatch of B cells.
        noise
            Generator of the draws.
        masks
            Generator of the dropout masks; None: no dropout.
        kl_weight
            From 0 to 1.

        Returns
        -------
        Loss
            The number that is minimised, nats per cell, and its parts.
        """

    @abstractmethod
    def score(self, model: CountVAE, batch: Batch, noise: torch.Generator) -> Tensor:
        """Return what says of each cell (B,), float64, how good the model is: more is better, without dropout.

        Its mean over the validation cells stops the training and picks the weights.

        Parameters
        ----------
        model
            The model.
        batch
            The minibatch of B cells.
        noise
            Generator of the draws.

        Returns
        -------
        Tensor
            (B,), float64, nats.
        """

    def state(self) -> dict[str, Any]:
        """Return what the objective carries from step to step, as numbers and strings.

        Returns
        -------
        dict
            Kept in the checkpoint of a training.
        """
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027  most have nothing to take up
        """Take up what `state` returned.

        Parameters
        ----------
        state
            What `state` returned.
        """


OBJECTIVES: Kinds[type[Objective]] = Kinds(kinds.OBJECTIVES)


class DrawnObjective(Objective):
    """An objective whose settings say how many draws there are, and how they depend on one another."""

    def __init__(self, settings: ObjectiveSettings) -> None:
        super().__init__(settings)
        assert isinstance(settings, DrawnSettings)
        self.draws, self.way = settings.draws, settings.noise

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return standard normal noise (draws × cells × n_noise), drawn in the way of the settings."""
        return standard_normal(self.way, shape, generator)


@OBJECTIVES.register
class PathwiseELBO(DrawnObjective):
    """The evidence lower bound, differentiated through the draws (Kingma & Welling 2014)."""

    settings: ClassVar[type[ObjectiveSettings]] = PathwiseSettings

    def terms(
        self, model: CountVAE, batch: Batch, noise: torch.Generator, masks: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return log p(x | z), the mean over the draws, and KL(q || p) of each cell (B,)."""
        return self._terms(model, batch, model.encode(batch, masks), noise, masks)

    def _terms(
        self, model: CountVAE, batch: Batch, posterior: Posterior, noise: torch.Generator, masks: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        # drawn after the encoder's masks, when both come from one generator
        eps = self.noise((self.draws, len(batch), model.latent.n_noise), noise)
        code, kl = posterior.draw(eps)
        if self.draws == 1:  # as below, without the operations that a mean of one costs
            log_prob = model.log_prob(code.squeeze(0), batch, masks)
        else:
            log_prob = model.log_prob_of_draws(code, batch, masks).mean(0)
        return log_prob, -posterior.log_ratio(code, eps).mean(0) if kl is None else kl.sum(1)

    def loss(
        self, model: CountVAE, batch: Batch, noise: torch.Generator, masks: torch.Generator | None, kl_weight: float
    ) -> Loss:
        """Return kl_weight · KL − log p(x | z)."""
        log_prob, kl = self.terms(model, batch, noise, masks)
        return Loss(kl_weight * kl - log_prob, log_prob, kl)

    def score(self, model: CountVAE, batch: Batch, noise: torch.Generator) -> Tensor:
        """Return the ELBO, of the posterior that a trained model has."""
        log_prob, kl = self._terms(model, batch, model.encode(batch).exact(), noise, None)
        return log_prob.double() - kl
