"""Every public name stands in the API pages, and its docstring names parameters, result and refusals."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from numpydoc.docscrape import NumpyDocString

import sclatent

ROOT = Path(__file__).resolve().parents[2]


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / "_site" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


api_pages = _load("api_pages")
PUBLIC = {f"{room}.{name}": value for room in api_pages.ROOMS for name, value in api_pages.public(room).items()}


def _whole(function: Callable[..., Any]) -> Callable[..., Any]:
    return inspect.unwrap(getattr(function, "__func__", function))


def _ours(cls: type) -> bool:
    return cls.__module__.startswith("sclatent.")


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public function, and every method that a public class is the first to have, by its first name."""
    seen = set()
    for name, value in PUBLIC.items():
        found = {name: value} if inspect.isfunction(value) else {}
        if inspect.isclass(value) and not api_pages.fields(value):
            shown = [base for base in value.__mro__[1:] if base in PUBLIC.values() or not _ours(base)]
            inherited = {name for base in shown for name in vars(base)}
            for method, member in api_pages.methods(value).items():
                if method in inherited:  # what a method of a base class does is said there, if that has a page
                    continue
                if inspect.isfunction(member) or isinstance(member, classmethod | staticmethod):
                    found[f"{name}.{method}"] = getattr(value, method)
        for key, function in found.items():
            whole = _whole(function)
            if whole.__module__.startswith("sclatent") and whole not in seen:
                seen.add(whole)
                yield key, function


FUNCTIONS = dict(functions())
NEVER_RAISES = {"data.symbol_column"}
"""What calls a function that can raise InputError, with arguments for which it does not."""


def lacks(function: Callable[..., Any], key: str = "") -> list[str]:
    """What the docstring of a function should say and does not."""
    doc = NumpyDocString(inspect.getdoc(function) or "")
    signature = inspect.signature(function)
    missing = []
    wanted = [name for name in signature.parameters if name != "self"]
    said = {name.strip().lstrip("*") for entry in doc["Parameters"] for name in entry.name.split(",")}
    missing += [f"parameter {name}" for name in wanted if name not in said]
    missing += [f"no such parameter: {name}" for name in said if name not in wanted]
    if signature.return_annotation not in (None, "None", "NoReturn") and not (doc["Returns"] or doc["Yields"]):
        missing.append("Returns")
    untold = [entry.type for entry in doc["Returns"] if not "".join(entry.desc).strip()]
    missing += [f"what is returned, below its type: {line}" for line in untold]
    if (
        raises_input_error(function)
        and key not in NEVER_RAISES
        and not any(entry.type == "InputError" for entry in doc["Raises"])
    ):
        missing.append("Raises InputError")
    return missing


def raises_input_error(function: Callable[..., Any]) -> bool:
    """Whether the function, or a function of its module that it calls, raises InputError."""
    whole = _whole(function)
    module = sys.modules[whole.__module__]
    bodies = {
        node.name: node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.FunctionDef)
    }
    todo, done = [ast.parse(textwrap.dedent(inspect.getsource(whole)))], set()
    while todo:
        for node in ast.walk(todo.pop()):
            if isinstance(node, ast.Raise) and node.exc is not None and "InputError" in ast.unparse(node.exc):
                return True
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if name in bodies and name not in done:
                done.add(name)
                todo.append(bodies[name])
    return False


def test_every_room_and_every_name_is_on_a_page():
    assert set(api_pages.ROOMS) == set(sclatent._ROOMS)
    pages = api_pages.pages()
    assert len(PUBLIC) > 100
    for key in PUBLIC:
        room, name = key.split(".")
        assert any(
            f".. {kind}:: {name}\n" in pages[f"{room}.rst"] for kind in ("autoclass", "autofunction", "autodata")
        ), key
    for name in sclatent._NAMES:
        assert f"``sl.{name}``" in pages["index.rst"]


@pytest.mark.parametrize("key", [key for key, value in PUBLIC.items() if not isinstance(value, str | tuple | float)])
def test_a_public_name_says_what_it_is(key):
    value = PUBLIC[key]
    if inspect.isclass(value) or inspect.isroutine(value):
        assert inspect.getdoc(value), key
        assert value.__doc__, f"{key} has no docstring of its own"


@pytest.mark.parametrize("key", FUNCTIONS)
def test_a_docstring_names_every_parameter_the_result_and_the_refusals(key):
    assert lacks(FUNCTIONS[key], key) == []


ONE, TWO = "Parameters\n----------\na\n    One.\n", "Returns\n-------\nint\n    Two.\n"


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        (f"Say.\n\n{ONE}\n{TWO}", []),
        (f"Say.\n\n{TWO}", ["parameter a"]),
        (f"Say.\n\n{ONE}b\n    None.\n\n{TWO}", ["no such parameter: b"]),
        (f"Say.\n\n{ONE}", ["Returns"]),
        (f"Say.\n\n{ONE}\nReturns\n-------\nTwo.\n", ["what is returned, below its type: Two."]),
        ("Say.", ["parameter a", "Returns"]),
    ],
)
def test_what_a_docstring_lacks_is_found(doc, expected):
    def function(a: int) -> int:
        return a

    function.__doc__ = doc
    assert lacks(function) == expected
