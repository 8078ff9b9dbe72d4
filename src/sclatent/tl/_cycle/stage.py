"""The cycle stage: from prepared counts to ``cycle.h5ad``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from sclatent.data import slots
from sclatent.data.blocks import dense
from sclatent.data.columns import as_text, place_of
from sclatent.data.expected import need_counts
from sclatent.data.genes import peak_order
from sclatent.data.modalities import RNA, measured, with_unknown
from sclatent.data.normalise import cell_sums, gene_sums
from sclatent.settings import CycleSettings, takes_settings
from sclatent.tl._cycle.fit import CHUNK, Circle, Plan, angle_of, find_circle
from sclatent.tl._cycle.gauge import EXPECTED, STAGES, TURN, Gauge, find_gauge
from sclatent.tl._cycle.phase import Arcs, find_arcs
from sclatent.tl._cycle.scores import ListGenes, find_list_genes, list_scores, log_normalise, symbols
from sclatent.tl._cycle.states import BINS, GRID, Array, Ints, basis, cells_by_state
from sclatent.tl._cycle.verdict import NO_CYCLE, judge

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

log = logging.getLogger(__name__)

MIN_CELLS = 50


@takes_settings
def cycle(
    prepared: ad.AnnData,
    *,
    organism: str = "human",
    batch: Sequence[str] = (),
    library_size: str | None = None,
    cycle: CycleSettings = CycleSettings(),
    plan: Plan | None = None,
) -> ad.AnnData:
    """Find the position of every cell in the cell cycle, with its uncertainty, from counts and without labels.

    Parameters
    ----------
    prepared
        (cells, genes) whole-number counts, as :func:`sclatent.pp.prepare` returns them.
    organism, batch, library_size, cycle
        Keys of the dataset file.
    plan
        How the model is fitted; the default depends on the depth of the counts. For benchmarks.

    Returns
    -------
    AnnData
        AnnData without ``X``; ``var`` has the genes used. ``obs``:

        - ``S_score``, ``G2M_score``: scanpy's, NaN with too few genes;
        - ``cycle_angle``: radians in [0, 2π), 0 at division, growing through G1, S and G2/M; ``cycle_sd``: its circular
          SD; both under the condition that the cell cycles;
        - ``cycling_probability``, ``cycling`` (> 0.5);
        - ``phase``: the most probable of G1 < S < G2M; missing if the cell does not cycle or its phase cannot be
          determined.

        ``obsm["phase_probability"]``: (cells, 3) P(G1), P(S), P(G2M), given that the cell cycles; NaN without a cycle,
        and for phases that cannot be told apart.

        ``var``: ``phase`` (``S``, ``G2M``, or ``joined``), ``peak`` (radians), ``amplitude`` (half the range of the
        curve), ``rest`` and the Fourier coefficients ``a0, a1, b1, …`` of the curve, in the log units of the law.
        ``uns["sclatent"]["cycle"]``: ``verdict`` (``cycle``, ``part of a cycle`` or ``no cycle``), ``reason`` (one
        sentence: why not, or what is unknown), ``phases`` (those that can be determined), the evidence, the borders of
        the phases and the settings of the fit. A part of a cycle has an angle for every cell. Without a cycle the angle
        columns are NaN, ``phase`` is missing, and nothing is ``cycling``.
    """
    has_rna = measured(prepared, RNA)
    cells = prepared if has_rna.all() else prepared[has_rna].copy()
    found = _find(cells, organism, batch, library_size is not None, cycle, plan)
    return found if has_rna.all() else with_unknown(found, prepared.obs_names)


def _find(
    prepared: ad.AnnData, organism: str, batch: Sequence[str], given: bool, cycle: CycleSettings, plan: Plan | None
) -> ad.AnnData:
    """Find the position of every cell, all of which have RNA; `given`: whether the input has library sizes."""
    import anndata as ad

    need_counts(prepared)
    groups = _batch(prepared, batch)
    counts = sp.csr_matrix(prepared.X)
    library = _library(prepared, counts, given)
    totals = gene_sums(counts)
    genes = find_list_genes(prepared.var, totals, organism, cycle.genes)
    facts = _genes_found(genes, organism)
    out = _nothing_found(prepared, genes)
    obs = out.obs
    verdict, reason = NO_CYCLE, genes.reason
    if not reason:
        scores = list_scores(log_normalise(counts, library), genes)
        for column in (slots.S_SCORE, slots.G2M_SCORE):
            obs[column] = scores[column].to_numpy()
        if len(obs) < MIN_CELLS:
            reason = f"too few cells: {len(obs)}, at least {MIN_CELLS} are needed to learn the cycle from"
    if not reason:
        circle = find_circle(counts, library, groups, genes, plan=plan)
        verdict, reason = judge(circle.evidence, cells_by_state(circle.q)[0], len(obs))
        facts |= _facts(circle)
        if verdict != NO_CYCLE:
            gauge, arcs = _gauge(circle, symbols(prepared.var)[0])
            out = ad.AnnData(obs=obs, var=_gene_table(circle, gauge, prepared.var_names))
            _place(out, circle, gauge, arcs)
            facts |= {name: float(GRID[bin]) for name, bin in arcs.borders.items()}
            facts["phases"] = list(slots.PHASES if len(circle.evidence.ends) == 2 else circle.evidence.ends)
            log.info(
                "%s: %d of %d cells cycle; %d further genes follow the angle",
                verdict, int(out.obs[slots.CYCLING].sum()), len(obs), facts["n_joined"],
            )  # fmt: skip
    out.uns[slots.UNS] = {"cycle": {"verdict": verdict, "reason": reason, **facts}}
    if reason:
        log.warning("%s: %s", verdict, reason)
    return out


def _genes_found(genes: ListGenes, organism: str) -> dict[str, Any]:
    """Return, and log, how many genes of the lists were found."""
    n, listed = genes.n, genes.n_listed
    log.info("cell-cycle genes: %d of %d S, %d of %d G2/M", n["S"], listed["S"], n["G2M"], listed["G2M"])
    return {
        "organism": organism,
        "n_S": n["S"],
        "n_G2M": n["G2M"],
        "n_S_listed": listed["S"],
        "n_G2M_listed": listed["G2M"],
    }


def _nothing_found(prepared: ad.AnnData, genes: ListGenes) -> ad.AnnData:
    """Return the cells and the listed genes, without positions in the cycle."""
    import anndata as ad
    import pandas as pd

    n = prepared.n_obs
    obs = pd.DataFrame(index=prepared.obs_names.copy())
    for column in (slots.S_SCORE, slots.G2M_SCORE, slots.CYCLE_ANGLE, slots.CYCLE_SD, slots.CYCLING_PROBABILITY):
        obs[column] = np.full(n, np.nan)
    obs[slots.CYCLING] = np.zeros(n, dtype=bool)
    obs[slots.PHASE] = pd.Categorical.from_codes([-1] * n, pd.Index(slots.PHASES), ordered=True)
    var = pd.DataFrame({"phase": genes.phase.astype(object)}, index=prepared.var_names[genes.position])
    return ad.AnnData(obs=obs, var=var, obsm={slots.PHASE_PROBABILITY: np.full((n, len(slots.PHASES)), np.nan)})


def _place(out: ad.AnnData, circle: Circle, gauge: Gauge, arcs: Arcs) -> None:
    """Write the position of every cell: angle, whether it cycles, phase."""
    import pandas as pd

    n = out.n_obs
    angle, sd, resting, code = np.empty(n), np.empty(n), np.empty(n), np.empty(n, dtype=np.int8)
    probability = np.empty((n, len(slots.PHASES)))
    for rows in dense.stretches(n, circle.q, rows=CHUNK):
        q = gauge.apply(circle.q[rows])
        angle[rows], sd[rows] = angle_of(q)
        resting[rows] = q[:, BINS]
        probability[rows] = arcs.probability(q)
        code[rows] = np.where(q[:, BINS] < 0.5, arcs.called(probability[rows]), -1)
    out.obs[slots.CYCLE_ANGLE], out.obs[slots.CYCLE_SD] = angle, sd
    out.obs[slots.CYCLING_PROBABILITY] = 1 - resting
    out.obs[slots.CYCLING] = resting < 0.5
    out.obs[slots.PHASE] = pd.Categorical.from_codes(code.tolist(), pd.Index(slots.PHASES), ordered=True)
    out.obsm[slots.PHASE_PROBABILITY] = probability


def _library(prepared: ad.AnnData, counts: sp.csr_matrix, given: bool) -> Array:
    """Return (cells,) the total over all genes, or the library sizes that were `given`."""
    if given:
        library = prepared.obs[slots.LIBRARY_SIZE].to_numpy(np.float64)
    else:
        library = cell_sums(counts)
    return np.maximum(library, 1.0)


def _batch(prepared: ad.AnnData, columns: Sequence[str]) -> Ints:
    """Return (cells,) one code per combination of the batch columns."""
    codes = np.zeros(prepared.n_obs, dtype=np.int64)
    for column in columns:
        values = as_text(prepared.obs[place_of(prepared, column, "batch")]).astype(str)
        levels = np.unique(values, return_inverse=True)[1]
        codes = np.unique(codes * (levels.max() + 1) + levels, return_inverse=True)[1]
    return codes


def _facts(circle: Circle) -> dict[str, Any]:
    evidence, curves = circle.evidence, circle.fitted.curves
    return {
        "n_joined": int((circle.group == 2).sum()),
        "law": "log-normal" if circle.plan.deep else "negative binomial",
        "harmonics": curves.harmonics,
        "temper": float(circle.fitted.temper),
        "sd_library": float(curves.quality.sd[0]) if curves.quality.sd else 0.0,
        "sd_capture": float(curves.quality.sd[1]) if curves.quality.sd else 0.0,
        "resting_share": float(dense.column_of(circle.q, BINS).mean()),
        "n_trained": circle.n_trained,
        **{f"p_{name}": p for name, p in evidence.alone.items()},
        **{f"p_{name}_apart": p for name, p in evidence.apart.items()},
        **{f"fold_{name}": fold for name, fold in evidence.fold.items()},
        **{f"r2_{name}": r2 for name, r2 in evidence.r2.items()},
        "r2_controls": evidence.r2_controls,
        "null": evidence.null,
        "grid": circle.grid,
    }


def known_stages(names: list[str], columns: Ints) -> Ints:
    """Return (G,) the rank of each gene's stage in ``peak_order.tsv``; 0 for genes that are not in it."""
    order = peak_order()
    rank = {gene.upper(): rank for gene, rank in zip(order["gene"], order["rank"], strict=True)}
    return np.array([rank.get(names[column].upper(), 0) for column in columns], dtype=np.int64)


