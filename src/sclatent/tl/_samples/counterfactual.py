"""Cells as if they had been measured otherwise: what each gene would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from sclatent.data.modalities import RNA
from sclatent.settings import InputError, checks_arguments
from sclatent.tl._model.conditions import asked, check_modality
from sclatent.tl._model.inputs import inputs
from sclatent.tl._paths.decode import decoder_of

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from sclatent.model import CountData
    from sclatent.tl._model.train import TrainedModel

Array = npt.NDArray[Any]

PER = 1e4
"""Rates are told as counts in so many of a cell."""
DRAWS = 8
CHUNK, BLOCK = 512, 2**22
"""Cells that are decoded at a time, or fewer with many peaks: cells × peaks, at most."""


@checks_arguments
def counterfactual(
    prepared: AnnData,
    trained: TrainedModel,
    given: Mapping[str, Any],
    *,
    of: str = RNA,
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Tell what each gene of some cells would do, had the cells been in another condition or batch.

    Each cell keeps its place along the axes, drawn from its posterior; the decoder is asked twice, with the cell's own
    covariates and with those that are `given`. This takes the columns as causes: what differs between conditions for
    another reason (other donors, other cells) is counted as their effect.

    Parameters
    ----------
    prepared
        Cells × genes to ask about: the model's genes, and the columns that it is conditioned on.
    trained
        The model.
    given
        Level or number of columns that the model is conditioned on, such as ``{"condition": "stim"}``.
    of
        The modality that is asked about: ``"atac"`` for the peaks of a model that has them. Cells that were not
        measured for it are asked as well, at the place where what was measured of them says.
    groups
        (cells,) names, such as cell types: each group of cells gets a table of its own.
    draws
        Draws from the posterior of each cell.
    seed
        Of the draws.

    Returns
    -------
    DataFrame
        One row per gene (and ``group``), in the order of the model: ``gene``, or ``peak``; ``measured``, mean count in
        10,000 of a cell (of its library size) in those of these cells that were measured for it, missing if none was;
        ``decoded``, the same by the model; ``as_if``, by the model with the given covariates; ``log_fold_change``,
        natural log of (1 + as_if) / (1 + decoded); ``sd`` of this over draws of all cells' places; ``spread``, SD of
        the cells' own log fold changes; ``cells``.

    Raises
    ------
    InputError
        If nothing is given, or a column, a level or a modality is not known, or `groups` has another length.
    """
    import pandas as pd

    codes, values = asked(trained.card, given, "counterfactual: given")
    if not given:
        raise InputError("counterfactual: given: expected a column and its level, such as {'condition': 'stim'}")
    if draws < 1:
        raise InputError(f"counterfactual: draws: expected 1 or more, found {draws}")
    check_modality(of, list(trained.vae.modalities), "counterfactual: of")
    names = np.zeros(prepared.n_obs, dtype=np.int64) if groups is None else np.asarray(groups).astype(str)
    if names.shape != (prepared.n_obs,):
        raise InputError(f"counterfactual: groups: {len(names)} names for {prepared.n_obs} cells")
    data = inputs(prepared, trained.card)
    tables = []
    for name in np.unique(names):
        cells = np.flatnonzero(names == name)
        table = _table(trained, data, cells, codes, values, draws, seed, of)
        if groups is not None:
            table.insert(0, "group", str(name))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _table(
    trained: TrainedModel,
    data: CountData,
    cells: Array,
    codes: Mapping[int, int],
    values: Mapping[int, float],
    draws: int,
    seed: int,
    of: str,
) -> pd.DataFrame:
    """Decode some cells as they are and as if they were otherwise, a few hundred at a time."""
    import pandas as pd

    own, other = (decoder_of(trained.vae, one, of=of) for one in (data, _as_if(data, codes, values)))
    n, genes = len(cells), trained.vae.modalities[of].n_genes
    size = CHUNK if of == RNA else int(np.clip(BLOCK // genes, 1, CHUNK))
    mean = np.zeros((2, draws, genes))
    total, squares = np.zeros((2, genes))
    for start in range(0, n, size):
        rows = cells[start : start + size]
        places = trained.vae.draws(data, rows, draws, seed=seed + start)
        change = np.zeros((len(rows), genes))
        for draw, place in enumerate(places):
            rates = [PER * np.exp(decode(place, rows).astype(np.float64)) for decode in (own, other)]
            mean[:, draw] += [rate.sum(axis=0) / n for rate in rates]
            change += (np.log1p(rates[1]) - np.log1p(rates[0])) / draws
        total += change.sum(axis=0)
        squares += (change**2).sum(axis=0)
    by_draw = np.log1p(mean[1]) - np.log1p(mean[0])
    decoded, as_if = mean.mean(axis=1)
    return pd.DataFrame(
        {
            **_features(trained.card, of),
            "measured": _measured(data if of == RNA else data.others[of], cells),
            "decoded": decoded,
            "as_if": as_if,
            "log_fold_change": np.log1p(as_if) - np.log1p(decoded),
            "sd": by_draw.std(axis=0, ddof=1) if draws > 1 else np.full(genes, np.nan),
            "spread": np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0.0)),
            "cells": n,
        }
    )


def _features(card: dict[str, Any], of: str) -> dict[str, list[str]]:
    """Return the names of what is asked about, as a column."""
    return {"gene": card["genes"]} if of == RNA else {"peak": card["modalities"][of]["features"]}


def _measured(data: CountData, cells: Array) -> Array:
    """Return the mean count of each gene in 10,000 of a cell, of those cells that were measured."""
    there = cells if data.measured is None else cells[data.measured[cells]]
    if not len(there):
        return np.full(data.n_genes, np.nan)
    counts = csr_matrix(data.subset(there).counts)
    shares = counts.multiply(PER / np.maximum(data.library[there], 1e-30)[:, None])
    return np.asarray(shares.mean(0)).ravel()


def _as_if(data: CountData, codes: Mapping[int, int], values: Mapping[int, float]) -> CountData:
    """Return the cells with other covariates."""
    from dataclasses import replace

    categorical, continuous = (None if x is None else x.copy() for x in (data.categorical, data.continuous))
    for column, code in codes.items():
        assert categorical is not None
        categorical[:, column] = code
    for column, value in values.items():
        assert continuous is not None
        continuous[:, column] = value
    return replace(data, categorical=categorical, continuous=continuous)
