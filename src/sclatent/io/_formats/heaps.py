"""Heaps of texts in HDF5 files: a damaged one can make the HDF5 library search without an end."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from sclatent.settings import InputError

_MARK = b"GCOL\x01\x00\x00\x00"
"""How a heap begins: its name, version 1 and three zeros."""
_HEADER = 16
"""Bytes of the header of a heap, and of each object in it."""
LARGEST = 1 << 28
"""Bytes of a file that are searched for heaps."""


def check_heaps(path: Path) -> None:
    """Stop at a heap with free space of no size.

    The library walks from object to object by their sizes, so it never gets past such an object.

    Raises
    ------
    InputError
        If there is one in the first 256 MB of the file.
    """
    if not path.is_file() or path.stat().st_size < _HEADER:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(_MARK, 0, LARGEST)
        while at >= 0:
            if _is_damaged(data, at):
                raise InputError(
                    f"{path}: a heap of texts at byte {at:,} is damaged: fetch the file again, or write it again from "
                    "its source"
                )
            at = data.find(_MARK, at + len(_MARK), LARGEST)


def _is_damaged(data: mmap.mmap, at: int) -> bool:
    """Walk through the objects of the heap at byte `at`."""
    size = struct.unpack_from("<Q", data, at + 8)[0] if at + _HEADER <= len(data) else 0
    end, place = at + size, at + _HEADER
    if end > len(data):
        return False  # cut short, which the library says itself
    while place + _HEADER <= end:
        number, length = struct.unpack_from("<H6xQ", data, place)
        # free space counts its own header, and is the last; texts are padded to eight bytes
        if number == 0:
            return bool(length == 0)
        place += _HEADER + (length + 7) // 8 * 8
    return False  # an object that reaches beyond it is an error of the library's own