def expected_peaks(stage: Ints, group: Ints) -> Array:
    """Return (G,) where in the cycle a gene is known to peak, in turns: by stage, else by list, else NaN."""
    by_list = {0: EXPECTED["S"], 1: EXPECTED["G2M"], 2: np.nan}
    return np.array([STAGES.get(int(s), by_list[int(k)]) for s, k in zip(stage, group, strict=True)])


def _gauge(circle: Circle, names: list[str]) -> tuple[Gauge, Arcs]:
    values, ends = circle.fitted.curves.values(), circle.evidence.ends
    stage = known_stages(names, circle.columns)
    known = expected_peaks(stage, circle.group)
    gauge = find_gauge(values, circle.group, circle.r2, known, only_s=ends == ("S",))
    cycling = cells_by_state(circle.q)[0]
    return gauge, find_arcs(gauge.curves(values), circle.group, circle.r2, stage, cycling, ends)


def _gene_table(circle: Circle, gauge: Gauge, names: pd.Index) -> pd.DataFrame:
    import pandas as pd

    values = gauge.curves(circle.fitted.curves.values())
    coef = np.linalg.lstsq(basis(circle.fitted.curves.harmonics), values, rcond=None)[0].T
    table = pd.DataFrame(index=names[circle.columns])
    table["phase"] = np.array(["S", "G2M", "joined"], dtype=object)[circle.group]
    table["peak"] = GRID[values.argmax(axis=0)] % TURN
    table["amplitude"] = np.ptp(values, axis=0) / 2
    table["r2"] = circle.r2
    table["rest"] = circle.fitted.curves.rest
    columns = ["a0", *(f"{letter}{h}" for h in range(1, circle.fitted.curves.harmonics + 1) for letter in "ab")]
    return pd.concat([table, pd.DataFrame(coef, columns=columns, index=table.index)], axis=1)
