"""The API pages: one per room of the library, made from what the rooms export, so that no name can be forgotten."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import sclatent

ROOMS = ("settings", "data", "io", "pp", "model", "tl", "pl", "atlas", "bridge")


def public(room: str) -> dict[str, Any]:
    """Return what a room exports, by name."""
    module = importlib.import_module(f"sclatent.{room}")
    return {name: getattr(module, name) for name in sorted(module.__all__, key=str.lower)}


def methods(cls: type) -> dict[str, Any]:
    """Return the public methods and properties that a class of ours defines or inherits from one of ours."""
    found: dict[str, Any] = {}
    for owner in reversed(cls.__mro__):
        if owner.__module__.startswith("sclatent."):
            found |= {name: value for name, value in vars(owner).items() if _is_method(name, value)}
    return found


def _is_method(name: str, value: object) -> bool:
    if name.startswith("_") or name.startswith("model_"):
        return False
    return inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod)


def fields(cls: type) -> dict[str, Any]:
    """Return the fields of a settings class; empty for other classes."""
    return getattr(cls, "model_fields", {})


def pages() -> dict[str, str]:
    """Return the text of every page by file name."""
    made = {f"{room}.rst": _page(room) for room in ROOMS}
    return {"index.rst": _index(), **made}


def write(folder: Path) -> None:
    """Write the pages that changed."""
    folder.mkdir(exist_ok=True)
    made = pages()
    for path in folder.glob("*.rst"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _index() -> str:
    own = "\n".join(
        f"   * - ``sl.{name}``\n     - {target}"
        for name, target in sorted(_shortcuts().items(), key=lambda item: item[0].lower())
    )
    rooms = "\n".join(f"   {room}" for room in ROOMS)
    return f"""API
===

``import sclatent as sl``. Every public name is on one of these pages; a name that starts with an underscore is private.

.. toctree::
   :maxdepth: 1

{rooms}

These names are at the top as well:

.. list-table::
   :widths: 30 70

{own}
"""


def _shortcuts() -> dict[str, str]:
    names = {}
    for name, module in sclatent._NAMES.items():
        names[name] = f":py:obj:`{module}.{name}`"
    return names


def _page(room: str) -> str:
    module = importlib.import_module(f"sclatent.{room}")
    title = f"sl.{room}"
    about = inspect.cleandoc(module.__doc__ or "")
    names = public(room)
    summary = "\n".join(f"   {name}" for name in names)
    entries = "\n".join(_entry(name, value) for name, value in names.items())
    return f"""{title}
{"=" * len(title)}

.. py:module:: sclatent.{room}

{about}

.. autosummary::

{summary}

{entries}"""


def _entry(name: str, value: Any) -> str:
    if inspect.isclass(value):
        text = f".. autoclass:: {name}\n"
        own = [] if fields(value) else list(methods(value))
        if own:
            text += f"   :members: {', '.join(own)}\n"
        return text + _fields(value)
    if inspect.isroutine(value):
        return f".. autofunction:: {name}\n"
    return f".. autodata:: {name}\n   :no-value:\n"


def _fields(cls: type) -> str:
    """Return the table of a settings class: key, type, default, meaning."""
    if not fields(cls):
        return ""
    rows = ""
    for name, field in fields(cls).items():
        cells = (f"``{name}``", f"``{_type(field.annotation)}``", _default(field), field.description or "–")
        rows += "      * - " + "\n        - ".join(cells) + "\n"
    return f"""
   .. list-table::
      :header-rows: 1
      :widths: 18 22 15 45

      * - key
        - type
        - default
        - meaning
{rows}"""


def _type(annotation: Any) -> str:
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__name__
    text = str(annotation)
    for prefix in ("typing.", "pathlib.", "sclatent.settings.dataset.", "sclatent.settings.model."):
        text = text.replace(prefix, "")
    return text if len(text) <= 60 else "see its meaning"


def _default(field: Any) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    return f"``{value!r}``" if len(repr(value)) <= 40 else "its defaults"
