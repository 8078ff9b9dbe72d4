"""Share the rows of a batch among as many threads as PyTorch uses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  (loads the BLAS)
import torch
from threadpoolctl import ThreadpoolController

MOST = 8
"""Threads of a team: among more of them a step of some hundred cells leaves each too little to do."""
Given = TypeVar("Given")
Made = TypeVar("Made")
_threads: ContextVar[int | None] = ContextVar("_threads", default=None)
_alone = threading.local()
_in_turn = threading.Lock()
_limits: list[Any] = []


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "sclatent")


def _submit(threads: int, work: Callable[..., Made], *given: object) -> Future[Made]:
    """Let another thread do ``work(*given)``."""
    if _threads.get() is None:
        return _pool(threads - 1).submit(work, *given)

    def alone() -> Made:
        # Once for each thread. It would be the default of all threads to come as well, but that is 1 here already.
        if not getattr(_alone, "set", False):
            torch.set_num_threads(1)
            _alone.set = True
        return work(*given)

    return _pool(threads - 1).submit(alone)


def _available() -> int:
    return _threads.get() or torch.get_num_threads()


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within it, the BLAS that compiled functions call uses none of the threads that it has."""
    with _in_turn:
        _limits.append(_libraries().limit(limits=1))
    try:
        yield
    finally:
        with _in_turn:
            # other threads may be inside it too: the last one to leave restores what the first one found
            if len(_limits) == 1:
                _limits[0].restore_original_limits()
                _limits.clear()
            else:
                _limits.pop()


@contextmanager
def only_shared() -> Iterator[None]:
    """Within it, operations of PyTorch and BLAS use one thread each and only `share` uses the others.

    To wake the threads takes as long as a small operation does, and PyTorch wakes its own for every one.
    """
    threads = torch.get_num_threads()
    token = _threads.set(threads)
    torch.set_num_threads(1)
    try:
        with one_blas_thread():
            yield
    finally:
        torch.set_num_threads(threads)
        _threads.reset(token)


def share(n: int, work: Callable[[int, int], object]) -> None:
    """Call ``work(first, last)`` on stretches that cover range(n), one per thread.

    The compiled kernels and PyTorch's operations release the interpreter's lock, so the stretches run at the same time.
    """
    threads = min(_available(), max(n, 1))
    stretches = list(pairwise(n * i // threads for i in range(threads + 1)))
    others = [_submit(threads, work, *stretch) for stretch in stretches[1:]]
    try:
        work(*stretches[0])
    finally:  # no thread writes any more once this has returned
        wait(others)
    for other in others:
        other.result()


def together(work: Callable[..., object], *given: object) -> None:
    """Call ``work(part, threads, counter, *given)`` in every thread at once; in it they meet at `counter`, at first 0.

    `work` is compiled and must not raise, or the threads at the barrier would wait for ever.
    """
    threads, counter = min(_available(), MOST), np.zeros(1, np.int64)
    others: list[Future[object]] = []
    try:
        with _in_turn:  # all parts of one call stand in the queue before those of another, which so cannot block them
            for part in range(1, threads):
                others.append(_submit(_available(), work, part, threads, counter, *given))
        work(0, threads, counter, *given)
    except BaseException:  # an interrupt in between: no thread waits for one that never starts
        counter[0] = np.iinfo(np.int64).max // 2
        raise
    finally:
        wait(others)
    for other in others:
        other.result()


def ahead(work: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[Made]:
    """Yield ``work(item)`` of each item in turn; another thread makes the next one while the last is in use."""
    threads = _available()
    if threads == 1:
        yield from map(work, items)
        return
    under_way: Future[Made] | None = None
    try:
        for item in items:
            ready, under_way = under_way, _submit(threads, work, item)
            if ready is not None:
                yield ready.result()
        if under_way is not None:
            yield under_way.result()
    finally:  # after an error too no work is left running
        if under_way is not None:
            wait([under_way])
