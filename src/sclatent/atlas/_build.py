"""Join the stage files of the selected seed into one AnnData that opens in scanpy with nothing to add."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.atlas._colors import set_colors
from sclatent.atlas._mudata import with_rna
from sclatent.atlas._plain import plain, table
from sclatent.data import slots
from sclatent.data.blocks import change_rows, dense, row_blocks
from sclatent.data.columns import add_column, as_categories, is_measured, place_of
from sclatent.data.expected import need_counts
from sclatent.data.modalities import further
from sclatent.data.normalise import cell_sums, log_scaled
from sclatent.settings import InputError, takes_settings

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

log = logging.getLogger(__name__)

TARGET_SUM = 1e4
"""``X`` is log(1 + count · 10,000 / counts of the cell)."""
FROM_MAP = ("neighbors", "leiden", "umap")


@takes_settings
def build(
    prepared: AnnData,
    cycle: AnnData,
    latent: AnnData,
    map: AnnData,
    axes: pd.DataFrame,
    *,
    name: str = "dataset",
    batch: Sequence[str] = (),
    condition: Sequence[str] = (),
    labels: Sequence[str] = (),
    config: str = "",
    card: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    knob: AnnData | None = None,
    stability: pd.DataFrame | None = None,
) -> AnnData:
    """Join the stage files of the selected seed.

    Parameters
    ----------
    prepared, cycle, latent, map, knob
        The files ``prepared.h5ad``, ``cycle.h5ad``, ``latent.h5ad``, ``map.h5ad`` and ``knob.h5ad``: the same cells in
        the same order.
    axes
        ``axes.tsv`` of the selected seed.
    name
        What the dataset is called.
    batch, condition, labels
        Keys of the dataset file; the columns become categories.
    config
        The whole dataset file as JSON (`sclatent.settings.section_json`), which the atlas keeps; empty without one.
    card
        ``card`` of the trained model (`sclatent.tl.TrainedModel`): seed, threads, device, versions.
    metrics
        ``metrics.json`` of the selected seed.
    stability
        ``stability.tsv``; with several seeds its columns join ``axes``, and unstable axes are marked there.

    Returns
    -------
    AnnData
        All genes that passed the filter, and of several modalities the cells that have RNA. ``X``: log-normalised, CSR
        float32; ``layers["counts"]``; ``obs``:
        every column that came in (under its name, or ``{name}_input`` where the pipeline writes that name; batch and
        labels are categories, but for labels that are measured numbers), QC, split, cycle, ``leiden``; ``obsm``:
        ``X_sclatent``, ``X_sclatent_sd``, ``X_umap``, ``phase_probability`` (G1, S, G2M), and with a knob
        ``X_sclatent_neutral``; with ``latent: states`` ``obs["state"]`` and ``obsm["state_probability"]``;
        ``varm["sclatent_loadings"]`` (missing outside the model); ``obsp`` and ``uns["neighbors"]``;
        ``uns["sclatent"]``: ``config``, ``versions``, ``seed``, ``threads``, ``device``, ``metrics``, ``axes``,
        ``cycle`` and ``knob`` (verdict and reason); colours of the categories.

    Raises
    ------
    InputError
        If the stage files hold different cells, or the latents know a gene that the cells do not have.
    """
    import anndata as ad

    files = {"cycle.h5ad": cycle, "latent.h5ad": latent, "map.h5ad": map, "knob.h5ad": knob}
    for path, other in files.items():
        if other is not None and not prepared.obs_names.equals(other.obs_names):
            raise InputError(f"{path} holds other cells than prepared.h5ad: run the stages of one dataset together")
    need_counts(prepared)
    counts = _csr(prepared.X)
    asked = (("batch", batch), ("condition", condition), ("labels", labels))
    judged = [place_of(prepared, column, key) for key, columns in asked for column in columns]
    out = ad.AnnData(
        log_normalise(counts),
        obs=_obs(prepared, cycle, map, judged),
        var=prepared.var.copy(),
        layers={slots.COUNTS: counts},
        obsm={
            slots.X_LATENT: np.asarray(latent.X, dtype=np.float32),
            slots.X_LATENT_SD: np.asarray(latent.layers[slots.SD], dtype=np.float32),
            slots.X_UMAP: np.asarray(map.obsm[slots.X_UMAP]),
        },
        varm={slots.LOADINGS: _loadings(prepared, latent)},
        obsp={key: _csr(map.obsp[key]) for key in ("distances", "connectivities")},
    )
    if slots.PHASE_PROBABILITY in cycle.obsm:
        out.obsm[slots.PHASE_PROBABILITY] = np.asarray(cycle.obsm[slots.PHASE_PROBABILITY], dtype=np.float32)
    if slots.STATE in latent.obs:
        add_column(out.obs, slots.STATE, latent.obs[slots.STATE], "the embed stage")
        out.obsm[slots.STATE_PROBABILITY] = np.asarray(latent.obsm[slots.STATE_PROBABILITY], dtype=np.float32)
    if knob is not None and slots.X_NEUTRAL in knob.obsm:
        out.obsm[slots.X_NEUTRAL] = np.asarray(knob.obsm[slots.X_NEUTRAL], dtype=np.float32)
    for key in FROM_MAP:
        out.uns[key] = plain(map.uns[key])
    # a base of None is lost in some versions of the file format, and scanpy then fails in rank_genes_groups
    out.uns["log1p"] = {"base": float(np.e)}
    out.uns[slots.UNS] = {"dataset": name, "config": config}
    out.uns[slots.UNS] |= _about(prepared, cycle, axes, card or {}, metrics or {}, knob, stability)
    if further(prepared):
        out = with_rna(out, prepared)
    set_colors(out, [slots.PHASE, slots.LEIDEN, slots.STATE, slots.SPLIT, slots.SAMPLE, *judged])
    log.info("atlas: %d cells, %d genes, %d axes", out.n_obs, out.n_vars, latent.n_vars)
    return out


def log_normalise(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return log(1 + count · 10,000 / counts of the cell), CSR float32, sharing the indices of `counts`."""
    total = cell_sums(counts)
    factor = np.divide(TARGET_SUM, total, out=np.zeros_like(total), where=total > 0).astype(np.float32)
    return log_scaled(counts, factor)


