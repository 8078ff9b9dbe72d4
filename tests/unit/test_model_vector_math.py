"""The polynomials of the kernels against numpy, over all they are given."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from sclatent.model.kernels.vector_math import OPTIONS, exp32, exp64, log32, log64


def over(function, x: np.ndarray) -> np.ndarray:
    """Evaluate `function` in a loop that is compiled as the kernels are."""

    @njit(**{**OPTIONS, "cache": False})
    def loop(x, out):
        for i in range(x.shape[0]):
            out[i] = function(x[i])

    out = np.empty_like(x)
    loop(x, out)
    return out


@pytest.mark.parametrize(
    ("function", "dtype", "lowest", "error"), [(exp32, np.float32, -87, 3e-7), (exp64, np.float64, -700, 2e-14)]
)
def test_exp(function, dtype: type, lowest: float, error: float) -> None:
    x = np.linspace(lowest, 0 if dtype is np.float32 else 700, 100_001).astype(dtype)
    np.testing.assert_allclose(over(function, x), np.exp(x.astype(np.float64)), rtol=error)
    below = np.array([lowest - 1, -1e30, -np.inf], dtype)
    np.testing.assert_allclose(over(function, below), np.exp(float(lowest)), rtol=error)


@pytest.mark.parametrize(("function", "dtype", "error"), [(log32, np.float32, 3e-7), (log64, np.float64, 1e-15)])
def test_log(function, dtype: type, error: float) -> None:
    tiny, huge = np.log(np.finfo(dtype).tiny), np.log(np.finfo(dtype).max)
    wide = np.exp(np.linspace(tiny + 1, huge - 1, 100_001)).astype(dtype)
    near_one = (1 + np.linspace(-0.4, 0.5, 100_001)).astype(dtype)
    for x in (wide, near_one):
        np.testing.assert_allclose(over(function, x), np.log(x.astype(np.float64)), rtol=error, atol=error)
