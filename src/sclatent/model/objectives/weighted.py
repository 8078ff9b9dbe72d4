"""The importance-weighted bound, and its doubly reparameterized gradient."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from sclatent.model.batch import Batch
from sclatent.model.objective import OBJECTIVES, DrawnObjective, Loss
from sclatent.model.vae import CountVAE
from sclatent.settings.kinds.objectives import DoublySettings, WeightedSettings
from sclatent.settings.kinds.parts import ObjectiveSettings


@OBJECTIVES.register
class ImportanceWeighted(DrawnObjective):
    """Log 1/S Σ p(x, z_s)/q(z_s | x) (Burda, Grosse & Salakhutdinov 2016), which is also the score.

    It is at least the ELBO and at most log p(x), and grows with the draws. While the KL's weight β grows, the weights
    are p(x | z) (p(z)/q(z | x))^β.
    """

    settings: ClassVar[type[ObjectiveSettings]] = WeightedSettings

    def loss(
        self, model: CountVAE, batch: Batch, noise: torch.Generator, masks: torch.Generator | None, kl_weight: float
    ) -> Loss:
        """Return minus the bound."""
        posterior = model.encode(batch, masks)
        eps = self.noise((self.draws, len(batch), model.latent.n_noise), noise)
        code = posterior.sample(eps)
        ratio = posterior.log_ratio(code, eps)
        log_w = model.log_prob_of_draws(code, batch, masks) + kl_weight * ratio
        bound = torch.logsumexp(log_w, 0) - math.log(self.draws)
        return self._told(-bound, bound, ratio)

    def score(self, model: CountVAE, batch: Batch, noise: torch.Generator) -> Tensor:
        """Return the bound."""
        posterior = model.encode(batch)
        eps = self.noise((self.draws, len(batch), model.latent.n_noise), noise)
        code = posterior.sample(eps)
        log_w = model.log_prob_of_draws(code, batch).double() + posterior.log_ratio(code, eps).double()
        return torch.logsumexp(log_w, 0) - math.log(self.draws)

    def _told(self, cells: Tensor, bound: Tensor, ratio: Tensor) -> Loss:
        kl = -ratio.detach().mean(0)
        return Loss(cells, bound.detach() + kl, kl)


@OBJECTIVES.register
class DoublyReparameterized(ImportanceWeighted):
    """The same bound, with a gradient for the encoder that gets better with more draws, not worse (Tucker et al. 2019).

    With w̃ the normalised weights, the encoder follows Σ (w̃ − β (w̃ − w̃²)) ∂log w/∂z ∂z/∂φ, log q held still. Where the
    KL has its full weight, β = 1, the factor is w̃². The decoder follows Σ w̃ ∂log w/∂θ.
    """

    settings = DoublySettings

    def loss(
        self, model: CountVAE, batch: Batch, noise: torch.Generator, masks: torch.Generator | None, kl_weight: float
    ) -> Loss:
        """Return a loss with this gradient; its value is minus the bound."""
        posterior = model.encode(batch, masks)
        code = posterior.sample(self.noise((self.draws, len(batch), model.latent.n_noise), noise))
        kept: list[Tensor] = []
        if code.requires_grad:  # `kept` is filled below, before any gradient comes back
            code.register_hook(lambda to_code: to_code * (1 - kl_weight * (1 - kept[0]))[..., None])
        ratio = posterior.log_prior(code) - posterior.detached().log_q(code)
        log_w = model.log_prob_of_draws(code, batch, masks) + kl_weight * ratio
        bound = (torch.logsumexp(log_w, 0) - math.log(self.draws)).detach()
        weight = torch.softmax(log_w.detach(), 0)
        kept.append(weight)
        surrogate = (weight * log_w).sum(0)
        return self._told(surrogate.detach() - surrogate - bound, bound, ratio)
