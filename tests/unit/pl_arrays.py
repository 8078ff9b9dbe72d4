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
    adata.obs[slots.SPLIT] = pd.Categorical(rng.choice(slots.SPLITS, n_cells, p=[0.8, 0.1, 0.1]), categories=slots.SPLITS)
    adata.obs[slots.LIBRARY_SIZE] = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.obs[slots.TOTAL_COUNTS] = adata.obs[slots.LIBRARY_SIZE]
    adata.obs[slots.N_GENES] = np.asarray((adata.X > 0).sum(axis=1)).ravel()
    adata.obs[slots.PCT_MITO] = rng.gamma(2, 2, n_cells)
    adata.var[slots.IN_MODEL] = True
    adata.var[slots.HIGHLY_VARIABLE] = rng.random(n_genes) < 0.5
    adata.var[slots.SYMBOL] = adata.var_names
    filters = pd.DataFrame(
        {
            "filter": ["min_genes", "min_cells"],
            "on": ["cells", "genes"],
            "cutoff": [20.0, 3.0],
            "taken": [0, 0],
            "left": [n_cells, n_genes],
        }
    )
    adata.uns[slots.UNS][slots.UNS_FILTERS] = filters
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
    var = pd.DataFrame({"phase": genes[slots.LIST_PHASE].astype(str), "peak": genes[slots.TRUE_PEAK]}, index=genes.index)
    out = AnnData(obs=obs, var=var)
    out.uns[slots.UNS] = {"cycle": {"verdict": "cycle", "reason": ""}}
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
    out = AnnData(z, obs=pd.DataFrame(index=adata.obs_names), var=pd.DataFrame({"kl": kl, "active": kl > 0.01}, index=names))
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
            score = {c: (logits[phase == g].mean() - base[phase == g].mean()) for c, g in ((slots.S_SCORE, "S"), (slots.G2M_SCORE, "G2M"))}
            obs.append(
                {"path": f"axis_{k + 1}" if k >= 0 else "cycle", "position": p, "density": 1.0 if k < 0 else max(1 - abs(p) / 1.9, 0)}
                | score
            )
    frame = pd.DataFrame(obs, index=[f"step_{i}" for i in range(len(obs))])
    x = np.array(rows, dtype=np.float32)
    return AnnData(x, obs=frame, var=pd.DataFrame(index=adata.var_names), layers={slots.SD: (0.1 * x).astype(np.float32)})
