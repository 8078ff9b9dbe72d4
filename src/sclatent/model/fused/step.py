"""One step of the default model in one compiled call, which all threads make together.

`compiled.CompiledStep` makes the buffers, `buffers` describes them. Parameters are slices of one vector; `places` holds
the start of each.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float32, float64, int64, njit, uint8

from sclatent.model.fused import layers
from sclatent.model.fused.layers import matrix
from sclatent.model.kernels import barrier, likelihood_rows, sparse_rows
from sclatent.model.kernels.barrier import stretch
from sclatent.model.kernels.compile_once import once
from sclatent.model.kernels.vector_math import OPTIONS
from sclatent.model.training import optimizer

_f = np.float32
NONE = _f(0.0)
FRAME = {**OPTIONS, "_nrt": False}
"""For functions that allocate no arrays: without reference counting they compile five times faster."""

_vector, _rows, _transposed = float32[::1], float32[:, ::1], float32[::1, :]
_many, _double, _place = int64[::1], float64[::1], int64[::1]
_likelihood = (int64, int64, int64, _rows, _vector, _many, _many, _vector, _vector, _double, float32)
meet = once(barrier.meet, _many, int64, int64)
sparse_product = once(sparse_rows.sparse_product, int64, int64, _many, _many, _vector, _rows, _vector, _rows)
product = once(layers.product, _rows, _rows, _rows)
product_by_transposed = once(layers.product, _rows, _transposed, _rows)
product_of_transposed = once(layers.product, _transposed, _rows, _rows)
add_product = once(layers.add_product, _rows, _rows, _rows)
add_bias = once(layers.add_bias, _rows, _vector)
sum_rows = once(layers.sum_rows, _rows, int64, _vector)
dense = once(layers.dense, _rows, _vector, _place, _rows)
weight_gradient = once(layers.weight_gradient, _rows, _rows, _vector, int64)
input_gradient = once(layers.input_gradient, _rows, _vector, int64, _rows)
some_weight_gradient = once(layers.some_weight_gradient, _rows, int64, int64, _rows, _rows)
hidden_rows = once(layers.hidden_rows, _rows, _vector, _place, uint8[::1], int64, float32, _rows, _vector, _rows)
hidden_rows_gradient = once(
    layers.hidden_rows_gradient, _rows, _rows, _vector, _vector, _place, _rows, float32, _rows, _vector
)
draw_rows = once(layers.draw_rows, _rows, float32, float32, _rows, _rows, _rows, _rows, _vector)
draw_rows_gradient = once(layers.draw_rows_gradient, _rows, _rows, _rows, _rows, _rows, float32, _rows)
nb_rows = once(likelihood_rows.nb_rows, *_likelihood, _rows, _rows, int64, _rows)
poisson_rows = once(likelihood_rows.poisson_rows, *_likelihood)
add_squares = once(optimizer.add_squares, int64, int64, _vector, _double)
move = once(optimizer.move, int64, int64, _vector, _vector, _vector, _vector, _many, _rows, float32)


@njit(inline="always", **FRAME)
def _forward(values, places, encoder, decoder, ends, counts, rates):  # type: ignore[no-untyped-def]
    """Compute everything from the counts to the input of the last layer."""
    n, width = encoder.x.shape[1:]
    first = places.encoder[0]
    weight, bias = matrix(values, first[0], counts.n_genes, width), values[first[1] : first[1] + width]
    if len(counts.dense):
        product(counts.dense, weight, encoder.x[0])
        add_bias(encoder.x[0], bias)
    else:
        sparse_product(0, n, counts.offsets, counts.columns, counts.logs, weight, bias, encoder.x[0])
    for i in range(len(places.encoder)):
        if i:
            dense(encoder.out[i - 1], values, places.encoder[i], encoder.x[i])
        _hidden(encoder, i, values, places.encoder, rates, rates.factor, encoder.out[i])
    dense(encoder.out[-1], values, places.head, ends.head)
    draw_rows(ends.head, rates.offset, rates.smallest, ends.eps, ends.sd, ends.slope, ends.seen, ends.kl)
    n_axes, last = ends.eps.shape[1], len(places.decoder) - 1
    for b in range(n):
        for k in range(n_axes):
            ends.inputs[b, k] = ends.seen[b, width + k]
        for k in range(counts.design.shape[1]):
            ends.inputs[b, n_axes + k] = counts.design[b, k]
    inputs = ends.inputs
    for i in range(last + 1):
        dense(inputs, values, places.decoder[i], decoder.x[i])
        if i < last:
            inputs = decoder.out[i]
            _hidden(decoder, i, values, places.decoder, rates, rates.factor, inputs)
    _hidden(decoder, last, values, places.decoder, rates, rates.factor * rates.share, ends.seen)
    low, high = rates.log_theta
    theta, inverse = ends.theta
    for g in range(len(theta)):
        theta[g] = math.exp(min(max(np.float64(values[places.last[3] + g]), low), high))
        inverse[g] = _f(1.0) / theta[g]


@njit(inline="always", **FRAME)
def _hidden(network, i, values, places, rates, factor, out):  # type: ignore[no-untyped-def]
    made = (network.normal[i], network.inverse[i], out)
    hidden_rows(network.x[i], values, places[i], network.drawn[i], rates.left_out, factor, *made)


@njit(inline="always", **FRAME)
def _hidden_gradient(network, i, upstream, values, gradient, places, factor, out):  # type: ignore[no-untyped-def]
    """Write the gradients of the norm, and to ``network.to_x`` that of x."""
    made = (network.normal[i], network.inverse[i], values, places[i], out)
    hidden_rows_gradient(upstream, *made, factor, network.to_x, gradient)


@njit(inline="always", **FRAME)
def _dense_gradient(inputs, upstream, gradient, place):  # type: ignore[no-untyped-def]
    """Write the gradient of `dense` to its weights and bias."""
    weight_gradient(inputs, upstream, gradient, place[0])
    sum_rows(upstream, 0, gradient[place[1] : place[1] + upstream.shape[1]])


@njit(inline="always", **FRAME)
def _cells(first, last, values, places, ends, counts, grain):  # type: ignore[no-untyped-def]
    """Write log p of the cells first..last, and the gradient of −log p / n to logits, θ and the last layer's input."""
    n, n_out = ends.logits.shape
    some, design = ends.logits[first:last], counts.design
    weight = matrix(values, places.last[0], ends.seen.shape[1], n_out)
    product(ends.seen[first:last], weight, some)
    add_bias(some, values[places.last[1] : places.last[1] + n_out])
    if design.shape[1]:
        add_product(design[first:last], matrix(values, places.last[2], design.shape[1], n_out), some)
    sparse = (counts.offsets, counts.columns, counts.values, counts.total)
    kernel = (counts.n_genes, ends.logits, counts.library, *sparse, ends.log_prob, _f(-1.0 / n))
    if ends.theta.shape[1]:
        nb_rows(first, last, *kernel, ends.theta[:1], ends.theta[1:], grain, ends.by_theta)
    else:
        poisson_rows(first, last, *kernel)
    product_by_transposed(some, weight.T, ends.to_seen[first:last])


