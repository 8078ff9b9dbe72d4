"""How well a model predicts cells it has not seen: ELBO and importance-weighted log-likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sclatent.model import Batches, CountData, CountVAE, only

KL_DRAWS = 16
"""Draws per cell behind a KL that has no closed form."""
SAMPLES = 100
"""Draws per cell behind a marginal, unless it is said otherwise."""
ENTRIES = 1 << 20
"""Entries of the largest modality that are decoded at a time for one draw of each cell."""


def summarise(
    vae: CountVAE, data: CountData, index: np.ndarray, *, samples: int = SAMPLES, seed: int = 0
) -> dict[str, Any]:
    """ELBO, marginal (of ``samples`` draws) and KL of the cells `index`, means in nats per cell; None without a cell.

    A latent without a density has none of them, but ``fit``, the log p(x | z) at the cell's point.
    """
    if not vae.settings.latent.density and len(index):
        fit, _ = held_out(vae, data, index, samples=1, seed=seed)
        none = dict.fromkeys(("elbo", "marginal", "marginal_se", "kl"))
        return {"n_cells": len(index), **none, "fit": float(fit.mean())}
    if len(index) == 0:
        return {"n_cells": 0, "elbo": None, "marginal": None, "marginal_se": None, "kl": None}
    elbo, marginal = held_out(vae, data, index, samples=samples, seed=seed)
    kl = _kl(vae, data, index, seed)
    n = len(index)
    return {
        "n_cells": n,
        "elbo": float(elbo.mean()),
        "marginal": float(marginal.mean()),
        "marginal_se": float(marginal.std(ddof=1) / np.sqrt(n)) if n > 1 else None,
        "kl": float(kl.mean()),
        "samples": samples,
    }


@torch.no_grad()
def _kl(vae: CountVAE, data: CountData, index: np.ndarray, seed: int) -> np.ndarray:
    """KL of each of the cells `index`, nats; from draws where the latent has no closed form per axis."""
    data, index = data.subset(index), np.arange(len(index))
    kl = vae.along_axes(data, index).kl.sum(1)
    if np.isfinite(kl).all():
        return kl
    noise, parts = torch.Generator(device=vae.device).manual_seed(seed), []
    for batch in Batches(data, vae.device).stream(index, 512):
        posterior = vae.encode(batch)
        eps = torch.randn((KL_DRAWS, len(batch), vae.latent.n_noise), generator=noise, device=vae.device)
        parts.append(-posterior.log_ratio(posterior.sample(eps), eps).double().mean(0).cpu().numpy())
    return np.concatenate(parts)


@torch.no_grad()
def held_out(
    vae: CountVAE,
    data: CountData,
    index: np.ndarray,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    size: int = 64,
    of: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """ELBO (mean over the draws) and importance-weighted log p(x) of each cell of `index`, float64, in nats.

    x is all that was measured of a cell, or only the modality `of`. Streams over cells: memory holds `size` cells and 8
    draws at a time.
    """
    noise = torch.Generator(device=vae.device).manual_seed(seed)
    batches, index = Batches(data.subset(index), vae.device), np.arange(len(index))  # no sums over all other cells
    size = size if not data.others else max(1, min(size, ENTRIES // max(o.n_genes for o in data.others.values())))
    parts = (batch if of is None else only(batch, of) for batch in batches.stream(index, size))
    pairs = [vae.marginal(batch, samples, noise) for batch in parts]
    elbo, marginal = (torch.cat(part).cpu().numpy() for part in zip(*pairs, strict=True))
    return elbo, marginal
