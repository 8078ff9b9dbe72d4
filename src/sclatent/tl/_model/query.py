"""New cells in the axes of a saved model, and cells decoded as if they had been measured otherwise."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, hstack, issparse, vstack

from sclatent.data import slots
from sclatent.data.columns import as_text, called
from sclatent.settings import InputError, checks_arguments
from sclatent.settings.kinds.registry import unknown_kind
from sclatent.tl._model.conditions import asked
from sclatent.tl._model.embed import active_axes
from sclatent.tl._model.inputs import as_seen
from sclatent.tl._model.train import TrainedModel

if TYPE_CHECKING:
    import anndata as ad

log = logging.getLogger(__name__)

UNSEEN = ("error", "average")
ROUNDS = 3
"""How often the counts of missing genes are expected anew from where the cell has come to lie."""
FEW = 0.5
"""Below this share of the model's genes a warning is given."""


@checks_arguments
def query(cells: ad.AnnData, trained: TrainedModel, *, unseen: Literal["error", "average"] = "error") -> ad.AnnData:
    """Embed new cells by a saved model, without training.

    Genes of the model that the cells do not have get the counts the model expects: first those of the average cell,
    then three times those of the cell's own posterior mean, scaled to the cell's depth. Genes the model does not know
    are ignored.

    Parameters
    ----------
    cells
        Whole-number counts in ``X``, genes under the names the model was trained with; ``obs`` holds the columns the
        model is conditioned on, and ``library_size`` if the model was trained with such a column.
    trained
        From `sclatent.tl.train`, or `TrainedModel.load`.
    unseen
        What to do with a level of a batch column that training never saw: stop, or take the average of the known
        levels. The encoder does not look at the batch, so the choice matters for missing genes and for decoding only.

    Returns
    -------
    AnnData
        Cells × axes as from `sclatent.tl.embed`, without loadings: ``X`` posterior means, ``layers["sd"]``; ``obs`` of
        the cells; ``var["kl", "active"]`` among these cells; ``uns["query"]``: ``n_genes`` of the model, ``missing``
        ones by name, ``expected_share``, the share of a cell's counts that the model had to expect (mean over cells),
        ``unseen`` levels by column.

    Raises
    ------
    InputError
        No gene of the model is there, gene names repeat, counts are no counts, a column is missing, or a level is
        unseen.
    """
    import anndata

    if unseen not in UNSEEN:
        raise unknown_kind("unseen", unseen, UNSEEN)
    card = trained.card
    genes = pd.Index(card["genes"])
    if not cells.var_names.is_unique:
        twice = cells.var_names[cells.var_names.duplicated()][0]
        raise InputError(f"query: gene '{twice}' occurs twice among the genes of the cells: make the names unique")
    position = cells.var_names.get_indexer(genes)
    have = position >= 0
    if not have.any():
        raise InputError(
            f"query: none of the model's {len(genes)} genes ({genes[0]}, …) is among the cells' genes "
            f"({cells.var_names[0] if cells.n_vars else 'none'}, …): names must be those the model was trained with"
        )
    counts = csr_matrix(cells.X, dtype=np.float32) if not issparse(cells.X) else cells.X.tocsr().astype(np.float32)
    counts = counts[:, position[have]]
    _check_counts(counts, cells.obs_names)
    levels = _unseen_levels(cells, card, unseen)
    missing = genes[~have]
    if len(missing):
        log.log(
            logging.WARNING if have.mean() < FEW else logging.INFO,
            "query: %d of the model's %d genes are missing (%s, …) and are filled with the model's expectation",
            len(missing),
            len(genes),
            missing[0],
        )
    completed = anndata.AnnData(
        hstack([counts, csr_matrix((cells.n_obs, len(missing)), dtype=np.float32)], format="csr"),
        obs=cells.obs,
        var=pd.DataFrame(index=genes[have].append(missing)),
        obsm={name: cells.obsm[name] for name in card.get("modalities", {}) if name in cells.obsm},
        uns={key: cells.uns[key] for key in (slots.UNS,) if key in cells.uns},
    )
    share = 0.0
    mean = np.zeros((cells.n_obs, trained.vae.latent.n_axes), np.float32)
    for _ in range(1 + ROUNDS if len(missing) else 0):
        completed, share = _fill(completed, counts, mean, have, trained)
        mean, _ = trained.vae.posterior(as_seen(completed, card))
    mean, sd, kl = trained.vae.along_axes(as_seen(completed, card))
    var = pd.DataFrame({"kl": kl.mean(0, dtype=np.float64), "active": active_axes(trained.vae, mean)})
    var.index = pd.Index([f"axis_{k + 1}" for k in range(mean.shape[1])])
    report = {
        "n_genes": len(genes),
        "missing": np.array(missing, dtype=object),
        "expected_share": share,
        "unseen": {name: np.array(found, dtype=object) for name, found in levels.items()},
    }
    return anndata.AnnData(mean, obs=cells.obs.copy(), var=var, layers={slots.SD: sd}, uns={"query": report})