@njit(inline="always", **FRAME)
def _last_gradient(first, last, gradient, places, ends, counts):  # type: ignore[no-untyped-def]
    """Write the gradient of the last layer for its inputs first..last, and a share of its other gradients."""
    n_in, n_out, design = ends.seen.shape[1], ends.logits.shape[1], counts.design
    if first < last:
        to_weight = matrix(gradient, places.last[0], n_in, n_out)
        some_weight_gradient(ends.seen, first, last, ends.logits, to_weight[first:last])
        start, stop = first * n_out // n_in, last * n_out // n_in
        sum_rows(ends.logits, start, gradient[places.last[1] + start : places.last[1] + stop])
        if first == 0 and design.shape[1]:
            product_of_transposed(design.T, ends.logits, matrix(gradient, places.last[2], design.shape[1], n_out))


@njit(inline="always", **FRAME)
def _backward(values, gradient, places, encoder, decoder, ends, counts, rates):  # type: ignore[no-untyped-def]
    """Write the gradients of all layers below the last, and that of θ."""
    (n, width), n_axes = encoder.x.shape[1:], ends.eps.shape[1]
    last = len(places.decoder) - 1
    upstream, factor, out = ends.to_seen, rates.factor * rates.share, ends.seen
    for i in range(last, 0, -1):
        _hidden_gradient(decoder, i, upstream, values, gradient, places.decoder, factor, out)
        upstream, factor, out = decoder.to_out, rates.factor, decoder.out[i - 1]
        _dense_gradient(out, decoder.to_x, gradient, places.decoder[i])
        input_gradient(decoder.to_x, values, places.decoder[i, 0], upstream)
    _hidden_gradient(decoder, 0, upstream, values, gradient, places.decoder, factor, out)
    _dense_gradient(ends.inputs, decoder.to_x, gradient, places.decoder[0])
    input_gradient(decoder.to_x, values, places.decoder[0, 0], ends.to_inputs)
    for b in range(n):
        for k in range(n_axes):
            ends.to_seen[b, width + k] += ends.to_inputs[b, k]

    to_kl = _f(rates.kl_weight / n)
    draw_rows_gradient(ends.head, ends.eps, ends.sd, ends.slope, ends.to_seen, to_kl, ends.to_head)
    upstream, place = ends.to_head, places.head
    for i in range(len(places.encoder) - 1, -1, -1):
        _dense_gradient(encoder.out[i], upstream, gradient, place)
        input_gradient(upstream, values, place[0], encoder.to_out)
        place, upstream = places.encoder[i], encoder.to_x
        _hidden_gradient(encoder, i, encoder.to_out, values, gradient, places.encoder, rates.factor, encoder.out[i])
    sum_rows(upstream, 0, gradient[place[1] : place[1] + width])
    to_first = matrix(gradient, place[0], counts.n_genes, width)
    if len(counts.dense):
        product_of_transposed(counts.dense.T, upstream, to_first)
    else:
        sparse_product(0, counts.n_genes, *counts.by_gene, upstream, ends.zeros, to_first)

    low, high = rates.log_theta
    for g in range(ends.theta.shape[1]):
        log_theta, total = values[places.last[3] + g], NONE
        for piece in range(len(ends.by_theta)):
            total += ends.by_theta[piece, g]
        inside = (log_theta >= low) & (log_theta <= high)
        gradient[places.last[3] + g] = total * ends.theta[0, g] * _f(-1.0 / n) if inside else NONE


