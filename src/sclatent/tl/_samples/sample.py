"""New cells, drawn from a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.data.modalities import RNA
from sclatent.settings import InputError, checks_arguments, did_you_mean
from sclatent.tl._model.conditions import asked
from sclatent.tl._paths.closed_path import waves
from sclatent.tl._paths.knob_file import angle_of
from sclatent.tl._paths.space import space_of_model
from sclatent.tl._samples.drawn import Drawn, annotated
from sclatent.tl._samples.residual import draw_scores
from sclatent.tl._samples.sizes import asked_sizes, in_words

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    from sclatent.tl._model.train import TrainedModel
    from sclatent.tl._samples.density import Density

Array = npt.NDArray[Any]
Index = npt.NDArray[np.int64]

CHUNK = 1024
"""Cells whose counts are drawn at a time, each chunk from a seed of its own."""
BLOCK = 2**22
"""Counts of a further modality that are drawn at a time, at most: of 50,000 peaks those of 80 cells."""


@checks_arguments
def sample(
    trained: TrainedModel,
    n: int,
    *,
    density: Density | None = None,
    prior: bool = False,
    given: Mapping[str, Any] | None = None,
    axis: Mapping[str, float] | None = None,
    phase: float | str | None = None,
    library: npt.ArrayLike | Mapping[str, npt.ArrayLike] | None = None,
    seed: int = 0,
) -> AnnData:
    """Draw cells from a model: where a cell lies, its library size and covariates, then its counts.

    Of a model of several modalities every cell is drawn with all of them: one place, and a library size for each.

    Parameters
    ----------
    trained
        The model.
    n
        Number of cells.
    density
        From `sclatent.tl.density`: where the cells of the model lie, how large their libraries are, how often each
        level of a covariate occurs. Without it cells come from the prior, at the average of all levels, and `library`
        is needed.
    prior
        Draw where cells lie from the prior all the same; the latent then tells nothing of covariates or library size.
    given
        Level or number of columns that the model is conditioned on, such as ``{"condition": "stim"}``: all cells are
        drawn as if they had been measured so, wherever they lie. The others occur as often as among the cells.
    axis
        Where to put the cells along chosen axes, in latent units, such as ``{"axis_3": 2.0}``; cells stay in the
        support of the latent.
    phase
        Of the cell cycle: ``"G1"``, ``"S"``, ``"G2M"`` or radians, through the path of the knob. Only cycling cells
        are drawn then. The density must have been fitted with the knob.
    library
        Library size, one number for all cells or (n,) numbers: what the counts of a cell are expected to sum to, over
        the genes that the model's library size covers. Of several modalities by name, such as ``{"rna": 5000, "atac":
        800}``, where that of peaks is how many are open, or how many fragments they have; those that are not named are
        as in the density.
    seed
        Same seed, same cells, to the last bit, on one machine.

    Returns
    -------
    AnnData
        Cells × genes of the model: ``X`` whole-number counts (CSR float32); ``obs``: the columns that the model is
        conditioned on, and ``library_size``; ``obsm["X_sclatent"]``: where each cell was drawn;
        ``uns["sclatent"]["sample_of_model"]``: what was asked for, and of which model. Genes that the model does not
        hold, and the *rest* of its library size, are not drawn. A further modality is where stage files have it:
        ``obsm["atac"]`` cells × peaks of the model, 0 or 1, or whole-number counts (CSR float32), with
        ``obs["library_size_atac"]`` and a table of the peaks; `sclatent.atlas.to_mudata` makes a MuData of both.

    Raises
    ------
    InputError
        If `n` or a library size is no number above 0, or a column, a level, an axis or a phase is not known, or there
        is no knob, or the latent has no prior.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise InputError(f"sample: n: expected a whole number above 0, found {n!r}")
    places = _axis_places(trained, axis or {})
    codes, values = asked(trained.card, given or {}, "sample: given")
    sizes = asked_sizes(trained, library, n)
    _check(trained, density, prior, phase, sizes)
    streams = np.random.SeedSequence(seed).spawn(1 + len(trained.vae.modalities))
    rng = np.random.default_rng(streams[0])
    if density is None:
        drawn = _of_prior(trained, n, rng)
    else:
        drawn = _of_density(trained, density, n, rng, prior=prior, phase=phase, codes=codes)
    for column, code in codes.items():
        drawn.codes[:, column] = code
    for column, value in values.items():
        drawn.values[:, column] = value
    for which, value in places.items():
        drawn.z = trained.vae.latent.placed(drawn.z, which, value)
    drawn.library |= sizes
    counts = {}
    for name, stream in zip(trained.vae.modalities, streams[1:], strict=True):
        counts[name] = _counts(trained, drawn, stream, density if name == RNA else None, of=name)
    asked_for = {"given": dict(given or {}), "axis": dict(axis or {}), "phase": phase, "library": in_words(library)}
    return annotated(trained, drawn, counts, density, {"n": int(n), "seed": int(seed), "prior": prior, **asked_for})


def _check(
    trained: TrainedModel, density: Density | None, prior: bool, phase: float | str | None, sizes: Mapping[str, Array]
) -> None:
    names = list(trained.vae.modalities)
    if density is None and any(name not in sizes for name in names):
        number = "NUMBER" if len(names) == 1 else "{" + ", ".join(f"'{name}': NUMBER" for name in names) + "}"
        raise InputError(
            "sample: without a density nothing is known of library sizes: "
            f"pass density=sl.tl.density(prepared, trained), or library={number}"
        )
    if phase is None:
        return
    if prior or density is None:
        raise InputError("sample: phase: the prior has no cell cycle: pass a density fitted with knob=, without prior")
    if density.off_cycle is None:
        why = density.about.get("no_knob")
        raise InputError(
            f"sample: phase: there is no cell-cycle knob in this model: {why}"
            if why
            else "sample: phase: the density was fitted without the knob: pass knob= to sl.tl.density"
        )


