"""Files from the network, and the checksums of all files that have one."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from sclatent.settings import InputError

log = logging.getLogger(__name__)


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
    try:
        pooch.get_logger().setLevel(logging.WARNING)
        pooch.retrieve(url, known_hash=f"sha256:{sha256}" if sha256 else None, fname=path.name, path=path.parent)
    except ValueError as error:
        if "hash" in str(error).lower():
            raise InputError(
                f"{path}: checksum mismatch: what {url} holds is not the file with sha256 {sha256}"
            ) from error
        raise InputError(f"{path}: cannot fetch {url}: {error}") from error
    except OSError as error:  # requests' exceptions are OSErrors
        raise InputError(f"{path}: cannot fetch {url}: {error}") from error
