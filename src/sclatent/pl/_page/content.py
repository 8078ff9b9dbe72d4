"""What the page knows: curves and cells as bytes small enough to embed."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.data import slots
from sclatent.data.blocks.dense import column_of
from sclatent.data.modalities import RNA
from sclatent.pl import _style as st
from sclatent.pl._knob import phase_arcs
from sclatent.pl._page.facts import facts, path_title
from sclatent.pl._page.route import near_steps, route
from sclatent.pl._paths import CYCLE, PSEUDO, Path, path, paths

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

MAX_CELLS = 20_000
"""Cells drawn on the page; of more, an even subset (seed 0)."""
MAX_STEPS = 61
"""Steps kept of a path; between them the page interpolates."""
MAX_LEVELS, MAX_COLORS = 40, 8
"""Levels of a categorical column that can colour the cells, and number of such columns."""
N_TOP = 20
SD_UNIT = 0.01
"""Unit of the stored standard deviations, log2; they saturate at 255 units."""
MISSING = 255
"""The code of a cell that is not on a path or in no category."""


def pack(data: npt.NDArray[Any] | bytes) -> str:
    """Return bytes as base64 of gzip, the same bytes for the same data."""
    raw = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
    return base64.b64encode(gzip.compress(raw, compresslevel=9, mtime=0)).decode("ascii")


def quantise(
    values: npt.NDArray[np.float64], levels: int = 255
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return each column of `values` as whole numbers from 0 to `levels`, with its minimum and range."""
    low, span = values.min(axis=0), np.ptp(values, axis=0)
    scaled = (values - low) / np.where(span > 0, span, 1.0) * levels
    return np.rint(scaled).astype(np.uint8), low.astype(np.float32), span.astype(np.float32)


