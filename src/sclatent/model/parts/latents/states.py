"""Discrete states: each cell is in one. Training draws a Gumbel-Softmax (Jang et al., Maddison et al. 2017)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sclatent.model.parts.latent import LATENTS, LatentSettings
from sclatent.model.parts.latents.supports import SIMPLEX, Bounded
from sclatent.model.parts.posterior import Posterior
from sclatent.settings.kinds.latents import StatesSettings

ANNEALED = 0.8
"""Share of the schedule over which the temperature falls; it then stays."""


def gumbel(noise: Tensor) -> Tensor:
    """Return standard Gumbel numbers, from standard normal ones."""
    return -torch.log(-torch.special.log_ndtr(noise))


class StatesPosterior(Posterior):
    """One of K states, under the uniform prior.

    Parameters
    ----------
    logits
        (cells × K) of the states' probabilities.
    temperature
        Of the relaxed draws; 0: draws are states, one-hot, through which no gradient flows.
    straight
        Draws are states, and the gradient that of the relaxed draw (straight-through, which is biased).
    """

    def __init__(self, logits: Tensor, temperature: float, straight: bool = False) -> None:
        self.logits, self.temperature, self.straight = logits, temperature, straight

    def sample(self, noise: Tensor) -> Tensor:
        """Return draws; the lower the temperature, the nearer they are to one state."""
        perturbed = self.logits + gumbel(noise)
        if self.temperature:
            soft = torch.softmax(perturbed / self.temperature, -1)
            if not self.straight:
                return soft
        hard = nn.functional.one_hot(perturbed.argmax(-1), perturbed.shape[-1]).to(perturbed.dtype)
        return hard + (soft - soft.detach()) if self.temperature else hard

    def exact(self) -> Posterior:
        """Return the posterior whose draws are states."""
        return StatesPosterior(self.logits, 0.0)

    def log_q(self, code: Tensor) -> Tensor:
        """Log probability of a state."""
        return (code * torch.log_softmax(self.logits, -1)).sum(-1)

    def log_prior(self, code: Tensor) -> Tensor:
        """Log 1/K."""
        return -math.log(code.shape[-1]) * code.sum(-1)

    def kl(self) -> Tensor:
        """Return what each state adds to the KL."""
        log_p = torch.log_softmax(self.logits, -1)
        return log_p.exp() * (log_p + math.log(log_p.shape[-1]))

    def mean(self) -> Tensor:
        """Return the probability of each state."""
        return torch.softmax(self.logits, -1)

    def sd(self) -> Tensor:
        """Return the SD of being in each state."""
        mean = self.mean()
        return (mean * (1 - mean)).clip(0).sqrt()

    def moved(self, code: Tensor, axis: int, step: float) -> Tensor:
        """Return probabilities of which one grew by the step."""
        return SIMPLEX.moved(code, axis, step)

    def detached(self) -> StatesPosterior:
        """Return the same, without gradient."""
        return StatesPosterior(self.logits.detach(), self.temperature, self.straight)


@LATENTS.register
class States(Bounded):
    """Every cell is in one of n_axes states; an axis is the probability of a state."""

    settings = StatesSettings
    support = SIMPLEX

    def __init__(self, settings: LatentSettings, n_axes: int) -> None:
        super().__init__(settings, n_axes)
        self.n_parameters = n_axes

    def temperature(self, progress: float) -> float:
        """From 1 down to that of the settings, evenly on the log scale; 0 at the end."""
        assert isinstance(self.given, StatesSettings)
        return 0.0 if progress >= 1 else self.given.temperature ** min(1.0, progress / ANNEALED)

    def posterior(self, raw: Tensor, progress: float = 1.0) -> StatesPosterior:
        """Return the posterior."""
        assert isinstance(self.given, StatesSettings)
        return StatesPosterior(raw, self.temperature(progress), self.given.straight_through)

    def states(self, z: Tensor) -> Tensor:
        """Return the positions: an axis is the probability of a state."""
        return z

    def unseen(self, n: int, like: Tensor, generator: torch.Generator) -> StatesPosterior:
        """Each state as often as any other."""
        return StatesPosterior(like.new_zeros(n, self.n_axes), 0.0)
