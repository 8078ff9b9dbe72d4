"""Paths decoded in the modalities beside RNA: their features are many, so those that move are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data import slots
from sclatent.data.blocks.dense import rows_at
from sclatent.data.modalities import further, slot
from sclatent.model import CountData, CountVAE
from sclatent.tl._axes.peaks import largest, peak_words
from sclatent.tl._model.subset import evenly
from sclatent.tl._paths.decode import Array, Decoder, Index, decoder_of, mean_fraction

if TYPE_CHECKING:
    from anndata import AnnData

PER_END, ALONG_TURN = 25, 100
"""Features kept of each end of an axis, and of the closed path those that change most."""
CELLS, SPREAD = 32, 16
"""Cells that a curve is averaged over, and those behind its standard deviation: fewer than for genes."""


@dataclass(frozen=True)
class Walk:
    """How cells are put along one path.

    Attributes
    ----------
    steps
        How many there are.
    place
        From coordinates (cells × axes) and a step to coordinates.
    z, cells
        Coordinates (cells × axes) of some cells, and who they are.
    draws, few
        Draws from the posterior of fewer cells, and who they are.
    closed
        Whether the path is the cycle.
    """

    steps: int
    place: Callable[[Array, int], Array]
    z: Array
    cells: Index
    draws: list[Array]
    few: Index
    closed: bool = False


def add_further(
    out: AnnData, walks: Sequence[Walk], vae: CountVAE, data: CountData, latent: AnnData, prepared: AnnData
) -> None:
    """Decode the paths in every modality beside RNA, in place.

    ``obsm["atac"]`` (steps × features) gets the decoded rate as a fraction of the depth, ``obsm["atac_sd"]`` its
    standard deviation as for genes, ``uns["sclatent"]["modalities"]["atac"]`` the table of these features: ``called``,
    ``reference`` (mean fraction over cells).
    """
    tables = {}
    for name, table in further(prepared).items():
        if slots.loadings_of(name) not in latent.varm:
            continue
        decode = decoder_of(vae, data, of=name)
        curves = [_curve(decode, walk) for walk in walks]
        kept = _kept(
            np.asarray(latent.varm[slots.loadings_of(name)]), latent.var["active"].to_numpy(bool), walks, curves
        )
        features = np.asarray(latent.uns[slots.features_of(name)], dtype=str)[kept]
        none = np.zeros((0, len(kept)), np.float32)
        out.obsm[name] = np.concatenate([none, *(curve[:, kept] for curve in curves)]).astype(np.float32)
        spreads = [_spread(decode, walk, kept) for walk in walks]
        out.obsm[f"{name}_{slots.SD}"] = np.concatenate([none, *spreads]).astype(np.float32)
        about = table.loc[features].copy()
        about["called"] = peak_words(prepared, name, features)
        cells = evenly(np.arange(latent.n_obs), CELLS)
        about["reference"] = mean_fraction(decode, rows_at(latent.X, cells, np.float64), cells)[kept]
        tables[name] = about
    out.uns[slots.UNS] |= slot(tables)


def _curve(decode: Decoder, walk: Walk) -> Array:
    """Return the decoded fractions (steps × features), averaged over cells."""
    some = evenly(np.arange(len(walk.cells)), CELLS)
    z, cells = walk.z[some], walk.cells[some]
    return np.array([mean_fraction(decode, walk.place(z, step), cells) for step in range(walk.steps)])


def _spread(decode: Decoder, walk: Walk, kept: Index) -> Array:
    """Return the SD (steps × kept features) of a cell's fraction over draws from its posterior."""
    some = evenly(np.arange(len(walk.few)), SPREAD)
    draws = np.concatenate([draw[some] for draw in walk.draws])
    cells = np.tile(walk.few[some], len(walk.draws))
    shape = (len(walk.draws), len(some), len(kept))
    rows = []
    for step in range(walk.steps):
        fraction = np.exp(decode(walk.place(draws, step).astype(np.float32), cells)[:, kept]).reshape(shape)
        rows.append(np.sqrt(fraction.var(axis=0, ddof=1, dtype=np.float64).mean(axis=0)))
    return np.array(rows)


def _kept(loadings: Array, active: np.ndarray, walks: Sequence[Walk], curves: list[Array]) -> Index:
    """Return the features that move most along the active axes and the closed path, ascending."""
    kept = [end for row in loadings[active] for end in largest(row, PER_END)]
    for walk, curve in zip(walks, curves, strict=True):
        if walk.closed:
            # how far a rate swings, against the noise of so few fragments
            swing = np.ptp(curve, axis=0) / np.sqrt(np.maximum(curve.mean(axis=0), 1e-12))
            kept.append(np.argsort(-swing, kind="stable")[:ALONG_TURN])
    return np.unique(np.concatenate(kept)).astype(np.int64) if kept else np.zeros(0, np.int64)
