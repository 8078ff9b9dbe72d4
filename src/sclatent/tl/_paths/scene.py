"""What every piece of evidence for the knob looks at: the model, the cells, and the path through them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sclatent.data import slots
from sclatent.data.blocks.dense import rows_at
from sclatent.tl._paths import closed_path
from sclatent.tl._paths.decode import (
    Array,
    Decoder,
    Index,
    ScoreGenes,
    decode_turn,
    decoder_of,
    mean_fraction,
    pick_cells,
    score_genes,
    strata_of,
    turn_positions,
)
from sclatent.tl._paths.space import Space, space_of

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from sclatent.model import CountData, CountVAE

STEPS, CELLS = 48, 200
"""Steps and cells of the decoded path."""
QUICK_STEPS, QUICK_CELLS = 16, 32
"""Steps and cells of each permuted or resampled path."""


@dataclass(frozen=True)
class Scene:
    """Arrays of all cells, the fitted path, and the curve (steps × genes) decoded along it.

    Attributes
    ----------
    space
        The coordinates in which the path runs.
    decode
        The model with the cells' covariates; decodes coordinates.
    means, angle, sd, on, batch
        Of all cells: posterior means (cells × coordinates), angle and its circular SD, whether the cell cycles, stratum
        of covariates.
    path
        The path through the cycling cells.
    axes, names, genes
        Names of axes and genes, and the genes of the decoded scores.
    position, curve
        Angles of the steps, and the decoded fraction of the library.
    """

    space: Space
    decode: Decoder
    means: Array
    angle: Array
    sd: Array
    on: npt.NDArray[np.bool_]
    batch: Index
    path: closed_path.ClosedPath
    axes: list[str]
    names: pd.Index
    genes: ScoreGenes
    position: Array
    curve: Array

    def quick(
        self, coefficients: Array, path: closed_path.ClosedPath, among: Index | None = None, steps: int = QUICK_STEPS
    ) -> Array:
        """Decode a path (2H × coordinates) through few cells: fraction of the library (steps × genes).

        Parameters
        ----------
        coefficients
            The path.
        path
            Where the cells are without it: its ``base`` and ``strata``.
        among
            Positions in all cells of the cells of `path`, when these are not all.
        steps
            Number of steps.
        """
        everyone = np.arange(len(self.on)) if among is None else among
        picked = pick_cells(path.strata, QUICK_CELLS, among=self.on[everyone])
        at = closed_path.waves(turn_positions(steps), len(coefficients) // 2) @ coefficients
        return decode_turn(self.decode, rows_at(path.base, picked), at, everyone[picked])


def cycle_columns(cycle: AnnData) -> tuple[Array, Array, np.ndarray]:
    """Return angle, circular SD, and the cells that cycle and have an angle."""
    angle = cycle.obs[slots.CYCLE_ANGLE].to_numpy(dtype=np.float64)
    sd = cycle.obs[slots.CYCLE_SD].to_numpy(dtype=np.float64)
    return angle, sd, cycle.obs[slots.CYCLING].to_numpy(dtype=bool) & np.isfinite(angle)


def set_scene(
    vae: CountVAE, data: CountData, latent: AnnData, cycle: AnnData, columns: tuple[Array, Array, npt.NDArray[np.bool_]]
) -> Scene:
    """Fit the path and decode it."""
    import pandas as pd

    angle, sd, on = columns
    space = space_of(latent, vae)
    decode = space.decoder(decoder_of(vae, data))
    means = space.means(latent)
    batch = strata_of(data)
    path = closed_path.fit_path(means, angle, sd, on, batch, circles=space.circles)
    cells = pick_cells(path.strata, CELLS, among=on)
    position = turn_positions(STEPS)
    curve = decode_turn(decode, rows_at(path.base, cells), path.at(position), cells)
    names = pd.Index([str(gene) for gene in latent.uns["genes"]])
    genes = score_genes(names, cycle.var, mean_fraction(decode, rows_at(means, cells), cells))
    axes = [str(axis) for axis in latent.var_names]
    return Scene(space, decode, means, angle, sd, on, batch, path, axes, names, genes, position, curve)
