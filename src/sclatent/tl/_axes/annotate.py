"""Name each latent axis by what it goes with, by effect size, and say so when that is technical."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sclatent.data import slots
from sclatent.data.blocks.dense import by_rows, column_of, rows_at
from sclatent.data.expected import need_split
from sclatent.settings import NO_FILE, AxesSettings, takes_settings
from sclatent.tl._axes import circular
from sclatent.tl._axes.association import (
    Variable,
    adjusted_eta_squared,
    eta_squared,
    mutual_information,
    permutation_p,
    q_values,
    spearman,
)
from sclatent.tl._axes.peaks import largest, top_peaks
from sclatent.tl._axes.strength import STRONG_FOLD, STRONG_INFORMATION, WEAK, information, largest_fold, strength
from sclatent.tl._axes.variables import TECHNICAL, WORDS, gather, strata

if TYPE_CHECKING:
    import anndata as ad

log = logging.getLogger(__name__)

MIN_EFFECT = 0.25
"""Share of an axis' variance that a variable must explain (ρ², or η² adjusted for the number of levels) to name it."""
MAX_Q = 0.05
ALSO = 0.5
"""Further variables are mentioned when they explain at least this share of what the best one explains."""
LEVEL = 0.8
"""One level of a label names the axis when it alone explains this share of what all levels explain."""
N_TOP = 10
MAX_CELLS = 5000
"""Cells used for mutual information and permutations (drawn once, seed 0); effect sizes use all."""


@takes_settings
def annotate(
    prepared: ad.AnnData,
    cycle: ad.AnnData | None,
    latent: ad.AnnData,
    *,
    batch: Sequence[str] = (),
    condition: Sequence[str] = (),
    covariates: Sequence[str] = (),
    labels: Sequence[str] = (),
    axes: AxesSettings = AxesSettings(),
    file: str = NO_FILE,
) -> pd.DataFrame:
    """Compare every latent axis with everything known of the cells, and name it by effect size.

    Test cells are left out. The rule: the effect of a number is ρ² (Spearman), of categories η² adjusted for the number
    of levels. The variable with the largest effect names the axis if that effect is at least 0.25 and its q-value at
    most 0.05: with thousands of cells every p-value is tiny, so significance alone names nothing. Of an axis that is an
    angle (``latent: circle``) the effect is what its cosine and sine explain together. Axes named by depth, quality,
    batch or a covariate are called technical. `phase` is reported, but the two scores name the cell cycle.

    Parameters
    ----------
    prepared
        What `sclatent.pp.prepare` returned.
    cycle
        What `sclatent.tl.cycle` returned, or None.
    latent
        What `sclatent.tl.embed` returned.
    batch, condition, covariates, labels, axes
        Keys of the dataset file; ``axes.programs`` is a GMT file whose programs are tested on the loadings.
    file
        What messages call the place of these settings.

    Returns
    -------
    DataFrame
        One row per axis. ``axis``; ``name``; ``kind`` (``cell cycle``, ``technical``, ``label``, ``unnamed``,
        ``inactive``); ``effect`` of the variable that names it, in [0, 1], and ``evidence``, that variable; ``also``,
        others with a large effect; ``kl`` (nats); ``active``; ``information``, what the counts tell of a cell's place
        (nats); ``fold``, by what factor the gene that moves most changes from 2 SD below a cell's place to 2 SD above
        it; ``strength`` (``strong``, ``weak``, ``inactive``; a weak axis keeps its name, but hardly a gene follows it:
        see `sclatent.tl._axes.strength`); ``cycle_verdict``, that of the cycle stage (``cycle``, ``part of a cycle``,
        ``no cycle``), the same in each row; for each number ``spearman_*``, for each categorical variable ``eta2_*``;
        for each variable ``mi_*`` (nats, scikit-learn's nearest-neighbour estimator on at most 5,000 cells) and ``q_*``
        (Benjamini-Hochberg over active axes and variables, from 999 permutations inside batches; across batches for the
        batch columns themselves); ``genes_up`` and ``genes_down``, the ten genes with the largest loadings each way,
        and with open chromatin ``peaks_up`` and ``peaks_down``, where these peaks are and the gene nearest to each;
        ``levels_up`` and ``levels_down``, where categories name the axis: those whose cells lie on average more than an
        SD above, or below, the mean of all, the outermost first; with a GMT file ``programs_up``, ``programs_down``,
        and ``program``, ``program_effect``, ``program_q`` of the strongest (`axis_programs`).

    Raises
    ------
    InputError
        If a named column is missing, or the GMT file is unreadable or shares no gene with the data.
    """
    if not latent.obs_names.equals(prepared.obs_names):
        prepared = prepared[latent.obs_names]
    cells = np.flatnonzero((need_split(prepared) != slots.TEST).to_numpy())
    z = by_rows(len(cells), lambda part: rows_at(latent.X, cells[part]), latent.X)
    asked = {"batch": batch, "covariate": covariates, "label": list(dict.fromkeys((*condition, *labels)))}
    variables = gather(prepared, cycle, asked, cells, file)
    active = latent.var["active"].to_numpy(bool)
    angles = circular.angle_axes(latent)
    columns, effects, q = _associations(z, variables, active, angles)
    frame = pd.DataFrame({"kl": latent.var["kl"].to_numpy(float), "active": active}, index=latent.var_names)
    frame["information"] = information(latent.X, latent.layers[slots.SD], cells)
    frame["fold"] = largest_fold(np.asarray(latent.varm["loadings"]))
    frame["strength"] = strength(frame["information"].to_numpy(), active, frame["fold"].to_numpy())
    named = [_name(k, column_of(z, k), variables, effects, q, active[k], angles[[k]]) for k in range(z.shape[1])]
    head = pd.DataFrame(named, index=latent.var_names, columns=["name", "kind", "effect", "evidence", "also"])
    tail = pd.concat([_top_genes(latent, prepared), top_peaks(latent, prepared, N_TOP)], axis=1)
    if cycle is not None:
        frame["cycle_verdict"] = str(cycle.uns.get(slots.UNS, {}).get("cycle", {}).get("verdict", ""))
    ends = _end_levels(z, head["evidence"].mask(angles, ""), variables)
    frame = pd.concat([head, frame, pd.DataFrame(columns, index=latent.var_names), tail, ends], axis=1)
    if axes.programs is not None:
        from sclatent.tl._axes.enrichment import axis_programs

        frame = pd.concat([frame, axis_programs(loadings(latent, prepared), axes.programs)], axis=1)
    weak = frame["strength"] == WEAK
    for name, count in frame.loc[active & ~weak, "name"].value_counts().items():
        log.info("%d axes: %s", count, name)
    if weak.any():
        log.info(
            "%d weak axes (information below %g nats, and no gene changes %g-fold): %s",
            weak.sum(),
            STRONG_INFORMATION,
            STRONG_FOLD,
            ", ".join(frame.index[weak]),
        )
    return frame.rename_axis("axis").reset_index()


