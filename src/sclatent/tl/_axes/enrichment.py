"""Gene programs of a GMT file against the loadings of the axes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from sclatent.data.programs import MIN_GENES, read_gmt
from sclatent.settings import InputError, checks_arguments
from sclatent.tl._axes.association import q_values

MAX_Q = 0.05
N_TOP = 3


@checks_arguments
def enrich(loadings: pd.DataFrame, programs: pd.DataFrame, *, min_genes: int = MIN_GENES) -> pd.DataFrame:
    """Compare the loadings of each axis inside and outside each gene program.

    The t-value of a linear model with one covariate, membership (decoupler's univariate linear model, Badia-i-Mompel et
    al. 2022). Its p-value takes genes as independent, which they are not: read the effect first.

    Parameters
    ----------
    loadings
        Axes × genes, under gene symbols. Where a symbol occurs twice, the gene with the larger loadings is kept.
    programs
        What `read_gmt` returned.
    min_genes
        Programs with fewer genes among the loadings are left out.

    Returns
    -------
    DataFrame
        One row per axis and program: ``axis``, ``program``, ``n_genes``, ``effect`` (mean loading inside minus outside,
        in SD over the genes of that axis), ``score`` (t-value), ``p``, ``q`` (Benjamini-Hochberg over all rows);
        largest ``|effect|`` first in each axis.

    Raises
    ------
    InputError
        If no program has enough genes in the data.
    """
    import decoupler as dc
    from scipy.stats import t as student

    table = loadings.loc[:, loadings.abs().sum().to_numpy() > 0]
    order = np.argsort(-table.abs().sum().to_numpy(), kind="stable")
    table = table.iloc[:, order]
    table = table.loc[:, ~table.columns.duplicated()]
    present = programs[programs["target"].isin(table.columns)]
    size = present.groupby("source").size()
    kept = size[size >= min_genes]
    if kept.empty:
        known = programs["target"].iloc[0]
        raise InputError(
            f"axes.programs: none of the {programs['source'].nunique()} programs has {min_genes} genes among the "
            f"model's ({len(present)} matches; the model has {table.columns[0]}, …, the file {known}, …): "
            "the symbols must be of one organism and spelling"
        )
    present = present[present["source"].isin(kept.index)]
    scores, _ = dc.mt.ulm(data=table.astype(float), net=present, tmin=min_genes)
    scores = scores.loc[table.index, kept.index]
    p = 2 * student.sf(np.abs(scores.to_numpy()), table.shape[1] - 2)
    z = table.to_numpy(float)
    spread = z.std(axis=1, keepdims=True)
    z = (z - z.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    member = pd.crosstab(present["source"], present["target"]).reindex(
        index=kept.index, columns=table.columns, fill_value=0
    )
    inside = member.to_numpy(float).T
    effect = z @ (inside / inside.sum(axis=0)) - z @ ((1 - inside) / np.maximum((1 - inside).sum(axis=0), 1))
    n_axes = len(table)
    out = pd.DataFrame(
        {
            "axis": np.repeat(table.index.to_numpy(), len(kept)),
            "program": np.tile(kept.index.to_numpy(), n_axes),
            "n_genes": np.tile(kept.to_numpy(), n_axes),
            "effect": effect.ravel(),
            "score": scores.to_numpy().ravel(),
            "p": p.ravel(),
            "q": q_values(p).ravel(),
        }
    )
    rank = pd.Categorical(out["axis"], categories=table.index, ordered=True).codes
    return out.iloc[np.lexsort((-out["effect"].abs().to_numpy(), rank))].reset_index(drop=True)


def axis_programs(loadings: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """Return, for each axis, its strongest programs both ways.

    Returns
    -------
    Index: axis. ``programs_up``, ``programs_down`` (at most three each, with effects, q ≤ 0.05), ``program``,
    ``program_effect``, ``program_q`` of the one with the largest ``|effect|`` (q ≤ 0.05; else empty).
    """
    rows = enrich(loadings, read_gmt(path))
    significant = rows[rows["q"] <= MAX_Q]
    out = pd.DataFrame(
        {"programs_up": "", "programs_down": "", "program": "", "program_effect": np.nan, "program_q": np.nan},
        index=loadings.index,
    )
    for axis, group in significant.groupby("axis", sort=False):
        for column, sign in (("programs_up", 1), ("programs_down", -1)):
            some = group[np.sign(group["effect"]) == sign].head(N_TOP)
            words = [f"{_plain(p)} ({e:+.2f})" for p, e in zip(some["program"], some["effect"], strict=True)]
            out.loc[axis, column] = ", ".join(words)
        best = group.iloc[0]
        out.loc[axis, ["program", "program_effect", "program_q"]] = [_plain(best["program"]), best["effect"], best["q"]]
    return out


def _plain(name: str) -> str:
    return re.sub(r"\s+", " ", name)
