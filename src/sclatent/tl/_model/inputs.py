"""From the prepared AnnData to the arrays the model sees, and the card that says which these are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, issparse

from sclatent.data import slots
from sclatent.data.blocks import change_rows, is_mapped, release
from sclatent.data.columns import as_numbers, as_text, called, place_of
from sclatent.data.expected import need_counts
from sclatent.data.modalities import RNA, counts_of, further, measured
from sclatent.data.normalise import cell_sums
from sclatent.model import CountData, MappedCounts
from sclatent.settings import InputError, ModalitiesSettings, checks_arguments
from sclatent.settings.modalities import ATAC

if TYPE_CHECKING:
    from anndata import AnnData


def describe(
    prepared: AnnData,
    batch: Sequence[str],
    covariates: Sequence[str],
    library_size: str | None,
    train_cells: np.ndarray,
) -> dict[str, Any]:
    """Return the part of the card that says what the model sees: genes, levels and scales of the training cells."""
    genes = prepared.var_names[prepared.var[slots.IN_MODEL].to_numpy(dtype=bool)]
    levels = []
    for name in batch:
        there = place_of(prepared, name, "batch")
        levels.append(sorted(as_text(prepared.obs[there].iloc[train_cells]).unique()))
    centre, scale = [], []
    for name in covariates:
        there = place_of(prepared, name, "covariates")
        values, odd = as_numbers(prepared.obs[there].iloc[train_cells])
        if odd is not None:
            raise InputError(f"covariates: column '{name}' holds '{odd}', not numbers (categories go under `batch`)")
        centre.append(float(np.nanmean(values)))
        scale.append(float(np.nanstd(values)) or 1.0)
    return {
        "genes": genes.astype(str).tolist(),
        "batch": list(batch),
        "levels": levels,
        "covariates": list(covariates),
        "centre": centre,
        "scale": scale,
        "rest": library_size is not None,
    }


def _modalities(prepared: AnnData, modalities: ModalitiesSettings | None) -> dict[str, Any]:
    """Return the part of the card about modalities beside RNA; nothing where there is none."""
    if modalities is None:
        return {}
    table = further(prepared)[ATAC]
    features = table.index[table[slots.IN_MODEL].to_numpy(dtype=bool)].astype(str).tolist()
    return {"modalities": {ATAC: {"features": features, "likelihood": modalities.atac.likelihood.kind}}}


def modelled(
    prepared: AnnData, card: dict[str, Any], modalities: ModalitiesSettings | None, train: np.ndarray
) -> CountData:
    """Return what the model sees, and put into the card what that is of modalities beside RNA."""
    card |= _modalities(prepared, modalities)
    return _with_depths(card, inputs(prepared, card), train)


def _with_depths(card: dict[str, Any], data: CountData, train: np.ndarray) -> CountData:
    """Put into the card of several modalities how deeply a usual training cell was read in each of them."""
    if not data.others:
        return data
    parts = {RNA: (card, data), **{name: (card["modalities"][name], part) for name, part in data.others.items()}}
    for name, (about, part) in parts.items():
        there = train if part.measured is None else train[part.measured[train]]
        if not len(there):
            raise InputError(f"modalities.{name}: no training cell was measured for it: add cells, or change the split")
        about["depth"] = float(np.median(part.library[there]))
    return data


@checks_arguments
def inputs(prepared: AnnData, card: dict[str, Any]) -> CountData:
    """Return the counts and covariates of `prepared` as the model of `card` sees them.

    Parameters
    ----------
    prepared
        Cells × genes with whole-number counts in ``X``; must hold every gene of the model.
    card
        The card of a trained model: ``genes``, ``batch``, ``levels``, ``covariates``, ``centre``, ``scale``, ``rest``,
        and ``modalities`` where there are some beside RNA. Cells without them are taken as not measured in these.

    Returns
    -------
    CountData
        Counts of the model's genes (n × genes), library sizes (n,), codes of the batch columns and scaled covariates (n
        × columns).

    Raises
    ------
    InputError
        A gene or column is missing, ``X`` holds no counts, or the library size is below the sum over the model's genes.
    """
    need_counts(prepared)
    return as_seen(prepared, card)


def as_seen(prepared: AnnData, card: dict[str, Any]) -> CountData:
    """Return what `inputs` does of values that need not be counts: `query` fills in what a model expects."""
    position = _positions(prepared, card)
    whole = len(position) == prepared.n_vars and bool((np.diff(position) == 1).all())
    counts = prepared.X
    counts = counts.tocsr().astype(np.float32, copy=False) if issparse(counts) else csr_matrix(counts, dtype=np.float32)
    if not whole:
        counts = change_rows(counts, lambda _, block: block[:, position], len(position))
    total = cell_sums(counts)
    library = total
    if card["rest"]:
        library = _column(prepared, slots.LIBRARY_SIZE).to_numpy(dtype=np.float64)
        short = library < total - 0.5
        if short.any():
            cell = int(np.flatnonzero(short)[0])
            raise InputError(
                f"library_size: cell '{prepared.obs_names[cell]}' has {library[cell]:g}, less than the {total[cell]:g} "
                "counts of the model's genes: name a column that is a total over more genes, or leave it out"
            )
    source = MappedCounts(counts, release) if is_mapped(counts) else counts
    others = {name: _other(prepared, name, about) for name, about in card.get("modalities", {}).items()}
    has_rna = measured(prepared, RNA) if others else None
    return CountData(source, library, _codes(prepared, card), _values(prepared, card), has_rna, others)


def _other(prepared: AnnData, name: str, about: dict[str, Any]) -> CountData:
    """Return the counts of a modality beside RNA; cells that have none of it are not measured."""
    features = about["features"]
    n = prepared.n_obs
    if name not in prepared.obsm:
        nothing = csr_matrix((n, len(features)), dtype=np.float32)
        return CountData(nothing, np.zeros(n), measured=np.zeros(n, dtype=bool))
    position = further(prepared)[name].index.get_indexer(pd.Index(features))
    if (position < 0).any():
        missing = features[int(np.argmax(position < 0))]
        raise InputError(
            f"the model has {(position < 0).sum()} feature(s) of {name} that the cells do not have ('{missing}', …): "
            "embed the file the model was trained on"
        )
    counts = counts_of(prepared, name)[:, position]
    if about["likelihood"] == "bernoulli":
        counts = csr_matrix((np.ones_like(counts.data), counts.indices, counts.indptr), shape=counts.shape)
    return CountData(counts, cell_sums(counts), measured=measured(prepared, name))


def conditions(prepared: AnnData, card: dict[str, Any]) -> CountData:
    """Return the covariates of `prepared` alone, with no counts and no library size: all that decoding a path asks for.

    Raises
    ------
    InputError
        A gene or column is missing.
    """
    _positions(prepared, card)
    n = prepared.n_obs
    none = csr_matrix((n, len(card["genes"])), dtype=np.float32)
    return CountData(none, np.full(n, np.nan), _codes(prepared, card), _values(prepared, card))


def _positions(prepared: AnnData, card: dict[str, Any]) -> np.ndarray:
    """Return where the model's genes are among those of the cells."""
    position = pd.Index(prepared.var_names).get_indexer(pd.Index(card["genes"]))
    if (position < 0).any():
        missing = [g for g, p in zip(card["genes"], position, strict=True) if p < 0]
        raise InputError(
            f"the model has {len(missing)} gene(s) that the cells do not have ('{missing[0]}', …): "
            "embed the file the model was trained on"
        )
    return position


