"""Axes that are angles: what the cosine and the sine of an angle say together, whatever its origin and direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sclatent.data import slots

if TYPE_CHECKING:
    from anndata import AnnData

Array = npt.NDArray[np.float64]


def angle_axes(latent: AnnData) -> npt.NDArray[np.bool_]:
    """Return which axes are angles (axes,), of what `sclatent.tl.embed` returned."""
    if slots.ANGLE not in latent.var:
        return np.zeros(latent.n_vars, dtype=bool)
    return latent.var[slots.ANGLE].to_numpy(dtype=bool)


def straight(z: npt.NDArray, angles: npt.NDArray[np.bool_], sd: npt.NDArray | None = None) -> npt.NDArray:
    """Return coordinates that can be added and averaged: of an angle √2 times its cosine and its sine.

    Parameters
    ----------
    z
        (… × axes) positions along the axes.
    angles
        (axes,) which axes are angles; the others are kept as they are.
    sd
        (… × axes) circular SDs of wrapped normals about `z`; the coordinates are then the means over these.

    Returns
    -------
    (… × coordinates): the axes, with the cosine of each angle in its place, and after them the sines.
    """
    if not angles.any():
        return z
    length = np.sqrt(2.0) if sd is None else np.sqrt(2.0) * np.exp(-0.5 * sd[..., angles] ** 2)
    out = np.array(z, dtype=np.float64)
    turn = out[..., angles]
    out[..., angles] = length * np.cos(turn)
    return np.concatenate([out, length * np.sin(turn)], axis=-1)


def turned_back(x: npt.NDArray, angles: npt.NDArray[np.bool_]) -> npt.NDArray:
    """Return the positions (… × axes) of coordinates as `straight` gives them; an angle may have any length."""
    if not angles.any():
        return x
    n = len(angles)
    out = x[..., :n].copy()
    out[..., angles] = np.arctan2(x[..., n:], out[..., angles])
    return out


def basis(angle: npt.NDArray) -> Array:
    """Return two orthonormal columns, of mean 0, that span the cosine and the sine of an angle.

    The squared projections of a standardised variable on them add up to the R² of its regression on both: the
    circular-linear correlation (Mardia 1976).

    Parameters
    ----------
    angle
        (cells,) radians.

    Returns
    -------
    (cells, 2) columns; those of a constant angle are 0.
    """
    both = np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float64)
    both -= both.mean(axis=0)
    vectors, lengths, _ = np.linalg.svd(both, full_matrices=False)
    return np.where(lengths > 1e-12 * np.sqrt(len(both)), vectors, 0.0)


def bases(angles: npt.NDArray) -> Array:
    """Return the `basis` of each column of angles (cells × axes): (axes, cells, 2)."""
    return np.stack([basis(column) for column in np.asarray(angles, np.float64).T])


def with_numbers(columns: Array, numbers: Array) -> Array:
    """Return the multiple correlation of angles with standardised numbers.

    Parameters
    ----------
    columns
        (axes, cells, 2), from `bases`.
    numbers
        (cells, numbers) of mean 0 and length 1.

    Returns
    -------
    (axes, numbers), from 0 to 1.
    """
    return np.sqrt(((np.swapaxes(columns, 1, 2) @ numbers) ** 2).sum(axis=1))


def with_groups(columns: Array, indicators: Array, starts: npt.NDArray[np.intp]) -> Array:
    """Return the share of the variance of angles that lies between groups: the mean η² of both columns.

    Parameters
    ----------
    columns
        (axes, cells, 2), from `bases`.
    indicators
        (cells, levels) of one or several variables, each column of length 1.
    starts
        (variables,) first column of each variable.

    Returns
    -------
    (axes, variables), from 0 to 1.
    """
    return np.add.reduceat((np.swapaxes(columns, 1, 2) @ indicators) ** 2, starts, axis=2).mean(axis=1)


def with_angles(a: Array, b: Array) -> float:
    """Return how far two axes agree, from 0 to 1: the mean canonical correlation of their columns.

    Neither the origin nor the direction of an angle matters.

    Parameters
    ----------
    a, b
        (cells, 1 or 2) orthonormal columns, of which one at least is from `basis`.
    """
    return float(np.linalg.svd(a.T @ b, compute_uv=False).sum() / min(a.shape[1], b.shape[1]))
