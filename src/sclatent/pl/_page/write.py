"""The page ``knob.html``: one self-contained file on which a reader turns the knob, and every other axis."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sclatent.data import slots
from sclatent.data.atomic import atomic
from sclatent.pl import _style as st
from sclatent.pl._axes.table import left_out, shown
from sclatent.pl._page.content import describe, describe_path, pack
from sclatent.pl._page.facts import axes_table, path_title
from sclatent.pl._paths import CYCLE, beside_peaks, paths, symbols

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

MAX_BYTES = 8_000_000
"""Size limit of the page; the axes that do not fit are left out, and the page says so."""
SCRIPTS = ("data.js", "knob.js", "map.js", "charts.js", "main.js")


@st.styled
def page(
    atlas: AnnData,
    traversals: AnnData,
    knob: Mapping[str, Any],
    path: str | Path,
    *,
    weak: bool = False,
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Write a page on which one turns the cell-cycle knob or any axis: one file, no network, opens from disk.

    The map shows at most 20,000 cells (an even subset of more); curves are kept as 8-bit numbers.

    Parameters
    ----------
    atlas
        The exported cells × genes, as `sclatent.atlas.build` returns them.
    traversals
        ``traversals.h5ad``.
    knob
        ``knob.json``: verdict, reason, tests.
    path
        Where to write; appears whole or not at all.
    weak
        Whether weak axes (column ``strength`` of ``uns["sclatent"]["axes"]``) are on the page too; they are where no
        axis is strong.
    max_bytes
        Axes are added in the order of their KL until the page would be larger than this.

    Returns
    -------
    Path
        The file.
    """
    from plotly.offline import get_plotlyjs

    library = get_plotlyjs()
    genes_alone, traversals = traversals.n_vars, beside_peaks(traversals)
    data = describe(atlas, traversals, knob)
    data["feature"] = "gene" if traversals.n_vars == genes_alone else "gene or peak"
    axes = axes_table(atlas)
    names = _in_order(paths(traversals), axes)
    if axes is not None:
        wanted = shown(axes, weak=weak)
        names = [name for name in names if name == CYCLE or name in wanted]
    data["cycle"] = _cycle_words(atlas, data["reason"])
    missing = "" if axes is None else left_out(axes, names)
    data["weak"] = missing and f"{_capital(missing)}. traversals.h5ad holds every active axis"
    data["genes"] = [str(gene) for gene in symbols(traversals)]
    # the page without any path, on which all are said to be left out
    data["paths"], data["left_out"] = [], [path_title(name, axes) for name in names]
    room = max_bytes - len(_fill(data, library).encode("utf-8"))
    for name in names:
        entry = describe_path(name, atlas, traversals, axes, knob)
        size = len(_embed(entry)) + 1
        if size <= room:
            data["paths"].append(entry)
            data["left_out"].remove(entry["title"])
            room -= size
    path = Path(path)
    with atomic(path) as scratch:
        scratch.write_text(_fill(data, library), encoding="utf-8")
    return path


def _cycle_words(atlas: AnnData, said: str) -> str:
    """Return the verdict of the cycle stage and its reason, unless that was `said`, as one line."""
    stage = atlas.uns.get(slots.UNS, {}).get("cycle", {})
    verdict, reason = (str(stage.get(key) or "") for key in ("verdict", "reason"))
    if not verdict:
        return ""
    return f"Cell cycle: {verdict}" + (f" ({reason})." if reason and reason != said else ".")


def _in_order(names: list[str], axes: pd.DataFrame | None) -> list[str]:
    """Return the paths with the cycle first and the axes by falling KL."""
    if axes is None:
        return names
    kl = axes["kl"].astype(float)
    return sorted(names, key=lambda name: -float(kl.get(name, float("inf"))))


def _embed(value: Any) -> str:
    """Return JSON that can stand inside a script element, whatever the names in it are."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _fill(data: Mapping[str, Any], library: str) -> str:
    """Return the page."""
    folder = resources.files("sclatent.pl._page") / "assets"

    def text(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    features = "genes" if data["feature"] == "gene" else "genes and peaks"
    license = library[: library.find("*/") + 2] if library.startswith("/*") else ""
    parts = {
        "title": html.escape(f"{data['dataset']} · {data['model']}".strip(" ·") or "sclatent"),
        "verdict": html.escape(_capital(data["verdict"])),
        "verdict_class": "yes" if data["isKnob"] else "no",
        "reason": html.escape(_capital(data["reason"])),
        "cycle": html.escape(data["cycle"]),
        "feature": data["feature"],
        "features": features,
        "Features": _capital(features),
        "style": text("style.css"),
        "library_license": license,
        "library": pack(library.encode("utf-8")),
        "script": "\n".join(text(name) for name in SCRIPTS),
        "data": _embed(data),
    }
    # in one pass, so that a name that looks like a placeholder stays a name
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], text("page.html"))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
