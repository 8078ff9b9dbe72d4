"""HDF5 files that are written to their end, or whose trouble is said once."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class _Sink(io.FileIO):
    """A file that remembers the first error of the system and takes what comes after it for written.

    HDF5 cannot close a file on a full disk: it tries again as the interpreter ends, and crashes it.
    """

    trouble: OSError | None = None

    def write(self, data: Any) -> int:
        return self._tried(super().write, data) or len(data)

    def truncate(self, size: int | None = None) -> int:
        return self._tried(super().truncate, size) or (size or 0)

    def flush(self) -> None:
        self._tried(super().flush)

    def _tried(self, do: Any, *arguments: Any) -> Any:
        if self.trouble is None:
            try:
                return do(*arguments)
            except OSError as error:
                self.trouble = OSError(error.errno, error.strerror, str(self.name))
        return None


@contextlib.contextmanager
def created(path: str | Path) -> Iterator[Any]:
    """Yield a new HDF5 file at `path`, closed at the end.

    Raises
    ------
    OSError
        If it could not be written to its end: the disk is full, say.
    """
    import h5py

    with _Sink(str(path), "w+b") as sink:
        try:
            with h5py.File(sink, "w") as file:
                yield file
        except Exception as error:
            if sink.trouble is not None:
                raise sink.trouble from error
            raise
        if sink.trouble is not None:
            raise sink.trouble