def loadings(latent: ad.AnnData, prepared: ad.AnnData) -> pd.DataFrame:
    """Return the loadings of the axes (axes × genes) under gene symbols where the dataset has them."""
    genes = pd.Index(np.asarray(latent.uns["genes"], dtype=str))
    symbols = genes
    if slots.SYMBOL in prepared.var:
        table = prepared.var[slots.SYMBOL].astype(str)
        symbols = pd.Index(table.reindex(genes).fillna(pd.Series(genes, index=genes)).to_numpy())
    return pd.DataFrame(np.asarray(latent.varm["loadings"]), index=latent.var_names, columns=symbols)


def _associations(
    z: np.ndarray, variables: list[Variable], active: np.ndarray, angles: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return the columns of the table, and effects and q-values (axes × variables)."""
    n_cells, n_axes = z.shape
    some = np.arange(n_cells)
    if n_cells > MAX_CELLS:
        some = np.sort(np.random.default_rng(0).choice(n_cells, MAX_CELLS, replace=False))
    drawn, of_drawn = [v.take(some) for v in variables], rows_at(z, some)
    p = np.full((n_axes, len(variables)), np.nan)
    of_batch = np.array([v.role == "batch" for v in variables], bool)
    for which, groups in ((~of_batch, strata(drawn, len(some))), (of_batch, np.zeros(len(some), np.int64))):
        members = np.flatnonzero(which)
        if members.size and active.any():
            p[np.ix_(active, members)] = permutation_p(
                of_drawn[:, active], [drawn[j] for j in members], groups, angles=angles[active]
            )
    q = q_values(p)
    effects = np.zeros((n_axes, len(variables)))
    columns: dict[str, np.ndarray] = {}
    correlations = _correlations(z, variables, angles)
    for j, variable in enumerate(variables):
        if variable.levels is None:
            rho = correlations[j]
            columns[f"spearman_{variable.name}"], effects[:, j] = rho, rho**2
        else:
            eta2 = eta_squared(z, variable.values, angles)
            columns[f"eta2_{variable.name}"] = eta2
            levels = len(np.unique(variable.values[variable.known]))
            effects[:, j] = adjusted_eta_squared(eta2, int(variable.known.sum()), levels)
    for variable in drawn:
        columns[f"mi_{variable.name}"] = mutual_information(of_drawn, variable)
    for j, variable in enumerate(variables):
        columns[f"q_{variable.name}"] = q[:, j]
    return columns, effects, q


def _correlations(z: np.ndarray, variables: list[Variable], angles: np.ndarray) -> dict[int, np.ndarray]:
    """Return the correlation of the axes with each number (axes,), by its place; numbers of the same cells at once."""
    alike: dict[bytes, list[int]] = {}
    for j, variable in enumerate(variables):
        if variable.levels is None:
            alike.setdefault(np.packbits(variable.known).tobytes(), []).append(j)
    out: dict[int, np.ndarray] = {}
    for members in alike.values():
        found = spearman(z, [variables[j].values for j in members], angles)
        out |= dict(zip(members, found.T, strict=True))
    return out


def _name(
    k: int,
    axis: np.ndarray,
    variables: list[Variable],
    effects: np.ndarray,
    q: np.ndarray,
    active: bool,
    angle: np.ndarray,
) -> tuple[str, str, float, str, str]:
    """Return name, kind, effect, the variable that gave the name, and what else has a large effect."""
    if not active:
        return "inactive", "inactive", np.nan, "", ""
    can = np.array([v.name != slots.PHASE for v in variables], bool)
    passed = np.flatnonzero(can & (effects[k] >= MIN_EFFECT) & (q[k] <= MAX_Q))
    if not passed.size:
        return "unnamed", "unnamed", np.nan, "", ""
    ordered = passed[np.argsort(-effects[k, passed], kind="stable")]
    best = variables[ordered[0]]
    strong = [j for j in ordered[1:] if effects[k, j] >= ALSO * effects[k, ordered[0]]]
    also = ", ".join(f"{variables[j].name} ({effects[k, j]:.2f})" for j in strong)
    kind = "technical" if best.role in TECHNICAL else "cell cycle" if best.role == "cycle" else "label"
    return _words(best, axis, angle), kind, float(effects[k, ordered[0]]), best.name, also


def _words(variable: Variable, axis: np.ndarray, angle: np.ndarray) -> str:
    """Return the name an axis earns from a variable: of a label with one dominant level, that level."""
    if variable.role == "batch" and variable.name != slots.SAMPLE:
        return "batch" if variable.name == "batch" else f"batch: {variable.name}"
    word = WORDS.get(variable.name, variable.name)
    if variable.levels is None or len(variable.levels) < 3 or variable.role != "label":
        return word
    known = variable.known
    axis = axis[:, None]
    whole = eta_squared(axis, variable.values, angle)[0]
    parts = [
        np.nan_to_num(eta_squared(axis, np.where(known, (variable.values == code).astype(int), -1), angle)[0])
        for code in range(len(variable.levels))
    ]
    best = int(np.argmax(parts))
    return f"{word}: {variable.levels[best]}" if parts[best] >= LEVEL * whole else word


def _end_levels(z: np.ndarray, evidence: pd.Series, variables: list[Variable]) -> pd.DataFrame:
    """Return which categories of the variable that names an axis (index of `evidence`) lie at either end of it."""
    known = {v.name: v for v in variables if v.levels is not None}
    rows = []
    for k, name in enumerate(evidence):
        up: list[str] = []
        down: list[str] = []
        if name in known:
            codes, levels = known[name].values, known[name].levels or ()
            there = np.unique(codes[codes >= 0])
            axis = column_of(z, k).astype(np.float64)
            axis = (axis - axis.mean()) / max(float(axis.std()), 1e-12)
            mean = np.array([axis[codes == code].mean() for code in there])
            for at in np.argsort(-np.abs(mean), kind="stable"):
                if abs(mean[at]) > 1:
                    (up if mean[at] > 0 else down).append(levels[int(there[at])])
        rows.append((", ".join(up), ", ".join(down)))
    return pd.DataFrame(rows, index=evidence.index, columns=["levels_up", "levels_down"])


def _top_genes(latent: ad.AnnData, prepared: ad.AnnData) -> pd.DataFrame:
    table = loadings(latent, prepared)
    values, names = table.to_numpy(), table.columns.to_numpy(str)
    rows = [tuple(", ".join(names[end]) for end in largest(row, N_TOP)) for row in values]
    return pd.DataFrame(rows, index=latent.var_names, columns=["genes_up", "genes_down"])
