"""Files that appear whole or not at all, and files of arrays that are read back."""

from __future__ import annotations

import contextlib
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sclatent.settings import InputError

if TYPE_CHECKING:
    import numpy as np


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    r"""Yield a path to write to beside `path`; it takes the place of `path` when the block ends well.

    If the block raises, what was written is removed and a file that stood at `path` before is as it was. Missing
    folders are made. The scratch file keeps the endings of `path`, since writers choose formats and compression by
    them.

    Parameters
    ----------
    path
        The file or folder that is to appear whole or not at all.

    Yields
    ------
    Path
        The scratch path, in the same folder.

    Examples
    --------
    >>> with atomic("results/table.tsv") as scratch:  # doctest: +SKIP
    ...     table.to_csv(scratch, sep="\t")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        scratch = Path(folder) / path.name
        yield scratch
        scratch.replace(path)


def read_arrays(path: str | Path, what: str, needed: str) -> dict[str, np.ndarray]:
    """Read the arrays of an ``.npz`` file.

    Parameters
    ----------
    path
        The file.
    what
        What it should hold, for messages.
    needed
        Name of an array that such a file has.

    Raises
    ------
    InputError
        If there is no such file, or it is another.
    """
    import numpy as np

    if not Path(path).is_file():
        raise InputError(f"{path}: no such file: {what} is expected here")
    try:
        with np.load(path) as file:
            arrays = dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:  # the last: of .npy
        raise InputError(f"{path}: cannot be read as {what}: it is damaged, or another file") from error
    if needed not in arrays:
        raise InputError(f"{path}: is not {what}: it holds {', '.join(arrays) or 'nothing'}")
    return arrays
