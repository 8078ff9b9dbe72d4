"""What HDF5 and zarr files declare, held against what they hold, before memory is asked for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from sclatent.io._numbers import plain_floats
from sclatent.settings import InputError

SMALL = 1 << 26
"""Bytes that may be asked for without a question."""
_RATIO = 2000
"""How many times more than it takes on disk an array may hold: gzip packs zeros a thousandfold."""
_SAMPLE = 1_000_000


def check_sizes(node: Any, path: Path) -> None:
    """Stop if an array, or one anywhere in a group, declares far more than the file holds for it.

    Raises
    ------
    InputError
        Naming the first such array.
    """
    if not hasattr(node, "shape"):
        for key in list(node.keys()) if hasattr(node, "keys") else ():
            check_sizes(node[key], path)
        return
    if node.shape is None:  # an empty place
        return
    size = math.prod(node.shape) * max(1, node.dtype.itemsize)
    if size <= SMALL or getattr(node, "is_virtual", False) or getattr(node, "external", None):
        return
    if size > _RATIO * _stored(node, path):
        raise InputError(
            f"{path}: {str(node.name).strip('/')} declares {' × '.join(map(str, node.shape))} values, which the file "
            "does not hold: it is damaged or cut short: fetch it again"
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
    """Return the CSR or CSC matrix that a group holds as ``data``, ``indices`` and ``indptr``.

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
    at = plain_floats(np.asarray(indices[:]), path)
    if at.size and (at.min() < 0 or at.max() >= minor):
        raise _misfit(
            path, where, f"there is an index {at.min() if at.min() < 0 else at.max()}, expected 0 to {minor - 1}"
        )
    form = sparse.csr_matrix if by == "csr" else sparse.csc_matrix
    return form((plain_floats(np.asarray(data[:]), path), at, ends), shape=shape)


def _misfit(path: Path, where: str, what: str) -> InputError:
    return InputError(f"{path}: {where} is no sound sparse matrix: {what}: the file is damaged: fetch it again")


def first_values(node: Any, path: Path) -> np.ndarray:
    """Return about the first million values of a matrix on disk, dense or sparse; none if it is no matrix."""
    if hasattr(node, "shape"):
        if len(node.shape) != 2 or node.shape[1] > _SAMPLE:
            return np.zeros(0)
        return plain_floats(np.asarray(node[: max(1, _SAMPLE // max(1, node.shape[1]))]).ravel(), path)
    return plain_floats(np.asarray(node["data"][:_SAMPLE]), path) if "data" in node else np.zeros(0)
