"""What counts as a number: of a table's field, and of a word in a dataset file (YAML 1.2, core schema)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

_NUMBER = re.compile(
    r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?|\.[0-9]+)(?:e[-+][0-9]+)?"  # 1e-05 as programs write it, never 1E3 or 2e10
    r"|-?(?:0|[1-9][0-9]*)\.[0-9]+[eE][-+]?[0-9]+"
)
LARGEST_EXACT = 2**53
"""Whole numbers beyond it are ids: a column with a gap is float64, which would change their last digits."""

_YAML_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_YAML_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_YAML_WORDS: dict[str, bool | float] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}


class Plain(str):
    """A scalar of a YAML file that was not quoted: text as it was written, until a field asks for a number."""

    __slots__ = ()


def resolve(value: Any) -> Any:
    """Return what a value of a YAML file is where a number or truth value is meant (YAML 1.2, core schema).

    ``true`` and ``false`` are truth values; ``yes``, ``no``, ``on``, ``off``, ``12:30`` and ``2024-01-01`` are text.
    """
    if isinstance(value, list):
        return [resolve(item) for item in value]
    if isinstance(value, dict):
        return {str(key): resolve(item) for key, item in value.items()}
    if not isinstance(value, Plain):
        return value
    if value in _YAML_WORDS:
        return _YAML_WORDS[value]
    if _YAML_INT.fullmatch(value):
        return int(value, 0 if value[:2] in ("0o", "0x") else 10)
    return float(value) if _YAML_FLOAT.fullmatch(value) else str(value)


def resolve_numbers(value: Any) -> Any:
    """Return what `resolve` does where no truth value is meant, which Python would take for 0 or 1."""
    if isinstance(value, list):
        return [resolve_numbers(item) for item in value]
    if isinstance(value, dict):
        return {str(key): resolve_numbers(item) for key, item in value.items()}
    found = resolve(value)
    return str(found).lower() if isinstance(found, bool) else found


def as_written(value: Any) -> Any:
    """Return what a value of a YAML file is where text is meant: the text of the file."""
    if isinstance(value, list):
        return [as_written(item) for item in value]
    return str(value) if isinstance(value, Plain) else value


def number(text: str) -> int | float | None:
    """Return the number that a field of a table is, or None where it is, or may be, a name.

    Names are what has a leading zero or a plus sign (``001``, ``+5``), an exponent that could be part of a name
    (``1E3``, ``2e10``), more digits than float64 holds, or anything else in it (``1_000``, ``0x1F``, ``inf``).
    """
    if not _NUMBER.fullmatch(text):
        return None
    if text.lstrip("-").isdigit():
        whole = int(text)
        return whole if abs(whole) <= LARGEST_EXACT else None
    value = float(text)
    return value if math.isfinite(value) else None


def numbers(texts: Iterable[str]) -> dict[str, int | float] | None:
    """Return the number that each of the texts is, or None if one is none, or two are the same (``1.1``, ``1.10``).

    One rule for columns of tables and for the columns that the dataset file gives to its samples.
    """
    out: dict[str, int | float] = {}
    for text in texts:
        if text not in out:
            value = number(text)
            if value is None:
                return None
            out[text] = value
    # programs write -0.0 for what is a little below zero
    spellings = {(value, text.startswith("-")) for text, value in out.items()}
    return out if len(spellings) == len(out) else None
