"""A job that dies by a signal cannot say so itself: another process has to outlive it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def guard(log: str, name: str) -> None:
    """Go on in a child process, while this one waits for it, hands signals on, and writes how it died into `log`.

    The waiting process starts anew as a bare interpreter, so that it takes 10 MB and none of the job's threads. Call
    this before anything heavy is imported, and only where the process is the job and nothing else.

    Parameters
    ----------
    log
        The job's log.
    name
        What to call the job.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    job = os.fork()
    if job == 0:
        _end_with(parent)
        return
    watcher = str(Path(__file__).with_name("watcher.py"))
    os.execv(sys.executable, [sys.executable, "-I", "-S", watcher, str(job), log, name])


def _end_with(parent: int) -> None:
    """Get a signal when the waiting process is killed: no other process would send one (Linux only)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
