"""One path of ``traversals.h5ad`` as arrays, and what every picture asks of it: which genes change, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sclatent.data import slots
from sclatent.data.modalities import RNA, further

if TYPE_CHECKING:
    from anndata import AnnData

Array = npt.NDArray[np.float64]

CYCLE = "cycle"
"""Name of the closed path."""
PSEUDO = 1e-5
"""Added to fractions of the library before a logarithm: 0.1 counts per 10,000, so that unseen genes do not change."""


@dataclass(frozen=True)
class Path:
    """A path through the latent space, decoded.

    Attributes
    ----------
    name
        An axis, or ``cycle``.
    position : array of shape (n_steps,)
        Value of the axis, or the angle in radians.
    density : array of shape (n_steps,)
        How many cells are near a step, relative to the fullest one.
    supported : array of shape (n_steps,)
        Whether there are cells at all near a step.
    s_score, g2m_score : array of shape (n_steps,)
        Decoded scores; NaN where the data cannot tell.
    s_sd, g2m_sd : array of shape (n_steps,)
        Their standard deviations over posterior draws; NaN where not known.
    rate, sd : array of shape (n_steps, n_genes)
        Decoded rate as a fraction of the library, and its standard deviation over posterior draws.
    genes : array of shape (n_genes,)
        Names.
    unit
        Of the position.
    """

    name: str
    position: Array
    density: Array
    supported: npt.NDArray[np.bool_]
    s_score: Array
    g2m_score: Array
    s_sd: Array
    g2m_sd: Array
    rate: Array
    sd: Array
    genes: npt.NDArray[np.str_]
    unit: str = "latent units"

    @property
    def closed(self) -> bool:
        """Whether the last step is followed by the first."""
        return self.name == CYCLE

    def log_change(self) -> Array:
        """Return log2 of the rate over its geometric mean along the supported steps, shape (n_steps, n_genes)."""
        level = np.log2(self.rate + PSEUDO)
        steps = self.supported if self.supported.any() else np.ones_like(self.supported)
        return level - level[steps].mean(axis=0)

    def log_sd(self) -> Array:
        """Return the standard deviation of `log_change` by the delta method, shape (n_steps, n_genes)."""
        return self.sd / (self.rate + PSEUDO) / np.log(2)

    def changing(self, n: int) -> npt.NDArray[np.intp]:
        """Return the `n` genes with the largest range of `log_change` over the supported steps, largest first."""
        change = self.log_change()[self.supported] if self.supported.any() else self.log_change()
        span = change.max(axis=0) - change.min(axis=0)
        return np.argsort(-span, kind="stable")[:n]

    def peak(self) -> Array:
        """Return where each gene is highest, shape (n_genes,).

        On the closed path this is the angle of the first harmonic of `log_change`, which does not jump with the grid.
        """
        change = self.log_change()
        if self.closed:
            return np.mod(np.angle(np.exp(1j * self.position) @ change), 2 * np.pi)
        return self.position[change.argmax(axis=0)]

    def in_order(self, genes: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Return `genes` in reading order: by peak phase on the closed path, else from the risers to the fallers."""
        if self.closed:
            return genes[np.argsort(self.peak()[genes], kind="stable")]
        change = self.log_change()[:, genes]
        slope = (self.position - self.position.mean()) @ change
        return genes[np.argsort(-slope, kind="stable")]


def paths(traversals: AnnData) -> list[str]:
    """Return the names of the paths, ``cycle`` first, the axes in the order of the file."""
    names = list(dict.fromkeys(traversals.obs["path"].astype(str)))
    return sorted(names, key=lambda name: name != CYCLE)


def _angles(traversals: AnnData) -> list[str]:
    """Return the axes that are angles."""
    return [str(name) for name in traversals.uns.get(slots.UNS, {}).get("traverse", {}).get("angles", [])]


def path(traversals: AnnData, name: str) -> Path:
    """Return one path of ``traversals.h5ad``."""
    rows = np.flatnonzero((traversals.obs["path"].astype(str) == name).to_numpy())
    steps = traversals[rows]
    obs = steps.obs

    def column(key: str) -> Array:
        return obs[key].to_numpy(dtype=float) if key in obs else np.full(len(rows), np.nan)

    density = column("density")
    top = np.nanmax(density) if np.isfinite(density).any() else 0.0
    supported = obs["supported"].to_numpy(dtype=bool) if "supported" in obs else density > 0
    return Path(
        name=name,
        position=column("position"),
        density=density / top if top > 0 else np.zeros_like(density),
        supported=supported,
        s_score=column(slots.S_SCORE),
        g2m_score=column(slots.G2M_SCORE),
        s_sd=column("S_sd"),
        g2m_sd=column("G2M_sd"),
        rate=np.asarray(steps.X, dtype=float),
        sd=np.asarray(steps.layers[slots.SD], dtype=float) if slots.SD in steps.layers else np.zeros(steps.shape),
        genes=symbols(traversals),
        unit="radians" if name in (CYCLE, *_angles(traversals)) else "latent units",
    )


def beside_peaks(traversals: AnnData) -> AnnData:
    """Return traversals with the features of every further modality behind the genes; themselves if there is none."""
    import anndata as ad
    import pandas as pd

    tables = further(traversals)
    if not tables:
        return traversals
    genes = pd.DataFrame({slots.SYMBOL: symbols(traversals), "modality": RNA}, index=traversals.var_names)
    others = [
        pd.DataFrame({slots.SYMBOL: table["called"].astype(str), "modality": name}) for name, table in tables.items()
    ]
    sd = [np.asarray(traversals.layers[slots.SD]), *(traversals.obsm[f"{name}_{slots.SD}"] for name in tables)]
    return ad.AnnData(
        np.hstack([np.asarray(traversals.X), *(traversals.obsm[name] for name in tables)]),
        obs=traversals.obs,
        var=pd.concat([genes, *others]),
        layers={slots.SD: np.hstack(sd)},
        uns=dict(traversals.uns),
    )


def symbols(adata: AnnData) -> npt.NDArray[np.str_]:
    """Return the gene names a reader knows: symbols where there are any that are unique."""
    names = adata.var_names.to_numpy(dtype=str)
    if slots.SYMBOL not in adata.var:
        return names
    symbol = adata.var[slots.SYMBOL].astype(str).to_numpy(dtype=str)
    _, first, count = np.unique(symbol, return_inverse=True, return_counts=True)
    known = (count[first] == 1) & ~np.isin(symbol, ["", "nan", "None", "<NA>"])
    return np.where(known, symbol, names)


def symbols_of(latent: AnnData, traversals: AnnData | None) -> npt.NDArray[np.str_]:
    """Return the names of the model's genes in the order of the loadings, as symbols where `traversals` knows them."""
    names = np.asarray(latent.uns["genes"], dtype=str)
    if traversals is None:
        return names
    known = dict(zip(traversals.var_names.astype(str), symbols(traversals), strict=True))
    return np.array([known.get(name, name) for name in names])