@njit(**FRAME)
def _grains(n, grain, part, parts):  # type: ignore[no-untyped-def]
    """Divide as `stretch` does, at multiples of `grain`."""
    first, last = stretch((n + grain - 1) // grain, part, parts)
    return min(first * grain, n), min(last * grain, n)


@njit(**FRAME)
def step(part, threads, team, values, gradient, places, encoder, decoder, ends, counts, rates, mover):  # type: ignore[no-untyped-def]
    """Do the share of thread `part` in a step; every thread must call it. `mover` comes from `optimizer.AdamW`.

    Each sum is computed by one thread, so the bytes do not depend on the number of threads.
    """
    n, n_in = ends.seen.shape
    if part == 0:  # alone, because fetching the weights that other threads changed would take as long
        _forward(values, places, encoder, decoder, ends, counts, rates)
    meet(team, threads, 1)
    # between the last layer's input and its gradient, cells are independent of one another
    first, last = _grains(n, rates.grain, part, threads)
    _cells(first, last, values, places, ends, counts, rates.grain)
    meet(team, threads, 2)
    if part == 0:
        _backward(values, gradient, places, encoder, decoder, ends, counts, rates)
        ends.sums[:] = 0.0
        for b in range(n):
            ends.sums[0] += ends.log_prob[b] - counts.log_factorial[b]
            ends.sums[1] += ends.kl[b]
    # the thread that computed the lower layers gets a quarter of the others' share of the last layer
    quarters = 4 * threads - 3
    first, _ = _grains(n_in, rates.grain, max(4 * part - 3, 0), quarters)
    _, last = _grains(n_in, rates.grain, 4 * part, quarters)
    _last_gradient(first, last, gradient, places, ends, counts)
    meet(team, threads, 3)
    first, last = stretch(len(mover.squares), part, threads)
    add_squares(first, last, gradient, mover.squares)
    meet(team, threads, 4)
    scale = optimizer.scale_of(mover.squares, mover.largest)
    move(first, last, values, gradient, mover.mean, mover.square, mover.ends, mover.numbers, scale)
