"""YAML 1.2 in which nothing is guessed: a word is the text that was written."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from sclatent.settings.errors import InputError, check_file
from sclatent.settings.words import Plain


class _Loader(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error, and a word is the text that was written, or null.

    PyYAML reads YAML 1.1, in which ``NO`` is false, ``010`` is 8 and ``12:30`` is 750. Here nothing is guessed: the
    field a word is meant for says what it is (`sclatent.settings.words`).
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as PyYAML declares it


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> str:
    return Plain(node.value) if node.style is None else str(node.value)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            found = loader.construct_object(key_node, deep=True)
            raise yaml.constructor.ConstructorError(None, None, f"'{found}' cannot be a key", key_node.start_mark)
        key = str(key_node.value)
        if key == "<<":
            said = "merge keys (<<) are not part of YAML 1.2: write the keys out"
            raise yaml.constructor.ConstructorError(None, None, said, key_node.start_mark)
        if key in out:
            raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' occurs twice", key_node.start_mark)
        out[key] = loader.construct_object(value_node, deep=True)
    return out


_LARGEST = 100_000
"""Values in a dataset file; aliases of aliases of lists soon fill any memory."""
_LARGEST_FILE = 1 << 20
_ADVICE = {
    "mapping values are not allowed": ": is this line indented more than the one above, or a value with a colon in it "
    "not quoted?",
    "'\\t'": ": indent with spaces, not with tabs",
    "could not find expected ':'": ": does the line above lack a colon?",
}
"""What to do about what YAML's parser says, which knows no users."""
_LOOK_ALIKES = {"\u00a0": "a blank (U+00A0)", "\uff1a": "a colon (U+FF1A)", "\u2236": "a colon (U+2236)"}
"""What text processors and web pages put in the place of a blank or a colon."""

_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG, _scalar)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])


def _size(value: Any, known: dict[int, float]) -> float:
    """Return how many values there are once aliases are written out; infinite if one holds itself."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = math.inf  # until it is known, it would hold itself
        known[id(value)] = 1 + sum(_size(v, known) for v in (value.values() if isinstance(value, dict) else value))
    return known[id(value)]


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    dict
        The top level; names such as ``010`` and ``NO`` stay text (YAML 1.2).

    Raises
    ------
    InputError
        If the file is missing, is not YAML, repeats a key, or holds something else.
    """
    path = Path(path)
    try:
        check_file(path)
        if path.is_file() and path.stat().st_size > _LARGEST_FILE:
            raise InputError(
                f"{path}: {path.stat().st_size:,} bytes are too many for a dataset file, which is YAML that names the "
                "counts (`counts: FILE`), not the counts themselves"
            )
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: cannot be read as UTF-8 text: a dataset file is YAML that names the counts (`counts: FILE`), not "
            "the counts themselves"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    try:
        content = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        said = error.problem or "not valid YAML"
        hint = next((advice for words, advice in _ADVICE.items() if words in said), "")
        raise InputError(f"{path}: {where}{said}{hint}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        # what PyYAML raises on a tag such as !!bool, !!int or !!timestamp before a word that is none
        raise InputError(f"{path}: a tag (!!) that does not fit its value: {error}: remove the tag") from None
    except RecursionError:
        raise InputError(f"{path}: lists nested too deeply to be read") from None
    if _size(content, {}) > _LARGEST:
        raise InputError(f"{path}: more than {_LARGEST:,} values once every alias (*) is written out")
    if not isinstance(content, dict):
        found = {type(None): "nothing", list: "list"}.get(type(content), "text")
        hint = ""
        if isinstance(content, str):
            odd = next((name for sign, name in _LOOK_ALIKES.items() if sign in content), None)
            hint = f": {odd} is not the one of a keyboard" if odd else ": put a space after each colon"
            hint = hint if odd or ":" in content else ": write `counts: FILE`"
        raise InputError(f"{path}: expected `key: value` lines, found {found}{hint}")
    return content
