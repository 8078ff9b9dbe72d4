"""The model has one door: other rooms import from `sclatent.model`, and find all of it there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from sclatent import model


def imported(file: Path) -> list[str]:
    """Return the modules that a file imports from."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [name.name for name in node.names]
    return found


def test_other_rooms_come_through_the_door(root: Path) -> None:
    source = root / "src" / "sclatent"
    outside = [file for file in source.rglob("*.py") if source / "model" not in file.parents]
    wrong = {file.name: [name for name in imported(file) if name.startswith("sclatent.model.")] for file in outside}
    assert not {file: names for file, names in wrong.items() if names}


def test_the_compiled_step_has_one_entry(root: Path) -> None:
    """So it can be deleted as a folder, with that import."""
    folder = root / "src" / "sclatent" / "model"
    users = {
        file.name: sorted({name for name in imported(file) if name.startswith("sclatent.model.fused")})
        for file in folder.rglob("*.py")
        if folder / "fused" not in file.parents
    }
    assert {file: names for file, names in users.items() if names} == {"loop.py": ["sclatent.model.fused"]}


@pytest.mark.parametrize("name", model.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(model, name) is not None


def test_type_checkers_see_the_same_names(root: Path) -> None:
    tree = ast.parse((root / "src" / "sclatent" / "model" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    names = [name.name for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names]
    assert sorted(names) == sorted(model.__all__)
