"""docs/errors.md holds every refusal: what the source can say stands in the table, word for word."""

import ast
import re
from pathlib import Path

import pytest

FEWEST_LETTERS = 8
"""Messages whose fixed part is shorter only hand on another one."""


def refusals(source: Path):
    """Yield (where, message) of every refusal; what varies in a message is a line break."""
    room = source.parent.name
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
            continue
        # pydantic turns a ValueError of a settings class into the line
        if node.func.id not in ("InputError", "_misfit") + (("ValueError",) if room == "settings" else ()):
            continue
        for argument in node.args:
            parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "\n" for part in parts)
            if re.search("[a-z]", text):
                yield f"{room}/{source.name}:{node.lineno}", text


def plain(text: str) -> str:
    """Return text as a reader sees it: without the marks of the table and of code."""
    return " ".join(text.replace("\\|", "|").replace("`", "").split())


def longest(message: str) -> str:
    """Return the longest piece of a message that is always the same."""
    return max((plain(piece).strip(" '(),.:;") for piece in message.split("\n")), key=len)


def test_every_refusal_stands_in_the_table(root):
    told = plain((root / "docs" / "errors.md").read_text(encoding="utf-8"))
    sources = sorted((root / "src" / "sclatent").rglob("*.py"))
    found = [item for source in sources for item in refusals(source)]
    assert len(found) > 100, "the source is looked at"
    absent = [
        f"{where}: {fixed}"
        for where, message in found
        if len(fixed := longest(message)) >= FEWEST_LETTERS and fixed not in told
    ]
    assert absent == []


def test_every_kind_of_value_that_is_no_count_stands_in_the_table(root):
    from sclatent.io._numbers import _ODD

    told = plain((root / "docs" / "errors.md").read_text(encoding="utf-8"))
    for kind in _ODD.values():
        for piece in kind:
            assert plain(piece) in told


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise InputError(f'{path}: no layer {name}: there is X')", "there is X"),
        ("raise InputError('a: b')", "a: b"),
        ("raise KeyError('not a refusal')", None),
    ],
)
def test_the_reader_of_the_source(tmp_path, code, expected):
    (tmp_path / "a.py").write_text(code)
    found = [longest(message) for _, message in refusals(tmp_path / "a.py")]
    assert found == ([expected] if expected else [])
