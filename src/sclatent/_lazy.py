"""Public names that are imported when they are first used (PEP 562)."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


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


@contextmanager
def rare_collections() -> Iterator[None]:
    """Within it, Python looks for cyclic garbage ten times less often than usual.

    An import or a figure makes so many objects that the search takes about a tenth of its time. It is not for work on
    large arrays, which garbage could hold on to for longer.
    """
    usual = gc.get_threshold()
    gc.set_threshold(10 * usual[0], *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
