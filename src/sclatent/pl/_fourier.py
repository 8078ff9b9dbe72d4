"""Short Fourier series of an angle, for the smooth curves that are drawn through cells."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def design(angle: npt.ArrayLike, harmonics: int = 2) -> Array:
    """Return the columns 1, cos φ, sin φ, cos 2φ, sin 2φ, …, shape (n, 1 + 2 · harmonics)."""
    angle = np.asarray(angle, dtype=float)
    columns = [np.ones_like(angle)]
    for h in range(1, harmonics + 1):
        columns += [np.cos(h * angle), np.sin(h * angle)]
    return np.stack(columns, axis=1)


def smooth(angle: npt.ArrayLike, values: npt.ArrayLike, grid: Array, harmonics: int = 2) -> Array:
    """Return the least-squares Fourier series of `values` on `angle`, evaluated on `grid`."""
    coefficients, *_ = np.linalg.lstsq(design(angle, harmonics), np.asarray(values, dtype=float), rcond=None)
    return np.asarray(design(grid, harmonics) @ coefficients)


def binned(angle: npt.ArrayLike, values: npt.ArrayLike, bins: int = 16) -> tuple[Array, Array, Array]:
    """Return centre, mean and standard error of `values` in equal bins of the angle that hold at least two cells."""
    angle, values = np.asarray(angle, dtype=float), np.asarray(values, dtype=float)
    which = np.minimum((angle / (2 * np.pi) * bins).astype(int), bins - 1)
    n = np.bincount(which, minlength=bins)
    full = n >= 2
    weight = np.maximum(n, 1)
    mean = np.bincount(which, values, minlength=bins) / weight
    variance = np.maximum(np.bincount(which, values**2, minlength=bins) / weight - mean**2, 0)
    error = np.sqrt(variance / np.maximum(weight - 1, 1))
    centre = (np.arange(bins) + 0.5) * 2 * np.pi / bins
    return centre[full], mean[full], error[full]
