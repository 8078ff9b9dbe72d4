"""Compiled layers: products; norm, ReLU and dropout together; the draw from the posterior.

The weights of a layer are slices of the vector of all parameters. Numba passes matrix products to BLAS.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from sclatent.model.kernels.vector_math import OPTIONS, exp32, log1p32, log32

EPSILON = 1e-5
"""Added to the variance of a row, as PyTorch's layer norm does."""
# sums may be reordered: one thread computes each sum, so the bytes do not depend on the number of threads
SUMS = {**OPTIONS, "fastmath": {"reassoc", "nsz", "contract"}}
_f = np.float32
NONE, ONE, HALF = _f(0.0), _f(1.0), _f(0.5)


class Network(NamedTuple):
    """What hidden layers store for the backward pass: (layers × cells × units), ``inverse`` (layers × cells)."""

    x: Any
    drawn: Any  # random bytes for dropout, layers × at least cells · units
    normal: Any
    inverse: Any
    out: Any  # of the decoder without its last layer
    to_x: Any  # cells × units
    to_out: Any  # cells × units


@njit(**OPTIONS)
def matrix(vector, start, rows, columns):  # type: ignore[no-untyped-def]
    """Return a slice of `vector` as a matrix."""
    return vector[start : start + rows * columns].reshape(rows, columns)


@njit(**OPTIONS)
def product(a, b, out):  # type: ignore[no-untyped-def]
    """Write a · b to `out`; either of them may be a transpose."""
    np.dot(a, b, out)  # only here, because every function that contains it compiles it again


@njit(**OPTIONS)
def add_product(a, b, out):  # type: ignore[no-untyped-def]
    """Add the product of `a` and `b` to `out`."""
    added = np.empty_like(out)
    product(a, b, added)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] += added[i, j]


@njit(**OPTIONS)
def add_bias(rows, bias):  # type: ignore[no-untyped-def]
    """Add `bias` to each of the rows."""
    for b in range(rows.shape[0]):
        row = rows[b]
        for h in range(row.shape[0]):
            row[h] += bias[h]


@njit(**SUMS)
def sum_rows(rows, first, total):  # type: ignore[no-untyped-def]
    """Write the column sums to `total`, starting at column `first`."""
    total[:] = NONE
    for b in range(rows.shape[0]):
        row = rows[b, first : first + total.shape[0]]
        for h in range(total.shape[0]):
            total[h] += row[h]


@njit(**OPTIONS)
def dense(inputs, vector, place, out):  # type: ignore[no-untyped-def]
    """Out = inputs · weightᵀ + bias, of the layer whose weights and bias start at `place`."""
    product(inputs, matrix(vector, place[0], out.shape[1], inputs.shape[1]).T, out)
    add_bias(out, vector[place[1] : place[1] + out.shape[1]])


@njit(**OPTIONS)
def weight_gradient(inputs, upstream, gradient, start):  # type: ignore[no-untyped-def]
    """Write the gradient of `dense` to its weights, which start at `start`."""
    product(upstream.T, inputs, matrix(gradient, start, upstream.shape[1], inputs.shape[1]))


@njit(**OPTIONS)
def input_gradient(upstream, vector, start, out):  # type: ignore[no-untyped-def]
    """Write the gradient of `dense` to its inputs."""
    product(upstream, matrix(vector, start, upstream.shape[1], out.shape[1]), out)


@njit(**OPTIONS)
def some_weight_gradient(inputs, first, last, upstream, out):  # type: ignore[no-untyped-def]
    """Write the product of inputs first..last, transposed, and `upstream`."""
    some = np.empty((inputs.shape[0], last - first), np.float32)
    for b in range(inputs.shape[0]):
        for k in range(first, last):
            some[b, k - first] = inputs[b, k]
    product(some.T, upstream, out)


@njit(forceinline=True, **SUMS)
def _moments(row):  # type: ignore[no-untyped-def]
    """Mean of a row, and one over its SD."""
    total = _f(0.0)
    for h in range(row.shape[0]):
        total += row[h]
    mean = total / _f(row.shape[0])
    square = _f(0.0)
    for h in range(row.shape[0]):
        square += (row[h] - mean) * (row[h] - mean)
    return mean, _f(1.0 / math.sqrt(np.float64(square) / row.shape[0] + EPSILON))


