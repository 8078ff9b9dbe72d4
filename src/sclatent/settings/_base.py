"""What all settings models share."""

from __future__ import annotations

import os
import typing
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from sclatent.settings.words import Plain, as_written, resolve, resolve_numbers


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused, values are not changed after they were checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, data: Any) -> Any:
        """Let each field say what a word of a YAML file is: ``010`` is a name where text is meant, else a number."""
        if not isinstance(data, dict):
            return data
        out = {}
        for key, value in data.items():
            field = cls.model_fields.get(key)
            types = set() if field is None else set(_leaves(field.annotation))
            if isinstance(value, os.PathLike):
                value = os.fspath(value)  # in Python
            if field is None or str in types:
                value = as_written(value)
            elif types & {int, float, bool} or isinstance(value, Plain):
                value = resolve(value) if bool in types or not types & {int, float} else resolve_numbers(value)
            out[key] = value
        return out


def _leaves(annotation: Any) -> typing.Iterator[Any]:
    """Yield the types that an annotation is made of; the words of a ``Literal`` are none."""
    if typing.get_origin(annotation) is typing.Literal:
        return
    arguments = typing.get_args(annotation)
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from _leaves(argument)


def taken_by(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the keys of a dataset file that a stage function takes as keywords.

    Parameters
    ----------
    function
        A function that `takes_settings` wraps.

    Returns
    -------
    tuple of str
        The names.
    """
    taken: tuple[str, ...] = function.takes_settings  # type: ignore[attr-defined]
    return taken
