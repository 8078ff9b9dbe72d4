"""Traversals: what the decoder does while one axis, or the cell cycle, is turned and everything else stays."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data import slots
from sclatent.data.blocks.dense import column_of, rows_at
from sclatent.settings import TraverseSettings, takes_settings
from sclatent.tl._axes import circular
from sclatent.tl._paths.decode import (
    CELLS,
    DRAWS,
    MIN_SUPPORT,
    SPREAD_CELLS,
    Array,
    Decoder,
    ScoreGenes,
    decode_turn,
    decoder_of,
    density_on_circle,
    density_on_line,
    deviations,
    list_phase,
    mean_fraction,
    pick_cells,
    score_genes,
    spread,
    strata_of,
    turn_positions,
)
from sclatent.tl._paths.further import Walk, add_further
from sclatent.tl._paths.space import Space, space_of

if TYPE_CHECKING:
    from anndata import AnnData

    from sclatent.tl._model.train import TrainedModel

log = logging.getLogger(__name__)

CYCLE = "cycle"
"""Name of the knob's path."""
PERCENTILES = (1, 99)
SEED = 0


@takes_settings
def traverse(
    prepared: AnnData,
    cycle: AnnData,
    latent: AnnData,
    trained: TrainedModel,
    knob: AnnData | None = None,
    *,
    traverse: TraverseSettings = TraverseSettings(),
) -> AnnData:
    """Decode along every active axis, and along the cell-cycle knob where there is one.

    An axis runs from the 1st to the 99th percentile of the posterior means; one that is an angle (``latent: circle``)
    goes round once, from −π to π. At each step the axis is set to the
    position in 256 real cells (batches in proportion) that keep their own values on all other axes and their own
    batch, and the decoded fractions are averaged. The standard deviation is that of one cell's decoded fraction over
    draws from its posterior in the other directions (root mean square over 64 cells), so it does not shrink with the
    number of cells averaged.

    Parameters
    ----------
    prepared, cycle, latent, trained
        ``prepared.h5ad``, ``cycle.h5ad``, ``latent.h5ad`` and the selected model.
    knob
        ``knob.h5ad`` of `sclatent.tl.knob`; its path is decoded (as ``cycle``) if the verdict is a knob.
    traverse
        Section of the dataset file.

    Returns
    -------
    AnnData
        AnnData, steps × genes. ``X``: decoded rate as a fraction of the library; ``layers["sd"]``. ``obs``: ``path``
        (an axis or ``cycle``), ``step``, ``position`` (latent units, or radians in [0, 2π)), ``density`` (of cells, per
        unit of position), ``supported`` (False where hardly any cell is), ``S_score``, ``G2M_score`` (natural log),
        ``S_sd``, ``G2M_sd``. ``var``: ``symbol``, ``reference`` (mean fraction of the same cells where they are),
        ``list_phase``, ``S_control``, ``G2M_control``; with a knob ``cycle_peak`` (radians) and ``cycle_amplitude``
        (log rate). With several modalities also what `add_further` tells of the others.
    """
    import pandas as pd

    from sclatent.tl._model.inputs import inputs

    data = inputs(prepared, trained.card)
    decode = decoder_of(trained.vae, data)
    genes = pd.Index([str(gene) for gene in latent.uns["genes"]])
    steps = traverse.steps
    strata = strata_of(data)
    cells = pick_cells(strata, CELLS, seed=SEED)
    few = pick_cells(strata, SPREAD_CELLS, seed=SEED)
    means = rows_at(latent.X, cells, np.float64)

    def draw(cells: Array) -> list[Array]:
        return deviations(trained.vae, data, latent, cells, DRAWS, SEED)

    def place(z: Array, k: int, x: float) -> Array:
        if slots.LATENT in latent.uns:  # what one axis gains, others may lose
            return trained.vae.latent.placed(z, k, x)
        moved = z.copy()
        moved[:, k] = x
        return moved

    draws = [rows_at(latent.X, few, np.float64) + away for away in draw(few)]
    reference = mean_fraction(decode, means, cells)
    chosen = score_genes(genes, cycle.var, reference)
    contrasts = chosen.contrasts()
    turning = circular.angle_axes(latent)

    pairs: list[tuple[_Block, Walk]] = []
    for k in np.flatnonzero(latent.var["active"].to_numpy(dtype=bool)).tolist():
        position, density, near = _steps(column_of(latent.X, k).astype(np.float64), steps, bool(turning[k]))
        curve = np.array([mean_fraction(decode, place(means, k, x), cells) for x in position])
        sd = [spread(decode, lambda z, x=x, k=k: place(z, k, x), draws, few, contrasts) for x in position]  # type: ignore[misc]
        walk = Walk(steps, lambda z, i, x=position, k=k: place(z, k, x[i]), means, cells, draws, few)  # type: ignore[misc]
        pairs.append((_Block(str(latent.var_names[k]), position, density, near, curve, sd), walk))
    turn = _turn(decode, knob, latent, space_of(latent, trained.vae), draw, steps, contrasts)
    blocks, walks = [[*part] for part in zip(*pairs, *([turn] if turn else []), strict=True)] or ([], [])

    out = _assemble(blocks, chosen, len(genes))
    out.var_names = genes
    _describe_genes(out, prepared, reference, chosen)
    if turn is not None:
        out.var["cycle_peak"], out.var["cycle_amplitude"] = peak_phase(turn[0].position, turn[0].curve)
    out.uns[slots.UNS] = {"traverse": _how(steps, len(cells), len(few), list(latent.var_names[turning]))}
    add_further(out, walks, trained.vae, data, latent, prepared)
    log.info("decoded %d paths of %d steps over %d genes", len(blocks), steps, len(genes))
    return out


