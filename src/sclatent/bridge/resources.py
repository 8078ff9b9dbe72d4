"""Memory and time of a job, from the size of its input and the attempt."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

_AS_LARGE_AS = {"atlas.h5ad": "prepared.h5ad", "prepared.h5ad": "counts.h5ad", "model_counts.h5ad": "counts.h5ad"}
"""Files that may not be there yet when a group of jobs is submitted, and what is there by then."""
_OF_ZARR = (".zgroup", ".zattrs", ".zmetadata", "zarr.json")


def memory(
    base_mb: int,
    per_input_mb: float | Callable[[Any], float],
    processes: Callable[[Any], int] = lambda wildcards: 1,
) -> Callable[..., int]:
    """Return a function for ``resources: mem_mb``: `base_mb` + `per_input_mb` × input size, half more per retry.

    Parameters
    ----------
    base_mb
        Megabytes for the interpreter and the libraries.
    per_input_mb
        Megabytes for each megabyte on disk (count files are compressed about fivefold), a number or one of wildcards.
    processes
        Of wildcards, how many processes the job has, each of which takes the base; what they read they share.

    Returns
    -------
    callable
        Of wildcards, input and attempt; returns megabytes.
    """

    def mem_mb(wildcards: Any, input: Any, attempt: int) -> int:
        slope = per_input_mb(wildcards) if callable(per_input_mb) else per_input_mb
        whole = base_mb * processes(wildcards) + slope * megabytes(input)
        return math.ceil(whole * 1.5 ** (attempt - 1))

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
        return math.ceil((base + per_input_mb * megabytes(input)) * 2 ** (attempt - 1))

    return runtime


def megabytes(files: Iterable[str]) -> float:
    """Return the size of the input files of a job.

    In a group, what the first job writes is not there when all are submitted: the atlas counts as large as the prepared
    counts that it will hold, other files as nothing. Of a zarr store the rules know the files at its top alone; here
    all below counts.
    """
    return sum(map(_bytes, sorted({_whole(Path(file)) for file in files}))) / 1e6


def _whole(path: Path) -> Path:
    return path.parent if path.name in _OF_ZARR else path


def _bytes(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if path.exists():
        return path.stat().st_size
    other = _AS_LARGE_AS.get(path.name)
    if other is None:
        return 0
    # the atlas of a model lies one folder below
    found = next((folder / other for folder in list(path.parents)[:2] if (folder / other).exists()), None)
    return _bytes(path.parent / other) if found is None else _bytes(found)


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


def for_each(resource: Any, devices: Callable[[Any], int]) -> Any:
    """Return a resource of Snakemake that is asked for so many times.

    A profile says what one training asks for each of its devices (``gpu: 1``), and does not know how many there are.

    Parameters
    ----------
    resource
        Of a rule, as a profile or the command line left it: a number, or an expression that gives one.
    devices
        Of wildcards, how many devices the job has.

    Returns
    -------
    Resource
        Its number for all devices; what is no number stays.
    """

    def of_all(wildcards: Any, **more: Any) -> Any:
        one = resource.evaluate(wildcards, **more).value
        return one * devices(wildcards) if isinstance(one, int) else one

    return type(resource)(resource.name, of_all, raw=resource.raw)