def _csr(matrix: Any) -> sparse.csr_matrix:
    from scipy import sparse

    out = sparse.csr_matrix(matrix, dtype=np.float32)
    if not all(block.has_sorted_indices for _, block in row_blocks(out)):
        out = change_rows(out, lambda _, block: block.sorted_indices(), in_memory=dense.IN_MEMORY)
    return out


def _obs(prepared: AnnData, cycle: AnnData, map: AnnData, judged: Iterable[str]) -> pd.DataFrame:
    import pandas as pd

    obs = prepared.obs.copy(deep=False)  # columns are added and replaced, never changed
    for column in judged:
        if column in obs and not is_measured(obs[column]):
            obs[column] = as_categories(obs[column])
    for column in slots.OF_CYCLE:
        values = cycle.obs[column]
        if column == slots.PHASE:
            values = pd.Series(
                pd.Categorical(values.astype(object), categories=list(slots.PHASES), ordered=True), index=obs.index
            )
        add_column(obs, column, values, "the cell-cycle stage")
    add_column(obs, slots.LEIDEN, map.obs[slots.LEIDEN], "the map stage")
    return obs


def _loadings(prepared: AnnData, latent: AnnData) -> npt.NDArray[np.float32]:
    """Genes × axes, missing where the model does not see the gene."""
    names = np.asarray(latent.uns["genes"], dtype=str)
    at = prepared.var_names.get_indexer(names)
    if (at < 0).any():
        raise InputError(
            f"the gene '{names[at < 0][0]}' is in latent.h5ad, but not in prepared.h5ad:  "
            "run the stages of one dataset together"
        )
    out = np.full((prepared.n_vars, latent.n_vars), np.nan, dtype=np.float32)
    out[at] = np.asarray(latent.varm["loadings"], dtype=np.float32).T
    return out


def _about(
    prepared: AnnData,
    cycle: AnnData,
    axes: pd.DataFrame,
    card: Mapping[str, Any],
    metrics: Mapping[str, Any],
    knob: AnnData | None,
    stability: pd.DataFrame | None,
) -> dict[str, Any]:
    made = prepared.uns.get(slots.UNS, {})
    stage = cycle.uns[slots.UNS]["cycle"]
    phases = {"phases": [str(name) for name in stage["phases"]]} if "phases" in stage else {}
    about: dict[str, Any] = {
        "model": str(card.get("model", "")),
        "seed": int(card.get("seed", -1)),
        "threads": int(card.get("threads", -1)),
        "device": str(card.get("device", "")),
        "versions": plain(dict(card.get("versions", {}))),
        "metrics": plain(dict(metrics)),
        "axes": table(_with_stability(axes, stability), index="axis"),
        # the borders of the phases on the circle, in radians, so that figures draw the arcs that `phase` was called by
        "cycle": {"verdict": str(stage.get("verdict", "")), "reason": str(stage.get("reason", ""))}
        | phases
        | {key: float(stage[key]) for key in ("s_start", "s_end", "g2m_start", "g2m_end") if key in stage},
        "normalization": {"method": "log1p", "target_sum": TARGET_SUM},
    }
    if knob is not None:
        entry = knob.uns[slots.UNS]["knob"]
        about["knob"] = {"verdict": str(entry["verdict"]), "reason": str(entry["reason"])}
    for key in (slots.UNS_FILTERS, slots.UNS_GENES, slots.UNS_PREPARED, slots.UNS_READ):
        if key in made:
            about[key] = made[key].copy() if key == slots.UNS_FILTERS else plain(made[key])
    return about


def _with_stability(axes: pd.DataFrame, stability: pd.DataFrame | None) -> pd.DataFrame:
    """Join what is known of each axis over seeds; with a single seed nothing is."""
    if stability is None or not (stability["n_seeds"] > 0).any():
        return axes
    extra = [column for column in stability if column == "axis" or column not in axes]
    return axes.merge(stability[extra], on="axis", how="left", validate="one_to_one")
