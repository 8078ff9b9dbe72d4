"""The score function (REINFORCE): the gradient that asks only for log q, not for a derivative of what was drawn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sclatent.model.batch import Batch
from sclatent.model.objective import OBJECTIVES, Loss, PathwiseELBO
from sclatent.model.vae import CountVAE
from sclatent.settings.kinds.objectives import ScoreFunctionSettings
from sclatent.settings.kinds.parts import ObjectiveSettings

MEMORY = 0.9
"""What a step keeps of the running mean before it."""


@OBJECTIVES.register
class ScoreFunction(PathwiseELBO):
    """The ELBO, whose encoder follows (signal − baseline) ∂log q(z)/∂φ (Williams 1992).

    The signal of a draw is log p(x | z), and where the KL has no closed form also β (log p(z) − log q(z | x)). The
    baseline is nothing, the mean of the steps before, or the mean of the cell's other draws; each leaves the mean of
    the gradient as it is. The score is the ELBO.
    """

    settings = ScoreFunctionSettings

    def __init__(self, settings: ObjectiveSettings) -> None:
        super().__init__(settings)
        assert isinstance(settings, ScoreFunctionSettings)
        self.baseline, self.running = settings.baseline, 0.0

    def loss(
        self, model: CountVAE, batch: Batch, noise: torch.Generator, masks: torch.Generator | None, kl_weight: float
    ) -> Loss:
        """Return a loss with this gradient; its value is minus the ELBO."""
        posterior = model.encode(batch, masks).exact()
        eps = self.noise((self.draws, len(batch), model.latent.n_noise), noise)
        code = posterior.sample(eps).detach()
        log_prob = model.log_prob_of_draws(code, batch, masks)
        log_q, closed = posterior.log_q(code), posterior.kl()
        signal = log_prob.detach()
        if closed is None:
            ratio = posterior.log_prior(code) - log_q
            signal = signal + kl_weight * ratio.detach()
            # the prior's own parameters, if it has some, have a gradient of the usual kind
            kl, straight = -ratio.detach().mean(0), -kl_weight * posterior.log_prior(code).mean(0)
        else:
            kl, straight = closed.sum(1), kl_weight * closed.sum(1)
        fit = log_prob.mean(0)
        encoder = ((signal - self._compared(signal)) * log_q).mean(0)
        surrogate = straight - fit - encoder
        value = kl_weight * kl - fit
        return Loss(surrogate - surrogate.detach() + value.detach(), fit, kl)

    def _compared(self, signal: Tensor) -> Tensor | float:
        """Return the baseline of each draw's signal (draws × cells)."""
        if self.baseline == "others":
            return (signal.sum(0) - signal) / (self.draws - 1)
        if self.baseline == "running":
            before = self.running
            self.running = MEMORY * before + (1 - MEMORY) * float(signal.mean())
            return before
        return 0.0

    def state(self) -> dict[str, Any]:
        """Return the running mean."""
        return {"running": self.running}

    def restore(self, state: dict[str, Any]) -> None:
        """Take the running mean up again."""
        self.running = state["running"]