def _check_counts(counts: csr_matrix, names: pd.Index) -> None:
    wrong = ~np.isfinite(counts.data) | (counts.data < 0) | (counts.data != np.floor(counts.data))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        cell = int(np.searchsorted(counts.indptr, first, side="right")) - 1
        raise InputError(
            f"query: cell '{names[cell]}' holds {counts.data[first]:g}, no count: pass whole-number counts in X"
        )


def _unseen_levels(cells: ad.AnnData, card: dict[str, Any], unseen: str) -> dict[str, list[str]]:
    out = {}
    for name, known in zip(card["batch"], card["levels"], strict=True):
        there = called(cells, name)
        if there not in cells.obs:
            raise InputError(f"query: obs has no column '{name}', which the model is conditioned on")
        new = sorted(set(as_text(cells.obs[there]).astype(str)) - set(known))
        if new and unseen == "error":
            more = f" and {len(new) - 1} more levels" if len(new) > 1 else ""
            raise InputError(
                f"query: column '{name}' holds '{new[0]}'{more}, which the model never saw (known: "
                f"{', '.join(known[:10])}): rename it, or pass unseen='average'"
            )
        if new:
            out[name] = new
    return out


def _fill(
    completed: ad.AnnData,
    counts: csr_matrix,
    mean: np.ndarray,
    have: np.ndarray,
    trained: TrainedModel,
    size: int = 1024,
) -> tuple[ad.AnnData, float]:
    """Put the expected counts of the missing genes after those that were measured; return the mean share they have."""
    import anndata

    data = as_seen(completed, trained.card)
    seen = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    parts, shares = [], []
    for start in range(0, len(mean), size):
        rows = slice(start, start + size)
        fraction = np.exp(
            trained.vae.log_fraction(
                mean[rows],
                None if data.categorical is None else data.categorical[rows],
                None if data.continuous is None else data.continuous[rows],
            ).astype(np.float64)
        )
        measured = fraction[:, have].sum(axis=1)
        # depth of the cell: the counts that were measured, over the share of the genes that could be measured
        expected = fraction[:, ~have] * (seen[rows] / np.maximum(measured, 1e-6))[:, None]
        parts.append(csr_matrix(expected.astype(np.float32)))
        shares.append(1 - measured / fraction.sum(axis=1))

    whole = hstack([counts, vstack(parts, format="csr")], format="csr")
    obs = completed.obs
    if trained.card["rest"]:
        # the column counts genes beyond the model's, so it holds the missing ones already, unless it is too small
        total = np.asarray(whole.sum(axis=1, dtype=np.float64)).ravel()
        obs = obs.assign(**{slots.LIBRARY_SIZE: np.maximum(obs[slots.LIBRARY_SIZE].to_numpy(float), total)})
    filled = anndata.AnnData(whole, obs=obs, var=completed.var, obsm=dict(completed.obsm), uns=completed.uns)
    return filled, float(np.concatenate(shares).mean())


@checks_arguments
def decode(
    z: np.ndarray,
    trained: TrainedModel,
    *,
    levels: Mapping[str, str] | None = None,
    covariates: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Decode positions as if the cells came from one batch.

    Parameters
    ----------
    z
        (cells, axes) positions along the axes, such as ``X`` of `sclatent.tl.embed`.
    trained
        The model.
    levels
        Level of batch columns, such as ``{"batch": "Dropseq"}``; a column left out: the average of its levels.
    covariates
        Values of numeric covariates, each in the unit of its column; by default the mean over the training cells.

    Returns
    -------
    DataFrame
        Cells × genes of the model: the rate as a fraction of the library.

    Raises
    ------
    InputError
        If the model knows no such column or level.
    """
    card, z = trained.card, np.asarray(z, np.float32)
    n_axes = trained.vae.latent.n_axes
    if z.ndim != 2 or z.shape[1] != n_axes:
        raise InputError(
            f"decode: z: expected cells × {n_axes} axes, found an array of "
            f"{' × '.join(map(str, z.shape))}: pass positions such as latent.X"
        )
    levels_of, values_of = asked(card, {**(levels or {}), **(covariates or {})}, "decode")
    codes = np.full((len(z), len(card["batch"])), -1, np.int64)
    codes[:, list(levels_of)] = list(levels_of.values())
    values = np.zeros((len(z), len(card["covariates"])), np.float32)
    values[:, list(values_of)] = list(values_of.values())
    fraction = np.exp(trained.vae.log_fraction(z, codes, values))
    return pd.DataFrame(fraction, columns=pd.Index(card["genes"]))
