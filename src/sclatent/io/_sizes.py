"""What HDF5 and zarr files declare, held against what they hold, before memory is asked for."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sclatent.data import blocks
from sclatent.data.blocks import CountStore, csr_of, transposed
from sclatent.io._formats.hdf5 import check_attributes, check_texts
from sclatent.io._numbers import plain_floats
from sclatent.settings import InputError

SMALL = 1 << 26
"""Bytes that may be asked for without a question."""
_RATIO = 2000
"""How many times more than it takes on disk an array may hold: gzip packs zeros a thousandfold."""
_TOGETHER = 1 << 29
"""Bytes that the arrays of one group may ask for together without a question."""
_LOOKED_AT = 2000
"""Texts of an array whose length is looked at."""
_SAMPLE = 1_000_000


def check_sizes(node: Any, path: Path) -> None:
    """Stop if an array, or one anywhere in a group, declares far more than the file holds for it.

    Nothing is read but what the file says of itself, and of names a few. An array that lies in another file, and one
    that would have to be unpickled, is refused.

    Raises
    ------
    InputError
        Naming the first such array.
    """
    size = stored = 0
    for array in _arrays(node, path, set()):
        declared, held = _check_array(array, path)
        size, stored = size + declared, stored + held
    if size > _TOGETHER + _RATIO * stored:
        raise InputError(
            f"{path}: {_name(node) or 'what is in it'} declares {size / 1e9:,.0f} GB, which the file does not hold: "
            "it is damaged or cut short: fetch it again"
        )


def keys_of(node: Any) -> list[str]:
    """Return what is in a group; of anything else, such as an array that took its place, nothing."""
    return list(node.keys()) if hasattr(node, "keys") else []


def _name(node: Any) -> str:
    return str(node.name).strip("/")


def _arrays(node: Any, path: Path, seen: set[int]) -> Iterator[Any]:
    """Yield the arrays in a group, each once: links of HDF5 may lead in circles."""
    if hasattr(node, "id"):
        import h5py

        if node.file.filename != str(path):
            raise _elsewhere(path, _name(node), node.file.filename)
        address = int(h5py.h5o.get_info(node.id).addr)
        if address in seen:
            return
        seen.add(address)
        check_attributes(node, path)
        for value in node.attrs.values():
            if isinstance(value, h5py.Reference) and value:  # old files keep the levels of a column elsewhere
                yield from _arrays(node.file[value], path, seen)
    if hasattr(node, "shape"):
        yield node
        return
    for key in keys_of(node):
        if hasattr(node, "id"):
            link = node.get(key, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise _elsewhere(path, f"{_name(node)}/{key}".strip("/"), link.filename)
            if node.get(key) is None:  # a link to nothing
                continue
        yield from _arrays(node[key], path, seen)


def _check_array(node: Any, path: Path) -> tuple[int, int]:
    """Check one array; return how many bytes it declares and how many it takes on disk."""
    if node.shape is None:  # an empty place
        return 0, 0
    stored = _stored(node, path)
    if getattr(node, "external", None):
        raise _elsewhere(path, _name(node), node.external[0][0])
    if getattr(node, "is_virtual", False):
        others = [source.file_name for source in node.virtual_sources() if source.file_name != "."]
        if others:
            raise _elsewhere(path, _name(node), others[0])
        stored = path.stat().st_size
    _check_codecs(node, path)
    item = max(1, node.dtype.itemsize)
    size = math.prod(node.shape) * item
    block = math.prod(getattr(node, "chunks", None) or ()) * item
    what = ""
    if size > SMALL and size > _RATIO * stored:
        what = f"{' × '.join(map(str, node.shape))} values"
    elif block > SMALL and block > _RATIO * max(stored, 1):
        what = f"blocks of {' × '.join(map(str, node.chunks))} values"
    elif hasattr(node, "id") and node.dtype.kind == "O" and node.size:
        _check_lists(node, path)
        check_texts(node, path)
        letters = _letters(node)
        if letters > SMALL + 2 * path.stat().st_size:
            what = f"{letters:,.0f} letters"
    if what:
        raise InputError(
            f"{path}: {_name(node)} declares {what}, which the file does not hold: it is damaged or cut short: "
            "fetch it again"
        )
    return size, stored


def _check_lists(node: Any, path: Path) -> None:
    """Stop at lists of varying length, which no format has: read from a damaged file they can end the process."""
    import h5py

    if not _is_text(node) and h5py.check_vlen_dtype(node.dtype) is not None:
        raise InputError(
            f"{path}: {_name(node)} holds lists of varying length, which are not read: write it again as text or "
            "numbers, one for each place"
        )


def _elsewhere(path: Path, name: str, other: object) -> InputError:
    return InputError(
        f"{path}: {name} is kept in another file ('{other}'), which is not followed: write it into one file"
    )


def _letters(node: Any) -> float:
    """Return about how many letters the texts of an array have: many may stand at one place of the file."""
    at = range(node.size) if node.size <= _LOOKED_AT else sorted(random.sample(range(node.size), _LOOKED_AT))
    shape = node.shape
    longest = sum(len(node[np.unravel_index(i, shape)]) for i in at) if _is_text(node) else 0
    return longest * node.size / len(at)


def _is_text(node: Any) -> bool:
    import h5py

    return h5py.check_string_dtype(node.dtype) is not None


def _check_codecs(node: Any, path: Path) -> None:
    """Stop at a zarr array that is packed in a way of which nobody knows what it does, such as by pickle."""
    about = getattr(node, "metadata", None)
    if about is None:
        return
    packed = [*(about.filters or ()), about.compressor] if about.zarr_format == 2 else about.codecs
    for codec in packed:
        if codec is not None and type(codec).__module__.split(".")[0] not in ("zarr", "numcodecs"):
            raise _unknown(path, node, type(codec).__name__)
        if str(getattr(codec, "codec_id", "")) == "pickle":
            raise _unknown(path, node, "pickle")
    _check_texts(node, path)


def _check_texts(node: Any, path: Path) -> None:
    """Stop if a chunk of texts in a zarr array (version 2) says that it holds more of them than a chunk does.

    What unpacks it would make room for four billion of them, whatever there are.
    """
    about = node.metadata
    if about.zarr_format != 2 or not any(str(f.codec_id).startswith("vlen") for f in about.filters or ()):
        return
    for chunk in (path / str(node.path)).rglob("[0-9]*"):
        if chunk.is_file():
            packed = chunk.read_bytes()
            plain = packed if about.compressor is None else bytes(about.compressor.decode(packed))
            if int.from_bytes(plain[:4], "little") > math.prod(node.chunks):
                raise InputError(f"{path}: {_name(node)}: a chunk of strings is damaged: fetch it again")


def _unknown(path: Path, node: Any, codec: str) -> InputError:
    return InputError(
        f"{path}: {_name(node)} is packed with '{codec}', which could run code: write it again as plain arrays"
    )


def _stored(node: Any, path: Path) -> int:
    """Return how many bytes an array takes on disk."""
    if hasattr(node, "id"):
        return int(node.id.get_storage_size())
    folder = path / str(node.path)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def check_chunks(array: Any, path: Path, what: str) -> None:
    """Stop if files of a zarr array are not there, which zarr takes for zeros and empty names: the copy broke off.

    For arrays that cannot be zero all over a chunk: names, and the parts of a sparse matrix.

    Raises
    ------
    InputError
        With the number of chunks that are there.
    """
    there, all_ = getattr(array, "nchunks_initialized", 0), getattr(array, "nchunks", 0)
    if there < all_:
        raise InputError(
            f"{path}: of {what} {there} of {all_} chunks are there: the store was not copied completely: fetch it again"
        )


def read_sparse(group: Any, shape: tuple[int, int], by: str, path: Path, where: str) -> Any:
    """Return the matrix that a group holds as ``data``, ``indices`` and ``indptr``, as CSR, in the file's type.

    Parameters
    ----------
    shape
        (rows, columns) of the matrix.
    by
        ``csr`` or ``csc``.

    Raises
    ------
    InputError
        If the three arrays do not fit each other or the shape.
    """
    check_sizes(group, path)
    major, minor = shape if by == "csr" else shape[::-1]
    data, indices, indptr = (group[name] for name in ("data", "indices", "indptr"))
    if any(len(array.shape) != 1 for array in (data, indices, indptr)):
        raise _misfit(path, where, "data, indices and indptr must be lists of numbers")
    if indptr.shape[0] != major + 1:
        raise _misfit(path, where, f"indptr has {indptr.shape[0]} entries, expected {major + 1}")
    for name, array in (("data", data), ("indices", indices), ("indptr", indptr)):
        check_chunks(array, path, f"{where} ({name})")
    if data.shape != indices.shape:
        raise _misfit(path, where, f"there are {data.shape[0]} values and {indices.shape[0]} indices")
    ends = plain_floats(np.asarray(indptr[:]), path)
    if ends[0] != 0 or ends[-1] != data.shape[0] or (np.diff(ends.astype(np.int64)) < 0).any():
        raise _misfit(path, where, f"indptr does not go from 0 to the {data.shape[0]} values in steps that only rise")
    store = CountStore(minor, in_memory=None if indices.size * 8 <= blocks.IN_MEMORY else 0)
    for rows in _stretches(ends.astype(np.int64)):
        part = slice(int(ends[rows.start]), int(ends[rows.stop]))
        at = plain_floats(np.asarray(indices[part]), path)
        if at.size and (at.min() < 0 or at.max() >= minor):
            raise _misfit(
                path, where, f"there is an index {at.min() if at.min() < 0 else at.max()}, expected 0 to {minor - 1}"
            )
        values = plain_floats(np.asarray(data[part]), path)
        offsets = ends[rows.start : rows.stop + 1].astype(np.int64) - part.start
        store.append(csr_of(values, at.astype(np.int32, copy=False), offsets, minor))
    matrix = store.matrix()
    return matrix if by == "csr" else transposed(matrix)


def _stretches(ends: np.ndarray) -> Iterator[slice]:
    """Yield stretches of rows of some million values."""
    start = 0
    while start < len(ends) - 1:
        stop = int(np.searchsorted(ends, ends[start] + blocks.BLOCK, side="right")) - 1
        yield slice(start, start := max(start + 1, stop))


def _misfit(path: Path, where: str, what: str) -> InputError:
    return InputError(f"{path}: {where} is not a valid sparse matrix: {what}: the file is damaged: fetch it again")


def first_values(node: Any, path: Path) -> np.ndarray:
    """Return about the first million values of a matrix on disk, dense or sparse; none if it is no sound one."""
    try:
        check_sizes(node, path)
    except InputError:
        return np.zeros(0)
    if hasattr(node, "shape"):
        if len(node.shape) != 2 or node.shape[1] > _SAMPLE:
            return np.zeros(0)
        return plain_floats(np.asarray(node[: max(1, _SAMPLE // max(1, node.shape[1]))]).ravel(), path)
    return plain_floats(np.asarray(node["data"][:_SAMPLE]), path) if "data" in node else np.zeros(0)
