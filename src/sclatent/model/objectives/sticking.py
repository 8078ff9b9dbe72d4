"""Sticking the landing: the ELBO's pathwise gradient without the part that is 0 on average."""

from __future__ import annotations

import torch
from torch import Tensor

from sclatent.model.batch import Batch
from sclatent.model.objective import OBJECTIVES, Loss, PathwiseELBO
from sclatent.model.vae import CountVAE
from sclatent.settings.kinds.objectives import StickingSettings


@OBJECTIVES.register
class StickingTheLanding(PathwiseELBO):
    """The ELBO with the KL of the draws, log q held still (Roeder, Wu & Duvenaud 2017).

    The gradient of log q with respect to its own parameters is 0 on average, and noise in each draw. Without it the
    noise is gone where q is the exact posterior. That pays only under the whole KL: while this grows, the KL is taken
    in closed form, as `PathwiseELBO` does. The score is the ELBO.
    """

    settings = StickingSettings

    def loss(
        self, model: CountVAE, batch: Batch, noise: torch.Generator, masks: torch.Generator | None, kl_weight: float
    ) -> Loss:
        """Return KL of the draws − log p(x | z)."""
        if kl_weight < 1:
            return super().loss(model, batch, noise, masks, kl_weight)
        posterior = model.encode(batch, masks)
        code = posterior.sample(self.noise((self.draws, len(batch), model.latent.n_noise), noise))
        log_prob = model.log_prob_of_draws(code, batch, masks).mean(0)
        kl: Tensor = (posterior.detached().log_q(code) - posterior.log_prior(code)).mean(0)
        return Loss(kl - log_prob, log_prob, kl)
