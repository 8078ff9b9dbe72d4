"""Choose the seed to go on with, on validation cells, and say how far its axes can be trusted."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from sclatent.data import slots
from sclatent.settings import InputError, checks_arguments
from sclatent.tl._axes.stability import stability
from sclatent.tl._axes.strength import STRONG

if TYPE_CHECKING:
    import anndata as ad

log = logging.getLogger(__name__)

CRITERION, OF_POINTS = "marginal", "fit"
"""What seeds are compared by; where the latent has no density, there is no marginal."""


@checks_arguments
def select(
    metrics: Mapping[int, dict[str, Any]], latents: Mapping[int, ad.AnnData], axes: Mapping[int, pd.DataFrame]
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Choose the seed with the largest held-out marginal log-likelihood of the *validation* cells.

    Parameters
    ----------
    metrics
        What `sclatent.tl.evaluate` returned, by seed.
    latents
        What `sclatent.tl.embed` returned, by seed.
    axes
        What `sclatent.tl.annotate` returned, by seed.

    Returns
    -------
    tuple
        Which seed was chosen and why (``seed``, ``criterion``, ``value``, ``values`` of every seed, ``failed`` seeds,
        ``n_active``, ``n_strong``, ``n_stable``), and the table from `sclatent.tl.stability` for that seed, with the
        axes' names.

    Raises
    ------
    InputError
        If no seed has a finite value; a single seed that failed is left out with a warning.
    """
    values = {seed: _value(m) for seed, m in metrics.items()}
    finite = {seed: v for seed, v in values.items() if v is not None and math.isfinite(v)}
    judged = any((m.get(slots.VALIDATION) or {}).get("n_cells", 1) for m in metrics.values())
    failed = sorted(set(values) - set(finite)) if judged else []
    if judged and not finite:
        raise InputError(
            "no seed can be selected: the validation log-likelihood of seed "
            f"{', '.join(map(str, sorted(values)))} is not finite: check the counts, or lower `learning_rate`"
        )
    for seed in failed:
        log.warning("seed %s is left out: its validation log-likelihood is not finite", seed)
    # without validation cells no seed can be preferred: take the first
    seed = min(finite, key=lambda s: (-finite[s], s)) if finite else min(values)
    usable = {s: latents[s] for s in latents if s not in failed}
    table = stability(usable, seed, {s: frame.set_index("axis")["name"] for s, frame in axes.items()})
    names = axes[seed].set_index("axis")["name"]
    table.insert(1, "name", names.loc[table["axis"]].to_numpy())
    points = any(OF_POINTS in (m.get(slots.VALIDATION) or {}) for m in metrics.values())
    named = "log-likelihood at the point" if points else "marginal log-likelihood"
    chosen = {
        "seed": int(seed),
        "criterion": f"largest {named} of the validation cells (nats per cell)",
        "value": finite.get(seed),
        "values": {str(s): finite.get(s) for s in sorted(values)},
        "failed": [int(s) for s in failed],
        "n_active": int(axes[seed]["active"].sum()),
        "n_strong": int((axes[seed]["strength"] == STRONG).sum()),
        "n_stable": int(table["stable"].sum()) if len(usable) > 1 else None,
    }
    return chosen, table


def _value(metrics: dict[str, Any]) -> float | None:
    held_out = metrics.get(slots.VALIDATION) or {}
    value = held_out.get(OF_POINTS if OF_POINTS in held_out else CRITERION)
    return None if value is None else float(value)
