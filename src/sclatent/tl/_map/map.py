"""The map: neighbours, clusters and UMAP of the latent space: scanpy's, and of many cells the same by blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sclatent.data import slots
from sclatent.data.blocks import dense
from sclatent.settings import InputError, MapSettings, takes_settings
from sclatent.tl._axes.circular import angle_axes
from sclatent.tl._map.clusters import leiden, leiden_of_groups
from sclatent.tl._map.graph import connectivities
from sclatent.tl._map.layout import settle
from sclatent.tl._map.neighbors import NeighborSearch
from sclatent.tl._model.subset import evenly

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from anndata import AnnData

SEED, ITERATIONS = 0, 2
"""Of all that is random, and of the Leiden algorithm: scanpy's."""
MIN_CELLS = 3
"""Fewer cells have no neighbour graph worth the name."""
FITTED = 100_000
"""Cells up to which scanpy clusters all and lays them out. Of more, so many are laid out first: each of all cells
starts beside the nearest of these, and cells that share it are one vertex when all are clustered."""
EPOCHS = 50
"""Epochs of UMAP for all cells, where they start beside cells that are laid out."""


@takes_settings
def map(latent: AnnData, map: MapSettings = MapSettings()) -> AnnData:
    """Lay the cells out: neighbour graph on the posterior means, Leiden clusters, UMAP.

    Distances are Euclidean, since the prior gives all axes the same scale. They are taken over the axes that the model
    uses: the others hold only noise. All seeds are fixed, so the same latents give the same bytes. Of more than 100,000
    cells neighbours are searched approximately, and clusters and UMAP begin with as many cells (docs/scaling.md).

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

    _keep_compiled()
    n = latent.n_obs
    if n < MIN_CELLS:
        raise InputError(
            f"map: {n} cells are too few for a neighbour graph: at least {MIN_CELLS} must pass the filters"
        )
    means = np.asarray(latent.X, dtype=np.float32)
    if not all(np.isfinite(means[rows]).all() for rows in dense.stretches(n, means)):
        raise InputError("map: the latents hold values that are not finite: train the model again")
    out = ad.AnnData(obs=pd.DataFrame(index=latent.obs_names.copy()), obsm={slots.X_LATENT: means})
    search = NeighborSearch(min(map.n_neighbors, n - 1), SEED, axes=_used(latent), angles=angle_axes(latent))
    if n > FITTED:
        _map_many(out, search, map)
    else:
        _find_neighbors(out, search)
        graph = out.obsp["connectivities"]
        _add_clusters(out, leiden(graph, map.resolution, iterations=ITERATIONS, seed=SEED), map)
        _lay_out(out, map)
    return out


def _map_many(cells: AnnData, search: NeighborSearch, map: MapSettings) -> None:
    """Add graph, clusters and UMAP of cells of which evenly spaced ones are laid out, and the others join them."""
    import anndata as ad
    import numpy as np
    import pandas as pd

    means = cells.obsm[slots.X_LATENT]
    few = evenly(np.arange(len(means)), FITTED)
    some = ad.AnnData(obs=pd.DataFrame(index=few.astype(str)), obsm={slots.X_LATENT: dense.rows_at(means, few)})
    _find_neighbors(some, search)
    _lay_out(some, map)
    for key in ("neighbors", "umap"):
        cells.uns[key] = some.uns[key]
    cells.obsp["distances"] = search.fit_transform(means)
    cells.obsp["connectivities"] = connectivities(cells.obsp["distances"])

    group = search.nearest(some.obsm[slots.X_LATENT], means)
    codes = leiden_of_groups(cells.obsp["connectivities"], group, map.resolution, iterations=ITERATIONS, seed=SEED)
    _add_clusters(cells, codes, map)
    # cells at one place would never part
    apart = np.random.default_rng(SEED).normal(scale=0.01, size=(len(means), 2))
    start = (some.obsm[slots.X_UMAP][group] + apart).astype(np.float32)
    cells.obsm[slots.X_UMAP] = settle(
        cells.obsp["connectivities"], start, min_dist=map.min_dist, epochs=EPOCHS, seed=SEED
    )


def _add_clusters(cells: AnnData, codes: npt.NDArray[np.int64], map: MapSettings) -> None:
    """Add the clusters of cells, in the slots and with the parameters of scanpy."""
    import pandas as pd

    levels = pd.Index([str(code) for code in range(int(codes.max()) + 1)])
    cells.obs[slots.LEIDEN] = pd.Categorical.from_codes(codes.tolist(), levels)
    params = {"resolution": map.resolution, "random_state": SEED, "n_iterations": ITERATIONS}
    cells.uns[slots.LEIDEN] = {"params": params}


def _find_neighbors(cells: AnnData, search: NeighborSearch) -> None:
    """Add the graph of nearest neighbours, as scanpy makes it of what the search finds."""
    import scanpy as sc

    sc.pp.neighbors(
        cells,
        n_neighbors=search.n_neighbors,
        use_rep=slots.X_LATENT,
        metric="euclidean",
        transformer=search,
        random_state=SEED,
    )


def _lay_out(cells: AnnData, map: MapSettings) -> None:
    """Add the UMAP of cells whose graph is there."""
    import scanpy as sc

    # the spectral start solves for more eigenvectors than a handful of cells has
    start = "spectral" if cells.n_obs > 10 else "random"
    sc.tl.umap(cells, min_dist=map.min_dist, init_pos=start, random_state=SEED)


def _used(latent: AnnData) -> npt.NDArray[np.bool_] | None:
    """Return which axes the model uses; None where all count."""
    active = latent.var["active"].to_numpy(dtype=bool) if "active" in latent.var else None
    return active if active is not None and active.any() else None


def _keep_compiled() -> None:
    """Have numba keep in its cache what umap lets it compile anew in every process, for 8 seconds.

    Neither function may reorder arithmetic, so what was kept gives the same bytes as what was just compiled.
    """
    from sclatent.tl._map.umap_import import import_umap

    umap_ = import_umap()
    for function in (umap_.smooth_knn_dist, umap_.compute_membership_strengths):
        if hasattr(function, "enable_caching"):  # not where the user has switched numba off
            function.enable_caching()
