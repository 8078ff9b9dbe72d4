"""Heaps of texts in HDF5 files: a damaged one can make the HDF5 library search without an end."""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from sclatent.settings import InputError

_MARK = b"GCOL\x01\x00\x00\x00"
"""How a heap begins: its name, version 1 and three zeros."""
_HEADER = 16
"""Bytes of the header of a heap, and of each object in it."""
WINDOW = 1 << 22
"""Bytes of the file that are looked at at once."""


def check_heaps(path: Path) -> None:
    """Stop at a heap with free space of no size, wherever in the file it lies.

    The library walks from object to object by their sizes, so it never gets past such an object. The file is read once
    from end to end, at the speed of the disk.

    Raises
    ------
    InputError
        If there is such a heap.
    """
    if not path.is_file():
        return
    about = path.stat()
    at = _damaged(path, about.st_size, about.st_mtime_ns)
    if at is not None:
        raise InputError(
            f"{path}: a heap of texts at byte {at:,} is damaged: fetch the file again, or write it again from "
            "its source"
        )


@functools.lru_cache(maxsize=64)
def _damaged(path: Path, size: int, changed: int) -> int | None:
    """Return where the first damaged heap is; readers ask several times of a file that has not `changed`."""
    with path.open("rb") as file:
        return next((at for at in _heaps(file.fileno(), size) if _is_damaged(file.fileno(), size, at)), None)


def _heaps(file: int, size: int) -> Iterator[int]:
    """Yield where heaps begin."""
    for start in range(0, size, WINDOW):
        seen = os.pread(file, WINDOW + len(_MARK) - 1, start)
        at = seen.find(_MARK)
        while at >= 0:
            yield start + at
            at = seen.find(_MARK, at + len(_MARK))


def _is_damaged(file: int, size: int, at: int) -> bool:
    """Walk through the objects of the heap at byte `at`."""
    header = os.pread(file, _HEADER, at)
    end = at + struct.unpack_from("<Q", header, 8)[0] if len(header) == _HEADER else 0
    if end > size:
        return False  # cut short, which the library says itself
    start, seen, place = at, b"", at + _HEADER
    while place + _HEADER <= end:
        if place + _HEADER > start + len(seen):
            start, seen = place, os.pread(file, min(WINDOW, end - place), place)
            if len(seen) < _HEADER:
                return False
        number, length = struct.unpack_from("<H6xQ", seen, place - start)
        # free space counts its own header, and is the last; texts are padded to eight bytes
        if number == 0:
            return bool(length == 0)
        place += _HEADER + (length + 7) // 8 * 8
    return False  # an object that reaches beyond it is an error of the library's own
