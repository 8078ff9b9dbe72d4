"""What a stage function takes of a dataset file: keywords that are called like its keys and have its defaults."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, ParamSpec, TypeVar

from pydantic import ValidationError

from sclatent.settings.arguments import Arguments
from sclatent.settings.dataset import DatasetSettings
from sclatent.settings.errors import InputError
from sclatent.settings.errors.problems import first_line, known_keys
from sclatent.settings.modalities import stand_in

P = ParamSpec("P")
R = TypeVar("R")

NO_FILE = "settings"
"""What messages call the place of settings that stand in no file."""
_KEYS = {*DatasetSettings.model_fields} - {"name", "models", "seeds"}


def takes_settings(function: Callable[P, R]) -> Callable[P, R]:
    """Make a stage function check the settings that it is called with, as those of a dataset file are checked.

    Which settings it takes is read from its signature: the parameters that are called like a key of the dataset file,
    and are keywords or have a default; one called ``model`` is checked too. The body gets them with the types of
    `DatasetSettings`, whatever form of them was given: a section may be a mapping, a list of columns one name.
    ``file``, if the function has it, is what messages call the place where the settings stand. What else the function
    takes is looked at as by `checks_arguments`.

    Parameters
    ----------
    function
        A stage function whose keywords have the names of settings.

    Returns
    -------
    callable
        The same function; its keywords are checked, and defaults filled in.

    Raises
    ------
    InputError
        One line, when the function is called with a setting that a dataset file may not have.
    """
    signature = inspect.signature(function)
    taken = tuple(
        name
        for name, parameter in signature.parameters.items()
        if name in _KEYS and (parameter.kind is parameter.KEYWORD_ONLY or parameter.default is not parameter.empty)
    )

    wanted = (*taken, *({"model"} & {*signature.parameters}))
    arguments = Arguments(function, without=wanted, hint=functools.partial(_section_of, wanted=wanted))

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        call = arguments.bind(*args, **kwargs)
        call.arguments.update(_checked({name: call.arguments[name] for name in wanted if name in call.arguments}))
        arguments.look_at(call)
        return function(*call.args, **call.kwargs)

    checked.takes_settings = taken  # type: ignore[attr-defined]
    checked.checks_arguments = True  # type: ignore[attr-defined]
    return checked


def _section_of(key: str, wanted: Collection[str]) -> str:
    """Say which of the sections that a function takes a key belongs to; an empty string if it is of none."""
    for name in wanted:
        loc = ("models", "model") if name == "model" else (name,)
        if key in known_keys(DatasetSettings, loc):
            return f": it belongs under `{name}`: {name}={{'{key}': …}}"
    return ""


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    content = {"name": NO_FILE, "file": NO_FILE, **given}
    if "counts" not in content and (counts := stand_in(content.get("modalities"))) is not None:
        content["counts"] = counts
    if "model" in content:
        content["models"] = {"model": content.pop("model")}
    try:
        settings = DatasetSettings.model_validate(content)
    except ValidationError as error:
        line = first_line(error, DatasetSettings)
        line = line.removeprefix("models.") if "model" in given else line
        raise InputError(f"{given.get('file', NO_FILE)}: {line}") from None
    return {name: settings.models["model"] if name == "model" else getattr(settings, name) for name in given}
