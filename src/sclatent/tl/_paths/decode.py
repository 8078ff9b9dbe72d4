"""Decoding along a path, averaged over real cells: the curve, its spread over the posterior, scores, density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.data import slots
from sclatent.data.blocks.dense import rows_at
from sclatent.data.modalities import RNA

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from sclatent.model import CountData, CountVAE

Array = npt.NDArray[Any]
Index = npt.NDArray[np.int64]
Decoder = Callable[[Array, Index], Array]
"""Coordinates (n × axes), and the cells (n,) whose covariates hold, to the log fraction of the library (n × genes)."""

CELLS = 256
"""Cells a decoded curve is averaged over."""
SPREAD_CELLS, DRAWS = 64, 4
"""Cells, and draws from the posterior of each, behind the standard deviation."""
CONTROLS_PER_GENE = 10
MIN_SUPPORT = 3.0
"""Steps with fewer cells near them (weighted by a kernel) are extrapolation."""
_TINY = 1e-12


def decoder_of(vae: CountVAE, data: CountData, *, of: str = RNA) -> Decoder:
    """Bind a model to the covariates of the cells; what it decodes is the modality `of`."""

    def decode(z: Array, cells: Index) -> Array:
        return vae.log_fraction(
            z,
            None if data.categorical is None else data.categorical[cells],
            None if data.continuous is None else data.continuous[cells],
            of=of,
        )

    return decode


def pick_cells(strata: npt.ArrayLike, size: int, *, among: npt.ArrayLike | None = None, seed: int = 0) -> Index:
    """Pick at most `size` cells, each stratum in proportion to its size.

    Parameters
    ----------
    strata
        (cells,) stratum of each cell.
    size
        Number of cells wanted.
    among
        (cells,) boolean: the cells to pick from.
    seed
        Seed of the order within strata.

    Returns
    -------
    Positions of the cells, ascending.
    """
    strata = np.asarray(strata)
    pool = np.arange(len(strata)) if among is None else np.flatnonzero(among)
    if len(pool) <= size:
        return pool
    shuffled = np.random.default_rng(seed).permutation(pool)
    ordered = shuffled[np.argsort(strata[shuffled], kind="stable")]
    return np.sort(ordered[((np.arange(size) + 0.5) * len(pool) / size).astype(np.int64)])


def strata_of(data: CountData) -> Index:
    """Return one number per cell for its combination of categorical covariates."""
    if data.categorical is None or data.categorical.shape[1] == 0:
        return np.zeros(data.n_cells, dtype=np.int64)
    return np.unique(data.categorical, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def mean_fraction(decode: Decoder, z: npt.ArrayLike, cells: Index, *, chunk: int = 1024) -> Array:
    """Return the decoded fraction of the library (genes,), averaged over cells at coordinates `z` (cells × axes)."""
    z = np.asarray(z, dtype=np.float32)
    total: Array | None = None
    for start in range(0, len(z), chunk):
        part = np.exp(decode(z[start : start + chunk], cells[start : start + chunk])).sum(axis=0, dtype=np.float64)
        total = part if total is None else total + part
    assert total is not None
    return total / len(z)


def turn_positions(steps: int) -> Array:
    """Return evenly spaced angles over one turn, the end (= the start) left out."""
    return 2 * np.pi * np.arange(steps) / steps


def decode_turn(decode: Decoder, base: Array, path: Array, cells: Index) -> Array:
    """Decode a path: cells (at ``base``, cells × axes, off the path) put at every row of `path` (steps × axes)."""
    return np.array([mean_fraction(decode, base + at, cells) for at in path])


def spread(
    decode: Decoder, place: Callable[[Array], Array], draws: list[Array], cells: Index, contrasts: Array
) -> tuple[Array, Array]:
    """Return the SD of a cell's decoded fraction, and of its decoded scores, over draws from its posterior.

    Parameters
    ----------
    decode
        See `Decoder`.
    place
        Puts coordinates (cells × axes) at the step of the path.
    draws
        Draws from the posterior of the same cells (cells × axes each).
    cells
        (cells,) positions of these cells.
    contrasts
        (genes × scores) weights of the log fractions in each score.

    Returns
    -------
    (genes,) and (scores,): root mean square over cells, so neither shrinks with the number of cells.
    """
    logged = np.stack([decode(np.asarray(place(z), dtype=np.float32), cells) for z in draws])
    sd = np.sqrt(np.exp(logged).var(axis=0, ddof=1, dtype=np.float64).mean(axis=0))
    scores = np.sqrt((logged @ contrasts.astype(logged.dtype)).var(axis=0, ddof=1, dtype=np.float64).mean(axis=0))
    return sd, scores


def posterior_draws(mean: npt.ArrayLike, sd: npt.ArrayLike, n: int, seed: int) -> list[Array]:
    """Draw z = mean + sd · ε `n` times (cells × axes each), of a Gaussian."""
    mean, sd = np.asarray(mean, dtype=np.float64), np.asarray(sd, dtype=np.float64)
    rng = np.random.default_rng(seed)
    return [mean + sd * rng.standard_normal(mean.shape) for _ in range(n)]


def deviations(vae: CountVAE, data: CountData, latent: AnnData, cells: Index, n: int, seed: int) -> list[Array]:
    """Draw from the posterior of the cells `n` times, less its mean (cells × axes each).

    The same draws serve all steps, so curves are smooth. The diagonal Gaussian needs no more than the SDs along the
    axes that `latent` (of `sclatent.tl.embed`) holds; any other posterior is asked.
    """
    if slots.LATENT not in latent.uns:
        sd = rows_at(latent.layers[slots.SD], cells, np.float64)
        return posterior_draws(np.zeros_like(sd), sd, n, seed)
    return list(vae.draws(data, cells, n, seed=seed) - rows_at(latent.X, cells, np.float64))


@dataclass(frozen=True)
class ScoreGenes:
    """The genes of the decoded scores, as booleans over the model's genes."""

    s: npt.NDArray[np.bool_]
    g2m: npt.NDArray[np.bool_]
    s_control: npt.NDArray[np.bool_]
    g2m_control: npt.NDArray[np.bool_]

    def scores(self, fraction: Array) -> tuple[Array, Array]:
        """Decoded S and G2/M score of each row of `fraction` (steps × genes); missing where there are no list genes."""
        logged = np.log(np.maximum(np.asarray(fraction, dtype=np.float64), _TINY))
        contrasts = self.contrasts()
        s, g2m = (logged @ contrasts).T
        return (s if self.s.any() else np.full(len(s), np.nan)), (g2m if self.g2m.any() else np.full(len(s), np.nan))

    def contrasts(self) -> Array:
        """(genes × 2) weights of the log fractions in the S and in the G2/M score."""
        pairs = ((self.s, self.s_control), (self.g2m, self.g2m_control))
        return np.stack([a / max(int(a.sum()), 1) - b / max(int(b.sum()), 1) for a, b in pairs], axis=1)


