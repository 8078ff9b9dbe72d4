"""Where the cells that a model was trained on lie: a density of axes, library size and covariates to draw from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.data import slots
from sclatent.data.atomic import atomic, read_arrays
from sclatent.data.blocks.dense import rows_at
from sclatent.data.modalities import RNA
from sclatent.settings import InputError, checks_arguments
from sclatent.tl._model.inputs import inputs
from sclatent.tl._model.subset import evenly
from sclatent.tl._paths.knob_file import named_phases, read_path
from sclatent.tl._paths.space import space_of_model
from sclatent.tl._samples.dispersion import Dispersion, fit_dispersion
from sclatent.tl._samples.mixture import Mixture, fit_mixture
from sclatent.tl._samples.residual import CELLS as COUNTED
from sclatent.tl._samples.residual import fit_residual
from sclatent.tl._samples.scores import Scores, filled, fit_scores

if TYPE_CHECKING:
    from anndata import AnnData

    from sclatent.model import CountData
    from sclatent.tl._model.train import TrainedModel
    from sclatent.tl._paths.closed_path import ClosedPath

Array = npt.NDArray[Any]
Index = npt.NDArray[np.int64]

CELLS, DRAWS, ROWS = 20_000, 8, 40_000
"""Cells that are fitted to, draws of each, and draws in all, at most."""


@dataclass(frozen=True)
class Cells:
    """The posteriors of the cells themselves, for axes on which cells cannot lie everywhere (shares, states).

    Attributes
    ----------
    points
        (draws × cells × dimensions).
    """

    points: Array

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Array, Index]:
        """Return `n` points (n × dimensions) and the cell of each."""
        which = rng.integers(self.points.shape[1], size=n)
        return self.points[rng.integers(len(self.points), size=n), which], which


@dataclass(frozen=True)
class Places:
    """Points along the axes with the scores beside them, and which covariates occur where.

    Attributes
    ----------
    points
        A mixture, or the cells themselves.
    share
        (components or cells × combinations of levels) how often each combination occurs there.
    """

    points: Mixture | Cells
    share: Array


@dataclass(frozen=True)
class Density:
    """A joint density of where cells lie along the axes, of their library sizes and of their covariates.

    Attributes
    ----------
    combinations
        (combinations × columns) level codes of the categorical covariates that occur together.
    scores
        Quantiles of the library size of each modality, and of numeric covariates.
    all_cells
        Where cells lie.
    off_cycle
        Where cycling cells lie without the path of the knob, in its coordinates; None without a knob.
    path
        (2H × coordinates) coefficients of that path.
    about
        Plain values: ``cells`` fitted to, ``components``, ``held_out`` (log density by what was tried);
        ``beyond_axes`` (held-out log density that each number of factors adds); ``dispersion``
        (how much better a θ by depth and levels tells the number of expressed genes); with several modalities
        ``measured`` (how many of the cells have which); with a knob ``phases`` (angle of each), and ``no_knob``
        (why there is none).
    residual
        (genes × factors) how counts go together beyond the axes.
    dispersion
        How the inverse dispersion changes with depth and levels; None if it does not.
    """

    combinations: Index
    scores: Scores
    all_cells: Places
    off_cycle: Places | None
    path: Array | None
    about: dict[str, Any]
    residual: Array
    dispersion: Dispersion | None = None

    def save(self, path: Path | str) -> None:
        """Write one file, which holds no cell's counts; with it and the model, cells are drawn without the data.

        Parameters
        ----------
        path
            An ``.npz`` file; the same density gives the same bytes.
        """
        libraries = {_library(name): sizes for name, sizes in self.scores.library.items()}
        arrays = {"combinations": self.combinations, **libraries, "values": self.scores.values}
        arrays["residual"] = self.residual
        for name, places in (("all_cells", self.all_cells), ("off_cycle", self.off_cycle)):
            if places is not None:
                arrays |= {f"{name}.{key}": value for key, value in vars(places.points).items()}
                arrays[f"{name}.share"] = places.share
        if self.path is not None:
            arrays["path"] = self.path
        if self.dispersion is not None:
            arrays |= {f"dispersion.{key}": value for key, value in vars(self.dispersion).items()}
        about = np.frombuffer(json.dumps(self.about, sort_keys=True).encode(), np.uint8)
        with atomic(path) as scratch, scratch.open("wb") as file:
            np.savez(file, allow_pickle=False, about=about, **arrays)

    @classmethod
    @checks_arguments
    def load(cls, path: Path | str) -> Density:
        """Read what `save` wrote.

        Parameters
        ----------
        path
            An ``.npz`` file.

        Returns
        -------
        Density
            As it was.

        Raises
        ------
        InputError
            If there is no such file, or it is another.
        """
        arrays = read_arrays(path, "a density", "about")

        def of(name: str) -> dict[str, Array]:
            return {k.partition(".")[2]: v for k, v in arrays.items() if k.startswith(f"{name}.")}

        def places(name: str) -> Places | None:
            inside = of(name)
            if not inside:
                return None
            share = inside.pop("share")
            return Places(Cells(**inside) if set(inside) == {"points"} else Mixture(**inside), share)

        everyone = places("all_cells")
        assert everyone is not None
        names = [RNA, *(key.removeprefix("library.") for key in arrays if key.startswith("library."))]
        return cls(
            arrays["combinations"],
            Scores({name: arrays[_library(name)] for name in names}, arrays["values"]),
            everyone,
            places("off_cycle"),
            arrays.get("path"),
            json.loads(arrays["about"].tobytes()),
            arrays["residual"],
            Dispersion(**inside) if (inside := of("dispersion")) else None,
        )


def _library(name: str) -> str:
    """Return what the library sizes of a modality are called in the file."""
    return "library" if name == RNA else f"library.{name}"


@checks_arguments
def density(prepared: AnnData, trained: TrainedModel, *, knob: AnnData | None = None, seed: int = 0) -> Density:
    """Fit where the cells of a model lie, so that `sclatent.tl.sample` can draw new ones.

    Fitted to draws from the posteriors of all cells but the test cells (where ``obs["split"]`` says which these are):
    a Gaussian mixture over the axes and the normal scores of library size and numeric covariates, with as many
    components as the density of held-out cells allows (scikit-learn). Where cells cannot lie everywhere along the
    axes (amounts, shares, states), the posteriors of the cells themselves are kept instead. Beside it, how the
    dispersion of counts changes with the depth of a cell and its levels, and what the counts of genes share beyond the
    axes: a Gaussian copula of a few factors (Marchenko and Pastur 1967; Donoho, Gavish and Johnstone 2018), each where
    held-out cells say so.

    Of several modalities each has a library size. A cell that was not measured for all of them lies where what was
    measured says, and the library size that it does not have is drawn given its place and the one that it has.

    Parameters
    ----------
    prepared
        Cells × genes with counts in ``X``; the model's genes are enough.
    trained
        The model.
    knob
        ``knob.h5ad``, for cells at a phase of the cell cycle.
    seed
        Of the draws and of the first guess of the mixture.

    Returns
    -------
    Density
        What `sclatent.tl.sample` draws from.

    Raises
    ------
    InputError
        If a gene or column of the model is missing, or no cell was measured for a modality of the model, or `knob`
        holds other cells.
    """
    data = inputs(prepared, trained.card)
    cells = _cells(prepared, data)
    categorical = np.zeros((data.n_cells, 0), np.int64) if data.categorical is None else data.categorical
    values = np.zeros((data.n_cells, 0)) if data.continuous is None else data.continuous.astype(np.float64)
    combinations, code = np.unique(categorical[cells], axis=0, return_inverse=True)
    code = code.reshape(-1).astype(np.int64)
    scores, own = fit_scores(_libraries(data, cells), code, values[cells])
    n_draws = int(np.clip(ROWS // len(cells), 1, DRAWS))
    draws = trained.vae.draws(data, cells, n_draws, seed=seed).astype(np.float64)
    beside = filled(draws, own, seed)
    everyone, about = _places(trained, draws, beside, code, len(combinations), seed)
    about["cells"] = len(cells)
    if data.others:
        about["measured"] = prepared.obs[slots.MEASURED].iloc[cells].astype(str).value_counts().sort_index().to_dict()
    off, path = None, None
    if knob is not None:
        if not prepared.obs_names.equals(knob.obs_names):
            raise InputError("knob.h5ad holds other cells than the counts: run the stages of one dataset together")
        about |= named_phases(knob)
        if about["phases"]:
            space = space_of_model(trained.vae)
            closed = space.fitting(read_path(knob))
            on = knob.obs[slots.CYCLING].to_numpy(dtype=bool)[cells]
            means, sds = (part.astype(np.float64) for part in trained.vae.posterior(data, cells))
            moved = _off_cycle(closed, cells, space.away(means, sds, draws - means))[:, on]
            off, _ = _places(trained, moved, beside[:, on], code[on], len(combinations), seed)
            path = closed.coefficients
    with_rna = np.flatnonzero(np.ones(len(cells), bool) if data.measured is None else data.measured[cells])
    counted = evenly(with_rna, COUNTED)
    own_code = code[counted]
    dispersion, gained = fit_dispersion(trained.vae, data, cells[counted], own_code, len(combinations), seed)
    about["dispersion"] = {name: round(gain, 4) for name, gain in gained.items()}
    theta = None if dispersion is None else dispersion.factors(data.library[cells[counted]], own_code)
    residual, gains = fit_residual(trained.vae, data, cells[counted], seed, theta=theta)
    about["beyond_axes"] = [round(gain, 4) for gain in gains]
    return Density(combinations, scores, everyone, off, path, about, residual, dispersion)


def _cells(prepared: AnnData, data: CountData) -> Index:
    """Return the cells to fit to: no test cells, none of a level that the model does not know."""
    known = np.ones(data.n_cells, bool) if data.categorical is None else (data.categorical >= 0).all(axis=1)
    if slots.SPLIT in prepared.obs:
        known &= prepared.obs[slots.SPLIT].astype(str).to_numpy() != slots.TEST
    return evenly(np.flatnonzero(known), CELLS)


def _libraries(data: CountData, cells: Index) -> dict[str, Array]:
    """Return library sizes (cells,) by modality; NaN where a cell was not measured for it."""
    out = {}
    for name, part in {RNA: data, **data.others}.items():
        there = True if part.measured is None else part.measured[cells]
        out[name] = np.where(there, part.library[cells], np.nan)
    return out


def _off_cycle(path: ClosedPath, cells: Index, away: Array) -> Array:
    """Return draws (draws × cells × coordinates) of cells without the cell cycle; a draw says nothing of the phase."""
    return rows_at(path.base, cells, np.float64) + away - (away @ path.plane.T) @ path.plane


def _places(
    trained: TrainedModel, draws: Array, beside: Array, code: Index, n_codes: int, seed: int
) -> tuple[Places, dict[str, Any]]:
    """Fit to draws (draws × cells × axes) with the scores (draws × cells × columns) beside them."""
    points = np.concatenate([draws, beside], axis=2)
    occurs = np.eye(n_codes)[code]
    if not trained.vae.latent.unbounded:
        return Places(Cells(points.astype(np.float32)), occurs), {"components": 0, "held_out": {}}
    mixture, share, held_out = fit_mixture(points, seed)
    together = share.T @ occurs
    about = {"components": len(mixture.weights), "held_out": {str(k): round(v, 4) for k, v in held_out.items()}}
    return Places(mixture, together / np.maximum(together.sum(axis=1, keepdims=True), 1e-300)), about
