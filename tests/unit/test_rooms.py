"""The walls of the house: who may import whom, no circles, no room and no file too large."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"
MAY_IMPORT = {
    "settings": set(),
    "data": {"settings"},
    "io": {"data", "settings"},
    "pp": {"io", "data", "settings"},
    "model": {"settings"},
    "tl": {"model", "data", "settings"},
    "pl": {"tl", "data", "settings"},
    "atlas": {"tl", "io", "data", "settings"},
}
LARGEST_ROOM, LONGEST_FILE, LONGEST_FUNCTION = 14, 250, 60
"""Files in a room; lines of a file and of a function, docstrings not counted."""
LONGEST_WITH_DOCSTRINGS = 307


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports when it runs, inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)]
    skipped = {id(child) for block in typing for child in ast.walk(block)}
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if inner in MODULES else node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & set(MODULES)


IMPORTS = {name: imported(path) for name, path in MODULES.items()}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_no_room_imports_upward(room):
    mine = {name for name in MODULES if name.split(".")[1:2] == [room]}
    assert mine
    other = {
        (name, target)
        for name in mine
        for target in IMPORTS[name]
        if "." in target and target.split(".")[1] not in MAY_IMPORT[room] | {room, "_lazy"}
    }
    assert not other


def test_no_circles():
    done: dict[str, bool] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path[path.index(name) :], name))
        if name in done:
            return
        for target in sorted(IMPORTS[name] - {"sclatent"}):
            if target != name:
                visit(target, (*path, name))
        done[name] = True

    for name in MODULES:
        visit(name, ())


def lines_of_code(text: str) -> int:
    """Lines without docstrings: to say more of a function is no reason to move it."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, documented) and ast.get_docstring(n) is not None]
    said = sum(node.body[0].end_lineno - node.body[0].lineno + 1 for node in nodes)
    return len(text.splitlines()) - said


@pytest.mark.parametrize(
    ("text", "expected"), [("a = 1\n", 1), ('"""Say.\n\nMore.\n"""\n\ndef f():\n    """Say."""\n    return 1\n', 3)]
)
def test_docstrings_are_not_counted(text, expected):
    assert lines_of_code(text) == expected


def test_rooms_and_files_are_of_a_size_that_one_can_know():
    rooms: dict[Path, int] = {}
    for path in MODULES.values():
        rooms[path.parent] = rooms.get(path.parent, 0) + 1
    largest = max(rooms, key=rooms.__getitem__)
    assert rooms[largest] <= LARGEST_ROOM, largest
    lines = {path: lines_of_code(path.read_text(encoding="utf-8")) for path in MODULES.values()}
    longest = max(lines, key=lines.__getitem__)
    assert lines[longest] <= LONGEST_FILE, longest
    whole = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES.values()}
    longest = max(whole, key=whole.__getitem__)
    assert whole[longest] <= LONGEST_WITH_DOCSTRINGS, longest


def test_functions_are_of_a_size_that_one_can_know():
    longer = {}
    for module, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                said = node.body[0] if ast.get_docstring(node) is not None else None
                lines = node.end_lineno - node.lineno + 1 - (said.end_lineno - said.lineno + 1 if said else 0)
                name = f"{module}.{node.name}"
                if lines > LONGEST_FUNCTION:
                    longer[name] = lines
    assert not longer
