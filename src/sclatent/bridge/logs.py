"""The log of a job: all that is printed goes to its file, and our own warnings to the terminal as well."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from sclatent.settings.errors import printable


@contextlib.contextmanager
def into(path: str, job: str) -> Iterator[int]:
    """Send standard output and error, down to the file descriptors, to a file.

    Parameters
    ----------
    path
        The log.
    job
        What warnings on the terminal begin with, where the lines of many jobs stand among one another.

    Yields
    ------
    int
        A descriptor of the terminal.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Printable("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    root = logging.getLogger()
    previous, level = root.handlers[:], root.level
    root.handlers[:] = [handler, _Terminal(saved[1], job)]
    root.setLevel(logging.WARNING)
    logging.getLogger("sclatent").setLevel(logging.INFO)
    logging.captureWarnings(True)
    with Path(path).open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable(file=2)
    try:
        yield saved[1]
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        faulthandler.disable()
        logging.captureWarnings(False)
        root.handlers[:] = previous
        root.setLevel(level)
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for descriptor in saved:
            os.close(descriptor)


class _Printable(logging.Formatter):
    """Writes a name of the user's as it is shown: it neither moves a terminal's cursor nor makes a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        first, *more = super().format(record).split("\n")
        return "\n".join([printable(first), *(f"    {printable(line)}" for line in more)])

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.levelno >= logging.WARNING:
            record.message = f"warning: {record.message}"
        return super().formatMessage(record)


class _Terminal(logging.Handler):
    """Writes what this package warns of to the terminal: nobody opens the log of a job that ended well."""

    def __init__(self, descriptor: int, job: str) -> None:
        super().__init__(logging.WARNING)
        self._descriptor = descriptor
        self.setFormatter(_Printable(f"{job.replace('%', '%%')}: %(message)s"))
        self.addFilter(logging.Filter("sclatent"))

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # a terminal that was closed
            os.write(self._descriptor, f"{self.format(record)}\n".encode())
