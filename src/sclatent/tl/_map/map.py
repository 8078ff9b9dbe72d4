"""The map: neighbours, clusters and UMAP of the latent space, all scanpy's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sclatent.data import slots
from sclatent.settings import InputError, MapSettings, takes_settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from anndata import AnnData

SEED = 0
MIN_CELLS = 3
"""Fewer cells have no neighbour graph worth the name."""


@takes_settings
def map(latent: AnnData, map: MapSettings = MapSettings()) -> AnnData:
    """Lay the cells out: neighbour graph on the posterior means, Leiden clusters, UMAP.

    Distances are Euclidean, since the prior gives all axes the same scale. They are taken over the axes that the model
    uses: the others hold only noise. All seeds are fixed, so the same latents give the same bytes.

    Parameters
    ----------
    latent
        ``X``: posterior means (cells × axes), as `sclatent.tl.embed` returns them; ``var["active"]``: which axes the
        model uses (all of them where there is no such column, or no active axis).
    map
        Section of the dataset file: number of neighbours (at most cells − 1 are used), Leiden resolution, UMAP
        minimum distance.

    Returns
    -------
    AnnData
        AnnData without ``X``: ``obs["leiden"]`` (igraph flavour), ``obsm["X_sclatent"]``, ``obsm["X_umap"]``,
        ``obsp["distances"]``, ``obsp["connectivities"]``, and scanpy's ``uns["neighbors"]``, ``uns["leiden"]``,
        ``uns["umap"]``.

    Raises
    ------
    InputError
        If there are fewer than 3 cells, or a posterior mean is not finite.
    """
    import anndata as ad
    import numpy as np
    import pandas as pd
    import scanpy as sc

    from sclatent.tl._map.neighbors import NeighborSearch

    _keep_compiled()
    n = latent.n_obs
    if n < MIN_CELLS:
        raise InputError(
            f"map: {n} cells are too few for a neighbour graph: at least {MIN_CELLS} must pass the filters"
        )
    means = np.asarray(latent.X, dtype=np.float32)
    if not np.isfinite(means).all():
        raise InputError("map: the latents hold values that are not finite: train the model again")
    out = ad.AnnData(obs=pd.DataFrame(index=latent.obs_names.copy()), obsm={slots.X_LATENT: means})
    n_neighbors = min(map.n_neighbors, n - 1)
    sc.pp.neighbors(
        out,
        n_neighbors=n_neighbors,
        use_rep=slots.X_LATENT,
        metric="euclidean",
        transformer=NeighborSearch(n_neighbors, SEED, axes=_used(latent), angles=_angles(latent)),
        random_state=SEED,
    )
    sc.tl.leiden(
        out,
        resolution=map.resolution,
        key_added=slots.LEIDEN,
        flavor="igraph",
        directed=False,
        n_iterations=2,
        random_state=SEED,
    )
    # the spectral start solves for more eigenvectors than a handful of cells has
    start = "spectral" if n > 10 else "random"
    sc.tl.umap(out, min_dist=map.min_dist, init_pos=start, random_state=SEED)
    return out


def _used(latent: AnnData) -> npt.NDArray[np.bool_] | None:
    """Return which axes the model uses; None where all count."""
    active = latent.var["active"].to_numpy(dtype=bool) if "active" in latent.var else None
    return active if active is not None and active.any() else None


def _angles(latent: AnnData) -> npt.NDArray[np.bool_] | None:
    """Return which axes are angles; None where there are none."""
    return latent.var[slots.ANGLE].to_numpy(dtype=bool) if slots.ANGLE in latent.var else None


def _keep_compiled() -> None:
    """Have numba keep in its cache what umap lets it compile anew in every process, for 8 seconds.

    Neither function may reorder arithmetic, so what was kept gives the same bytes as what was just compiled.
    """
    from sclatent.tl._map.umap_import import import_umap

    umap_ = import_umap()
    for function in (umap_.smooth_knn_dist, umap_.compute_membership_strengths):
        if hasattr(function, "enable_caching"):  # not where the user has switched numba off
            function.enable_caching()
