"""Figures as files, with the same bytes for the same data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from sclatent._lazy import rare_collections
from sclatent.data.atomic import atomic
from sclatent.pl._style import RC
from sclatent.settings import checks_arguments

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160
"""Resolution of the PNG files and of the rasterised points inside the PDF files."""


@checks_arguments
def save(figures: Mapping[str, Figure], folder: str | Path, formats: tuple[str, ...] = ("png", "pdf")) -> list[Path]:
    """Write every figure as ``{folder}/{name}.{format}``; the same data give the same bytes.

    Parameters
    ----------
    figures
        Name → figure, as the functions of `sclatent.pl` return them.
    folder
        Made if missing.
    formats
        Endings matplotlib knows.

    Returns
    -------
    list of Path
        The files, in the order of `figures`.
    """
    files = []
    # dates and the version of the drawing library would make the bytes differ from run to run
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
        "svg": {"Date": None, "Creator": None},
    }
    with mpl.rc_context({**RC, "svg.hashsalt": "sclatent"}), _bare_fonts(), rare_collections():
        for name, fig in figures.items():
            engine = fig.get_layout_engine()
            if engine is not None:
                # laid out once for all formats; with an engine in place, `savefig` would draw each of them twice
                engine.execute(fig)
                fig.set_layout_engine(None)
            for ending in formats:
                path = Path(folder) / f"{file_name(name)}.{ending}"
                with atomic(path) as scratch:
                    fig.savefig(scratch, dpi=DPI, metadata=metadata.get(ending))
                files.append(path)
            fig.set_layout_engine(engine)
    return files


@contextmanager
def _bare_fonts() -> Iterator[None]:
    """Within it, the fonts in PDF files have no tables that choose and place glyphs: in a figure both is done.

    To cut these tables down to the glyphs of a figure takes as long as to draw it, and matplotlib has no option for it.
    """
    from fontTools.subset import Options

    usual = getattr(Options, "_drop_tables_default", [])  # not its interface: without it saving is slow, and no more
    Options._drop_tables_default = [*usual, "GDEF", "GPOS", "GSUB"]
    try:
        yield
    finally:
        Options._drop_tables_default = usual


def file_name(name: str) -> str:
    """Return `name` with everything that is not a letter, a digit, '_', '.' or '-' turned into '_'."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in name)
