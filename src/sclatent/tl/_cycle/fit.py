"""From counts to a fitted circle: which count distribution, which genes, how many harmonics."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from scipy.special import logsumexp

from sclatent.data.blocks.dense import by_rows
from sclatent.tl._cycle.em import Fit, resultant, start_from_angle
from sclatent.tl._cycle.evidence import LISTS, Evidence, weigh
from sclatent.tl._cycle.grow import Grown, Growth, Plan, grid
from sclatent.tl._cycle.law_choice import other_plan, plan_for, with_genes_of_counts
from sclatent.tl._cycle.laws.counts import highest
from sclatent.tl._cycle.laws.source import Source
from sclatent.tl._cycle.scores import ListGenes, log_normalise
from sclatent.tl._cycle.states import BINS, Array, Ints, cells_by_state, posterior

log = logging.getLogger(__name__)

MAX_CELLS = 4000
"""Curves are learned on at most this many cells; every cell gets its posterior."""
CHUNK = 8192
RESTING = 0.9
"""Initial probability to rest of a cell that is below both list means; for other cells it is 1 minus this."""
MIN_STATE = 20
"""Fewest cells expected to cycle, or to rest: fewer are single outliers and say nothing about such a state."""


@dataclass(frozen=True)
class Circle:
    """The result: the genes (columns), the fit, the posterior of every cell, the evidence, and R² per gene.

    `grid` has the quality of the fits one step away in harmonics and temper; it is empty without a cycle.
    """

    plan: Plan
    columns: Ints
    group: Ints
    fitted: Fit
    q: Array
    evidence: Evidence
    r2: Array
    n_trained: int
    grid: dict[str, Array]


def first_guesses(normalised: sp.csr_matrix, genes: ListGenes) -> list[Array]:
    """Return initial probabilities (cells, states) around the angle of the standardised means of the S and G2/M genes.

    One starts without resting cells, the other with resting for most cells that are below both means: if most cells
    rest, their angles cover most of the circle, and EM may not recover from that.
    """
    s, g = (
        np.asarray(normalised[:, genes.position[genes.phase == phase]].mean(axis=1), dtype=np.float64).ravel()
        for phase in ("S", "G2M")
    )
    s, g = ((x - x.mean()) / max(float(x.std()), 1e-12) for x in (s, g))
    angle = np.arctan2(g, s)
    return [start_from_angle(angle), start_from_angle(angle, resting=np.where((s < 0) & (g < 0), RESTING, 1 - RESTING))]


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
        The procedure; by default it depends on the depth of the counts.
    seed
        Seed of the choice of training cells.
    """
    counts, library = sp.csr_matrix(counts), np.asarray(library, np.float64)
    given, plan = plan, plan or plan_for(counts, library, genes)
    source = Source(counts, library, batch)
    n = counts.shape[0]
    rows = np.arange(n)
    if n > MAX_CELLS:
        rows = np.sort(np.random.default_rng(seed).permutation(n)[:MAX_CELLS])
    some = source.part(rows)
    normalised = log_normalise(some.counts, some.library)
    phase = np.where(genes.phase == "S", 0, 1)
    guesses = first_guesses(normalised, genes)

    def begin(plan: Plan) -> tuple[Growth, Grown, Evidence]:
        growth = Growth(some, normalised, genes.position, phase, plan)
        grown, best = growth.first(guesses)
        weighed = weigh(some, normalised, genes, guesses[best], deep=plan.deep, temper=plan.temper)
        return growth, grown, weighed

    growth, grown, evidence = begin(plan)
    other = None if given else other_plan(plan, evidence, some.counts, genes)
    if other and (again := begin(other))[2].ends == LISTS:
        plan, (growth, grown, evidence) = other, again
    table: dict[str, Array] = {}
    if evidence.ends:
        grown = growth.grow(grown)
        if plan.deep:
            grown = with_genes_of_counts(growth, grown, guesses)
        table = grid(grown, growth.beside(grown))
    columns, fitted = grown.columns, grown.fitted
    caps = None
    if not plan.deep:
        part = np.asarray(some.counts[:, columns].todense(), dtype=np.float64) / some.library[:, None]
        caps = highest(part)
    q = _posterior_of_all(source, columns, fitted, caps, deep=plan.deep)
    if 0 < cells_by_state(q)[1] < MIN_STATE:
        prior = np.append(fitted.curves.prior[:BINS], -np.inf)
        fitted = replace(fitted, curves=replace(fitted.curves, prior=prior - logsumexp(prior)))
        q = _posterior_of_all(source, columns, fitted, caps, deep=plan.deep)
    return Circle(plan, columns, grown.group, fitted, q, evidence, grown.r2[columns], len(rows), table)


def _posterior_of_all(source: Source, columns: Ints, fitted: Fit, caps: Array | None, *, deep: bool) -> Array:
    """Return (cells, states) probabilities of every cell, in chunks; of many cells in a scratch file."""
    prior, temper = fitted.curves.prior, fitted.temper

    def of(rows: slice) -> Array:
        law = source.law(np.arange(rows.start, rows.stop), columns, deep=deep, caps=caps)
        return posterior(law.log_likelihood(fitted.curves), prior, temper)

    return by_rows(len(source.library), of, rows=CHUNK)


def angle_of(q: Array) -> tuple[Array, Array]:
    """Return (n,) the mean angle in [0, 2π) and its circular SD (radians), within the cycling class."""
    z = resultant(q)
    length = np.clip(np.abs(z), 1e-12, 1.0)
    return np.mod(np.angle(z), 2 * np.pi), np.sqrt(np.maximum(-2 * np.log(length), 0.0))
