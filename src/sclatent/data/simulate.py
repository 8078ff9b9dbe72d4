r"""Simulated counts with known truth: cell types, batches, and a circular program that some cells do not run.

The model, for cell :math:`i` of type :math:`t`, batch :math:`b` and library size :math:`l_i`, and gene :math:`g`:

.. math::

    a_{ig} &= \beta_{tg} + \delta_{bg} + \alpha_g c_{ig}, \qquad
    c_{ig} = \begin{cases} \cos(\varphi_i - \psi_g) & \text{the cell cycles} \\ -1 & \text{it rests} \end{cases} \\
    \mu_{ig} &= l_i \; \mathrm{softmax}_g(a_{ig}), \qquad
    \log l_i \sim \mathcal N(\log m, s^2) \\
    x_{ig} &\sim \mathrm{NB}(\mu_{ig}, \theta), \qquad \mathrm{Var}(x) = \mu + \mu^2/\theta

A resting cell is at the trough of *every* cycling gene at once, so it is a point off the circle, as in real tissue, not
a stretch of G1. The angle is 0 at the start of G1 and grows through S and G2/M.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.data import slots
from sclatent.data.genes import cycle_genes
from sclatent.settings import InputError, checks_arguments

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.integer]

S_PEAK, G2M_PEAK = 0.95 * np.pi, 1.7 * np.pi
"""Mean peak of the S and of the G2/M genes; three quarters of half a turn apart, as along the FUCCI angle of iPSCs."""
PEAK_SD = 0.3
S_START, G2M_START = 0.6 * np.pi, 1.325 * np.pi
"""Where the true phase turns from G1 to S, and from S to G2/M (half way between the peaks)."""
LIBRARY_SD, BASE_SD, TYPE_SD, BATCH_SD = 0.35, 1.3, 1.0, 0.25
MARKER_FRACTION = 0.15
_CHUNK, _ENTRIES, _BALANCED = 4096, 8_000_000, 2000
"""Cells, and cells × genes, whose rates are in memory at once; cells by which the share of the cycling genes is set."""


@checks_arguments
def simulate(
    n_cells: int = 2000,
    n_genes: int = 1000,
    *,
    n_types: int = 4,
    n_batches: int = 2,
    resting: float = 0.3,
    median_library: float = 2000.0,
    theta: float = 5.0,
    amplitude: tuple[float, float] = (0.35, 1.05),
    list_share: float = 0.015,
    organism: str = "human",
    seed: int = 0,
) -> AnnData:
    r"""Simulate counts with known cell type, batch, library size and place on the cell cycle.

    The genes are the S and G2/M genes of the built-in list under their real names, as many cycling genes that are on no
    list (``cyc001`` …), and genes that do not cycle (``gene0001`` …), in random order. With few genes, each of the
    first two groups is cut to a quarter of them.

    Parameters
    ----------
    n_cells, n_genes
        Size of the matrix.
    n_types
        Number of cell types; type *k* (from 0) has a share proportional to ``n_types - k``. Each type shifts
        15 % of the genes that do not cycle by a normal log fold change (SD 1).
    n_batches
        Number of batches, equally likely; each shifts every gene by a normal log fold change (SD 0.25).
    resting
        Fraction of cells outside the cycle, at the trough of all cycling genes.
    median_library
        Median of the log-normal library sizes (expected counts per cell; SD 0.35 on the log scale).
    theta
        Inverse dispersion of the negative binomial; ``inf`` gives Poisson counts.
    amplitude
        Bounds of the uniform amplitudes on the log rate, so a gene's peak is ``exp(2 * amplitude)`` times its trough.
    list_share
        Expected share of the library on list genes, averaged over all cells; cycling genes on no list get as much.
    organism
        ``human`` or ``mouse``, for the names of the list genes.
    seed
        Same seed and arguments, same counts.

    Returns
    -------
    AnnData
        ``X``: counts, CSR float32 (above 256 MB in a scratch file, where they cannot be written to). ``obs``:
        ``cell_type``, ``batch``, ``true_library``, ``true_cycling``, ``true_angle`` (radians, missing where resting),
        ``true_phase`` (missing where resting), and ``true_S``, ``true_G2M``: the mean of :math:`\alpha_g c_{ig}` over
        the S and over the G2/M list genes. ``var``: ``true_cycling``, ``on_list``,
        ``list_phase``, ``true_peak`` (radians), ``true_amplitude``. ``varm``: ``simulated_base`` (genes × types, β) and
        ``simulated_batch`` (genes × batches, δ). ``uns["sclatent"]["simulation"]``: the arguments.

    Raises
    ------
    InputError
        If an argument is out of range.

    See Also
    --------
    oracle_log_fraction : the true log rates as a fraction of the library.
    """
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    from sclatent.data.blocks import CountStore

    arguments: dict[str, Any] = {
        "n_cells": n_cells,
        "n_genes": n_genes,
        "n_types": n_types,
        "n_batches": n_batches,
        "resting": float(resting),
        "median_library": float(median_library),
        "theta": float(theta),
        "amplitude": np.asarray(amplitude, dtype=float),
        "list_share": float(list_share),
        "organism": organism,
        "seed": int(seed),
    }
    _check(**arguments)
    rng = np.random.default_rng(seed)
    var, base, shift = _genes(rng, n_genes, n_types, n_batches, amplitude, organism)
    obs = _cells(rng, n_cells, n_types, n_batches, resting, median_library)
    alpha = var[slots.TRUE_AMPLITUDE].to_numpy()
    _add_scores(obs, var)
    _balance(base, shift, obs.iloc[:_BALANCED], var, list_share)

    store = CountStore(n_genes)
    chunk = max(1, min(_CHUNK, _ENTRIES // n_genes))
    for start in range(0, n_cells, chunk):
        cells = obs.iloc[start : start + chunk]
        types, batches = (cells[c].cat.codes.to_numpy() for c in (slots.CELL_TYPE, slots.BATCH))
        mu = np.exp(_log_fraction(base, shift, _wave(cells, var) * alpha, types, batches))
        mu *= cells[slots.TRUE_LIBRARY].to_numpy()[:, None]
        if np.isfinite(theta):
            mu *= rng.standard_gamma(theta, size=mu.shape) / theta
        store.append(sparse.csr_matrix(rng.poisson(mu).astype(np.float32)))
    names = pd.Index([f"cell{i:0{len(str(n_cells))}d}" for i in range(n_cells)])
    adata = AnnData(store.matrix(), obs=obs.set_index(names), var=var)
    adata.varm[slots.SIM_BASE] = base.T.copy()
    adata.varm[slots.SIM_BATCH] = shift.T.copy()
    adata.uns[slots.UNS] = {"simulation": arguments}
    return adata


def oracle_log_fraction(adata: AnnData) -> Array:
    """Return the true log rates of simulated cells as a fraction of the library, log(μ / l).

    Works on any subset of the cells; on a subset of the genes the fractions sum to one over that subset.

    Parameters
    ----------
    adata
        What `simulate` returned, or a part of it.

    Returns
    -------
    ndarray
        Array of shape (n_cells, n_genes), float64.
    """
    base, shift = np.asarray(adata.varm[slots.SIM_BASE]).T, np.asarray(adata.varm[slots.SIM_BATCH]).T
    cycle = _wave(adata.obs, adata.var) * adata.var[slots.TRUE_AMPLITUDE].to_numpy()
    # categories may have been dropped with the cells, so read the number off the name, not off the code
    types, batches = (
        adata.obs[c].astype(str).str.extract(r"(\d+)$")[0].astype(int).to_numpy() - 1
        for c in (slots.CELL_TYPE, slots.BATCH)
    )
    return _log_fraction(base, shift, cycle, types, batches)


def _check(
    n_cells: int, n_genes: int, n_types: int, n_batches: int, resting: float, median_library: float, theta: float,
    amplitude: Array, list_share: float, **_: object,
) -> None:  # fmt: skip
    for ok, line in (
        (n_cells >= 1 and n_types >= 1 and n_batches >= 1, "n_cells, n_types and n_batches must be at least 1"),
        (n_genes >= 8, f"n_genes must be at least 8, found {n_genes}"),
        (0 <= resting <= 1, f"resting must be between 0 and 1, found {resting}"),
        (median_library > 0 and theta > 0, "median_library and theta must be positive"),
        (0 <= amplitude[0] <= amplitude[1], f"amplitude must be two ascending numbers from 0, found {amplitude}"),
        (0 < list_share < 0.5, f"list_share must be between 0 and 0.5, found {list_share}"),
    ):
        if not ok:
            raise InputError(f"simulate: {line}")


def _genes(
    rng: np.random.Generator,
    n_genes: int,
    n_types: int,
    n_batches: int,
    amplitude: tuple[float, float],
    organism: str,
) -> tuple[pd.DataFrame, Array, Array]:
    """Draw the genes: names, peaks and amplitudes; β (types × genes) and δ (batches × genes), not yet balanced."""
    import pandas as pd

    known = cycle_genes(organism).drop_duplicates("gene")
    listed = known.iloc[np.linspace(0, len(known) - 1, min(len(known), n_genes // 4)).round().astype(int)]
    n = len(listed)
    other = n_genes - 2 * n
    phase = np.array([*listed["phase"], *["none"] * (n + other)])
    peak = np.full(n_genes, np.nan)
    peak[:n] = np.where(phase[:n] == "S", S_PEAK, G2M_PEAK) + rng.normal(0, PEAK_SD, n)
    peak[n : 2 * n] = rng.uniform(0, 2 * np.pi, n)
    alpha = np.zeros(n_genes)
    alpha[: 2 * n] = rng.uniform(*amplitude, 2 * n)
    base = np.tile(rng.normal(0, BASE_SD, n_genes), (n_types, 1))
    if n_types > 1:
        marker = rng.random((n_types, n_genes)) < MARKER_FRACTION
        marker[:, : 2 * n] = False
        base += np.where(marker, rng.normal(0, TYPE_SD, (n_types, n_genes)), 0.0)
    shift = rng.normal(0, BATCH_SD, (n_batches, n_genes)) if n_batches > 1 else np.zeros((1, n_genes))
    names = [*listed["gene"], *(f"cyc{i + 1:03d}" for i in range(n)), *(f"gene{i + 1:04d}" for i in range(other))]
    var = pd.DataFrame(
        {
            slots.TRUE_CYCLING: np.arange(n_genes) < 2 * n,
            slots.ON_LIST: np.arange(n_genes) < n,
            slots.LIST_PHASE: pd.Categorical(phase, categories=["S", "G2M", "none"]),
            slots.TRUE_PEAK: np.mod(peak, 2 * np.pi),
            slots.TRUE_AMPLITUDE: alpha,
        },
        index=pd.Index(names),
    )
    order = rng.permutation(n_genes)
    return var.iloc[order], base[:, order], shift[:, order]


def _cells(
    rng: np.random.Generator, n_cells: int, n_types: int, n_batches: int, resting: float, median_library: float
) -> pd.DataFrame:
    """Draw the cells: type, batch, library size, place on the cycle."""
    import pandas as pd

    share = np.arange(n_types, 0, -1, dtype=float)
    types = np.asarray(rng.choice(n_types, n_cells, p=share / share.sum()))
    batches = rng.integers(n_batches, size=n_cells)
    cycling = rng.random(n_cells) >= resting
    angle = np.where(cycling, rng.uniform(0, 2 * np.pi, n_cells), np.nan)
    phase = np.where(angle < S_START, 0, np.where(angle < G2M_START, 1, 2))
    return pd.DataFrame(
        {
            slots.CELL_TYPE: _categories(types, [f"type{k + 1}" for k in range(n_types)]),
            slots.BATCH: _categories(batches, [f"batch{k + 1}" for k in range(n_batches)]),
            slots.TRUE_LIBRARY: median_library * np.exp(rng.normal(0, LIBRARY_SD, n_cells)),
            slots.TRUE_CYCLING: cycling,
            slots.TRUE_ANGLE: angle,
            slots.TRUE_PHASE: _categories(np.where(cycling, phase, -1), list(slots.PHASES), ordered=True),
        }
    )


def _add_scores(obs: pd.DataFrame, var: pd.DataFrame) -> None:
    """Add the true mean of the S and of the G2/M genes of every cell."""
    alpha = var[slots.TRUE_AMPLITUDE].to_numpy()
    for phase, column in (("S", slots.TRUE_S), ("G2M", slots.TRUE_G2M)):
        genes = (var[slots.LIST_PHASE] == phase).to_numpy()
        wave = np.asfortranarray(_wave(obs, var[genes]))  # the last digits of a mean depend on the order in memory
        obs[column] = (wave * alpha[genes]).mean(axis=1) if genes.any() else 0.0


def _categories(codes: Codes, names: list[str], *, ordered: bool = False) -> pd.Categorical:
    import pandas as pd

    categories: Any = pd.Index(names)
    return pd.Categorical.from_codes(codes.astype(int), categories, ordered=ordered)


def _wave(obs: pd.DataFrame, var: pd.DataFrame) -> Array:
    """Return c (cells × genes): cosine of the angle to the peak, −1 in resting cells, 0 where a gene does not cycle."""
    wave = np.zeros((len(obs), len(var)))
    genes = var[slots.TRUE_CYCLING].to_numpy()
    angle, peak = obs[slots.TRUE_ANGLE].to_numpy(), var[slots.TRUE_PEAK].to_numpy()[genes]
    wave[:, genes] = np.where(np.isnan(angle)[:, None], -1.0, np.cos(angle[:, None] - peak))
    return wave


def _balance(base: Array, shift: Array, obs: pd.DataFrame, var: pd.DataFrame, list_share: float) -> None:
    """Shift β in place until both groups of cycling genes have the wanted share, averaged over the cells of `obs`."""
    types, batches = (obs[c].cat.codes.to_numpy() for c in (slots.CELL_TYPE, slots.BATCH))
    cycle = _wave(obs, var) * var[slots.TRUE_AMPLITUDE].to_numpy()
    on_list = var[slots.ON_LIST].to_numpy()
    off_list = var[slots.TRUE_CYCLING].to_numpy() & ~on_list
    for _ in range(50):
        share = np.exp(_log_fraction(base, shift, cycle, types, batches)).mean(axis=0)
        found = np.array([share[on_list].sum(), share[off_list].sum()])
        if np.allclose(found, list_share, rtol=1e-6):
            break
        # the odds, not the share, move by a factor when a group's logits move by a constant
        odds = list_share / (1 - 2 * list_share) / (found / (1 - found.sum()))
        base[:, on_list] += np.log(odds[0])
        base[:, off_list] += np.log(odds[1])


def _log_fraction(base: Array, shift: Array, cycle: Array, types: Codes, batches: Codes) -> Array:
    logits = base[types] + shift[batches] + cycle
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
