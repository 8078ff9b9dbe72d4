"""A mixture of normal states as the prior: cells come in groups, and vary within them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sclatent.model.parts.latent import LATENTS, LatentSettings
from sclatent.model.parts.latents.gaussian import SD_OFFSET, SMALLEST_SD, Gaussian, log_normal
from sclatent.model.parts.latents.point import ANYWHERE
from sclatent.model.parts.posterior import Posterior
from sclatent.settings.kinds.latents import MixtureSettings

APART, START_LOG_SD = 1.0, -0.5
"""SD of the states' centres and log SD within them where training starts."""
LOG_SDS = (-3.0, 1.0)
"""Range of the log SD within a state: a state cannot become a point, whose density has no bound."""


class MixturePrior(nn.Module):
    """Σ weight · N(centre, sd²) over the states, learned with the model."""

    def __init__(self, n_states: int, n_axes: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_states))
        self.centres = nn.Parameter(torch.zeros(n_states, n_axes))
        self.log_sd = nn.Parameter(torch.full((n_states, n_axes), START_LOG_SD))

    def each(self, code: Tensor) -> Tensor:
        """Log weight · density of each state (… × states) at codes (… × axes)."""
        density = log_normal(code[..., None, :], self.centres, self.log_sd.clamp(*LOG_SDS).exp())
        return torch.log_softmax(self.logits, -1) + density


class MixturePosterior(Posterior):
    """N(mean, sd²) along each axis, under a `MixturePrior`, which sums over the states exactly."""

    def __init__(self, mean: Tensor, sd: Tensor, prior: MixturePrior) -> None:
        self._mean, self._sd, self.prior = mean, sd, prior

    def sample(self, noise: Tensor) -> Tensor:
        """Return mean + sd · ε."""
        return self._mean + self._sd * noise

    def log_q(self, code: Tensor) -> Tensor:
        """Log N(code; mean, sd²)."""
        return log_normal(code, self._mean, self._sd)

    def log_prior(self, code: Tensor) -> Tensor:
        """Log of the sum over the states."""
        return torch.logsumexp(self.prior.each(code), -1)

    def mean(self) -> Tensor:
        """Return the means."""
        return self._mean

    def sd(self) -> Tensor:
        """Return the SDs."""
        return self._sd

    def moved(self, code: Tensor, axis: int, step: float) -> Tensor:
        """Add the step."""
        return ANYWHERE.moved(code, axis, step)

    def detached(self) -> MixturePosterior:
        """Return the same, without gradient to the encoder; the prior is learned still."""
        return MixturePosterior(self._mean.detach(), self._sd.detach(), self.prior)


@LATENTS.register
class Mixture(nn.Module, Gaussian):
    """Normal axes under a mixture of states."""

    settings = MixtureSettings
    rotates = False

    def __init__(self, settings: LatentSettings, n_axes: int) -> None:
        nn.Module.__init__(self)
        Gaussian.__init__(self, settings, n_axes)
        assert isinstance(settings, MixtureSettings)
        self.prior = MixturePrior(settings.states, n_axes)

    def fill(self, generator: torch.Generator) -> None:
        """Draw the states' centres."""
        with torch.no_grad():
            self.prior.centres.normal_(0.0, APART, generator=generator)

    def posterior(self, raw: Tensor, progress: float = 1.0) -> MixturePosterior:  # type: ignore[override]
        """Return the posterior: the head's first half is the mean, the second gives the SD."""
        mean, spread = raw.chunk(2, dim=-1)
        return MixturePosterior(mean, nn.functional.softplus(spread + SD_OFFSET) + SMALLEST_SD, self.prior)

    def unseen(self, n: int, like: Tensor, generator: torch.Generator) -> Posterior:
        """Return a state of the prior for each cell, drawn by its probability."""
        chosen = torch.multinomial(torch.softmax(self.prior.logits, -1), n, replacement=True, generator=generator)
        sd = self.prior.log_sd.clamp(*LOG_SDS).exp()
        return MixturePosterior(self.prior.centres[chosen], sd[chosen], self.prior)

    def fast(self) -> list[nn.Parameter]:
        """Return the prior's parameters: centres have far to go."""
        return list(self.prior.parameters())

    def states(self, z: Tensor) -> Tensor:
        """Return the probability of each state (cells × states) at positions along the axes."""
        return torch.softmax(self.prior.each(z), -1)
