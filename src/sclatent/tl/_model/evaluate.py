"""How well a trained model predicts cells it has not seen."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sclatent.data import slots
from sclatent.data.expected import need_split
from sclatent.data.modalities import RNA, measured
from sclatent.settings import checks_arguments
from sclatent.tl._modalities.fit import of_modalities
from sclatent.tl._model.calibration import calibration
from sclatent.tl._model.embed import embed
from sclatent.tl._model.held_out_fit import SAMPLES, summarise
from sclatent.tl._model.inputs import inputs
from sclatent.tl._model.refine import refined_held_out
from sclatent.tl._model.subset import evenly
from sclatent.tl._model.train import TrainedModel

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger("sclatent")

JUDGED = 5000
"""Cells of a split that are judged; `marginal_se` says what this leaves open."""


@checks_arguments
def evaluate(
    prepared: AnnData,
    trained: TrainedModel,
    *,
    latent: AnnData | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    refine: int = 0,
) -> dict[str, Any]:
    """Held-out fit of a model, in nats per cell, constants included.

    Parameters
    ----------
    prepared
        Cells × genes with counts in ``X``; the model's genes are enough.
    trained
        The model.
    latent
        What `sclatent.tl.embed` returned for all of these cells, whose KL is not computed again.
    samples
        Draws per cell behind ``marginal``. After a refit the validation cells keep the marginal of 100 draws that they
        had before it: the model of then is gone.
    seed
        Of the draws.
    refine
        Steps of `sclatent.tl.refine` for each test cell (60 suffice), behind ``refined``; 0: none.

    Returns
    -------
    dict
        ``validation`` (before a refit on these cells, if there was one) and ``test``, of at most 5,000 cells each,
        evenly spaced: ``n_cells``, ``elbo``, ``marginal`` (importance-weighted log p(x) with `samples` draws, Burda et
        al. 2016; a lower bound that tightens with draws), ``marginal_se`` (standard error of the mean over cells),
        ``kl``, ``samples`` (the draws of this split), or for ``latent: point`` none of these but ``fit``, log p(x | z);
        ``n_active`` axes, ``kl_per_axis`` (over all cells), ``n_latent``, ``samples``, ``likelihood``, ``decoder``,
        ``epochs``; and ``calibration`` on test cells: see `sclatent.tl.calibration`. With `refine`, ``refined``:
        ``elbo`` and ``marginal`` of the test cells under refined posteriors, and ``gain``, what the marginal gains by
        them, with ``gain_se``. A gain is what the encoder left undone. With several modalities ``test`` also holds
        what `of_modalities` says of each of them, and of one from the other.
    """
    data = inputs(prepared, trained.card)
    split = need_split(prepared)
    result: dict[str, Any] = {
        "model": trained.card["model"],
        "seed": trained.card["seed"],
        "likelihood": trained.vae.settings.likelihood.kind,
        "decoder": trained.vae.settings.decoder.kind,
        "n_latent": trained.vae.settings.n_axes,
        "samples": samples,
        "epochs": len(trained.history),
    }
    for name in (slots.VALIDATION, slots.TEST):
        if name == slots.VALIDATION and trained.card.get("refit"):  # they are no longer unseen
            result[name] = _judged_before(trained.card["validation"])
            if result[name].get("samples", samples) != samples:
                log.warning(
                    "evaluate: validation cells were judged before the refit with %d draws, test cells now with %d: "
                    "the marginals of the two splits are not comparable",
                    result[name]["samples"],
                    samples,
                )
        else:
            result[name] = summarise(
                trained.vae,
                data,
                evenly(np.flatnonzero((split == name).to_numpy()), JUDGED),
                samples=samples,
                seed=seed,
            )
    test_cells = evenly(np.flatnonzero((split == slots.TEST).to_numpy()), JUDGED)
    result[slots.TEST] |= of_modalities(trained.vae, data, test_cells, samples=samples, seed=seed)
    if refine:
        result["refined"] = refined_held_out(trained.vae, data, test_cells, steps=refine, samples=samples, seed=seed)
    if latent is None:
        latent = embed(prepared, trained)
    result["n_active"] = int(latent.var["active"].sum())
    result["kl_per_axis"] = [round(float(kl), 6) if np.isfinite(kl) else None for kl in latent.var["kl"]]
    test = np.flatnonzero((split == slots.TEST).to_numpy() & measured(prepared, RNA))
    if len(test):
        result["calibration"] = pack(*calibration(trained.vae, data, test, trained.card["genes"], seed=seed))
    return result


def _judged_before(found: dict[str, Any]) -> dict[str, Any]:
    """Return the fit to validation cells that a card holds, with its number of draws, which cards once left out."""
    return {"samples": SAMPLES, **found} if found.get("marginal") is not None else found


def pack(table: pd.DataFrame, pit: np.ndarray, most: int = 2000) -> dict[str, Any]:
    """Return the tables of `calibration` as plain lists, of at most the `most` most abundant genes."""
    kept = table.loc[table["mean"].rank(ascending=False, method="first") <= most]
    columns = {name: [_number(v) for v in kept[name]] for name in kept.columns}
    return {"pit": [_number(v) for v in pit], "genes": kept.index.tolist(), **columns}


def _number(value: float) -> float | None:
    """Five digits, and None for what JSON cannot hold."""
    return float(f"{value:.5g}") if np.isfinite(value) else None
