"""Each cell's own posterior, improved by a few steps with the weights of the model held still."""

from __future__ import annotations

import math

import torch

from sclatent.model.batch import Batch
from sclatent.model.noise import standard_normal
from sclatent.model.parts.posterior import Posterior
from sclatent.model.vae import CountVAE

DRAWS, JUDGES = 4, 32
"""Draws of a step, and those that judge whether a cell has gained."""
RATE = 0.05
"""Learning rate of the first step; it falls to 0 along a cosine."""


def refined(vae: CountVAE, batch: Batch, steps: int, noise: torch.Generator) -> Posterior:
    """Return q(z | x) of the cells, of the latent's family, nearer to the exact posterior than the encoder's.

    The encoder has one function for all cells. Here what it says of each cell is the start of `steps` pathwise steps
    (Adam) up that cell's own ELBO (Kim et al. 2018); of several modalities the start is the product of what their
    encoders say. A cell whose ELBO over fresh draws is not above the encoder's
    keeps the encoder's.

    Parameters
    ----------
    vae
        The trained model; it is not changed.
    batch
        The minibatch of B cells.
    steps
        Steps of the optimiser.
    noise
        Generator of the draws.

    Returns
    -------
    Posterior
        One of the latent's family for every cell.
    """
    with torch.no_grad():
        start = vae.latent.head(vae.encode(batch)) if vae.others else vae.encoder(batch, None)
    raw = start.clone().requires_grad_()
    mean, square = torch.zeros_like(raw), torch.zeros_like(raw)
    for step in range(steps):
        eps = standard_normal("antithetic", (DRAWS, len(batch), vae.latent.n_noise), noise).to(raw)
        loss = -_elbo(vae, vae.latent.posterior(raw), batch, eps).sum()
        (gradient,) = torch.autograd.grad(loss, raw)
        with torch.no_grad():
            mean.lerp_(gradient, 0.1)
            square.lerp_(gradient.square(), 0.01)
            away = (mean / (1 - 0.9 ** (step + 1))) / ((square / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8)
            raw -= 0.5 * RATE * (1 + math.cos(math.pi * step / steps)) * away
    with torch.no_grad():
        eps = standard_normal("stratified", (JUDGES, len(batch), vae.latent.n_noise), noise).to(raw)
        before, after = (_elbo(vae, vae.latent.posterior(one), batch, eps) for one in (start, raw))
        return vae.latent.posterior(torch.where((after > before)[:, None], raw, start))


def _elbo(vae: CountVAE, posterior: Posterior, batch: Batch, eps: torch.Tensor) -> torch.Tensor:
    """ELBO of each cell over the draws, a few of them at a time."""
    kl, parts = posterior.kl(), []
    for some in eps.split(DRAWS):
        code = posterior.sample(some)
        log_prob = vae.log_prob_of_draws(code, batch).double()
        parts.append(log_prob + posterior.log_ratio(code, some) if kl is None else log_prob - kl.sum(1))
    return torch.cat(parts).mean(0)
