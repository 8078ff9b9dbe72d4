"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path


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
