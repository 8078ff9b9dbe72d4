"""Cells as if they had been measured otherwise: what each gene would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from sclatent.settings import InputError
from sclatent.tl._model.conditions import asked
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
CHUNK = 512


def counterfactual(
    prepared: AnnData,
    trained: TrainedModel,
    given: Mapping[str, Any],
    *,
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
    groups
        (cells,) names, such as cell types: each group of cells gets a table of its own.
    draws
        Draws from the posterior of each cell.
    seed
        Of the draws.

    Returns
    -------
    DataFrame
        One row per gene (and ``group``), in the order of the model: ``gene``; ``measured``, mean count in 10,000 of a
        cell (of its library size) in these cells; ``decoded``, the same by the model; ``as_if``, by the model with the
        given covariates; ``log_fold_change``, natural log of (1 + as_if) / (1 + decoded); ``sd`` of this over draws of
        all cells' places; ``spread``, SD of the cells' own log fold changes; ``cells``.

    Raises
    ------
    InputError
        If nothing is given, or a column or level is not known, or `groups` has another length.
    """
    import pandas as pd

    codes, values = asked(trained.card, given, "counterfactual: given")
    if not given:
        raise InputError("counterfactual: given: expected a column and its level, such as {'condition': 'stim'}")
    if draws < 1:
        raise InputError(f"counterfactual: draws: expected 1 or more, found {draws}")
    names = np.zeros(prepared.n_obs, dtype=np.int64) if groups is None else np.asarray(groups).astype(str)
    if names.shape != (prepared.n_obs,):
        raise InputError(f"counterfactual: groups: {len(names)} names for {prepared.n_obs} cells")
    data = inputs(prepared, trained.card)
    tables = []
    for name in np.unique(names):
        cells = np.flatnonzero(names == name)
        table = _table(trained, data, cells, codes, values, draws, seed)
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
) -> pd.DataFrame:
    """Decode some cells as they are and as if they were otherwise, a few hundred at a time."""
    import pandas as pd

    own, other = decoder_of(trained.vae, data), decoder_of(trained.vae, _as_if(data, codes, values))
    n, genes = len(cells), data.n_genes
    counts = csr_matrix(data.subset(cells).counts)
    measured = np.asarray(counts.multiply(PER / np.maximum(data.library[cells], 1e-30)[:, None]).mean(0))
    mean = np.zeros((2, draws, genes))
    total, squares = np.zeros((2, genes))
    for start in range(0, n, CHUNK):
        rows = cells[start : start + CHUNK]
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
            "gene": trained.card["genes"],
            "measured": measured.ravel(),
            "decoded": decoded,
            "as_if": as_if,
            "log_fold_change": np.log1p(as_if) - np.log1p(decoded),
            "sd": by_draw.std(axis=0, ddof=1) if draws > 1 else np.full(genes, np.nan),
            "spread": np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0.0)),
            "cells": n,
        }
    )


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
