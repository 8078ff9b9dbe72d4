"""Opening HDF5 files: what would keep or end the process is looked for before it is read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sclatent.io._counts import parsing
from sclatent.io._formats.heaps import check_heaps
from sclatent.settings import InputError


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

    check_heaps(path)
    with parsing(path, what), h5py.File(path, "r") as file:
        yield file


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
