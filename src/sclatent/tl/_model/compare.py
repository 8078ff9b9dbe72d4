"""One table over all models and seeds: held-out fit, the best axis for each phase, mixing of batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sclatent.data import slots
from sclatent.settings import takes_settings
from sclatent.tl._axes.strength import STRONG

if TYPE_CHECKING:
    import anndata as ad

Run = tuple[str, int]
SCORES = {"S": slots.S_SCORE, "G2M": slots.G2M_SCORE}


@takes_settings
def compare(
    metrics: Mapping[Run, dict[str, Any]],
    axes: Mapping[Run, pd.DataFrame],
    *,
    selected: Mapping[str, int] | None = None,
    latents: Mapping[Run, ad.AnnData] | None = None,
    prepared: ad.AnnData | None = None,
    batch: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> pd.DataFrame:
    """Compare models and seeds.

    Parameters
    ----------
    metrics
        What `sclatent.tl.evaluate` returned, by (model, seed).
    axes
        What `sclatent.tl.annotate` returned, by (model, seed).
    selected
        The selected seed of each model.
    latents, prepared
        What `sclatent.tl.embed` returned, by (model, seed), and `sclatent.pp.prepare`: with both, the mixing of batches
        and the conservation of labels are measured (see `sclatent.tl.mixing`).
    batch, labels
        Keys of the dataset file: the columns that are asked about.

    Returns
    -------
    DataFrame
        One row per model and seed. Numbers of ``metrics.json`` under their own names, those of a split under ``test_*``
        and ``validation_*``; numbers of axes ``n_named``, ``n_technical``, ``n_strong``; for S and G2M the axis with
        the largest mutual information with the score (``best_axis_S``, ``best_mi_S`` in nats, ``second_mi_S``), and the
        largest ``|Spearman|`` (``best_spearman_S``); mixing as ``batch_entropy_*``, ``ilisi_*``, ``clisi_*``,
        ``label_accuracy_*``, one per column.
    """
    rows = []
    for run, values in metrics.items():
        model, seed = run
        row: dict[str, Any] = {"model": model, "seed": seed}
        if selected is not None:
            row["selected"] = selected.get(model) == seed
        row |= _flat({key: value for key, value in values.items() if key not in ("model", "seed")})
        if run in axes:
            row |= _best_axes(axes[run])
        if latents is not None and prepared is not None and run in latents:
            from sclatent.tl._axes.mixing import mixing

            row |= mixing(latents[run], prepared, batch, labels)
        rows.append(row)
    return pd.DataFrame(rows)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{prefix}{key}_")
        elif value is None or isinstance(value, str | int | float | bool):
            out[f"{prefix}{key}"] = value
    return out


def _best_axes(table: pd.DataFrame) -> dict[str, Any]:
    active = table[table["active"]]
    out: dict[str, Any] = {
        "n_named": int((~active["kind"].isin(["unnamed", "inactive"])).sum()),
        "n_technical": int((active["kind"] == "technical").sum()),
        "n_strong": int((table["strength"] == STRONG).sum()),
    }
    for phase, score in SCORES.items():
        information = table.get(f"mi_{score}")
        if information is None or information.isna().all():
            continue
        order = information.fillna(-1.0).to_numpy().argsort(kind="stable")[::-1]
        out[f"best_axis_{phase}"] = table["axis"].iloc[order[0]]
        out[f"best_mi_{phase}"] = float(information.iloc[order[0]])
        out[f"second_mi_{phase}"] = float(information.iloc[order[1]]) if len(order) > 1 else np.nan
        out[f"best_spearman_{phase}"] = float(table[f"spearman_{score}"].abs().max())
    return out
