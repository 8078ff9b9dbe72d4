"""Where the middle of a closed path is: anywhere, but at 0 for an angle that goes round with the cycle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Circles = Sequence[tuple[int, int]]
"""The columns of cosine and sine of each angle."""


def through_middle(x: Array, angle: Array, circles: Circles) -> npt.NDArray[np.bool_]:
    """Return which coordinates have no level: those of an angle that goes round once with the cycle, either way.

    Such an angle is nowhere but on its circle. With a level of its own, a path that few cells pin down on one side cuts
    the circle there: it jumps over a part of it, or turns back.

    Parameters
    ----------
    x
        (cells × coordinates).
    angle
        (cells,) on the cycle, radians.
    circles
        The angles among the coordinates.

    Returns
    -------
    (coordinates,) truth values. An angle goes round if it keeps its distance to the cycle, or to the cycle run
    backwards, better than its own place: by the length of the mean of exp(i (θ − wφ)) for w = ± 1 and 0. Where θ and φ
    have nothing to do with each other that of ± 1 is never the longest, but for noise.
    """
    out = np.zeros(x.shape[1], dtype=bool)
    for k, j in circles:
        place = x[:, k] + 1j * x[:, j]
        kept = [abs((place * np.exp(-1j * way * angle)).mean()) for way in (0, 1, -1)]
        out[[k, j]] = int(np.argmax(kept)) > 0
    return out


def solve(levels: Array, regressors: Array, m: Array, middle: npt.NDArray[np.bool_]) -> Array:
    """Return the coefficients of levels and regressors by least squares; no levels for the columns of `middle`.

    Parameters
    ----------
    levels, regressors
        (cells × levels) and (cells × waves).
    m
        (cells × coordinates).
    middle
        (coordinates,) from `through_middle`.

    Returns
    -------
    (levels + waves) × coordinates.
    """
    out = np.linalg.lstsq(np.hstack([levels, regressors]), m, rcond=None)[0]
    if middle.any():
        out[:, middle] = 0.0
        if regressors.shape[1]:
            out[levels.shape[1] :, middle] = np.linalg.lstsq(regressors, m[:, middle], rcond=None)[0]
    return out
