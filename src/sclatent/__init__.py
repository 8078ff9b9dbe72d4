"""Counts in, an annotated latent atlas out.

Names follow scanpy: ``import sclatent as sl``, then ``sl.read_counts``, ``sl.pp``, ``sl.CountVAE``, ``sl.tl`` and
``sl.pl``. Nothing heavy is imported before it is used, since Snakemake imports this package in every job.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_ROOMS = ("atlas", "bridge", "data", "io", "model", "pl", "pp", "settings", "tl")
_NAMES = {
    "CountVAE": "sclatent.model",
    "InputError": "sclatent.settings",
    "load_dataset": "sclatent.settings",
    "read_counts": "sclatent.io",
    "simulate": "sclatent.data",
}

__all__ = ["__version__", *_NAMES, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"sclatent.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'sclatent' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
