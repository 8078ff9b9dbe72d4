"""The look of every figure: sizes, fonts, colours that colour-blind readers can tell apart, and what figures share.

Figures are made without pyplot, so that no global state is touched and nothing has to be closed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from sclatent._lazy import rare_collections
from sclatent.data.colors import BLUE as BLUE
from sclatent.data.colors import CATEGORIES
from sclatent.data.colors import ORANGE as ORANGE
from sclatent.data.colors import PHASE_COLORS as PHASE_COLORS
from sclatent.data.colors import PURPLE as PURPLE
from sclatent.data.colors import SKY as SKY
from sclatent.data.colors import VERMILLION as VERMILLION
from sclatent.settings import checks_arguments

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection

P = ParamSpec("P")
R = TypeVar("R")
Figures = dict[str, Figure]

RC: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs on every machine
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "figure.dpi": 100.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,  # text stays text in the PDF
    "text.parse_math": False,  # a gene or cluster called "a$b$" is a name, not a formula
    "axes.formatter.use_mathtext": False,
}
MAX_POINTS = 100_000
"""More cells than this are drawn as an evenly drawn subset: more dots would only lie on top of one another."""

GREY, PALE, INK = "#8C8C8C", "#D9D9D9", "#222222"
PHASE_LABELS = {"G1": "G1", "S": "S", "G2M": "G2/M"}
RESTING = "#B8B8B8"
SEQUENTIAL = "cividis"
DIVERGING = "RdBu_r"


def _cyclic(n: int = 256) -> npt.NDArray[np.float64]:
    """Return `n` colours around a circle in the (lightness, yellow-blue) plane of CIELAB, as sRGB.

    The common colour-blindnesses lose the red-green direction only, so a circle in the other two stays a circle; some
    red-green is added in step with the lightness for those who see it.
    """
    from skimage.color import lab2rgb

    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    lab = np.stack([58 - 21 * np.cos(angle), 26 * np.cos(angle), -43 * np.sin(angle)], axis=1)
    return np.asarray(lab2rgb(lab[None])[0], dtype=float)


@functools.cache
def cycle_cmap() -> LinearSegmentedColormap:
    """Return the cyclic colour map of the cycle angle: purple, blue, teal, ochre, and back."""
    colors = _cyclic()
    return LinearSegmentedColormap.from_list("sclatent_cycle", np.vstack([colors, colors[:1]]), N=512)


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` under the package's matplotlib settings, whatever the user's are, and leave the user's alone.

    What it is handed is looked at first, see `sclatent.settings.checks_arguments`.
    """

    @checks_arguments
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(RC), rare_collections():
            return function(*args, **kwargs)

    return wrapper


def figure(width: float, height: float) -> Figure:
    """Return an empty figure of `width` × `height` inches that lays itself out so that nothing is cut off."""
    return Figure(figsize=(width, height), layout="constrained")


