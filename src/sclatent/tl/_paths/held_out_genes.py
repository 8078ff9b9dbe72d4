"""Whether genes that did not help to find the angle peak at their known phase along the path.

The cycle genes are split in two halves (three or four parts where there are few). For each part the cycle stage finds
the angle again without it; a path is fitted to that angle and decoded, and the genes left out are looked at: so every
gene is judged by an angle that it had no part in.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data import blocks, match_genes, peak_order, slots
from sclatent.data.blocks.dense import rows_at
from sclatent.settings import InputError
from sclatent.tl._cycle.law_choice import PLANS
from sclatent.tl._cycle.scores import MIN_GENES, symbols
from sclatent.tl._cycle.stage import cycle as cycle_stage
from sclatent.tl._paths import closed_path, evidence
from sclatent.tl._paths import strata as strata_of
from sclatent.tl._paths.decode import Array, Index, pick_cells, turn_positions
from sclatent.tl._paths.scene import QUICK_STEPS, STEPS, Scene, cycle_columns

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

CELLS = 5000
"""Cells to which the angle is fitted again."""
PERMUTATIONS = 200


@dataclass(frozen=True)
class _Part:
    """One part of the genes, judged by the angle that the others gave.

    ``genes`` are those left out (names), ``waves`` their amplitude · exp(i · peak) along the path, ``expected`` the
    peak of each list phase, ``null`` the swing of the list genes along paths of permuted angles.
    """

    genes: list[str]
    waves: np.ndarray
    expected: dict[str, float]
    swing: float
    null: Array


def held_out(scene: Scene, prepared: AnnData, cycle: AnnData, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the entries ``held_out`` and ``literature`` of ``knob.json``; `settings` are those of the cycle stage."""
    phase = cycle.var["phase"].astype(str)
    listed = phase[phase.isin(["S", "G2M"])]
    books = _books(prepared)
    n = {name: int((listed == name).sum()) for name in ("S", "G2M")}
    parts = evidence.number_of_parts(list(n.values()), MIN_GENES)
    if parts is None:
        return _nothing(f"{n['S']} S and {n['G2M']} G2/M genes are too few to leave some of them out")
    extra = [gene for gene in books.index if gene not in listed.index]
    folds = evidence.split_genes([*listed.index, *extra], [*listed, *["other"] * len(extra)], parts)
    cells = pick_cells(scene.path.strata, CELLS)
    few = _cells_at(prepared, cells)
    found = []
    for out in folds:
        try:
            found.append(_part(scene, few, settings, cycle.uns[slots.UNS]["cycle"], listed, out, cells))
        except InputError as error:
            return _nothing(f"without some of the genes there is no cycle: {error}")
    return _summary(found, listed, books)


def _cells_at(prepared: AnnData, cells: Index) -> AnnData:
    """Return some of the cells, in memory."""
    from anndata import AnnData

    counts = blocks.rows_at(prepared.X, cells)
    return AnnData(counts, obs=prepared.obs.iloc[cells].copy(), var=prepared.var, uns=dict(prepared.uns))


def _part(
    scene: Scene,
    few: AnnData,
    settings: dict[str, Any],
    facts: dict[str, Any],
    listed: pd.Series,
    out: list[str],
    cells: Index,
) -> _Part:
    plan = None
    if "law" in facts:  # the law is that of the angle that is judged
        plan = replace(PLANS[facts["law"]], beside=False)
    # the genes are not there at all: neither the first guess nor the genes that join can use them
    again = cycle_stage(few[:, ~few.var_names.isin(out)].copy(), **settings, plan=plan)
    angle, sd, on = cycle_columns(again)
    if on.sum() < closed_path.MIN_CELLS:
        raise InputError(again.uns[slots.UNS]["cycle"].get("reason") or f"{int(on.sum())} cells cycle")
    both = on & scene.on[cells]
    if both.any():  # one origin for all angles
        angle = np.mod(angle + evidence.rotation_between(angle[both], scene.angle[cells][both]), 2 * np.pi)
    expected = _expected(few, on, angle[on], listed.drop(out, errors="ignore"))
    means, harmonics, circles = rows_at(scene.means, cells, np.float64), scene.path.harmonics, scene.space.circles
    path = closed_path.fit_path(means, angle, sd, on, scene.batch[cells], harmonics=harmonics, circles=circles)
    here = Scene(**{**vars(scene), "on": _spread(on, cells, len(scene.on))})
    genes = [gene for gene in out if gene in scene.names]
    column = np.array([scene.names.get_loc(gene) for gene in genes])
    waves = _waves(here.quick(path.coefficients, path, cells, steps=STEPS)[:, column], STEPS)
    judged = np.array([gene in listed.index for gene in genes])
    aim = np.array([expected[listed[gene]] for gene, j in zip(genes, judged, strict=True) if j])
    rng = np.random.default_rng(0)
    null, cycling = [], np.flatnonzero(on)
    for _ in range(PERMUTATIONS):
        source = strata_of.permutation(path.strata, cycling, rng)
        kept = (path.strata, cycling, harmonics, circles)
        coefficients, _ = closed_path.refit(means, angle[source], sd[source], *kept)
        curve = here.quick(coefficients, path, cells)[:, column[judged]]
        null.append(evidence.swing(_waves(curve, QUICK_STEPS), aim))
    return _Part(genes, waves, expected, evidence.swing(waves[judged], aim), np.array(null))


