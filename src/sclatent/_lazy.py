"""Public names that are imported when they are first used (PEP 562)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from sclatent._collector import rare_collections


def attach(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], list[str]]:
    """Return the module-level ``__getattr__`` and ``__all__`` of a package with public `names` in private modules.

    Parameters
    ----------
    package
        Name of the package, its ``__name__``.
    names
        Public name → the module that holds it, relative to the package.
    """

    def getattribute(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        with rare_collections():
            module = importlib.import_module(f"{package}.{names[name]}")
        return getattr(module, name)

    return getattribute, sorted(names)
