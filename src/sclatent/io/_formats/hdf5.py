"""Opening HDF5 files: what would keep or end the process is looked for before it is read."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sclatent.io._counts import parsing
from sclatent.io._formats import hdf5_walk
from sclatent.settings import InputError

_SECONDS, _BYTES_PER_SECOND = 5, 10_000_000
"""CPU that a walk through a file may take: a sound one takes less than a tenth of it."""
_WINDOW = 1 << 22
"""Bytes of an array of texts that are looked at at once."""
_TEXT = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])
"""What stands for a text in an array: the library makes room for its length before it looks for it."""
_ENDLESS = (signal.SIGXCPU,)
_CRASHED = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)

_one_at_a_time = threading.Lock()

log = logging.getLogger(__name__)


@contextlib.contextmanager
def open_hdf5(path: Path, what: str) -> Iterator[Any]:
    """Open a file for reading; whatever a parser raises in the block becomes one line that names the file.

    Parameters
    ----------
    path
        The file.
    what
        The format, as the line calls it.

    Yields
    ------
    h5py.File
    """
    import h5py

    check_walk(path)
    with parsing(path, what), h5py.File(path, "r") as file:
        yield file


def check_walk(path: Path) -> None:
    """Stop at a file through which the HDF5 library cannot walk without a crash or an endless search.

    Another process walks through it first (`sclatent.io._formats.hdf5_walk`).

    Raises
    ------
    InputError
        Naming the place.
    """
    if not path.is_file():
        return
    about = path.stat()
    trouble = _walked(path, about.st_size, about.st_mtime_ns)
    if trouble:
        raise InputError(f"{path}: {trouble}: the file is damaged: fetch it again, or write it again from its source")


@functools.lru_cache(maxsize=64)
def _walked(path: Path, size: int, changed: int) -> str:
    """Return what is wrong, if anything; readers ask several times of a file that has not `changed`."""
    ended, place = _walk(path, _SECONDS + size // _BYTES_PER_SECOND)
    place = place.strip("/") or "the file"
    if ended == hdf5_walk.UNLISTED:
        return f"HDF5 cannot list what is in {place}"
    if -ended in _ENDLESS:
        return f"HDF5 does not come to an end with {place}"
    return f"HDF5 crashes when it reads {place}" if -ended in _CRASHED else ""


def _walk(path: Path, seconds: int) -> tuple[int, str]:
    """Let the program walk through a file; return how that ended, and where."""
    with _one_at_a_time:
        for _ in range(2):  # the program may end as it is asked
            try:
                walker = _program(os.getpid())
            except OSError as error:  # a Python that is part of another program has none to start
                log.info("%s: read without a first walk through it: %s", path, error)
                break
            place = ""
            with contextlib.suppress(OSError):
                walker.stdin.write(f"{seconds} {os.fsencode(path.absolute()).hex()}\n".encode())
                walker.stdin.flush()
                for line in walker.stdout:
                    if line.startswith(b"\0"):
                        return int(line[1:]), place
                    place = line.decode().rstrip("\n")
            _program.cache_clear()
    return 0, ""


@functools.lru_cache(maxsize=1)
def _program(owner: int) -> Any:
    """Start the program that walks through files; a process that was forked from the `owner` starts its own."""
    return subprocess.Popen(
        [sys.executable, "-P", hdf5_walk.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def check_attributes(node: Any, path: Path) -> None:
    """Stop at an attribute that holds lists of bytes: a damaged text, which ends the process when it is read.

    Asked of what is about to be read, not of all that is in the file: a damaged group can end the process as well. A
    node of a zarr store has no such attributes.

    Raises
    ------
    InputError
        If there is such an attribute.
    """
    if not hasattr(node, "id"):
        return
    import h5py

    for key in node.attrs:
        kind = node.attrs.get_id(key).get_type()
        if isinstance(kind, h5py.h5t.TypeVlenID) and kind.get_super().get_size() == 1:
            name = str(node.name).strip("/") or "the file"
            raise InputError(f"{path}: the attribute '{key}' of {name} is damaged: fetch the file again")


def check_texts(array: Any, path: Path) -> None:
    """Stop if a text of an HDF5 array claims to be longer than the file.

    Of packed arrays nothing is looked at: what was damaged there cannot be unpacked.

    Raises
    ------
    InputError
        If there is such a text.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        for start, n in _stretches(array):
            for done in range(0, n - n % _TEXT.itemsize, _WINDOW):
                seen = os.pread(file.fileno(), min(_WINDOW, n - done), start + done)
                texts = np.frombuffer(seen[: len(seen) - len(seen) % _TEXT.itemsize], _TEXT)
                if (texts["length"] > size).any():
                    name = str(array.name).strip("/")
                    raise InputError(f"{path}: a text of {name} is damaged: fetch the file again")


def _stretches(array: Any) -> Iterator[tuple[int, int]]:
    """Yield place and length of what lies in the file as it is."""
    if array.chunks is None:
        if array.id.get_offset() is not None:
            yield array.id.get_offset(), array.id.get_storage_size()
    elif array.id.get_create_plist().get_nfilters() == 0:
        for i in range(array.id.get_num_chunks()):
            chunk = array.id.get_chunk_info(i)
            yield chunk.byte_offset, chunk.size
