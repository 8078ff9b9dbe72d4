"""Names of cells in one piece of memory: those of a million take 20 MB, and as Python's strings 110."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray, ExtensionDtype, register_extension_dtype

from sclatent.data.blocks.dense import stretches

LONGEST = 64
"""Bytes of the longest name that is packed: each takes as much memory as the longest."""
MANY = 10_000
"""Names that are worth packing while a file is read."""


@register_extension_dtype
class NamesDtype(ExtensionDtype):
    """The type of `Names`: text, to pandas and anndata."""

    name = "sclatent.names"
    type = str
    kind = "U"

    @classmethod
    def construct_array_type(cls) -> builtins.type[Names]:
        """Return the class of arrays of this type."""
        return Names

    @property
    def index_class(self) -> builtins.type[NamesIndex]:
        """The class of an index of this type."""
        return NamesIndex


class Names(ExtensionArray):
    """Texts of at most `LONGEST` bytes, none of them missing, as an array that cannot be written to.

    A table may have them as its index, where they are text like any other; ``np.asarray`` makes Python's strings of
    them.

    Parameters
    ----------
    packed
        (n,) type ``S``: the texts in UTF-8.
    """

    def __init__(self, packed: np.ndarray) -> None:
        self.packed = packed.view()
        self.packed.flags.writeable = False

    @classmethod
    def _from_sequence(cls, scalars: Iterable[Any], *, dtype: Any = None, copy: bool = False) -> Names:
        if isinstance(scalars, Names):
            return scalars
        return cls(np.array([str(text).encode() for text in scalars], dtype=np.bytes_))

    @classmethod
    def _from_factorized(cls, values: np.ndarray, original: Names) -> Names:
        return cls._from_sequence(values)

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[Names]) -> Names:
        return cls(np.concatenate([names.packed for names in to_concat]))

    @property
    def dtype(self) -> NamesDtype:
        """The type."""
        return NamesDtype()

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.packed.nbytes

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, item: Any) -> Any:
        item = pd.api.indexers.check_array_indexer(self, item)
        if isinstance(item, np.ndarray) and item.dtype == bool and item.all():
            return self  # anndata asks in this way for the names that are not missing
        found = self.packed[item]
        return found.decode() if isinstance(found, bytes) else Names(found)

    def __eq__(self, other: object) -> Any:
        if isinstance(other, Names):
            return self.packed == other.packed
        if isinstance(other, pd.Index | pd.Series | pd.DataFrame):
            return NotImplemented
        return np.asarray(self) == np.asarray(other)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        out = np.empty(len(self), dtype=object)
        for part in stretches(len(self)):
            out[part] = [text.decode() for text in self.packed[part].tolist()]
        return out if dtype is None else out.astype(dtype, copy=False)

    def _values_for_argsort(self) -> np.ndarray:
        return self.packed  # UTF-8 sorts as the letters do

    def copy(self) -> Names:
        """Return the same: it cannot be written to."""
        return self

    def equals(self, other: object) -> bool:
        """Tell whether `other` holds the same names, packed or not."""
        if not isinstance(other, Names):
            return bool(np.array_equal(np.asarray(self), np.asarray(other)))
        same = other.packed.shape == self.packed.shape and other.packed.ctypes.data == self.packed.ctypes.data
        return same or bool(np.array_equal(self.packed, other.packed))

    @functools.cached_property
    def unique_names(self) -> bool:
        """Whether no name is there twice."""
        if (self.packed[1:] > self.packed[:-1]).all():
            return True
        order = np.sort(self.packed)
        return not bool((order[1:] == order[:-1]).any())

    def isna(self) -> np.ndarray:
        """Return (n,) False: no name is missing."""
        return np.zeros(len(self), dtype=bool)

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> Names:
        """Return the names at these positions."""
        at = np.asarray(indices, dtype=np.intp)
        if allow_fill and (at < 0).any():
            raise ValueError("no name may be missing")
        return Names(self.packed[at])


class NamesIndex(pd.Index):
    """An index of `Names`.

    What anndata and pandas ask of every index, such as whether a name is there twice, makes no table of all names here,
    which would take several times the memory of these.
    """

    @property
    def text(self) -> Names:
        """The names."""
        return cast(Names, self.array)

    @property
    def str(self) -> Any:  # type: ignore[override]
        """Functions of text, such as ``str.upper``, which give an index of strings."""
        return pd.Index(np.asarray(self), dtype=object).str

    @property
    def is_unique(self) -> bool:
        """Whether no name is there twice."""
        return self.text.unique_names

    def equals(self, other: Any) -> bool:
        """Tell whether `other` is an index of the same names, packed or not."""
        return self.is_(other) or (isinstance(other, pd.Index) and self.text.equals(other.array))

    def __contains__(self, key: Any) -> bool:
        hash(key)
        return isinstance(key, builtins.str) and bool((self.text.packed == key.encode()).any())

    def _get_engine_target(self) -> np.ndarray:
        return np.asarray(self)  # to look up many names pandas makes a table of strings, as for any other index


def pack(names: pd.Index) -> pd.Index:
    """Return names as a `NamesIndex` where there are `MANY`, all of them texts that it can hold; else as they are."""
    if len(names) < MANY or names.inferred_type != "string" or names.hasnans:
        return names
    texts, out = names.to_numpy(), np.empty(len(names), dtype="S1")
    for part in stretches(len(texts)):
        stretch = [text.encode() for text in texts[part]]
        if max(map(len, stretch)) > LONGEST or any(text.endswith(b"\0") for text in stretch):
            return names
        new = np.array(stretch, dtype=np.bytes_)
        out = out.astype(max(out.dtype, new.dtype), copy=False)
        out[part] = new
    return NamesIndex(Names(out))
