"""Files from the network, and the checksums of all files that have one."""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
from pathlib import Path
from typing import Any

from sclatent.settings import InputError

log = logging.getLogger(__name__)

LARGEST = 1 << 40
"""Bytes of a download; no single file of counts is as large."""
_SPARE = 1 << 28
"""Bytes that a download leaves free on the disk."""
_SECONDS = 60
"""A server that is silent for so long is given up."""


def fetch(path: str | Path, *, url: str | None = None, sha256: str | None = None) -> Path:
    """Return `path`, downloaded first if it is not there, and checked against `sha256` if one is given.

    A download that breaks off or has another checksum leaves nothing behind.

    Parameters
    ----------
    path
        Where the file is, or is to be.
    url
        Where it is downloaded from if it is not there.
    sha256
        Checksum of the file, in hexadecimal.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If the file is missing and there is no `url`, if the download fails, or if the checksum differs.
    """
    path = Path(path)
    if not path.exists():
        if url is None:
            raise InputError(f"{path}: no such file")
        _download(path, url, sha256)
        return path
    if sha256 is not None:
        if path.is_dir():
            raise InputError(f"{path}: is a folder: `sha256` is for a single file; remove it or name a file")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256.lower():
            raise InputError(
                f"{path}: checksum mismatch: expected sha256 {sha256.lower()}, found {found}: "
                f"the file is damaged or another version{'; remove it to have it fetched again' if url else ''}"
            )
    return path


def _download(path: Path, url: str, sha256: str | None) -> None:
    import pooch

    log.info("%s: fetching %s", path, url)
    if not url.startswith(("https://", "http://")):
        raise InputError(f"{path}: cannot fetch {url}: only https:// and http:// are fetched from")

    def downloader(url: str, output_file: str, mover: Any) -> None:
        with Path(output_file).open("wb") as file:
            # a file-like object is written to chunk by chunk, so that a stream without an end is noticed
            pooch.HTTPDownloader(timeout=_SECONDS)(url, _Limited(file, path, url), mover)

    try:
        pooch.get_logger().setLevel(logging.WARNING)
        known = f"sha256:{sha256}" if sha256 else None
        # it comes under another name, which becomes `path` once the checksum is right
        pooch.retrieve(url, known_hash=known, fname=path.name, path=path.parent, downloader=downloader)
    except InputError:
        raise
    except ValueError as error:
        if "hash" in str(error).lower():
            raise InputError(
                f"{path}: checksum mismatch: what {url} holds is not the file with sha256 {sha256}"
            ) from error
        raise InputError(f"{path}: cannot fetch {url}: {error}") from error
    except OSError as error:  # requests' exceptions are OSErrors
        raise InputError(f"{path}: cannot fetch {url}: {error}") from error


class _Limited(io.RawIOBase):
    """A file that takes no more than a download may be, and leaves room on the disk."""

    def __init__(self, file: io.BufferedWriter, path: Path, url: str) -> None:
        self.file, self.path, self.url = file, path, url
        self.room = min(LARGEST, shutil.disk_usage(path.parent).free - _SPARE)

    def write(self, data: Any) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise InputError(
                f"{self.path}: cannot fetch {self.url}: it is larger than the free space on the disk, or than "
                f"{LARGEST >> 40} TB: free some space, or fetch it yourself"
            )
        return self.file.write(data)
