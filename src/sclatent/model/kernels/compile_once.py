"""Compiled functions that others call by their address, so that each is compiled once.

What a compiled function calls becomes part of it: on every level the same code is optimised and translated again, and a
sum whose order is the compiler's to choose comes out differently in each copy.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from llvmlite import binding
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_waiting: dict[str, tuple[Any, Any]] = {}


def once(function: Any, *arguments: Any) -> Any:
    """Return what compiled functions call instead of `function`, which returns nothing, with arguments of these types.

    Before any of them is called there must be `ready`. It stands in the module of its callers: numba compiles what it
    has in its cache again when that file changes, not when another one does.
    """
    signature = types.none(*arguments)
    # the same in every process: callers that come from the cache look for it
    name = re.sub(r"\W+", "_", f"{function.__module__}.{function.__name__}{arguments}")
    _waiting[name] = function, arguments

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        convention, call = context.call_conv, (signature.return_type, signature.args)
        kind = convention.get_function_type(*call)
        callee = cgutils.get_or_insert_function(builder.module, kind, name)
        status, _ = convention.call_function(builder, callee, *call, args)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    def call(typingctx: Any, *given: Any) -> Any:
        fits = all(typingctx.can_convert(*pair) is not None for pair in zip(given, arguments, strict=True))
        return (signature, codegen) if fits else None

    own = inspect.signature(function.py_func)
    first = inspect.Parameter("typingctx", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    call.__signature__ = own.replace(parameters=[first, *own.parameters.values()])  # type: ignore[attr-defined]
    return intrinsic(call)


def ready() -> None:
    """Compile, or read from the cache, all functions of `once`, and tell the linker where they are."""
    for name, (function, arguments) in list(_waiting.items()):
        function.compile(arguments)
        made = function.overloads[arguments]
        binding.add_symbol(name, made.library.get_pointer_to_function(made.fndesc.llvm_func_name))
        _waiting.pop(name, None)