def _spread(on: np.ndarray, cells: Index, n: int) -> np.ndarray:
    out = np.zeros(n, dtype=bool)
    out[cells[on]] = True
    return out


def _waves(fraction: Array, steps: int) -> np.ndarray:
    return evidence.first_harmonic(np.log(np.maximum(fraction, 1e-12)), turn_positions(steps))


def _expected(few: AnnData, on: np.ndarray, angle: Array, fit: pd.Series) -> dict[str, float]:
    """Peak of each phase: where the counts of the genes that *were* used peak, weighted by how much they change."""
    column = few.var_names.get_indexer(fit.index)
    library = few.obs[slots.LIBRARY_SIZE].to_numpy(dtype=np.float64)[on]
    waves = evidence.observed_harmonic(few.X[on][:, column], library, angle)
    return {phase: evidence.direction(waves[(fit == phase).to_numpy()]) for phase in ("S", "G2M")}


def _books(prepared: AnnData) -> pd.Series:
    """Literature rank of genes of the dataset, by their name in it."""
    import pandas as pd

    table = peak_order()
    found = match_genes(symbols(prepared.var)[0], list(table["gene"]), ignore_case=True)
    keep = found >= 0
    return pd.Series(table["rank"].to_numpy()[keep], index=prepared.var_names[found[keep]])


def _summary(parts: list[_Part], listed: pd.Series, books: pd.Series) -> dict[str, Any]:
    rows, known = [], []
    for part in parts:
        for gene, wave in zip(part.genes, part.waves, strict=True):
            peak, amplitude = float(np.mod(np.angle(wave), evidence.TURN)), float(np.abs(wave))
            if gene in books.index:
                known.append({"gene": gene, "rank": int(books[gene]), "peak": peak})
            if gene in listed.index:
                expected = part.expected[listed[gene]]
                distance = float(evidence.apart(peak, expected))
                rows.append(
                    {
                        "gene": gene,
                        "phase": str(listed[gene]),
                        "peak": peak,
                        "amplitude": amplitude,
                        "expected": expected,
                        "distance": distance,
                        "within": distance <= evidence.EIGHTH,
                    }
                )
    s, g2m = (float(np.angle(sum(np.exp(1j * part.expected[phase]) for part in parts))) for phase in ("S", "G2M"))
    # the circle is cut open in G1: half a turn from the middle between the S and the G2/M peak
    start = s + evidence.ahead(s, g2m) / 2 - np.pi
    books_entry = evidence.literature(
        np.array([row["peak"] for row in known]), np.array([row["rank"] for row in known]), start
    )
    swing = float(np.mean([part.swing for part in parts]))
    null = np.mean([part.null for part in parts], axis=0)
    return {
        "held_out": {
            "n": len(rows),
            "reason": "",
            "share_within": float(np.mean([row["within"] for row in rows])) if rows else None,
            "swing": swing,
            "swing_permuted": float(null.mean()),
            "swing_null": [float(x) for x in null],
            "p": evidence.permutation_p(swing, null),
            "genes": rows,
        },
        "literature": {**books_entry, "cut": float(np.mod(start, evidence.TURN)), "genes": known},
    }


def _nothing(reason: str) -> dict[str, Any]:
    log.info("held-out genes: %s", reason)
    return {
        "held_out": {"n": 0, "reason": reason, "share_within": None, "p": None, "genes": []},
        "literature": {"n": 0, "spearman": None, "p": None, "genes": []},
    }
