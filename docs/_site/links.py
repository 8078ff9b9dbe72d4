"""Files of the repository's root as pages of the site, with links that hold in both places."""

from __future__ import annotations

import os
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
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
IMAGE = re.compile(r"(!\[[^\]]*\]\()(?!https?:)([^)\s]+)")


def on_source_read(app: Any, docname: str, source: list[str]) -> None:
    """Put the file of the root before what the page itself holds, and make links relative to the site."""
    shown = ROOT / PAGES.get(docname, f"docs/{docname}.md")
    if docname in PAGES:
        source[0] = shown.read_text(encoding="utf-8") + "\n" + source[0]
    if shown.suffix == ".md" and shown.exists():
        source[0] = relative_to_site(source[0], shown, docname)


def relative_to_site(text: str, shown: Path, docname: str) -> str:
    """Return the text of `shown` with links that are right in the page `docname`."""
    page_of = {(ROOT / path).resolve(): ROOT / "docs" / f"{page}.md" for page, path in PAGES.items()}
    folder = (ROOT / "docs" / docname).parent

    def moved(path: str) -> tuple[Path, str]:
        target = (shown.parent / path).resolve()
        target = page_of.get(target, target)
        return target, Path(os.path.relpath(target, folder)).as_posix()

    def link(match: re.Match[str]) -> str:
        target, path = moved(match[2])
        if target.suffix == ".md" and not target.is_relative_to(ROOT / "docs"):
            return f"{match[1]} (`{target.relative_to(ROOT)}`)"  # no page of the site
        return f"[{match[1]}]({path}{match[3] or ''})"

    return IMAGE.sub(lambda match: match[1] + moved(match[2])[1], LINK.sub(link, text))
