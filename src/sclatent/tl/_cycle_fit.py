"""From counts to a fitted circle: which law, which genes, how many harmonics."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from sclatent.tl._cycle_em import Fit, fit, resultant, start_from_angle
from sclatent.tl._cycle_evidence import ALPHA, Evidence, weigh
from sclatent.tl._cycle_join import explained
from sclatent.tl._cycle_scores import ListGenes, log_normalise
from sclatent.tl._cycle_source import Source
from sclatent.tl._cycle_states import BINS, Array, Ints, posterior

log = logging.getLogger(__name__)

DEEP = 3.0
"""Mean count per cell of the median list gene from which counts are deep: read counts, or very deep UMIs."""
MAX_CELLS = 4000
"""Curves are learned on at most this many cells; every cell gets its posterior."""
CHUNK = 8192
KEEP = 0.75
"""Share of the listed genes' R² that must survive when further genes join."""


@dataclass(frozen=True)
class Plan:
    """How further genes join and curves grow: one fit per entry of `harmonics`; genes join before all but the first."""

    deep: bool
    harmonics: tuple[int, ...]
    max_joined: int
    min_gain: float
    min_r2: float
    temper: float = 1.0


SHALLOW_PLAN = Plan(False, (1, 1, 1, 1, 1), 150, 12.0, 0.0)
# A gene that the angle explains less of may follow a cell type whose cells happen to bunch on the circle: at 5 %
# hundreds of such genes joined on three cell lines, and the angle told the lines apart.
DEEP_PLAN = Plan(True, (1, 2, 3, 3), 800, 8.0, 0.12)


@dataclass(frozen=True)
class Circle:
    """What was found: the genes (columns), the fit, the posterior of every cell, the evidence, and R² per gene."""

    plan: Plan
    columns: Ints
    group: Ints
    fitted: Fit
    q: Array
    evidence: Evidence
    r2: Array
    n_trained: int


def is_deep(counts: sp.csr_matrix, genes: ListGenes) -> bool:
    """Return whether the median list gene has at least three counts per cell."""
    mean = np.asarray(counts[:, genes.position].mean(axis=0)).ravel()
    return bool(np.median(mean) >= DEEP)


def first_angle(normalised: sp.csr_matrix, genes: ListGenes) -> Array:
    """Return (cells,) the angle of the standardised mean of the S genes and of the G2/M genes."""
    s, g = (
        np.asarray(normalised[:, genes.position[genes.phase == phase]].mean(axis=1), dtype=np.float64).ravel()
        for phase in ("S", "G2M")
    )
    s, g = ((x - x.mean()) / max(float(x.std()), 1e-12) for x in (s, g))
    return np.arctan2(g, s)


def find_circle(
    counts: sp.csr_matrix, library: Array, batch: Ints, genes: ListGenes, *, plan: Plan | None = None, seed: int = 0
) -> Circle:
    """Fit the circular model.

    Parameters
    ----------
    counts
        (cells, genes) counts.
    library, batch
        (cells,) library sizes and batch codes.
    genes
        The S and G2/M genes.
    plan
        How to go about it; by default after the depth of the counts.
    seed
        Of the choice of training cells.
    """
    counts, library = sp.csr_matrix(counts), np.asarray(library, np.float64)
    if plan is None:
        plan = DEEP_PLAN if is_deep(counts, genes) else SHALLOW_PLAN
    source = Source(counts, library, batch)
    n = counts.shape[0]
    rows = np.arange(n)
    if n > MAX_CELLS:
        rows = np.sort(np.random.default_rng(seed).permutation(n)[:MAX_CELLS])
    normalised = log_normalise(sp.csr_matrix(counts[rows]), source.library[rows])
    columns, group = genes.position, np.where(genes.phase == "S", 0, 1)
    start = start_from_angle(first_angle(normalised, genes))
    fitted = fit(source.law(rows, columns, deep=plan.deep), group, start, plan.harmonics[0], temper=plan.temper)
    r2, _ = explained(normalised, fitted.q)
    list_r2 = float(r2[genes.position].mean())
    on_rows = Source(counts[rows], source.library[rows], batch[rows])
    evidence = weigh(on_rows, normalised, genes, start, deep=plan.deep, temper=plan.temper)
    grow = plan.harmonics[1:] if max(evidence.p_s, evidence.p_g2m) < ALPHA else ()
    most = min(plan.max_joined, max(50, counts.shape[1] // 25))
    for harmonics in grow:
        follow = _follow(r2, float(fitted.q[:, :BINS].sum()), genes.position, plan)
        for limit in (most, most // 4, most // 16):
            new_columns = np.concatenate([genes.position, follow[:limit]])
            new_group = np.concatenate(
                [np.where(genes.phase == "S", 0, 1), np.full(len(new_columns) - len(genes.position), 2)]
            )
            law = source.law(rows, new_columns, deep=plan.deep)
            new = fit(law, new_group, fitted.q, harmonics, temper=plan.temper)
            new_r2, _ = explained(normalised, new.q)
            now = float(new_r2[genes.position].mean())
            if now >= KEEP * list_r2:
                break
            # the crowd has led the angle away from the cell cycle: the genes we know follow it less than before
            log.info("%d further genes led the angle away from the listed ones: fewer then", len(follow[:limit]))
        else:
            break
        same = harmonics == fitted.curves.harmonics and np.array_equal(new_columns, columns)
        columns, group, fitted, r2, list_r2 = new_columns, new_group, new, new_r2, max(now, list_r2)
        if same:
            break
    caps = None
    if not plan.deep:
        part = np.asarray(counts[rows][:, columns].todense(), dtype=np.float64) / source.library[rows, None]
        caps = np.quantile(part, 1 - max(2 / len(rows), 0.002), axis=0)
    q = np.empty((n, BINS + 1))
    for begin in range(0, n, CHUNK):
        chunk = np.arange(begin, min(begin + CHUNK, n))
        ll = source.law(chunk, columns, deep=plan.deep, caps=caps).log_likelihood(fitted.curves)
        q[chunk] = posterior(ll, fitted.curves.prior, fitted.temper)
    return Circle(plan, columns, group, fitted, q, evidence, r2[columns], len(rows))


def _follow(r2: Array, cycling: float, listed: Ints, plan: Plan) -> Ints:
    """Return the columns of the genes that follow the angle, best first."""
    r2 = r2.copy()
    r2[listed] = 0.0
    order = np.argsort(-r2, kind="stable")[: plan.max_joined]
    return order[(r2[order] >= plan.min_r2) & (cycling * r2[order] > plan.min_gain)]


def angle_of(q: Array) -> tuple[Array, Array]:
    """Return (n,) the mean angle in [0, 2π) and its circular SD (radians), within the cycling class."""
    z = resultant(q)
    length = np.clip(np.abs(z), 1e-12, 1.0)
    return np.mod(np.angle(z), 2 * np.pi), np.sqrt(np.maximum(-2 * np.log(length), 0.0))