@njit(**OPTIONS)
def hidden_rows(x, vector, place, drawn, left_out, factor, normal, inverse, out):  # type: ignore[no-untyped-def]
    """Write factor · relu(normal · weight + bias) to `out` where the drawn byte is at least `left_out`, else 0.

    `normal` is layer norm(x), `inverse` one over the SD of each row; `out` may be wider than x. The norm's weight and
    bias start at the third and fourth `place`.
    """
    width = x.shape[1]
    weight, bias = vector[place[2] : place[2] + width], vector[place[3] : place[3] + width]
    for b in range(x.shape[0]):
        row, norm, bytes_, result = x[b], normal[b], drawn[b * width : (b + 1) * width], out[b]
        mean, scale = _moments(row)
        inverse[b] = scale
        for h in range(width):
            norm[h] = (row[h] - mean) * scale
        for h in range(width):
            y = (norm[h] * weight[h] + bias[h]) * factor
            # NaN stays NaN, so that a divergence is noticed
            result[h] = NONE if (y <= NONE) | (bytes_[h] < left_out) else y


@njit(**SUMS)
def hidden_rows_gradient(upstream, normal, inverse, vector, place, out, factor, to_x, to_vector):  # type: ignore[no-untyped-def]
    """Gradients of `hidden_rows` to x, weight and bias; `upstream` and `out` may be wider than x."""
    width = normal.shape[1]
    weight = vector[place[2] : place[2] + width]
    to_weight, to_bias = to_vector[place[2] : place[2] + width], to_vector[place[3] : place[3] + width]
    to_weight[:] = NONE
    to_bias[:] = NONE
    for b in range(normal.shape[0]):
        norm, up, result, gradient = normal[b], upstream[b], out[b], to_x[b]
        for h in range(width):
            gradient[h] = up[h] * factor if result[h] != NONE else NONE
        for h in range(width):
            to_bias[h] += gradient[h]
        for h in range(width):
            to_weight[h] += gradient[h] * norm[h]
        for h in range(width):
            gradient[h] *= weight[h]
        total, along = _f(0.0), _f(0.0)
        for h in range(width):
            total += gradient[h]
            along += gradient[h] * norm[h]
        total /= _f(width)
        along /= _f(width)
        scale = inverse[b]
        for h in range(width):
            gradient[h] = scale * (gradient[h] - total - norm[h] * along)


@njit(**OPTIONS)
def draw_rows(head, offset, smallest, eps, sd, slope, z, kl):  # type: ignore[no-untyped-def]
    """Draw z = mean + sd · ε where head holds (mean, raw) and sd = softplus(raw + offset) + smallest.

    z goes to the last columns of `z`; `slope` is the derivative of sd to raw, `kl` the KL to N(0, 1) of each row.
    """
    n_axes = eps.shape[1]
    before = z.shape[1] - n_axes
    for b in range(head.shape[0]):
        row, noise, s, d, at = head[b], eps[b], sd[b], slope[b], z[b]
        for k in range(n_axes):
            raw = row[n_axes + k] + offset
            small = exp32(-abs(raw))
            both = ONE + small
            inverse = ONE / both
            s[k] = (NONE if raw <= NONE else raw) + log1p32(small, both, inverse) + smallest
            d[k] = inverse if raw > NONE else small * inverse
        for k in range(n_axes):
            at[before + k] = row[k] + s[k] * noise[k]
        total = 0.0
        for k in range(n_axes):
            total += HALF * (row[k] * row[k] + s[k] * s[k] - ONE) - log32(s[k])
        kl[b] = total


@njit(**OPTIONS)
def draw_rows_gradient(head, eps, sd, slope, to_z, to_kl, to_head):  # type: ignore[no-untyped-def]
    """Write the gradient of a loss to head, given its gradients `to_z` to z and `to_kl` (one number) to each KL.

    The last columns of `to_z` belong to z.
    """
    n_axes = eps.shape[1]
    before = to_z.shape[1] - n_axes
    for b in range(head.shape[0]):
        row, noise, s, d, up, gradient = head[b], eps[b], sd[b], slope[b], to_z[b], to_head[b]
        for k in range(n_axes):
            gradient[k] = up[before + k] + to_kl * row[k]
        for k in range(n_axes):
            gradient[n_axes + k] = (up[before + k] * noise[k] + to_kl * (s[k] - ONE / s[k])) * d[k]