def _axis_places(trained: TrainedModel, axis: Mapping[str, float]) -> dict[int, float]:
    """Return where to put cells, by position of the axis."""
    names = [f"axis_{k + 1}" for k in range(trained.vae.latent.n_axes)]
    out = {}
    for name, value in axis.items():
        if name not in names:
            raise InputError(
                f"sample: axis: the model has no '{name}'{did_you_mean(str(name), names)}: "
                f"its axes are {names[0]} to {names[-1]}"
            )
        try:
            out[names.index(name)] = float(value)
        except (TypeError, ValueError):
            out[names.index(name)] = np.nan
        if not np.isfinite(out[names.index(name)]):
            raise InputError(f"sample: axis: {name}: expected a number, found {value!r}")
    return out


def _prior(trained: TrainedModel, n: int, rng: np.random.Generator) -> Array:
    z = trained.vae.prior_draws(n, seed=int(rng.integers(2**32)))
    if z is None:
        raise InputError(
            f"sample: latent: {trained.vae.settings.latent.kind} has no prior to draw from: pass a density instead"
        )
    return z


def _of_prior(trained: TrainedModel, n: int, rng: np.random.Generator) -> Drawn:
    codes = np.full((n, len(trained.card["batch"])), -1, np.int64)
    sizes = {name: np.ones(n) for name in trained.vae.modalities}
    return Drawn(_prior(trained, n, rng), sizes, codes, np.zeros((n, len(trained.card["covariates"]))))


def _of_density(
    trained: TrainedModel,
    density: Density,
    n: int,
    rng: np.random.Generator,
    *,
    prior: bool,
    phase: float | str | None,
    codes: Mapping[int, int],
) -> Drawn:
    space = space_of_model(trained.vae)
    source, width = density.all_cells, trained.vae.latent.n_axes
    if phase is not None:
        assert density.off_cycle is not None
        source, width = density.off_cycle, space.size
    points, which = source.points.draw(rng, n)
    points = np.asarray(points, np.float64)
    z, beside = points[:, :width], points[:, width:]
    names = list(trained.vae.modalities)
    off = phase is not None and density.path is not None and density.path.shape[1] != width
    wide = beside.shape[1] != len(names) + len(trained.card["covariates"])
    if off or wide or list(density.scores.library) != names:
        raise InputError("sample: the density is of another model: fit it with sl.tl.density(prepared, trained)")
    combination = _combinations(source.share[which], rng)
    known = density.combinations[combination]
    if codes:  # a level that is asked for brings its own library sizes
        known = known.copy()
        known[:, list(codes)] = list(codes.values())
        combination = _found(density.combinations, known)
    if prior:
        z, beside = _prior(trained, n, rng), rng.standard_normal(beside.shape)
    if phase is not None:
        assert density.path is not None
        angle = angle_of(density.about["phases"], phase)
        z = space.axes(z + waves(np.array([angle]), len(density.path) // 2) @ density.path)
    library = {name: density.scores.libraries(beside[:, k], combination, of=name) for k, name in enumerate(names)}
    return Drawn(z.astype(np.float32), library, known, density.scores.covariates(beside[:, len(names) :]))


def _combinations(share: Array, rng: np.random.Generator) -> Index:
    """Draw a combination of levels for each cell from shares (n × combinations)."""
    upto = np.cumsum(share, axis=1)
    return (rng.random(len(share))[:, None] * upto[:, -1:] > upto).sum(axis=1).clip(max=share.shape[1] - 1)


def _found(combinations: Index, wanted: Index) -> Index:
    """Return which of the combinations each row of `wanted` is, −1 for one that no cell has."""
    place = {tuple(row): k for k, row in enumerate(combinations.tolist())}
    return np.array([place.get(tuple(row), -1) for row in wanted.tolist()], np.int64)


def _counts(
    trained: TrainedModel, drawn: Drawn, stream: np.random.SeedSequence, density: Density | None, *, of: str
) -> csr_matrix:
    """Draw counts (CSR float32) of a modality, that scatter and go together as the density says.

    A thousand cells at a time, or fewer with many features, so that memory does not grow with cells × features.
    """
    from scipy.sparse import csr_matrix, vstack

    size = CHUNK if of == RNA else int(np.clip(BLOCK // trained.vae.modalities[of].n_genes, 1, CHUNK))
    starts = range(0, len(drawn.z), size)
    seeds = stream.generate_state(len(starts))
    parts = []
    dispersion = None if density is None else density.dispersion
    for start, seed in zip(starts, seeds, strict=True):
        rows = slice(start, start + size)
        where = (drawn.z[rows], drawn.library[of][rows], drawn.codes[rows], drawn.values[rows])
        scores = theta = None
        if density is not None and density.residual.shape[1]:
            scores = draw_scores(density.residual, len(where[0]), np.random.default_rng(seed))
        if density is not None and dispersion is not None:
            theta = dispersion.factors(where[1], _found(density.combinations, where[2]))
        counts = trained.vae.sample(*where, of=of, scores=scores, theta=theta, seed=int(seed))
        parts.append(csr_matrix(counts, dtype=np.float32))
    return vstack(parts, format="csr", dtype=np.float32)
