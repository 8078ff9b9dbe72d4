"""How well a model of several modalities predicts each of them, and one from the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from sclatent.model import CountData, CountVAE
from sclatent.tl._model.held_out_fit import held_out


def of_modalities(vae: CountVAE, data: CountData, index: np.ndarray, *, samples: int, seed: int) -> dict[str, Any]:
    """Marginal log-likelihood of each modality alone, of all together, and of each given the others.

    Parameters
    ----------
    index
        Positions of held-out cells; those that have every modality are judged, so that the numbers can be compared.

    Returns
    -------
    By modality, ``both``, and ``{modality}_from_{other}``: ``marginal`` and ``marginal_se``, nats per cell, and
    ``n_cells``. What one modality tells of the other is log p(both) − log p(the one); each term is a lower bound that
    tightens with draws. Empty for a model of one modality.
    """
    if not data.others:
        return {}
    there = [part.measured for part in (data, *data.others.values()) if part.measured is not None]
    index = index[np.logical_and.reduce([mask[index] for mask in there])] if there else index
    if not len(index):
        return {}
    names = list(vae.modalities)
    log_p = {name: held_out(vae, data, index, samples=samples, seed=seed, of=name)[1] for name in names}
    both = held_out(vae, data, index, samples=samples, seed=seed)[1]
    out = {name: _told(log_p[name]) for name in names} | {"both": _told(both)}
    if len(names) == 2:
        first, second = names
        out |= {f"{b}_from_{a}": _told(both - log_p[a]) for a, b in ((first, second), (second, first))}
    return out


def _told(values: np.ndarray) -> dict[str, Any]:
    n = len(values)
    error = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None
    return {"n_cells": n, "marginal": float(values.mean()), "marginal_se": error}
