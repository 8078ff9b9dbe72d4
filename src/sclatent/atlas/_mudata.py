"""The atlas of several modalities: what was measured of every cell, and the latent space that they share."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sclatent.atlas._colors import set_colors
from sclatent.data import slots
from sclatent.data.columns import add_column
from sclatent.data.modalities import RNA, counts_of, further, measured
from sclatent.io._mudata import columns_stay
from sclatent.settings import InputError, checks_arguments

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

log = logging.getLogger(__name__)


@checks_arguments
def build_mudata(atlas: AnnData, prepared: AnnData, latent: AnnData, map: AnnData) -> MuData:
    """Join the atlas of RNA with the other modalities.

    Parameters
    ----------
    atlas
        What `sclatent.atlas.build` returned.
    prepared, latent, map
        ``prepared.h5ad``, ``latent.h5ad`` and ``map.h5ad`` of all cells, whichever modalities they have.

    Returns
    -------
    MuData
        MuData of all cells. ``mod["rna"]`` is the atlas. ``mod["atac"]`` holds the cells with peaks: ``X`` counts of
        the peaks that stay; ``var``: ``chrom``, ``start``, ``end``, ``n_cells_by_counts``, ``in_model``;
        ``varm["sclatent_loadings"]`` (missing outside the model). In either, ``obsm["X_sclatent_{modality}"]`` and
        ``…_sd`` are the latent of that modality alone. Of all cells: ``obsm``: ``X_sclatent``, ``X_sclatent_sd``,
        ``X_umap``; ``obsp`` and ``uns["neighbors"]``; ``obs``: ``measured``, ``split``, ``leiden``, with
        their colours in ``uns``.

    Raises
    ------
    InputError
        If the stage files hold different cells.
    """
    import mudata

    for name, other in {"latent.h5ad": latent, "map.h5ad": map}.items():
        if not prepared.obs_names.equals(other.obs_names):
            raise InputError(f"{name} holds other cells than prepared.h5ad: run the stages of one dataset together")
    parts = {RNA: atlas.copy()}
    for name, table in further(prepared).items():
        parts[name] = _part(prepared, latent, name, table)
    for name, part in parts.items():
        rows = latent.obs_names.get_indexer(part.obs_names)
        part.obsm[f"{slots.X_LATENT}_{name}"] = np.asarray(latent.obsm[slots.latent_of(name)])[rows]
        part.obsm[f"{slots.X_LATENT}_{name}_sd"] = np.asarray(latent.obsm[slots.latent_sd_of(name)])[rows]
    with columns_stay():
        out = mudata.MuData(parts)
    rows = prepared.obs_names.get_indexer(out.obs_names)
    for column, source in ((slots.MEASURED, prepared), (slots.SPLIT, prepared), (slots.LEIDEN, map)):
        out.obs[column] = source.obs[column].array[rows]
    out.obsm[slots.X_LATENT] = np.asarray(latent.X, dtype=np.float32)[rows]
    out.obsm[slots.X_LATENT_SD] = np.asarray(latent.layers[slots.SD], dtype=np.float32)[rows]
    out.obsm[slots.X_UMAP] = np.asarray(map.obsm[slots.X_UMAP])[rows]
    for key in ("distances", "connectivities"):
        out.obsp[key] = map.obsp[key].tocsr()[rows][:, rows]
    out.uns["neighbors"] = dict(atlas.uns["neighbors"])
    set_colors(out, [slots.MEASURED, slots.SPLIT, slots.LEIDEN])
    log.info("atlas of %d cells: %s", out.n_obs, ", ".join(f"{p.n_obs} with {name}" for name, p in parts.items()))
    return out


@checks_arguments
def to_mudata(cells: AnnData) -> MuData:
    """Return cells of several modalities, such as drawn ones, as MuData: an AnnData for each modality.

    Parameters
    ----------
    cells
        What `sclatent.tl.sample` returned, or a stage file such as ``prepared.h5ad``: RNA in ``X``, every further
        modality in ``obsm`` under its name.

    Returns
    -------
    MuData
        Of all cells, those of ``mod["rna"]`` first: ``obs``, without the library sizes of single modalities; ``obsm``.
        ``mod["rna"]``: the cells that were measured for RNA, with ``obs``, ``obsm``, ``var``, ``varm`` and ``layers``;
        ``mod["atac"]``: those that were measured for peaks, ``X`` counts of peaks, ``var`` the table of the peaks,
        ``obs["library_size"]`` where one is known. ``uns`` is with ``mod["rna"]``.

    Raises
    ------
    InputError
        If the cells have one modality only.
    """
    import anndata as ad
    import mudata

    tables = further(cells)
    if not tables:
        raise InputError("to_mudata: the cells were measured for RNA alone: AnnData holds all that is known of them")
    sizes = {name: slots.library_size_of(name) for name in tables}
    own = cells.obs.drop(columns=[column for column in sizes.values() if column in cells.obs])
    rna = cells[measured(cells, RNA)].copy()
    rna.obs = own.loc[rna.obs_names].copy()
    for name in tables:
        del rna.obsm[name]
    about = {key: value for key, value in cells.uns.get(slots.UNS, {}).items() if key != slots.UNS_MODALITIES}
    rna.uns = {**cells.uns, slots.UNS: about}
    parts = {RNA: rna}
    for name, table in tables.items():
        there = measured(cells, name)
        obs = cells.obs.loc[there, [sizes[name]] if sizes[name] in cells.obs else []]
        obs = obs.rename(columns={sizes[name]: slots.LIBRARY_SIZE})
        parts[name] = ad.AnnData(counts_of(cells, name)[there], obs=obs, var=table.copy())
    with columns_stay():
        out = mudata.MuData(parts)
    rows = cells.obs_names.get_indexer(out.obs_names)
    for column in own.columns.drop(slots.LIBRARY_SIZE, errors="ignore"):
        out.obs[column] = own[column].array[rows]
    for key, value in cells.obsm.items():
        if key not in tables:
            out.obsm[key] = np.asarray(value)[rows]
    return out


def _part(prepared: AnnData, latent: AnnData, name: str, table: pd.DataFrame) -> AnnData:
    import anndata as ad

    cells = measured(prepared, name)
    columns = [column for column in (slots.N_PEAKS, slots.SPLIT) if column in prepared.obs]
    out = ad.AnnData(counts_of(prepared, name)[cells], obs=prepared.obs.loc[cells, columns].copy(), var=table.copy())
    out.varm[slots.LOADINGS] = _loadings(latent, name, table)
    return out


def _loadings(latent: AnnData, name: str, table: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Features × axes, missing where the model does not see the feature."""
    import pandas as pd

    at = table.index.get_indexer(pd.Index(np.asarray(latent.uns[slots.features_of(name)], dtype=str)))
    out = np.full((len(table), latent.n_vars), np.nan, dtype=np.float32)
    out[at] = np.asarray(latent.varm[slots.loadings_of(name)], dtype=np.float32).T
    return out


def with_rna(atlas: AnnData, prepared: AnnData) -> AnnData:
    """Return the cells of an atlas that were measured for RNA, with what was measured of each."""
    add_column(atlas.obs, slots.MEASURED, prepared.obs[slots.MEASURED], "the join of modalities")
    has_rna = measured(prepared, RNA)
    return atlas if has_rna.all() else atlas[has_rna].copy()
