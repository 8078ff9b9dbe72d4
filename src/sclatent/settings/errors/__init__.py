"""The one exception that a user's mistake raises."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class InputError(ValueError):
    """A mistake in what the user gave: one line that names the place, what was found and what to do.

    Stages print it as the last line of the rule's log, without a traceback; every other exception is a
    programming error and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_shown(" ".join(message.split())))


_LONGEST = 2000
"""Signs of a line: a name in a file may be a million."""


def _shown(line: str) -> str:
    """Return a line that a terminal shows as it is: other signs, which could move its cursor, as their code."""
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST - 600]} […] {line[-500:]}"
    return printable(line)


def printable(text: str) -> str:
    r"""Return text with a code such as ``\x1b`` for every sign that is not shown or steers what shows it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def check_file(path: str | Path) -> None:
    """Stop if `path` is a pipe, a device or a socket, which may be read for ever; a file, a folder or nothing passes.

    Raises
    ------
    InputError
        If there is something else at `path`.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path}: is a pipe or a device, not a file: give the path of a file")


def check_path(path: str, where: str) -> None:
    """Stop at a path that Snakemake would not take as a name.

    It takes braces for wildcards, and hands the names of input files to shells of a cluster, where `$(…)` would run.

    Parameters
    ----------
    path
        What stands in the dataset file.
    where
        File and key, for the message.

    Raises
    ------
    InputError
        Beginning with `where`.
    """
    if "{" in path or "}" in path:
        raise InputError(f"{where}: Snakemake takes braces for wildcards: rename the file")
    odd = next((sign for sign in path if sign in "$`\"'\\" or not sign.isprintable()), None)
    if odd is not None:
        raise InputError(f"{where}: holds {odd!r}, which a shell of a cluster does not take as a name: rename it")


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return `` (did you mean 'x'?)`` for the closest known word, or an empty string.

    Parameters
    ----------
    word
        What the user wrote.
    known
        The words that are right.
    cutoff
        How close a word must be, from 0 to 1.

    Returns
    -------
    str
        The hint, with a space before it; empty if no word is close.
    """
    known = list(known)
    by_lower = {k.lower(): k for k in known}
    close = get_close_matches(word.lower(), list(by_lower), n=1, cutoff=cutoff)
    return f" (did you mean '{by_lower[close[0]]}'?)" if close else ""