def _column(prepared: AnnData, name: str) -> pd.Series:
    there = called(prepared, name)
    if there not in prepared.obs:
        raise InputError(f"obs has no column '{name}', which the model is conditioned on")
    return prepared.obs[there]


def _codes(prepared: AnnData, card: dict[str, Any]) -> np.ndarray | None:
    """Level codes (cells × columns), -1 for a level that no training cell has."""
    if not card["batch"]:
        return None
    columns = []
    for name, levels in zip(card["batch"], card["levels"], strict=True):
        columns.append(pd.Index(levels).get_indexer(as_text(_column(prepared, name))))
    return np.stack(columns, axis=1).astype(np.int64)


def _values(prepared: AnnData, card: dict[str, Any]) -> np.ndarray | None:
    """Continuous covariates (cells × columns), standardised over the training cells."""
    if not card["covariates"]:
        return None
    columns = []
    for name, centre, scale in zip(card["covariates"], card["centre"], card["scale"], strict=True):
        column = _column(prepared, name)
        values, odd = as_numbers(column)
        if not np.isfinite(values).all():
            bad = ~np.isfinite(values) if odd is None else (column.astype(str) == odd).to_numpy()
            cell = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"covariates: column '{name}' holds '{column.iloc[cell]}' in cell "
                f"'{prepared.obs_names[cell]}': give every cell a number, or name the column under `batch` "
                "if it holds categories"
            )
        columns.append((values - centre) / scale)
    return np.stack(columns, axis=1).astype(np.float32)