def score_genes(genes: pd.Index, cycle_var: pd.DataFrame, mean: Array) -> ScoreGenes:
    """Choose the genes of the decoded S and G2/M scores.

    Parameters
    ----------
    genes
        The model's genes.
    cycle_var
        Genes of the cycle stage, with the column ``phase`` (``S`` / ``G2M``, anything else is on neither list).
    mean
        (genes,) mean fraction of the library, by which control genes of like abundance are found: the ten nearest
        (log scale) of every list gene, out of the model's genes that the cycle stage did not use.

    Returns
    -------
    Neither list nor controls of a phase with fewer genes than the cycle stage asks for: its score is missing then.
    """
    from sclatent.tl._cycle.scores import MIN_GENES

    phase = cycle_var["phase"].astype(str).reindex(genes).fillna("").to_numpy(dtype=str)
    free = ~np.asarray(genes.isin(cycle_var.index))
    level = np.log(np.maximum(np.asarray(mean, dtype=np.float64), _TINY))
    s, g2m = ((phase == name) & ((phase == name).sum() >= MIN_GENES) for name in ("S", "G2M"))
    return ScoreGenes(s, g2m, _controls(level, s, free), _controls(level, g2m, free))


def _controls(level: Array, listed: npt.NDArray[np.bool_], free: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    out = np.zeros(len(level), dtype=bool)
    pool = np.flatnonzero(free)
    for gene in np.flatnonzero(listed):
        nearest = np.argsort(np.abs(level[pool] - level[gene]), kind="stable")[:CONTROLS_PER_GENE]
        out[pool[nearest]] = True
    return out


def density_on_line(position: Array, values: Array) -> tuple[Array, Array]:
    """Gaussian kernel density (per latent unit) of cells along an axis, and the kernel-weighted number of cells.

    The bandwidth is Silverman's rule of thumb.

    Parameters
    ----------
    position
        (steps,) where to look.
    values
        (cells,) posterior means.
    """
    n = len(values)
    quartiles = np.subtract(*np.percentile(values, [75, 25])) / 1.34
    scale = min(x for x in (values.std(), quartiles, np.inf) if x > 0) if values.std() > 0 else 1e-6
    width = 0.9 * scale * n**-0.2
    weight = np.array([np.exp(-0.5 * ((values - x) / width) ** 2).sum() for x in position])
    return weight / (n * width * np.sqrt(2 * np.pi)), weight


def density_on_circle(position: Array, angle: Array, steps: int) -> tuple[Array, Array]:
    """Von Mises kernel density (per radian) of cycling cells, and the kernel-weighted number of cells.

    The kernel is as wide as a step, and at least as wide as a twenty-fourth of a turn.
    """
    width = max(2 * np.pi / steps, 2 * np.pi / 24)
    kappa = 1 / width**2
    weight = np.array([np.exp(kappa * (np.cos(angle - x) - 1)).sum() for x in position])
    return weight / (len(angle) * 2 * np.pi * _i0e(kappa)), weight


def _i0e(x: float) -> float:
    from scipy.special import i0e

    return float(i0e(x))


def list_phase(genes: ScoreGenes) -> npt.NDArray[np.str_]:
    """Return ``S``, ``G2M`` or ``""`` for each gene."""
    return np.where(genes.s, slots.PHASES[1], np.where(genes.g2m, slots.PHASES[2], ""))