def describe(atlas: AnnData, traversals: AnnData, knob: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything about the page but the paths: words, genes, cells."""
    about = atlas.uns.get(slots.UNS, {})
    cells = shown_cells(atlas.n_obs)
    xy = np.asarray(atlas.obsm[slots.X_UMAP], dtype=float)[cells]
    coded, low, size = _frame(xy)
    names, uncolored = _colorable(atlas)
    columns = _categories(atlas, names, cells)
    return {
        "dataset": str(about.get("dataset", "")),
        "model": str(about.get("model", "")),
        "verdict": str(knob["verdict"]),
        "isKnob": CYCLE in paths(traversals),
        "reason": str(knob.get("reason") or ""),
        "tests": [
            {key: str(test[key]) for key in ("name", "found", "needed")} | {"passed": bool(test["passed"])}
            for test in knob.get("tests") or []
        ],
        "sdUnit": SD_UNIT,
        "missing": MISSING,
        "phaseColors": {st.PHASE_LABELS[p]: color for p, color in st.PHASE_COLORS.items()},
        "cycleColors": _hex(st.cycle_cmap(), 64, closed=True),
        "axisColors": _hex(st.SEQUENTIAL, 64),
        "cells": {
            "shown": len(cells),
            "total": int(atlas.n_obs),
            "uncolored": uncolored,
            "low": low,
            "size": size,
            "xy": pack(coded),
            "colors": [
                {key: c[key] for key in ("name", "levels", "colors")} | {"codes": pack(c["codes"])} for c in columns
            ],
        },
    }


def shown_cells(n: int) -> npt.NDArray[np.intp]:
    """Return the cells the page draws."""
    if n <= MAX_CELLS:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, MAX_CELLS, replace=False))


def shown_steps(n: int) -> npt.NDArray[np.intp]:
    """Return the steps the page keeps, the ends included."""
    return np.unique(np.linspace(0, n - 1, min(n, MAX_STEPS)).round().astype(int))


def describe_path(
    name: str, atlas: AnnData, traversals: AnnData, axes: pd.DataFrame | None, knob: Mapping[str, Any]
) -> dict[str, Any]:
    """Return one path for the page, its curves packed."""
    view = path(traversals, name)
    top = view.in_order(_top(view, traversals))
    some = shown_steps(len(view.position))
    position = view.position[some]
    level, low, span = quantise(np.log2(view.rate[some] + PSEUDO))
    sd = np.clip(np.rint(view.log_sd()[some] / SD_UNIT), 0, 255).astype(np.uint8)
    cells = shown_cells(atlas.n_obs)
    values = _cell_values(name, atlas, cells)
    xy = np.asarray(atlas.obsm[slots.X_UMAP], dtype=float)[cells]
    # a gene's curve is smooth, so the differences between its steps pack better than its values
    blobs = [
        low.tobytes(),
        span.tobytes(),
        _deltas(level).tobytes(),
        _deltas(sd).tobytes(),
        _cell_codes(values, position, view.closed).tobytes(),
    ]
    row = axes.T[name] if axes is not None and name in axes.index else None
    return {
        "id": name,
        "title": path_title(name, axes),
        "closed": view.closed,
        "unit": view.unit,
        "position": _numbers(position),
        "density": _numbers(view.density[some]),
        "supported": [bool(v) for v in view.supported[some]],
        "s": _numbers(view.s_score[some]),
        "g2m": _numbers(view.g2m_score[some]),
        "sSd": _numbers(view.s_sd[some]),
        "g2mSd": _numbers(view.g2m_sd[some]),
        "top": [int(g) for g in top],
        "route": [
            _numbers(at) for at in route(xy, near_steps(values, position, closed=view.closed), closed=view.closed)
        ],
        "phase": _phases(atlas, position) if view.closed else None,
        "facts": facts(name, row, view, knob),
        "technical": bool(row is not None and str(row.get("kind", "")) == "technical"),
        "blob": pack(b"".join(blobs)),
    }


def _top(view: Path, traversals: AnnData) -> npt.NDArray[np.intp]:
    """Return what changes most along a path: genes, and half as many features of each further modality."""
    if "modality" not in traversals.var:
        return view.changing(N_TOP)
    kinds = traversals.var["modality"].to_numpy(dtype=str)
    order = view.changing(len(kinds))
    parts = [(RNA, N_TOP), *((kind, N_TOP // 2) for kind in np.unique(kinds) if kind != RNA)]
    return np.concatenate([order[kinds[order] == kind][:most] for kind, most in parts])


def _frame(xy: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.uint16], list[float], list[float]]:
    """Return the map as 16-bit numbers, x of all cells first; its lower left corner and its size.

    The frame is the box of the cells, made neither flat nor tall.
    """
    low, span = xy.min(axis=0), np.ptp(xy, axis=0)
    size = np.maximum(span, max(float(span.max()), 1e-6) * np.array([0.75, 0.65]))
    corner = low - (size - span) / 2
    coded = np.rint((xy - corner) / size * 65535).astype("<u2")
    return coded.T, _numbers(corner), _numbers(size)


def _cell_values(name: str, atlas: AnnData, cells: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Return where some cells are on a path; missing where they are not on it."""
    if name == CYCLE:
        angle = atlas.obs[slots.CYCLE_ANGLE].to_numpy(dtype=float)[cells]
        return np.where(atlas.obs[slots.CYCLING].to_numpy(dtype=bool)[cells], angle, np.nan)
    number = int(name.rsplit("_", 1)[1]) - 1
    return column_of(atlas.obsm[slots.X_LATENT], number)[cells].astype(float)


def _cell_codes(
    values: npt.NDArray[np.float64], position: npt.NDArray[np.float64], closed: bool
) -> npt.NDArray[np.uint8]:
    """Return 0 … 254 along the path; cells beyond an end are at the end."""
    low, high = (0.0, 2 * np.pi) if closed else (position[0], position[-1])
    part = (values - low) / ((high - low) or 1.0)
    part = np.mod(part, 1.0) if closed else np.clip(part, 0, 1)
    return np.where(np.isfinite(part), np.rint(np.nan_to_num(part) * 254), MISSING).astype(np.uint8)


def _deltas(coded: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return (n_genes, n_steps): the first value of each gene, then the differences modulo 256."""
    by_gene = coded.T
    first = np.zeros((len(by_gene), 1), dtype=np.uint8)
    return np.diff(by_gene, axis=1, prepend=first)


def _colorable(atlas: AnnData) -> tuple[list[str], str]:
    """Return the columns that can colour the cells, and a line about the other categories.

    Phase and clusters come first, then columns that the dataset file names (the atlas has colours for these).
    """
    levels = {
        str(name): len(column.cat.categories)
        for name, column in atlas.obs.items()
        if column.dtype.name == "category" and len(column.cat.categories) > 1
    }
    many = [name for name, n in levels.items() if n > MAX_LEVELS]
    few = [name for name in levels if name not in many]
    last = (slots.SAMPLE, slots.SPLIT)
    few.sort(key=lambda c: (c != slots.PHASE, c != slots.LEIDEN, f"{c}_colors" not in atlas.uns, c in last))
    told = [f"{name} ({levels[name]} levels, {MAX_LEVELS} at most)" for name in many]
    rest = few[MAX_COLORS:]
    told += [f"{', '.join(rest)} ({MAX_COLORS} columns at most)"] if rest else []
    return few[:MAX_COLORS], ", ".join(told)


def _categories(atlas: AnnData, names: list[str], cells: npt.NDArray[np.intp]) -> list[dict[str, Any]]:
    """Return the columns that can colour the cells."""
    out = []
    for name in names:
        column = atlas.obs[name]
        levels = [str(v) for v in column.cat.categories]
        known = atlas.uns.get(f"{name}_colors")
        colors = (
            [str(c) for c in known] if known is not None and len(known) == len(levels) else _hex("viridis", len(levels))
        )
        codes = column.cat.codes.to_numpy(np.int64)[cells]
        out.append(
            {
                "name": str(name),
                "levels": levels,
                "colors": colors,
                "codes": np.where(codes < 0, MISSING, codes).astype(np.uint8),
            }
        )
    return out


def _hex(cmap: Any, n: int, *, closed: bool = False) -> list[str]:
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    colormap = mpl.colormaps[cmap] if isinstance(cmap, str) else cmap
    return [to_hex(colormap(v)) for v in np.linspace(0, 1, n, endpoint=not closed)]


def _numbers(values: npt.ArrayLike) -> list[Any]:
    """Return plain numbers of five digits; None where missing."""
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in np.asarray(values, dtype=float)]


def _phases(atlas: AnnData, position: npt.NDArray[np.float64]) -> list[str]:
    arcs = phase_arcs(atlas)

    def at(angle: float) -> str:
        return next((st.PHASE_LABELS[p] for p, a, b in arcs if np.mod(angle - a, 2 * np.pi) < b - a), "")

    return [at(float(angle)) for angle in position]
