"""Heaps of texts in HDF5 files: a damaged one can make the HDF5 library search without an end."""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sclatent.settings import InputError

_MARK = b"GCOL\x01\x00\x00\x00"
"""How a heap begins: its name, version 1 and three zeros."""
_HEADER = 16
"""Bytes of the header of a heap, and of each object in it."""
WINDOW = 1 << 22
"""Bytes of the file that are looked at at once."""
_TEXT = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])
"""What stands for a text in an array: the library makes room for its length before it looks for it."""


def check_heaps(path: Path) -> None:
    """Stop at a heap with free space of no size, or with an object that reaches beyond it, wherever it lies.

    The library walks from object to object by their sizes, so it never gets past the former. The file is read once from
    end to end, at the speed of the disk.

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
            for done in range(0, n - n % _TEXT.itemsize, WINDOW):
                seen = os.pread(file.fileno(), min(WINDOW, n - done), start + done)
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
        # free space counts its own header, and something may follow it; texts are padded to eight bytes
        if number == 0 and length == 0:
            return True
        place += length if number == 0 else _HEADER + (length + 7) // 8 * 8
    return place > end  # of such a size the library may go back instead of on