def panel_grid(
    n: int, columns: int, width: float, height: float, *, left: float, top: float = 0.26, bottom: float = 0.26
) -> tuple[Figure, list[Axes]]:
    """Return a figure of `n` panels of `width` × `height` inches, placed by arithmetic.

    The automatic layout measures every text of every panel, which takes half a minute with a hundred panels.

    Parameters
    ----------
    n, columns
        Panels, row by row.
    left, top, bottom
        Inches around each panel for its labels; the figure itself keeps 0.5 inches below and 1 inch at the right, where
        a common label and a colour bar go.
    """
    rows = -(-n // columns)
    cell = (left + width + 0.15, top + height + bottom)
    size = (0.3 + columns * cell[0] + 0.9, rows * cell[1] + 0.5)
    fig = Figure(figsize=size)
    axes = []
    for k in range(n):
        row, column = divmod(k, columns)
        x, y = 0.3 + column * cell[0] + left, size[1] - (row + 1) * cell[1] + bottom
        axes.append(fig.add_axes((x / size[0], y / size[1], width / size[0], height / size[1])))
    return fig, axes


def placed(
    width: float, height: float, boxes: Sequence[tuple[float, float, float, float]]
) -> tuple[Figure, list[Axes]]:
    """Return a figure of `width` × `height` inches with a panel in each box (left, bottom, width, height; inches).

    For figures made by the dozen: placed by hand, they need no automatic layout.
    """
    fig = Figure(figsize=(width, height))
    return fig, [fig.add_axes((x / width, y / height, w / width, h / height)) for x, y, w, h in boxes]


def points(
    ax: Axes,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    c: Any = GREY,
    *,
    size: float | None = None,
    shuffle: bool = True,
    **kwargs: Any,
) -> PathCollection:
    """Scatter cells: smaller dots when there are more, rasterised, in random order so that no group covers another."""
    x, y = np.asarray(x), np.asarray(y)
    order = np.random.default_rng(0).permutation(len(x)) if shuffle else np.arange(len(x))
    order = order[:MAX_POINTS]
    if not isinstance(c, str) and np.ndim(c) >= 1 and len(c) == len(x):
        c = np.asarray(c)[order]
    size = dot_size(len(order)) if size is None else size
    return ax.scatter(x[order], y[order], c=c, s=size, linewidths=0, rasterized=True, **kwargs)


def of_cells(adata: AnnData, names: pd.Index) -> AnnData:
    """Return `adata` of the cells with these names, in their order: as it is, if that is so already."""
    return adata if adata.obs_names.equals(names) else adata[names]


def dot_size(n: int) -> float:
    """Return the size of a dot (points²) among `n` cells; for groups of cells that are drawn one after the other."""
    return float(np.clip(12000 / max(n, 1), 0.4, 16))


def embedding_axes(ax: Axes, name: str = "UMAP") -> None:
    """Turn `ax` into a map: equal scales, no ticks, the two directions named."""
    ax.set(xticks=[], yticks=[], xlabel=f"{name} 1", ylabel=f"{name} 2")
    ax.set_aspect("equal", adjustable="datalim")


def angle_axis(ax: Axes, which: str = "x", label: str = "cycle angle (radians; 0 = start of G1)") -> None:
    """Give an axis from 0 to 2π ticks at quarters of a turn."""
    ticks, names = np.arange(5) * np.pi / 2, ["0", "π/2", "π", "3π/2", "2π"]
    if which == "x":
        ax.set(xlim=(0, 2 * np.pi), xlabel=label)
        ax.set_xticks(ticks, names)
    else:
        ax.set(ylim=(0, 2 * np.pi), ylabel=label)
        ax.set_yticks(ticks, names)


def log_scale(ax: Axes, which: str = "xy") -> None:
    """Make the named axes logarithmic, with ticks written out in plain text (mathematics is off, see `RC`).

    Call it after the data are drawn: a short range gets ticks at 1, 2 and 5 times a power of ten.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for letter in which:
        axis = ax.xaxis if letter == "x" else ax.yaxis
        (ax.set_xscale if letter == "x" else ax.set_yscale)("log")
        low, high = sorted(ax.get_xlim() if letter == "x" else ax.get_ylim())
        decades = np.log10(high / low)
        most = 6 if decades > 6 else 12  # every decade of many would write its number over the next one
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,), numticks=most))
        axis.set_minor_locator(LogLocator(subs=tuple(range(2, 10)), numticks=12))
        axis.set_major_formatter(FuncFormatter(_plain))
        axis.set_minor_formatter(NullFormatter())


def _plain(value: float, _: object = None) -> str:
    if 1 <= value < 1e6:
        return f"{value:,.0f}"
    if 1e-3 <= value < 1:
        return f"{value:.10g}"
    exponent = int(np.floor(np.log10(value) + 1e-9))
    mantissa = value / 10.0**exponent
    power = "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return power if abs(mantissa - 1) < 1e-6 else f"{mantissa:g}·{power}"


def shorten(name: object, length: int = 28) -> str:
    """Return `name` cut in the middle to at most `length` characters."""
    text = " ".join(str(name).split())
    if len(text) <= length:
        return text
    head = (length - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def category_colors(n: int) -> list[Any]:
    """Return `n` colours: Okabe-Ito as far as they go, then evenly spaced along viridis."""
    if n <= len(CATEGORIES):
        return list(CATEGORIES[:n])
    return [mpl.colormaps["viridis"](v) for v in np.linspace(0, 0.95, n)]


def note(text: str, width: float = 6.0, height: float = 1.6) -> Figure:
    """Return a figure that holds a sentence: why there is nothing to draw."""
    fig = figure(width, height)
    ax = fig.subplots()
    ax.axis("off")
    # eleven letters of this size to the inch, and an inch of margin
    lines = [fill(line, int(11 * (width - 1))) for line in text.split("\n")]
    ax.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", fontsize=10, color=INK)
    return fig


def no_cells(ax: Axes, low: float, high: float) -> None:
    """Grey out the part of a path, from `low` to `high`, near which there are no cells."""
    ax.axvspan(low, high, facecolor="#EEEEEE", alpha=0.75, hatch="////", edgecolor="#BBBBBB", lw=0, zorder=3)
