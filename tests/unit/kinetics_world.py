"""Unspliced and spliced counts of a simulated cycle, by integration of its equations: shares no code with the stage."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.integrate import solve_ivp


def world(
    n_cells: int = 1000,
    n_genes: int = 100,
    *,
    unspliced: float = 1.2,
    spliced: float = 2.8,
    theta: float | None = None,
    seed: int = 0,
) -> AnnData:
    """Simulate cells on a circle; truth in ``var``: ``splicing``, ``degradation`` (per radian), ``synthesis``."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n_cells)
    size = rng.lognormal(0, 0.3, n_cells)
    gamma = rng.lognormal(0, 0.7, n_genes)
    beta = gamma * spliced / unspliced * rng.lognormal(0, 0.4, n_genes)
    shape = rng.normal(0, [0.8, 0.8, 0.3, 0.3], (n_genes, 4))
    level = unspliced * rng.lognormal(0, 0.3, n_genes)
    u, s = np.empty((n_cells, n_genes)), np.empty((n_cells, n_genes))
    synthesis = np.empty(n_genes)
    for gene in range(n_genes):
        a1, b1, a2, b2 = shape[gene]

        def made(x, a1=a1, b1=b1, a2=a2, b2=b2):  # type: ignore[no-untyped-def]
            return np.exp(a1 * np.cos(x) + b1 * np.sin(x) + a2 * np.cos(2 * x) + b2 * np.sin(2 * x))

        grid = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
        synthesis[gene] = level[gene] * beta[gene]
        scale = synthesis[gene] / made(grid).mean()

        def flow(x, y, gene=gene, scale=scale, made=made):  # type: ignore[no-untyped-def]
            return [scale * made(x) - beta[gene] * y[0], beta[gene] * y[0] - gamma[gene] * y[1]]

        # turns until what it started from is forgotten
        turns = int(np.ceil(20 / (2 * np.pi * min(gamma[gene], beta[gene])))) + 1
        end = 2 * np.pi * turns
        start = [level[gene], level[gene] * beta[gene] / gamma[gene]]
        found = solve_ivp(flow, (0, end + 2 * np.pi), start, method="LSODA", rtol=1e-6, dense_output=True)
        u[:, gene], s[:, gene] = found.sol(end + angle)
    expected = [np.maximum(one, 0) * size[:, None] for one in (u, s)]
    if theta is not None:
        expected = [one * rng.gamma(theta, 1 / theta, one.shape) for one in expected]
    layers = {
        name: rng.poisson(one).astype(np.float32) for name, one in zip(("unspliced", "spliced"), expected, strict=True)
    }
    var = pd.DataFrame(
        {"splicing": beta, "degradation": gamma, "synthesis": synthesis}, index=[f"g{k}" for k in range(n_genes)]
    )
    obs = pd.DataFrame({"cycle_angle": angle, "size": size}, index=[f"c{k}" for k in range(n_cells)])
    return AnnData(layers["spliced"], obs=obs, var=var, layers=layers)
