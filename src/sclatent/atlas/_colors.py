"""Colours of categories under ``uns["<column>_colors"]``, where scanpy looks for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data import slots
from sclatent.data.colors import CATEGORIES, PHASE_COLORS

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


GOLDEN = 0.6180339887


def set_colors(adata: AnnData | MuData, columns: Iterable[str]) -> None:
    """Set the colours of the categorical columns among `columns`: `CATEGORIES` up to 8 levels, then scanpy's."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex
    from scanpy.plotting import palettes

    for column in dict.fromkeys(columns):
        if column not in adata.obs or adata.obs[column].dtype.name != "category":
            continue
        levels = [str(level) for level in adata.obs[column].cat.categories]
        n = len(levels)
        if column == slots.PHASE:
            colors = [PHASE_COLORS[level] for level in levels]
        elif n <= len(CATEGORIES):
            colors = list(CATEGORIES[:n])
        elif n <= len(palettes.default_20):
            colors = list(palettes.default_20[:n])
        elif n <= len(palettes.default_28):
            colors = list(palettes.default_28[:n])
        elif n <= len(palettes.default_102):
            colors = list(palettes.default_102[:n])
        else:  # scanpy has no more, and would paint all of them grey; golden steps keep neighbours apart
            colors = [to_hex(colormaps["turbo"](i * GOLDEN % 1)) for i in range(n)]
        adata.uns[f"{column}_colors"] = np.array(colors, dtype=object)
