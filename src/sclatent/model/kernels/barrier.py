"""Threads that do one compiled call together, and meet in it without going back to the interpreter.

To return to the interpreter costs a thread more than many a part of a step takes: it waits for the lock, and once
asleep it must be woken. So a thread that is early polls, and yields the core to other processes while it does.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from sclatent.model.kernels.vector_math import OPTIONS

LOOKS = 500
"""Polls before a thread yields its core to another process."""


def _counter(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return context.make_array(signature.args[0])(context, builder, args[0]).data


def _arrive_ir(typingctx: Any, counter: Any) -> Any:
    """Add 1 to the first element of an int64 array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _counter(context, builder, signature, args)
        return builder.atomic_rmw("add", place, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(counter), codegen


def _arrived_ir(typingctx: Any, counter: Any) -> Any:
    """First element of an int64 array as the other threads have left it, with all that they wrote before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_counter(context, builder, signature, args), "seq_cst", 8)

    return types.int64(counter), codegen


_arrive: Any = intrinsic(_arrive_ir)
_arrived: Any = intrinsic(_arrived_ir)
_sched_yield = types.ExternalFunction("sched_yield", types.int32())


@njit(**OPTIONS)
def meet(counter, threads, times):  # type: ignore[no-untyped-def]
    """Wait until each of the threads has come here; it is the `times`-th meeting since the counter was 0."""
    _arrive(counter)
    looks = 0
    while _arrived(counter) < threads * times:
        looks += 1
        if looks > LOOKS:
            _sched_yield()


@njit(**OPTIONS)
def stretch(n, part, parts):  # type: ignore[no-untyped-def]
    """First and last of the `part`-th of so many stretches that cover range(n)."""
    return n * part // parts, n * (part + 1) // parts
