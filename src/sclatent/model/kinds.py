"""What implements which kind of likelihood, latent, decoder or objective."""

from __future__ import annotations

from typing import Any, TypeVar

from sclatent.settings.kinds.parts import KindSettings, name_of
from sclatent.settings.kinds.registry import Registry

T = TypeVar("T", bound=type[Any])


class Kinds(Registry[T]):
    """Implementations by the name of their kind, side by side with the settings of the kinds.

    Parameters
    ----------
    settings
        The kinds that the dataset file knows; a kind that is registered here is known there too.
    """

    def __init__(self, settings: Registry[type[KindSettings]]) -> None:
        super().__init__(settings.key)
        self.settings = settings

    def register(self, implementation: T) -> T:
        """Make a class known under the kind of its ``settings``, a decorator.

        Raises
        ------
        ValueError
            The kind is taken.
        """
        kind = name_of(implementation.settings)
        if kind not in self.settings or self.settings[kind] is not implementation.settings:
            self.settings.add(kind, implementation.settings)
        self.add(kind, implementation)
        return implementation

    def remove(self, kind: str) -> None:
        """Forget `kind` and its settings."""
        super().remove(kind)
        self.settings.remove(kind)
