"""What a compiled step works on: where parameters start, the buffers that stay, the counts of a batch, numbers."""

from __future__ import annotations

from typing import Any, NamedTuple


class Places(NamedTuple):
    """Where the parameters start. Of a network: one row per layer, of its weights, bias, and the norm's two."""

    encoder: Any
    decoder: Any
    head: Any  # weights, bias
    last: Any  # weights, bias, covariates, log θ


class Ends(NamedTuple):
    """Posterior and last layer: see `layers.draw_rows`; ``seen`` are the units of the network, then z."""

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
    by_theta: Any  # gradients summed over `grain` cells at a time, which does not depend on the number of threads
    sums: Any
    zeros: Any  # as many as a hidden layer has units


class Counts(NamedTuple):
    """The counts of a batch: `values`, their logs, and those by gene."""

    n_genes: Any
    library: Any
    total: Any
    log_factorial: Any
    offsets: Any
    columns: Any
    values: Any
    logs: Any
    by_gene: Any
    dense: Any  # the logs, zeros included, where so few are 0 that a dense product is faster; else no rows
    design: Any


class Rates(NamedTuple):
    """Numbers: see `hidden_rows` and `draw_rows`; `share` is the factor on the decoder's network.

    Threads share the cells, and the inputs of the last layer, by multiples of `grain`: see `compiled.grain`.
    """

    left_out: Any
    factor: Any
    share: Any
    offset: Any
    smallest: Any
    log_theta: Any
    grain: Any
    kl_weight: Any
