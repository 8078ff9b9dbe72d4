"""Files of the repository's root as pages of the site, with links that hold in both places."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "index": "README.md",
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
    "configuration": "config/README.md",
}
"""Page of the site → the file that it shows."""
LINK = re.compile(r"(\]\()(?!https?:|#|mailto:)([^)#\s]+)")


def on_source_read(app: Any, docname: str, source: list[str]) -> None:
    """Put the file of the root before what the page itself holds, and make links relative to the site."""
    shown = ROOT / PAGES.get(docname, f"docs/{docname}.md")
    if docname in PAGES:
        source[0] = shown.read_text(encoding="utf-8") + "\n" + source[0]
    if shown.suffix == ".md" and shown.exists():
        source[0] = relative_to_site(source[0], shown, docname)


def relative_to_site(text: str, shown: Path, docname: str) -> str:
    """Return the text of `shown` with links that are right in the page `docname`."""
    page_of = {(ROOT / path).resolve(): f"docs/{page}.md" for page, path in PAGES.items()}
    folder = (ROOT / "docs" / docname).parent

    def moved(match: re.Match[str]) -> str:
        base = shown.parent if shown.exists() else folder
        target = (base / match[2]).resolve()
        if not target.exists():
            return match[0]
        target = ROOT / page_of[target] if target in page_of else target
        return match[1] + _relative(target, folder)

    return LINK.sub(moved, text)


def _relative(target: Path, folder: Path) -> str:
    import os.path

    return Path(os.path.relpath(target, folder)).as_posix()
