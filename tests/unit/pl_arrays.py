"""Stage files made from the simulator's truth, so that figures can be tested without training anything."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

import sclatent as sl
from sclatent.data import slots

N_AXES = 6


def prepared(n_cells: int = 600, n_genes: int = 300, seed: int = 0) -> AnnData:
    adata = sl.data.simulate(n_cells, n_genes, seed=seed)
    rng = np.random.default_rng(seed)
    adata.obs[slots.SPLIT] = pd.Categorical(
        rng.choice(slots.SPLITS, n_cells, p=[0.8, 0.1, 0.1]), categories=slots.SPLITS
    )
    adata.obs[slots.LIBRARY_SIZE] = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.obs[slots.TOTAL_COUNTS] = adata.obs[slots.LIBRARY_SIZE]
    adata.obs[slots.N_GENES] = np.asarray((adata.X > 0).sum(axis=1)).ravel()
    adata.obs[slots.PCT_MITO] = rng.gamma(2, 2, n_cells)
    adata.var[slots.IN_MODEL] = True
    adata.var[slots.HIGHLY_VARIABLE] = rng.random(n_genes) < 0.5
    adata.var[slots.SYMBOL] = adata.var_names
    filters = pd.DataFrame(
        {
            "filter": ["cells.min_genes", "cells.doublets", "genes.min_cells"],
            "cutoff": [20.0, np.nan, 3.0],
            "unit": ["cells", "cells", "genes"],
            "taken": [4, 0, 2],
            "left": [n_cells, n_cells, n_genes],
        },
        index=["0", "1", "2"],
    )
    metrics = [slots.N_GENES, slots.TOTAL_COUNTS, slots.PCT_MITO]
    taken = adata.obs[metrics].iloc[:4].set_axis([f"taken{i}" for i in range(4)]) / 10
    seen = pd.concat([adata.obs[metrics], taken])
    seen["passed"] = np.arange(len(seen)) < n_cells
    adata.uns[slots.UNS] |= {
        slots.UNS_FILTERS: filters,
        slots.UNS_QC: seen,
        slots.UNS_GENES: {"flavor": "pearson_residuals", "n_model": n_genes},
    }
    return adata


def cycle(adata: AnnData) -> AnnData:
    rng = np.random.default_rng(1)
    n = adata.n_obs
    angle = np.mod(adata.obs[slots.TRUE_ANGLE].to_numpy() + rng.normal(0, 0.2, n), 2 * np.pi)
    cycling = adata.obs[slots.TRUE_CYCLING].to_numpy(bool)
    obs = pd.DataFrame(index=adata.obs_names)
    obs[slots.S_SCORE] = adata.obs[slots.TRUE_S].to_numpy() + rng.normal(0, 0.1, n)
    obs[slots.G2M_SCORE] = adata.obs[slots.TRUE_G2M].to_numpy() + rng.normal(0, 0.1, n)
    obs[slots.PHASE] = adata.obs[slots.TRUE_PHASE].to_numpy()
    obs[slots.PHASE] = pd.Categorical(obs[slots.PHASE], categories=slots.PHASES, ordered=True)
    obs[slots.CYCLE_ANGLE] = angle
    obs[slots.CYCLE_SD] = np.where(cycling, 0.3, np.nan)
    obs[slots.CYCLING_PROBABILITY] = np.where(cycling, 0.9, 0.1)
    obs[slots.CYCLING] = cycling
    genes = adata.var[adata.var[slots.ON_LIST]]
    var = pd.DataFrame(
        {"phase": genes[slots.LIST_PHASE].astype(str), "peak": genes[slots.TRUE_PEAK]}, index=genes.index
    )
    amplitude, peak = genes[slots.TRUE_AMPLITUDE].to_numpy(float), genes[slots.TRUE_PEAK].to_numpy(float)
    mean = adata[:, genes.index].X.sum(axis=0) / adata.X.sum()
    var["r2"], var["a0"] = amplitude / 2, np.log(np.asarray(mean).ravel() + 1e-6)
    var["a1"], var["b1"] = amplitude * np.cos(peak), amplitude * np.sin(peak)
    out = AnnData(obs=obs, var=var)
    out.uns[slots.UNS] = {"cycle": {"verdict": "cycle", "reason": "", "law": "negative binomial"}}
    return out


def latent(adata: AnnData, n_axes: int = N_AXES) -> AnnData:
    rng = np.random.default_rng(2)
    z = rng.normal(size=(adata.n_obs, n_axes)).astype(np.float32)
    angle = np.nan_to_num(adata.obs[slots.TRUE_ANGLE].to_numpy(), nan=0.3)
    z[:, 0] = 1.5 * np.cos(angle) + rng.normal(0, 0.2, adata.n_obs)
    z[:, 1] = 1.5 * np.sin(angle) + rng.normal(0, 0.2, adata.n_obs)
    z[:, 2] = adata.obs[slots.CELL_TYPE].cat.codes.to_numpy() - 1.5
    names = [f"axis_{k + 1}" for k in range(n_axes)]
    kl = np.linspace(2.5, 0.001, n_axes)
    out = AnnData(
        z, obs=pd.DataFrame(index=adata.obs_names), var=pd.DataFrame({"kl": kl, "active": kl > 0.01}, index=names)
    )
    out.layers[slots.SD] = np.full_like(z, 0.3)
    out.varm["loadings"] = rng.normal(size=(n_axes, adata.n_vars)) * 0.3
    out.uns["genes"] = adata.var_names.to_numpy()
    return out


def umap(adata: AnnData) -> AnnData:
    rng = np.random.default_rng(3)
    kind = adata.obs[slots.CELL_TYPE].cat.codes.to_numpy()
    angle = np.nan_to_num(adata.obs[slots.TRUE_ANGLE].to_numpy(), nan=0.3)
    xy = np.stack([4 * kind + 1.4 * np.cos(angle), 1.4 * np.sin(angle) - (kind % 2) * 3], axis=1)
    out = AnnData(obs=pd.DataFrame({slots.LEIDEN: pd.Categorical(kind.astype(str))}, index=adata.obs_names))
    out.obsm[slots.X_UMAP] = (xy + rng.normal(0, 0.25, xy.shape)).astype(np.float32)
    return out


def traversals(adata: AnnData, n_axes: int = N_AXES, steps: int = 21, cycle: bool = True) -> AnnData:
    rng = np.random.default_rng(4)
    base = np.asarray(adata.X.mean(axis=0)).ravel()
    base = np.log(base / base.sum() + 1e-6)
    alpha, peak = adata.var[slots.TRUE_AMPLITUDE].to_numpy(), adata.var[slots.TRUE_PEAK].fillna(0).to_numpy()
    phase = adata.var[slots.LIST_PHASE].astype(str).to_numpy()
    rows, obs = [], []
    for k in range(-1 if cycle else 0, n_axes):
        weight = rng.normal(size=adata.n_vars) * (rng.random(adata.n_vars) < 0.2) * 0.5
        position = np.linspace(-2, 2, steps) if k >= 0 else np.arange(steps) * 2 * np.pi / steps
        for p in position:
            logits = base + (weight * p if k >= 0 else alpha * np.cos(p - peak))
            logits -= np.log(np.exp(logits).sum())
            rows.append(np.exp(logits))
            score = {
                c: (logits[phase == g].mean() - base[phase == g].mean())
                for c, g in ((slots.S_SCORE, "S"), (slots.G2M_SCORE, "G2M"))
            }
            obs.append(
                {
                    "path": f"axis_{k + 1}" if k >= 0 else "cycle",
                    "position": p,
                    "density": 1.0 if k < 0 else max(1 - abs(p) / 1.9, 0),
                }
                | score
                | {"S_sd": 0.1, "G2M_sd": 0.1}
            )
    frame = pd.DataFrame(obs, index=[f"step_{i}" for i in range(len(obs))])
    x = np.array(rows, dtype=np.float32)
    return AnnData(
        x, obs=frame, var=pd.DataFrame(index=adata.var_names), layers={slots.SD: (0.1 * x).astype(np.float32)}
    )


def axes(adata: AnnData, table: AnnData) -> pd.DataFrame:
    """A table of the axes as the stage `annotate` writes it, with invented effects."""
    rng = np.random.default_rng(5)
    n = table.n_vars
    out = pd.DataFrame(
        {"axis": table.var_names, "name": "unnamed", "kind": "unnamed", "effect": np.nan, "evidence": "", "also": ""}
    )
    for row, (name, kind, evidence) in enumerate(
        [
            ("cell cycle: S", "cell cycle", "S_score"),
            ("depth", "technical", "library_size"),
            ("cell_type", "label", "cell_type"),
        ]
    ):
        out.loc[row, ["name", "kind", "effect", "evidence"]] = [name, kind, 0.8 - 0.1 * row, evidence]
    out["kl"] = table.var["kl"].to_numpy()
    out["active"] = table.var["active"].to_numpy()
    for prefix, names in (
        ("spearman_", ["S_score", "G2M_score", "library_size"]),
        ("eta2_", ["phase", "batch", "cell_type"]),
    ):
        for name in names:
            out[f"{prefix}{name}"] = rng.uniform(-1 if prefix == "spearman_" else 0, 1, n) ** 3
            out[f"mi_{name}"] = rng.uniform(0, 0.5, n)
            out[f"q_{name}"] = rng.uniform(0, 1, n) ** 3
    out["genes_up"] = ", ".join(adata.var_names[:5])
    out["genes_down"] = ", ".join(adata.var_names[5:10])
    return out


def atlas(adata: AnnData, cycle: AnnData, table: AnnData, umap: AnnData, axes: pd.DataFrame) -> AnnData:
    out = AnnData(obs=adata.obs.join(cycle.obs).join(umap.obs))
    out.obsm[slots.X_LATENT] = np.asarray(table.X)
    out.obsm[slots.X_UMAP] = umap.obsm[slots.X_UMAP]
    out.uns[slots.UNS] = {"dataset": "demo", "model": "nb", "axes": axes.set_index("axis")}
    return out


def knob(adata: AnnData) -> dict:
    """knob.json of a knob, with invented evidence."""
    rng = np.random.default_rng(6)
    position = np.arange(48) * 2 * np.pi / 48
    genes = adata.var[adata.var[slots.ON_LIST]]
    held = []
    for name, row in genes.iterrows():
        peak = float(np.mod(row[slots.TRUE_PEAK] + rng.normal(0, 0.3), 2 * np.pi))
        phase = str(row[slots.LIST_PHASE])
        expected = 0.95 * np.pi if phase == "S" else 1.7 * np.pi
        distance = float(abs(np.angle(np.exp(1j * (peak - expected)))))
        held.append(
            {
                "gene": str(name),
                "phase": phase,
                "peak": peak,
                "amplitude": 0.5,
                "expected": expected,
                "distance": distance,
                "within": distance <= np.pi / 4,
            }
        )
    share = float(np.mean([g["within"] for g in held]))
    return {
        "verdict": "cell-cycle knob",
        "knob": True,
        "reason": "decoded S peaks 0.38 turns before G2/M",
        "tests": [
            {
                "name": "decoded S peaks before decoded G2/M",
                "passed": True,
                "found": "0.38 turns",
                "needed": "0.06 to 0.50 turns",
            },
            {
                "name": "held-out genes peak at their known phase",
                "passed": True,
                "found": f"{share:.0%} of {len(held)}",
                "needed": "60%",
            },
        ],
        "path": {
            "cells": adata.n_obs,
            "variance_share": 0.21,
            "position": position.tolist(),
            "S_score": np.cos(position - 0.95 * np.pi).tolist(),
            "G2M_score": np.cos(position - 1.7 * np.pi).tolist(),
            "density": np.ones(48).tolist(),
            "supported": [True] * 48,
        },
        "order": {"S_peak": 0.95 * np.pi, "G2M_peak": 1.7 * np.pi, "lag": 0.75 * np.pi},
        "held_out": {
            "n": len(held),
            "reason": "",
            "share_within": share,
            "swing": 0.6,
            "swing_null": rng.normal(0, 0.08, 200).tolist(),
            "p": 1 / 201,
            "genes": held,
        },
        "literature": {
            "n": 4,
            "spearman": 0.9,
            "p": 0.001,
            "cut": 0.2,
            "genes": [
                {"gene": g, "rank": r, "peak": float(1.1 * r + 0.8)}
                for g, r in (("MCM5", 1), ("PCNA", 2), ("TOP2A", 3), ("CCNB2", 4))
            ],
        },
    }


NO_KNOB = {
    "verdict": "no cell-cycle knob",
    "knob": False,
    "reason": "3 of 600 cells are called cycling",
    "tests": [],
    "path": None,
    "order": None,
    "held_out": None,
    "literature": None,
}
