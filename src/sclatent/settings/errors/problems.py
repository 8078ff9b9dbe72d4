"""What pydantic found wrong, in one line: the key, what it holds, and what is expected or meant."""

from __future__ import annotations

import json
import os
import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from sclatent.settings.errors import did_you_mean
from sclatent.settings.words import resolve

_EXAMPLES = {"seeds": "[0, 1, 2]", "models": "{nb: {likelihood: nb}}"}


def first_line(error: ValidationError, model: type[BaseModel]) -> str:
    """Turn the first problem of a pydantic error into one line a user understands.

    Parameters
    ----------
    error
        What pydantic raised.
    model
        The settings class that was read.

    Returns
    -------
    str
        The key, what was found and what to do.
    """
    # A misspelled key also leaves its right name missing: the misspelling is the line that helps.
    problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    loc = [part for part in problem["loc"] if not _is_branch(part)]
    where = _where(problem)
    kind, found = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        known = known_keys(model, loc[:-1])
        listed = f"; known: {', '.join(known)}" if known else ""
        key = str(loc[-1])
        hint = did_you_mean(key, known, 0.85) or _elsewhere(key, model) or did_you_mean(key, known)
        return f"{where}: unknown key{hint or listed}"
    if kind == "missing":
        listed = f" (found: {', '.join(map(str, found))})" if loc[:-1] and isinstance(found, dict) and found else ""
        return f"{where}: missing: this key is needed{listed}"
    if kind == "value_error":
        said = str(problem["ctx"]["error"])
        return said if not where or said.startswith(f"{where}:") else f"{where}: {said}"
    others = [p["msg"].replace("Input should be ", "") for p in error.errors() if _where(p) == where and p != problem]
    if kind == "literal_error" and others:
        return f"{where}: should be {problem['ctx']['expected']} or {others[0]}, found {_short(found)}"
    if kind == "literal_error" and isinstance(found, str):
        expected = problem["ctx"]["expected"]
        words = [w.strip(" '") for w in expected.replace(" or ", ",").split(",")]
        return f"{where}: '{found}' is not one of {expected}{did_you_mean(found, words)}"
    if kind == "too_short":
        return f"{where}: found nothing, expected at least {problem['ctx']['min_length']}"
    if kind == "model_type":
        return f"{where}: expected `key: value` lines, found {_short(found)}: give it a key, or remove it"
    if kind in ("list_type", "dict_type"):
        what, example = ("list", "[…]") if kind == "list_type" else ("mapping", "{…}")
        return f"{where}: expected a {what} such as {_EXAMPLES.get(where, example)}, found {_short(found)}"
    said = problem["msg"].replace("Input should be", "should be").replace("Value error, ", "")
    return f"{where}: {said}, found {_short(found)}"


def _where(problem: Any) -> str:
    return ".".join(str(part) for part in problem["loc"] if not _is_branch(part))


def _elsewhere(key: str, model: type[BaseModel]) -> str:
    """Say where a key belongs that stands in the wrong section, or what made a number a key."""
    if key.isdecimal():
        return ": a comma between braces begins a new key: write numbers without commas"
    if key in model.model_fields:
        return f": it belongs to the top level, as `{key}: …`"
    for section in model.model_fields:
        inner = _step(model, section)
        if section != "counts" and _is_model(inner) and key in inner.model_fields:
            return f": it belongs under `{section}`: `{section}: {{{key}: …}}`"
    if "models" in model.model_fields and key in known_keys(model, ("models", "nb")):
        return f": it belongs under a model: `models: {{nb: {{{key}: …}}}}`"
    return ""


def _short(value: Any) -> str:
    text = json.dumps(resolve(value), default=_type_of)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _type_of(value: Any) -> str:
    return str(value) if isinstance(value, os.PathLike) else f"<{type(value).__name__}>"


def _is_branch(part: int | str) -> bool:
    """Tell whether `part` is a label that pydantic adds for a branch of a union, not a key of the user's."""
    return isinstance(part, str) and (
        part.startswith(("literal[", "function-", "constrained-", "list[", "dict[")) or part == "int"
    )


def known_keys(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """Return the keys of the section at a place of a settings class; none if there is no section.

    Parameters
    ----------
    model
        The settings class.
    loc
        Keys that lead to the section, such as ``("models", "nb")``.
    """
    current: Any = model
    for part in loc:
        current = _step(current, part)
    return sorted(set(current.model_fields) - {"name", "file"}) if _is_model(current) else []


def _step(annotation: Any, part: int | str) -> Any:
    """Follow one key into a (possibly nested) annotation and return the first settings model, or what is there."""
    if _is_model(annotation):
        annotation = annotation.model_fields[part].annotation
    else:
        args = typing.get_args(annotation)
        annotation = args[-1] if args else annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        models = [arg for arg in typing.get_args(annotation) if _is_model(arg)]
        annotation = models[0] if models else annotation
    return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
