"""Which law holds, that of shallow counts or that of deep ones, and what the first can tell the second."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from sclatent.data.blocks import rows_at
from sclatent.tl._cycle.evidence import Evidence
from sclatent.tl._cycle.grow import Grown, Growth, Plan
from sclatent.tl._cycle.scores import ListGenes
from sclatent.tl._cycle.states import Array
from sclatent.tl._model.subset import evenly

log = logging.getLogger(__name__)

DEEP_PLAN = Plan(True, (1, 2, 3, 3))
SHALLOW_PLAN = Plan(False, (1,) * 6)
PLANS = {"log-normal": DEEP_PLAN, "negative binomial": SHALLOW_PLAN}

DEEP = 1.5
"""Counts are deep if the variance of the median list gene is this many times that of a Poisson."""
ONE = 1.0
"""Where the median list gene has fewer counts in a cell, the law of shallow counts may have the last word."""
DEPTH_CELLS = 20_000
"""Cells that decide whether counts are deep."""


def plan_for(counts: sp.csr_matrix, library: Array, genes: ListGenes) -> Plan:
    """Return the plan that the depth of the counts asks for."""
    return DEEP_PLAN if is_deep(counts, library, genes) else SHALLOW_PLAN


def is_deep(counts: sp.csr_matrix, library: Array, genes: ListGenes) -> bool:
    """Return whether cells differ in the median list gene by more than counting noise.

    The variance of count / library is compared with that of Poisson counts. If counting noise dominates, the model has
    to describe counts; otherwise it has to describe how genes vary from cell to cell.
    """
    cells = evenly(np.arange(counts.shape[0]), DEPTH_CELLS)
    library = library[cells]
    part = np.asarray(rows_at(counts, cells)[:, genes.position].todense(), dtype=np.float64) / library[:, None]
    by_chance = (part / library[:, None]).mean(axis=0)
    seen = by_chance > 0
    return bool(seen.any() and np.median(part.var(axis=0)[seen] / by_chance[seen]) >= DEEP)


def other_plan(plan: Plan, evidence: Evidence, counts: sp.csr_matrix, genes: ListGenes) -> Plan | None:
    """Return the plan of shallow counts where that of deep ones cannot see a change; None where it can.

    Logarithms of counts that are mostly 0 hardly change, by however much the rates do. So it is where the lists part,
    their genes hardly change, and the median list gene has less than one count in a cell.
    """
    mean = np.asarray(counts[:, genes.position].mean(axis=0)).ravel()
    few = bool((mean > 0).any() and np.median(mean[mean > 0]) < ONE)
    return SHALLOW_PLAN if plan.deep and evidence.hardly and few else None


def with_genes_of_counts(growth: Growth, grown: Grown, guesses: list[Array]) -> Grown:
    """Return the fit to deep counts, or one started from what the law of shallow counts finds in them, if it is better.

    Where cells differ much in quality, the angle of the listed genes follows quality under the law of deep counts: a
    cell of poor quality has other values of all genes. A negative binomial gives less weight to a gene that was not
    seen in a cell, and so finds other genes. With these the angle of deep counts leaves quality. It is taken if
    held-out genes are predicted better by more than the standard error, and if it has as many harmonics: like is
    compared with like. With fewer of them the phases of the cells are read from poorer shapes; with more of them the
    angle may follow cell lines, which held-out genes cannot see.

    Parameters
    ----------
    growth, grown
        The fit of the law of deep counts, and what it grew in.
    guesses
        Initial probabilities of the states, each (cells, states).
    """
    of_counts = growth.with_plan(replace(SHALLOW_PLAN, temper=growth.plan.temper))
    counts = of_counts.grow(of_counts.first(guesses)[0])
    again = growth.grow(growth.fit(counts.columns, counts.group, counts.fitted.q, 1, growth.plan.temper))
    change, error = growth.change(again, grown)
    log.info(
        "with the genes of a negative binomial: %d further genes, %d harmonics, held-out gain %+.4f, error %.4f",
        again.n_joined, again.fitted.curves.harmonics, change, error,
    )  # fmt: skip
    alike = again.fitted.curves.harmonics == grown.fitted.curves.harmonics
    return again if alike and change > error else grown
