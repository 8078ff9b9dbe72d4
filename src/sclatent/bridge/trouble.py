"""What a job says of a disk that takes nothing more, and of an attempt that ended without a message."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from sclatent.settings import InputError

_DISK = {
    errno.ENOSPC: ("No space left on device", "the disk is full, or that of scratch files (TMPDIR): free some space"),
    errno.EDQUOT: ("Disk quota exceeded", "your quota is used up: free some space"),
    errno.EFBIG: ("File too large", "the file reached the size limit (ulimit -f): raise it"),
    errno.EROFS: ("Read-only file system", "the folder is read-only: use another folder, or mount it writable"),
    errno.EACCES: ("Permission denied", "you may not write there: ask the owner, or use another folder"),
    errno.EPERM: ("Operation not permitted", "you may not write there: ask the owner, or use another folder"),
    errno.ESTALE: ("Stale file handle", "the network file system lost it: check that it is mounted"),
    errno.EIO: ("Input/output error", "the disk or the network file system failed: check it"),
}
_LEAST = 1 << 16
"""Bytes free on a disk that is not full."""


def about_disk(error: BaseException, folder: Path) -> str:
    """Return what is wrong with the disk if an error comes of it, and what to do; else nothing.

    HDF5 and PyTorch hand on the number of the system's error in words, or not at all: then what is free decides.

    Parameters
    ----------
    error
        What was raised; its causes are looked at too.
    folder
        Where the job writes.
    """
    seen: BaseException | None = error
    while seen is not None:
        for number, (words, said) in _DISK.items():
            if words in str(seen) or getattr(seen, "errno", None) == number:
                return _cannot(folder, said)
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, OSError | RuntimeError) and _full(folder):
        return _cannot(folder, _DISK[errno.ENOSPC][1])
    return ""


def _cannot(folder: Path, said: str) -> str:
    return f"{folder} cannot be written: {said}, and run again: no partial files were left"


def check_room(folder: Path) -> None:
    """Stop if nothing can be written to the folder that Snakemake works in: its own files come before any job.

    Parameters
    ----------
    folder
        The working folder.

    Raises
    ------
    InputError
        If it is full, or may not be written to.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_LEAST))
    except OSError as error:
        line = about_disk(error, folder) or _cannot(folder, f"{error.strerror or error}: check the disk")
        raise InputError(line) from error


def _full(folder: Path) -> bool:
    there = next((place for place in (folder, *folder.parents) if place.exists()), Path())
    with contextlib.suppress(OSError):
        room = os.statvfs(there)
        return room.f_bavail * room.f_frsize < _LEAST
    return False


@contextlib.contextmanager
def mark_of(log: str | Path) -> Iterator[str]:
    """Keep a mark beside the log while a job runs; yield a line if the attempt before it left its own.

    A kill of a whole process group, as of a cluster's at its end, or a machine that goes down, leaves nobody to say so.

    Raises
    ------
    InputError
        If that attempt is still at work on this machine.
    """
    mark = Path(log).with_name(f".{Path(log).name}.running")
    line = ""
    host, process, born, started = _read(mark)
    if born and born == _born(process) and process != os.getpid():
        since = f"process {process}, since {started}"
        raise AtWork(f"{log}: another run is working on this job ({since}): wait for it, or stop it")
    if started:
        line = (
            f"the attempt before this one, of {started} on {host}, ended without a message: it was killed with all its "
            "processes, for example for too much memory or time, or the machine went down"
        )
    me = (socket.gethostname(), str(os.getpid()), _born(os.getpid()), time.strftime("%F %T"))
    with contextlib.suppress(OSError):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text("\t".join(me), encoding="utf-8")
    try:
        yield line
    finally:
        with contextlib.suppress(OSError):
            mark.unlink(missing_ok=True)


class AtWork(InputError):
    """Another run is at the same job."""


def _read(mark: Path) -> tuple[str, int, str, str]:
    """Return host, process, its birth and the time of a mark; nothing and 0 if there is none."""
    with contextlib.suppress(OSError, ValueError):
        host, process, born, started = mark.read_text(encoding="utf-8").split("\t")
        return host, int(process), born, started
    return "", 0, "", ""


def _born(process: int) -> str:
    """Return when a process of this machine began, and since which start of the machine; nothing if it is not there.

    Numbers of processes are given again, and other machines have the same ones.
    """
    with contextlib.suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        state, *fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        # one that has ended stays as a zombie until its parent asks for it
        return "" if state in "ZX" else f"{boot} {fields[18]}"
    return ""


def remove_scratch(outputs: Iterable[str]) -> None:
    """Remove what `sclatent.data.atomic` had begun beside these files when a job was killed: no other writes them."""
    for output in map(Path, outputs):
        for left in output.parent.glob(f".{glob.escape(output.name)}.????????"):
            shutil.rmtree(left, ignore_errors=True)
