"""Share the rows of a batch among as many threads as PyTorch uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import pairwise

import torch

_threads: ContextVar[int | None] = ContextVar("_threads", default=None)


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    # PyTorch's operations on a stretch stay on its thread
    return ThreadPoolExecutor(workers, "sclatent", initializer=torch.set_num_threads, initargs=(1,))


@contextmanager
def only_shared() -> Iterator[None]:
    """Within it, PyTorch's operations use one thread each and only `share` uses the others.

    To wake the threads takes as long as a small operation does, and PyTorch wakes its own for every one.
    """
    threads = torch.get_num_threads()
    token = _threads.set(threads)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _threads.reset(token)


def share(n: int, work: Callable[[int, int], object]) -> None:
    """Call ``work(first, last)`` on stretches that cover range(n), one per thread.

    The compiled kernels and PyTorch's operations release the interpreter's lock, so the stretches run at the same time.
    """
    threads = min(_threads.get() or torch.get_num_threads(), max(n, 1))
    if threads == 1:
        work(0, n)
        return
    bounds = [n * i // threads for i in range(threads + 1)]
    others = [_pool(threads - 1).submit(work, a, b) for a, b in pairwise(bounds[1:])]
    work(bounds[0], bounds[1])
    for other in others:
        other.result()
