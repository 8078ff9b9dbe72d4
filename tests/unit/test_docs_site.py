"""The pages of the site: links that hold there and in the repository, reference pages of a length that is read."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOWN = sorted({*(ROOT / "docs").glob("*.md"), *(ROOT / "docs/history").glob("*.md")})


def _links() -> Any:
    spec = importlib.util.spec_from_file_location("docs_links", ROOT / "docs/_site/links.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


links = _links()


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.stem)
def test_every_link_of_a_page_leads_somewhere(path: Path):
    docname = path.relative_to(ROOT / "docs").with_suffix("").as_posix()
    source = [path.read_text(encoding="utf-8")]
    links.on_source_read(None, docname, source)
    found = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", source[0])
    for target in found:
        if target.startswith("_build/gallery/"):  # made with the site
            continue
        assert (path.parent / target).resolve().exists(), target


def test_links_of_the_readme_lead_to_pages():
    text = links.relative_to_site(
        "[a](docs/engine.md) ![b](docs/knob.png) [c](CITATION.cff) [d](docs/cycle.md#how-well)",
        ROOT / "README.md",
        "index",
    )
    assert text == "[a](engine.md) ![b](knob.png) [c](../CITATION.cff) [d](cycle.md#how-well)"
    assert links.relative_to_site("[a](../CONTRIBUTING.md)", ROOT / "docs/knob.md", "knob") == "[a](contributing.md)"
    no_page = links.relative_to_site("[a](../tests/gpu/README.md)", ROOT / "docs/gpu.md", "gpu")
    assert no_page == "a (`tests/gpu/README.md`)"


def test_every_page_is_in_a_table_of_contents():
    listed = set()
    for path in (ROOT / "docs/index.md", ROOT / "docs/history/index.md"):
        for block in re.findall(r"```\{toctree\}\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL):
            names = [line for line in block.splitlines() if line and not line.startswith(":")]
            listed |= {(path.parent / f"{name}.md").resolve() for name in names}
    assert {path for path in SHOWN if path != ROOT / "docs/index.md"} <= listed


@pytest.mark.parametrize("name", ["cycle", "engine"])
def test_a_reference_page_has_at_most_200_lines(name):
    assert len((ROOT / f"docs/{name}.md").read_text(encoding="utf-8").splitlines()) <= 200
    assert f"history/{name}.md" in (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")
