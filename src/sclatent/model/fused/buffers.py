"""Arguments of the compiled step: offsets of parameters, preallocated buffers, the counts of a batch, constants."""

from __future__ import annotations

from typing import Any, NamedTuple


class Places(NamedTuple):
    """Where parameters start in the vector. Networks have a row per layer: weights, bias, and two of the norm."""

    encoder: Any
    decoder: Any
    head: Any  # weights, bias
    last: Any  # weights, bias, covariates, log θ


class Ends(NamedTuple):
    """Buffers of posterior (`layers.draw_rows`) and last layer, whose input ``seen`` is the network's units, then z."""

    head: Any
    to_head: Any
    eps: Any
    sd: Any
    slope: Any
    kl: Any
    inputs: Any  # of the decoder's first layer: z and the covariates
    to_inputs: Any
    seen: Any
    to_seen: Any
    logits: Any
    log_prob: Any
    theta: Any  # θ and 1 / θ (2 × genes); no genes under a Poisson likelihood
    by_theta: Any  # gradient of θ, summed over `grain` cells at a time: independent of the number of threads
    sums: Any
    zeros: Any  # one per hidden unit


class Counts(NamedTuple):
    """The counts of a batch: ``values``, ``logs`` = log(1 + values), and the logs by gene."""

    n_genes: Any
    library: Any
    total: Any
    log_factorial: Any
    offsets: Any
    columns: Any
    values: Any
    logs: Any
    by_gene: Any
    dense: Any  # the logs as a dense matrix if so few are 0 that a dense product is faster; otherwise without rows
    design: Any


class Rates(NamedTuple):
    """Constants of `hidden_rows` and `draw_rows`; ``share`` is the factor of the decoder's network.

    Cells, and inputs of the last layer, are divided among threads in multiples of ``grain``: see `compiled.grain`.
    """

    left_out: Any
    factor: Any
    share: Any
    offset: Any
    smallest: Any
    log_theta: Any
    grain: Any
    kl_weight: Any
