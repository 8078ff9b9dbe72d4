"""Use the knob: hold the cell cycle still, or set chosen cells to a chosen phase."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.data import slots
from sclatent.data.blocks.dense import by_rows, mean_and_variance, rows_at
from sclatent.data.columns import as_text, is_measured
from sclatent.settings import InputError, checks_arguments
from sclatent.tl._paths.decode import Array, Index, decoder_of
from sclatent.tl._paths.knob_file import phase_angle, read_path
from sclatent.tl._paths.space import Space, space_of

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from sclatent.tl._model.train import TrainedModel
    from sclatent.tl._paths.closed_path import ClosedPath

CHUNK = 1024
MEASURED_CELLS = 5000
NEIGHBOURS, FOLDS = 15, 5


def neutral_embedding(means: Array, path: ClosedPath, cycling: npt.NDArray[np.bool_], phase: float) -> Array:
    """Return the posterior means (cells × coordinates) with every cycling cell moved to one phase; the others stay."""
    place = path.at(phase)

    def moved(rows: slice) -> Array:
        out = means[rows].astype(np.float64) - path.expected[rows]
        out[cycling[rows]] += place
        return out

    return by_rows(len(means), moved, means, path.expected)


def neutral_positions(
    latent: AnnData, space: Space, path: ClosedPath, cycling: npt.NDArray[np.bool_], phase: float
) -> Array:
    """Return the same as positions along the axes (cells × axes), where cells can be."""
    moved = neutral_embedding(space.means(latent), path, cycling, phase)
    if space.latent is None:
        return moved

    def places(rows: slice) -> Array:
        return np.where(cycling[rows, None], space.axes(moved[rows]), latent.X[rows].astype(np.float64))

    return by_rows(len(moved), places, moved, latent.X)


@checks_arguments
def neutralize(
    prepared: AnnData,
    latent: AnnData,
    trained: TrainedModel,
    knob: AnnData,
    *,
    phase: float | str = "G1",
    decode: bool = False,
    out: str | Path | None = None,
) -> AnnData | Path:
    """Hold the cell cycle still: every cycling cell at one common phase, everything else as it is.

    Parameters
    ----------
    prepared, latent, trained, knob
        ``prepared.h5ad``, ``latent.h5ad``, the trained model and ``knob.h5ad``.
    phase
        Radians, or ``"G1"`` (where both decoded scores together are lowest), ``"S"``, ``"G2M"`` (where each is
        highest).
    decode
        Also decode the expression of the model's genes.
    out
        With `decode`: an ``.h5ad`` file to write to, a thousand cells at a time, so that memory does not grow with
        cells.

    Returns
    -------
    AnnData | Path
        Cells × axes: ``X`` the posterior means without the cycle (also in ``obsm["X_sclatent_neutral"]``). With
        `decode`: cells × genes of the model, ``X`` the decoded rate as a fraction of the library (float32), the
        embedding in ``obsm``; with `out` the path of that file.

    Raises
    ------
    InputError
        If there is no knob, or the phase is not known.
    """
    import anndata as ad

    space = space_of(latent, trained.vae)
    path = space.fitting(read_path(knob))
    z = neutral_positions(latent, space, path, _cycling(knob), phase_angle(knob, phase)).astype(np.float32)
    if not decode:
        if out is not None:
            raise InputError(
                "neutralize: `out` is the file of the decoded expression: set decode=True, or leave `out` out"
            )
        result = ad.AnnData(z, obs=knob.obs[[]].copy(), var=latent.var[[]].copy())
        result.obsm[slots.X_NEUTRAL] = z
        return result
    return _decoded(prepared, latent, trained, z, np.arange(len(z)), slots.X_NEUTRAL, out)


@checks_arguments
def set_phase(
    prepared: AnnData,
    latent: AnnData,
    trained: TrainedModel,
    knob: AnnData,
    cells: Sequence[str] | npt.NDArray[Any],
    phase: float | str,
) -> AnnData:
    """Set chosen cells to a chosen phase and decode them.

    A cell keeps its place in all directions but those of the knob, where the path at `phase` is put; its batch stays.

    Parameters
    ----------
    prepared, latent, trained, knob
        ``prepared.h5ad``, ``latent.h5ad``, the trained model and ``knob.h5ad``.
    cells
        (n,) names or positions, or a boolean mask (cells,).
    phase
        Radians, or ``"G1"``, ``"S"``, ``"G2M"``.

    Returns
    -------
    AnnData
        Cells × genes of the model: ``X`` the decoded rate as a fraction of the library, ``obsm["X_sclatent"]`` where
        the cells were set.

    Raises
    ------
    InputError
        If there is no knob, a cell or the phase is not known.
    """
    space = space_of(latent, trained.vae)
    path = space.fitting(read_path(knob))
    picked = _positions(knob, cells)
    z = space.axes(rows_at(path.base, picked) + path.at(phase_angle(knob, phase))).astype(np.float32)
    result = _decoded(prepared, latent, trained, z, picked, slots.X_LATENT, None)
    assert not isinstance(result, Path)
    return result


def neutral_measures(
    means: Array, neutral: Array, obs: pd.DataFrame, labels: Mapping[str, pd.Series], *, seed: int = 0
) -> dict[str, Any]:
    """Measure what holding the cycle still removed, and what it kept.

    Parameters
    ----------
    means, neutral
        (cells × axes) before and after.
    obs
        Of the cycle stage.
    labels
        Columns the result is judged by; measured numbers among them are left out.
    seed
        Seed of the (at most 5,000) cells measured, and of the folds.

    Returns
    -------
    ``variance_removed`` (share of the variance summed over axes, all cells) and, each ``before`` and ``after``:
    ``S_score_r2``, ``G2M_score_r2`` (15 nearest neighbours, five-fold cross-validation, cycling cells) and the
    accuracy of each label column, predicted the same way.
    """
    from sklearn.model_selection import cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    rng = np.random.default_rng(seed)

    def some(keep: npt.NDArray[np.bool_]) -> Index:
        # in random order, so that plain folds are random ones
        return rng.permutation(np.flatnonzero(keep))[:MEASURED_CELLS]

    def both(model: Any, cells: Index, target: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        folds = min(FOLDS, len(cells))
        places = (rows_at(x, cells, np.float64) for x in (means, neutral))
        with warnings.catch_warnings():  # a level of fewer cells than folds is in some of them only
            warnings.filterwarnings("ignore", "The least populated class")
            before, after = (cross_val_predict(model, place, target, cv=folds) for place in places)
        return before, after

    total, left = (float(mean_and_variance(x)[1].sum()) for x in (means, neutral))
    out: dict[str, Any] = {"variance_removed": 1 - left / total if total > 0 else 0.0}
    cycling = obs[slots.CYCLING].to_numpy(dtype=bool)
    for column in (slots.S_SCORE, slots.G2M_SCORE):
        values = obs[column].to_numpy(dtype=np.float64)
        cells = some(cycling & np.isfinite(values))
        target = values[cells]
        near = KNeighborsRegressor(min(NEIGHBOURS, max(1, len(cells) // 2)))
        r2 = [
            1 - float(((target - x) ** 2).sum() / ((target - target.mean()) ** 2).sum())
            for x in both(near, cells, target)
        ]
        out[f"{column}_r2"] = {"before": r2[0], "after": r2[1]}
    out["labels"] = {}
    for name, label in labels.items():
        cells = some(label.notna().to_numpy())
        target = as_text(label).to_numpy(dtype=str)[cells]
        if is_measured(label) or len(set(target)) < 2 or len(cells) < 2 * FOLDS:
            continue
        near = KNeighborsClassifier(min(NEIGHBOURS, max(1, len(cells) // 2)))
        share = [float((x == target).mean()) for x in both(near, cells, target)]
        out["labels"][name] = {"before": share[0], "after": share[1]}
    return out


def _cycling(knob: AnnData) -> npt.NDArray[np.bool_]:
    return knob.obs[slots.CYCLING].to_numpy(dtype=bool) & knob.obs[slots.CYCLE_ANGLE].notna().to_numpy()


def _positions(knob: AnnData, cells: Sequence[str] | npt.NDArray[Any]) -> Index:
    chosen = np.asarray(cells)
    if chosen.dtype == bool:
        if len(chosen) != knob.n_obs:
            raise InputError(f"set_phase: a mask of {len(chosen)} cells for {knob.n_obs} cells")
        return np.flatnonzero(chosen)
    if chosen.dtype.kind in "iu":
        bad = chosen[(chosen < 0) | (chosen >= knob.n_obs)]
        if len(bad):
            raise InputError(f"set_phase: there is no cell at position {bad[0]}, of {knob.n_obs} cells")
        return chosen.astype(np.int64)
    found = knob.obs_names.get_indexer(chosen.astype(str))
    if (found < 0).any():
        raise InputError(f"set_phase: there is no cell called '{chosen[found < 0][0]}'")
    return found.astype(np.int64)


def _decoded(
    prepared: AnnData, latent: AnnData, trained: TrainedModel, z: Array, cells: Index, key: str, out: str | Path | None
) -> AnnData | Path:
    """Decode cells at coordinates `z`, into memory or chunk by chunk into a file."""
    import anndata as ad
    import pandas as pd

    from sclatent.tl._model.inputs import inputs

    decode = decoder_of(trained.vae, inputs(prepared, trained.card))
    var = pd.DataFrame(index=pd.Index([str(gene) for gene in latent.uns["genes"]]))
    shell = ad.AnnData(obs=prepared.obs[[]].iloc[cells].copy(), var=var, obsm={key: z})
    shell.uns[slots.UNS] = {"unit": "decoded rate as a fraction of the library"}

    def blocks() -> Any:
        for start in range(0, len(cells), CHUNK):
            rows = slice(start, start + CHUNK)
            yield rows, np.exp(decode(z[rows], cells[rows])).astype(np.float32)

    if out is None:
        shell.X = np.concatenate([block for _, block in blocks()]) if len(cells) else np.zeros(shell.shape, np.float32)
        return shell
    return _write(shell, blocks(), Path(out))


def _write(shell: AnnData, blocks: Any, out: Path) -> Path:
    import h5py

    from sclatent.data.atomic import atomic

    with atomic(out) as scratch:
        shell.write_h5ad(scratch)
        with h5py.File(scratch, "a") as file:
            if "X" in file:
                del file["X"]
            chunk = (min(CHUNK, shell.n_obs), min(256, shell.n_vars))
            x = file.create_dataset("X", shell.shape, "f4", chunks=chunk, compression="gzip", compression_opts=1)
            x.attrs["encoding-type"], x.attrs["encoding-version"] = "array", "0.2.0"
            for rows, block in blocks:
                x[rows] = block
    return out
