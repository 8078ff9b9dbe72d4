"""The one exception that a user's mistake raises."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """A mistake in what the user gave: one line that names the place, what was found and what to do.

    Stages print it as the last line of the rule's log, without a traceback; every other exception is a
    programming error and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest known word, or an empty string.

    Parameters
    ----------
    word
        What the user wrote.
    known
        The words that are right.

    Returns
    -------
    str
        The hint, with a space before it; empty if no word is close.
    """
    known = list(known)
    by_lower = {k.lower(): k for k in known}
    close = get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    return f" (did you mean '{by_lower[close[0]]}'?)" if close else ""