def _steps(values: Array, steps: int, turning: bool) -> tuple[Array, Array, Array]:
    """Return the steps along an axis, the density of cells there, and how many are near."""
    if turning:
        position = np.linspace(-np.pi, np.pi, steps)
        return position, *density_on_circle(position, values, steps)
    low, high = np.percentile(values, PERCENTILES)
    position = np.linspace(low, high, steps)
    return position, *density_on_line(position, values)


def _how(steps: int, cells: int, few: int, angles: list[str]) -> dict[str, Any]:
    """Return what the paths were decoded with."""
    return ({"angles": np.array(angles, dtype=object)} if angles else {}) | {
        "steps": steps,
        "cells": cells,
        "draws": DRAWS,
        "draws_cells": few,
        "percentiles": np.asarray(PERCENTILES, dtype=float),
        "seed": SEED,
        "min_support": MIN_SUPPORT,
    }


def _describe_genes(out: AnnData, prepared: AnnData, reference: Array, chosen: ScoreGenes) -> None:
    """Add to ``var`` the symbol of each gene, its mean fraction, and its part in the scores."""
    import pandas as pd

    genes = out.var_names
    symbol = prepared.var[slots.SYMBOL].astype(str).reindex(genes).to_numpy() if slots.SYMBOL in prepared.var else genes
    out.var[slots.SYMBOL] = np.asarray(symbol, dtype=object)
    out.var["reference"] = reference
    out.var["list_phase"] = pd.Categorical(list_phase(chosen), categories=["", "S", "G2M"])
    out.var["S_control"], out.var["G2M_control"] = chosen.s_control, chosen.g2m_control


@dataclass(frozen=True)
class _Block:
    """One decoded path: where its steps are, the curve (steps × genes), the SDs of genes and scores at each step."""

    name: str
    position: Array
    density: Array
    near: Array
    curve: Array
    sd: list[tuple[Array, Array]]


def _assemble(blocks: list[_Block], chosen: ScoreGenes, n_genes: int) -> AnnData:
    import anndata as ad
    import pandas as pd

    def joined(parts: list[Array], width: int) -> Array:
        return np.concatenate(parts) if parts else np.zeros((0, width))

    fraction = joined([b.curve for b in blocks], n_genes)
    sd = joined([np.array([genes for genes, _ in b.sd]) for b in blocks], n_genes)
    score_sd = joined([np.array([scores for _, scores in b.sd]) for b in blocks], 2)
    path = [b.name for b in blocks for _ in b.position]
    step = [i for b in blocks for i in range(len(b.position))]
    s, g2m = chosen.scores(fraction)
    obs = pd.DataFrame(
        {
            "path": pd.Categorical(path, categories=[b.name for b in blocks]),
            "step": np.array(step, dtype=np.int64),
            "position": joined([b.position for b in blocks], 0).ravel(),
            "density": joined([b.density for b in blocks], 0).ravel(),
            "supported": joined([b.near for b in blocks], 0).ravel() >= MIN_SUPPORT,
            slots.S_SCORE: s,
            slots.G2M_SCORE: g2m,
            "S_sd": score_sd[:, 0],
            "G2M_sd": score_sd[:, 1],
        },
        index=[f"{name}:{i}" for name, i in zip(path, step, strict=True)],
    )
    return ad.AnnData(fraction.astype(np.float32), obs=obs, layers={slots.SD: sd.astype(np.float32)})


def peak_phase(angle: Array, fraction: Array) -> tuple[Array, Array]:
    """Return the phase (radians in [0, 2π)) and the amplitude of the first harmonic of log `fraction` (steps × genes).

    The steps are evenly spaced over one turn, so the sums are the discrete Fourier transform.
    """
    logged = np.log(np.maximum(np.asarray(fraction, dtype=np.float64), 1e-12))
    first = 2 * np.mean(logged * np.exp(1j * np.asarray(angle, dtype=np.float64))[:, None], axis=0)
    return np.mod(np.angle(first), 2 * np.pi), np.abs(first)


def _turn(
    decode: Decoder,
    knob: AnnData | None,
    latent: AnnData,
    space: Space,
    draw: Callable[[Array], list[Array]],
    steps: int,
    contrasts: Array,
) -> tuple[_Block, Walk] | None:
    """Decode the knob's path, if there is a knob, and say how cells are put on it."""
    from sclatent.tl._paths.knob_file import has_knob, read_path

    if knob is None or not has_knob(knob):
        return None
    path, decode = space.fitting(read_path(knob)), space.decoder(decode)
    on = knob.obs[slots.CYCLING].to_numpy(dtype=bool) & knob.obs[slots.CYCLE_ANGLE].notna().to_numpy()
    position = turn_positions(steps)
    at = path.at(position)
    cells = pick_cells(path.strata, CELLS, among=on, seed=SEED)
    few = pick_cells(path.strata, SPREAD_CELLS, among=on, seed=SEED)
    # the posterior in all directions but those of the knob, where the path itself is put
    mean, sds = (rows_at(part, few, np.float64) for part in (latent.X, latent.layers[slots.SD]))
    away = [space.away(mean, sds, e) for e in draw(few)]
    draws = [rows_at(path.base, few) + e - (e @ path.plane.T) @ path.plane for e in away]
    density, near = density_on_circle(position, knob.obs[slots.CYCLE_ANGLE].to_numpy(dtype=np.float64)[on], steps)
    curve = decode_turn(decode, rows_at(path.base, cells), at, cells)
    sd = [spread(decode, lambda z, d=d: z + d, draws, few, contrasts) for d in at]  # type: ignore[misc]
    base = rows_at(path.base, cells)
    walk = Walk(steps, lambda z, i: space.axes(z + at[i]), base, cells, draws, few, closed=True)
    return _Block(CYCLE, position, density, near, curve, sd), walk
