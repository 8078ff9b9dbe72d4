"""Where training starts: gene biases at the log mean fractions, covariate levels centred, what learns how fast."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sclatent.model.batch import RNA
from sclatent.model.data import CountData
from sclatent.model.vae import CountVAE

FAST = 5.0
"""How much faster the gene-wise parameters (bias, θ) learn than the weights, which else move too little."""


@torch.no_grad()
def start_from_data(vae: CountVAE, data: CountData, train: np.ndarray) -> None:
    """Set what the training cells tell at once.

    The decoder's bias becomes the log mean fraction of each gene (and of the *rest* category); half a count more lets a
    gene without counts start rare instead of impossible. Level frequencies make the covariate design centred.
    """
    for name, modality in vae.modalities.items():
        part = data if name == RNA else data.others[name]
        genes = part.source.gene_sums(train)
        library = max(float(np.asarray(part.library)[train].sum(dtype=np.float64)), 1.0)
        fraction = (genes + 0.5) / library
        if modality.rest:
            fraction = np.append(fraction, max(library - genes.sum(), 0.5) / library)
        modality.decoder.bias.copy_(torch.from_numpy(np.log(fraction)))
    if data.categorical is None:
        return
    start = 0
    for column, n in enumerate(vae.n_levels):
        codes = data.categorical[train, column]
        known = codes[codes >= 0]
        frequency = np.bincount(known, minlength=n) / max(len(known), 1)
        vae.level_frequency[start : start + n] = torch.from_numpy(frequency)
        start += n


def parameter_groups(vae: CountVAE, weight_decay: float) -> list[dict[str, Any]]:
    """Weight matrices decay; the gene-wise bias and dispersion learn faster."""
    decays: list[Tensor] = []
    plain: list[Tensor] = []
    of_features = [one for part in vae.modalities.values() for one in (*part.likelihood.gene_wise(), part.decoder.bias)]
    fast = [*of_features, *vae.latent.fast()]
    for name, parameter in vae.named_parameters():
        if any(parameter is one for one in fast):
            continue
        if name.endswith("weight") and parameter.ndim == 2:  # not `covariates`: batches are not shrunk together
            decays.append(parameter)
        else:
            plain.append(parameter)
    return [
        {"params": decays, "weight_decay": weight_decay, "speed": 1.0},
        {"params": plain, "weight_decay": 0.0, "speed": 1.0},
        {"params": fast, "weight_decay": 0.0, "speed": FAST},
    ]
