"""Tables of kinds: an unknown kind is one clear line, never another kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from sclatent.settings.errors import InputError, did_you_mean

T = TypeVar("T")


def unknown_kind(key: str, kind: object, known: Iterable[str]) -> InputError:
    """Return the one line that says that the setting `key` has no such kind."""
    known = list(known)
    return InputError(f"{key}: no kind '{kind}'{did_you_mean(str(kind), known)}: known: {', '.join(known)}")


class Registry(Generic[T]):
    """What is known under which kind.

    Parameters
    ----------
    key
        The setting whose kinds these are, such as ``likelihood``.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self._known: dict[str, T] = {}

    def add(self, kind: str, thing: T) -> None:
        """Make `thing` known as `kind`.

        Raises
        ------
        ValueError
            The kind is taken: nothing is replaced without a word.
        """
        if kind in self._known:
            raise ValueError(f"{self.key}: '{kind}' is taken by {self._known[kind]!r}: choose another name")
        self._known[kind] = thing

    def remove(self, kind: str) -> None:
        """Forget `kind`."""
        del self._known[kind]

    def __getitem__(self, kind: str) -> T:
        """Return what is known as `kind`.

        Raises
        ------
        InputError
            There is no such kind.
        """
        if kind not in self._known:
            raise unknown_kind(self.key, kind, self._known)
        return self._known[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __contains__(self, kind: object) -> bool:
        return kind in self._known
