"""A world whose model is known: latents and decoder are the simulator's truth, so that paths have right answers.

The four axes are (cos φ, sin φ) of the cycle, the program of resting cells, and one that tells two cell types apart;
the log rates of the simulator are linear in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from sclatent.data import simulate, slots


@dataclass
class KnownModel:
    """Stands where a trained VAE stands: log fractions linear in the axes, plus an offset per batch."""

    weights: np.ndarray  # axes × genes
    offset: np.ndarray  # batches × genes
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def vae(self) -> KnownModel:
        return self

    def log_fraction(self, z, categorical=None, continuous=None, *, of="rna"):  # type: ignore[no-untyped-def]
        shift = self.offset.mean(axis=0) if categorical is None else self.offset[categorical[:, 0]]
        logits = np.asarray(z, dtype=np.float64) @ self.weights + shift
        logits -= logits.max(axis=1, keepdims=True)
        return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


@dataclass
class World:
    prepared: AnnData
    latent: AnnData
    model: KnownModel


def make_world(
    n_cells: int = 600, n_genes: int = 400, *, noise: float = 0.05, seed: int = 0, **simulator: Any
) -> World:
    simulator = {"n_types": 2, "median_library": 4000.0, **simulator}
    prepared = simulate(n_cells, n_genes, seed=seed, **simulator)
    obs, var = prepared.obs, prepared.var
    prepared.var[slots.IN_MODEL] = True
    prepared.var[slots.SYMBOL] = prepared.var_names.to_numpy()
    prepared.obs[slots.LIBRARY_SIZE] = np.asarray(prepared.X.sum(axis=1)).ravel().astype(np.float32)
    rng = np.random.default_rng(seed)
    split = np.array(["train", "validation", "test"])[np.minimum(rng.permutation(n_cells) * 10 // n_cells, 2)]
    prepared.obs[slots.SPLIT] = pd.Categorical(split, categories=list(slots.SPLITS))
    on = obs[slots.TRUE_CYCLING].to_numpy(dtype=bool)
    angle = np.where(on, obs[slots.TRUE_ANGLE].to_numpy(), 0.0)
    kind = (obs[slots.CELL_TYPE] == "type2").to_numpy(dtype=float)
    z = np.stack([np.where(on, np.cos(angle), 0), np.where(on, np.sin(angle), 0), ~on * 1.0, 2 * kind - 1], axis=1)
    z += rng.normal(0, noise, z.shape)
    amplitude, peak = var[slots.TRUE_AMPLITUDE].to_numpy(), var[slots.TRUE_PEAK].fillna(0).to_numpy()
    base = np.asarray(prepared.varm[slots.SIM_BASE]).T  # types × genes
    weights = np.stack([amplitude * np.cos(peak), amplitude * np.sin(peak), -amplitude, (base[1] - base[0]) / 2])
    batches = np.asarray(prepared.varm[slots.SIM_BATCH]).T
    levels = [f"batch{k + 1}" for k in range(len(batches))]
    prepared.obs[slots.BATCH] = prepared.obs[slots.BATCH].astype(str).astype("category")
    card = {
        "genes": list(prepared.var_names),
        "batch": [slots.BATCH],
        "levels": [levels],
        "covariates": [],
        "centre": [],
        "scale": [],
        "rest": False,
        "model": "nb",
        "seed": 0,
        "threads": 1,
        "device": "cpu",
        "versions": {"sclatent": "0", "torch": "0"},
    }
    model = KnownModel(weights, batches + base.mean(axis=0), card)
    latent = AnnData(
        z.astype(np.float32),
        obs=pd.DataFrame(index=prepared.obs_names.copy()),
        var=pd.DataFrame(
            {"kl": 1.0, "active": z.var(axis=0) > 0.01}, index=[f"axis_{k + 1}" for k in range(z.shape[1])]
        ),
        layers={slots.SD: np.full(z.shape, 0.1, dtype=np.float32)},
        varm={"loadings": weights.astype(np.float32)},
        uns={"genes": np.array(prepared.var_names, dtype=object)},
    )
    return World(prepared, latent, model)


def true_cycle(prepared: AnnData, *, noise: float = 0.3, seed: int = 0) -> AnnData:
    """Return ``cycle.h5ad`` as the cycle stage would write it with angles that are right up to `noise`."""
    obs, rng = prepared.obs, np.random.default_rng(seed)
    on = obs[slots.TRUE_CYCLING].to_numpy(dtype=bool)
    angle = np.mod(obs[slots.TRUE_ANGLE].to_numpy() + rng.normal(0, noise, len(on)), 2 * np.pi)
    phase = obs[slots.TRUE_PHASE].astype(object)
    out = pd.DataFrame(
        {
            slots.S_SCORE: obs[slots.TRUE_S] + rng.normal(0, 0.1, len(on)),
            slots.G2M_SCORE: obs[slots.TRUE_G2M] + rng.normal(0, 0.1, len(on)),
            slots.PHASE: pd.Categorical(phase, categories=list(slots.PHASES), ordered=True),
            slots.CYCLE_ANGLE: np.where(on, angle, np.nan),
            slots.CYCLE_SD: np.where(on, noise, np.nan),
            slots.CYCLING_PROBABILITY: np.where(on, 0.9, 0.1),
            slots.CYCLING: on,
        },
        index=obs.index,
    )
    listed = prepared.var[slots.ON_LIST].to_numpy(dtype=bool)
    var = pd.DataFrame({"phase": prepared.var[slots.LIST_PHASE].astype(str)[listed]}, index=prepared.var_names[listed])
    return AnnData(obs=out, var=var, uns={slots.UNS: {"cycle": {"verdict": "cycle", "reason": ""}}})
