"""umap without pynndescent, which umap imports at once, and which compiles for 12 s where numba has no cache yet.

Our own search hands umap the neighbours, so that it has nothing to ask of pynndescent.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

_MODULES = ("pynndescent", "pynndescent.distances", "pynndescent.sparse")


def import_umap() -> ModuleType:
    """Return ``umap.umap_``; if this is its first import, pynndescent is imported when something is asked of it.

    A umap or pynndescent that is imported already stays as it is. Afterwards nothing stands in the way of an
    ``import pynndescent``.
    """
    if not {"umap", "pynndescent"} & set(sys.modules):
        modules = {name: _Later(name) for name in _MODULES}
        sys.modules.update(modules)
        try:
            # where another version of umap wants more than a stand-in has, the import below is an ordinary one
            with contextlib.suppress(ImportError):
                importlib.import_module("umap.umap_")
        finally:
            for name in modules:
                sys.modules.pop(name, None)
    return importlib.import_module("umap.umap_")


class _Later(ModuleType):
    """A module that is imported when something is asked of one of its names."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name(self.__name__, name)


class _Name:
    """What a module calls `name`, a class, a function or a dictionary, imported when something is asked of it."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _real(self) -> Any:
        return getattr(importlib.import_module(self._module), self._name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._real())

    def __contains__(self, key: object) -> bool:
        return key in self._real()

    def __getitem__(self, key: Any) -> Any:
        return self._real()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._real())

    def __len__(self) -> int:
        return len(self._real())
