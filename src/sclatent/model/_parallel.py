"""Share the rows of a batch among as many threads as PyTorch uses."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import torch


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="sclatent")


def share(n: int, work: Callable[[int, int], object]) -> None:
    """Call ``work(first, last)`` on stretches that cover range(n), one per thread.

    The compiled kernels release the interpreter's lock, so the stretches run at the same time.
    """
    threads = min(torch.get_num_threads(), max(n, 1))
    if threads == 1:
        work(0, n)
        return
    bounds = [n * i // threads for i in range(threads + 1)]
    others = [_pool(threads - 1).submit(work, a, b) for a, b in pairwise(bounds[1:])]
    work(bounds[0], bounds[1])
    for other in others:
        other.result()
