"""Compiled functions that others call by their address."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numba import float64, int64, njit
from numba.core.errors import TypingError
from numba.core.registry import CPUDispatcher

from sclatent.model.fused import layers, step
from sclatent.model.kernels import barrier, compile_once, likelihood_rows, nb_terms, sparse_rows, vector_math
from sclatent.model.kernels.compile_once import once, ready
from sclatent.model.training import optimizer

MODULES = (sparse_rows, likelihood_rows, layers, nb_terms, step, barrier, vector_math, optimizer)


@njit
def _fill(first, values):  # type: ignore[no-untyped-def]
    if first > len(values):
        raise ValueError("no such place")
    for i in range(first, len(values)):
        values[i] += i


_fill_once = once(_fill, int64, float64[::1])


@njit
def _twice(values):  # type: ignore[no-untyped-def]
    _fill_once(1, values)
    _fill_once(2, values)


def test_called_by_address() -> None:
    ready()
    values = np.zeros(4)
    _twice(values)
    assert values.tolist() == [0, 1, 4, 6]
    _fill(0, values)
    assert values.tolist() == [0, 2, 6, 9]
    text = _twice.inspect_llvm((float64[::1],))
    assert re.search(r"^declare .*_fill", text, re.MULTILINE)  # and its code is elsewhere
    assert not re.search(r"^define .*_fill", text, re.MULTILINE)


def test_what_it_raises_is_raised() -> None:
    ready()
    with pytest.raises(ValueError, match="no such place"):
        _twice(np.zeros(0))


def test_arguments_of_other_types_are_refused() -> None:
    """What is called believes that they are what it was compiled for."""

    @njit
    def wrong(values):  # type: ignore[no-untyped-def]
        _fill_once(0, values)

    for values in (np.zeros(3, np.float32), np.zeros((3, 2))[:, 0], np.zeros((3, 2))):
        with pytest.raises(TypingError):
            wrong(values)


def test_the_name_is_the_same_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers that come from the cache look for it."""
    names = []
    for others in ({}, {"another": (_fill, ())}):
        monkeypatch.setattr(compile_once, "_waiting", others)
        once(_fill, int64, float64[::1])
        names.append(list(others)[-1])
    assert names[0] == names[1]


def test_no_two_copies_of_a_sum_in_any_order() -> None:
    """They would round differently, and which one runs would depend on what the cache holds."""
    functions = [f for module in MODULES for f in vars(module).values() if isinstance(f, CPUDispatcher)]
    free = {f for f in functions if "reassoc" in f.targetoptions["fastmath"]}
    assert layers.sum_rows in free
    shared = {f for f in free if not f.targetoptions.get("forceinline")}
    for function in functions:
        names = function.py_func.__code__.co_names
        called = {f for name in names if isinstance(f := function.py_func.__globals__.get(name), CPUDispatcher)}
        assert not called & shared, function
