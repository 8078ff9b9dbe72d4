"""Where a closed path runs: coordinates that can be added and averaged, and the way back to the axes.

They are the axes themselves, but for an axis that is an angle (``latent: circle``): it has two coordinates, √2 times
its cosine and its sine, each of variance 1 under the prior as a Gaussian axis is. So no place on the circle is the end
of it, a mean of angles is a circular mean, and from one angle to another a cell goes the short way round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sclatent.data import slots
from sclatent.data.blocks.dense import by_rows
from sclatent.settings import InputError
from sclatent.tl._axes import circular
from sclatent.tl._model.embed import over_axes
from sclatent.tl._paths.decode import Array, Decoder, Index

if TYPE_CHECKING:
    from anndata import AnnData

    from sclatent.model import CountVAE, Latent
    from sclatent.tl._paths.closed_path import ClosedPath


@dataclass(frozen=True)
class Space:
    """The coordinates of one model.

    Attributes
    ----------
    angles
        (axes,) which axes are angles.
    latent
        Knows where cells can be; None: everywhere, as with the Gaussian.
    """

    angles: npt.NDArray[np.bool_]
    latent: Latent | None = None

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self.angles) + int(self.angles.sum())

    @property
    def circles(self) -> list[tuple[int, int]]:
        """The coordinates of each angle: cosine and sine."""
        n = len(self.angles)
        return [(k, n + i) for i, k in enumerate(np.flatnonzero(self.angles).tolist())]

    def straight(self, z: Array, sd: Array | None = None) -> Array:
        """Return the coordinates of positions along the axes; with `sd` the means over posteriors of these SDs."""
        return circular.straight(z, self.angles, sd)

    def means(self, latent: AnnData) -> Array:
        """Return the posterior means (cells × coordinates) of what `sclatent.tl.embed` returned."""
        return self.places(np.asarray(latent.X), np.asarray(latent.layers[slots.SD]) if self.angles.any() else None)

    def places(self, z: Array, sd: Array | None = None) -> Array:
        """Return the same as `straight`, of all cells: a stretch at a time."""
        if not self.angles.any():
            return z
        read = (z,) if sd is None else (z, sd)
        return by_rows(len(z), lambda rows: self.straight(*(part[rows].astype(np.float64) for part in read)), *read)

    def axes(self, x: Array) -> Array:
        """Return the positions along the axes (… × axes) nearest to coordinates, where cells can be."""
        z = circular.turned_back(x, self.angles)
        return z if self.latent is None else self.latent.nearest(z)

    def decoder(self, decode: Decoder) -> Decoder:
        """Return what decodes coordinates, from what decodes positions along the axes."""
        if self.latent is None:
            return decode

        def decode_straight(x: Array, cells: Index) -> Array:
            return decode(self.axes(x), cells)

        return decode_straight

    def away(self, mean: Array, sd: Array, away: Array) -> Array:
        """Return draws less their means (… × coordinates), from the same along the axes (… × axes)."""
        if not self.angles.any():
            return away
        return self.straight(mean + away) - self.straight(mean, sd)

    def cosines(self, direction: Array) -> Array:
        """Return the cosine of a direction (coordinates,) to each axis, of an angle that to its plane, from 0 on."""
        n = len(self.angles)
        out = direction[:n].copy()
        out[self.angles] = np.hypot(out[self.angles], direction[n:])
        return out

    def names(self, axes: list[str]) -> list[str]:
        """Return the name of each coordinate, given those of the axes."""
        first = [f"{name} cosine" if turning else name for name, turning in zip(axes, self.angles, strict=True)]
        return first + [f"{name} sine" for name, turning in zip(axes, self.angles, strict=True) if turning]

    def fitting(self, path: ClosedPath) -> ClosedPath:
        """Return the path, if it runs in these coordinates.

        Raises
        ------
        InputError
            If it runs in others.
        """
        found = path.coefficients.shape[1]
        if found != self.size:
            raise InputError(
                f"knob.h5ad: the path has {found} coordinates, and this model {self.size}: "
                "run the knob of this model again"
            )
        return path


def space_of(latent: AnnData, vae: CountVAE) -> Space:
    """Return the coordinates of a model whose posteriors are in `latent`, of `sclatent.tl.embed`."""
    return Space(circular.angle_axes(latent), vae.latent if slots.LATENT in latent.uns else None)


def space_of_model(vae: CountVAE) -> Space:
    """Return the coordinates of a model."""
    chosen = vae.settings.latent
    angles = over_axes(chosen, "angles", vae.latent.n_axes)
    return Space(angles, None if chosen.kind == "gaussian" else vae.latent)
