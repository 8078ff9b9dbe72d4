"""Memory and time of a job, from the size of its input and the attempt."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def memory(base_mb: int, per_input_mb: float) -> Callable[..., int]:
    """Return a function for ``resources: mem_mb``: `base_mb` + `per_input_mb` × input size, half more per retry.

    Parameters
    ----------
    base_mb
        Megabytes for the interpreter and the libraries.
    per_input_mb
        Megabytes for each megabyte on disk; count files are compressed about fivefold.

    Returns
    -------
    callable
        Of wildcards, input and attempt; returns megabytes.
    """

    def mem_mb(wildcards: Any, input: Any, attempt: int) -> int:
        return math.ceil((base_mb + per_input_mb * input.size_mb) * 1.5 ** (attempt - 1))

    return mem_mb


def minutes(base: int, per_input_mb: float = 0.0) -> Callable[..., int]:
    """Return a function for ``resources: runtime`` in minutes, doubled with each retry.

    Parameters
    ----------
    base
        Minutes of a small job.
    per_input_mb
        Minutes for each megabyte of input.

    Returns
    -------
    callable
        Of wildcards, input and attempt; returns minutes.
    """

    def runtime(wildcards: Any, input: Any, attempt: int) -> int:
        return math.ceil((base + per_input_mb * input.size_mb) * 2 ** (attempt - 1))

    return runtime


def training_threads(asked: Mapping[str, Any], default: int) -> int:
    """Return the threads of one training: what `--set-threads` or a profile says for the rule `train`, or `default`.

    Snakemake cuts a rule's `threads` down to `--cores`. The number of threads decides the last bits of a model, so
    training uses the number asked for on any machine.

    Parameters
    ----------
    asked
        Threads by rule; inside a module the rule may be called ``something_train``.
    default
        If nothing is said.

    Returns
    -------
    int
        Number of threads.
    """
    for rule, threads in asked.items():
        if rule == "train" or rule.endswith("_train"):
            return int(getattr(threads, "raw", threads))
    return default
