"""The state of an interrupted training: one file, no pickled objects, useless to any other training."""

from __future__ import annotations

import hashlib
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sclatent
from sclatent.model.data import CountData
from sclatent.model.saving import whole

log = logging.getLogger("sclatent")

LAYOUT = 4
"""Raised when what `Run.state` holds changes, so that the state of an earlier version is not taken up."""


def key_of(data: CountData, *what: object) -> str:
    """Return a hash of the data, of the versions of this package and of PyTorch, and of whatever else is given."""
    digest = hashlib.blake2b(digest_size=20)
    digest.update(repr((LAYOUT, sclatent.__version__, torch.__version__, data.source.shape)).encode())
    of_modalities = [
        item
        for name, other in data.others.items()
        for item in (name, other.source.fingerprint(), other.library, other.measured)
    ]
    of_cells = (data.source.fingerprint(), data.library, data.categorical, data.continuous)
    measured = () if data.measured is None else (data.measured,)
    for item in (*of_cells, *measured, *of_modalities, *what):
        if isinstance(item, np.ndarray):
            digest.update(repr((item.dtype.str, item.shape)).encode())
            digest.update(np.ascontiguousarray(item).view(np.uint8).data)
        else:
            digest.update(repr(item).encode())
    return digest.hexdigest()


def write(path: Path, state: dict[str, Any]) -> None:
    """Write the state beside `path`, then rename, so that a kill leaves the last whole one.

    Where there is no room for it, nothing is left, and the training goes on: it could not be resumed, that is all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole(path) as half:
            torch.save(state, half)
    except (OSError, RuntimeError) as error:  # PyTorch's writer raises the latter on a full disk
        log.warning(
            "%s: cannot be written (%s): the training goes on, but cannot be resumed if it is interrupted",
            path,
            _first(error),
        )


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def read(path: Path, key: str) -> dict[str, Any] | None:
    """Return the state at `path` if it belongs to the training `key`; anything else is ignored with one line."""
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError):
        log.warning("%s: not a readable checkpoint: training starts from the beginning", path)
        return None
    if not isinstance(state, dict) or state.get("key") != key:
        log.warning("%s: a checkpoint of other data, settings or versions: training starts from the beginning", path)
        return None
    return state
