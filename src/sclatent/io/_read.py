"""One door to all count formats."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sclatent.data.textfiles import GZIP, HDF5, starts_with
from sclatent.io._counts import parsing
from sclatent.io._formats.features import PEAKS
from sclatent.io._formats.hdf5 import open_hdf5
from sclatent.io._rounding import Rounding
from sclatent.settings import InputError
from sclatent.settings.errors import check_file

if TYPE_CHECKING:
    from anndata import AnnData

_TAKES = {
    "10x h5": ("genome", "features"),
    "10x folder": ("genome", "features"),
    "h5ad": ("layer", "features"),
    "h5mu": ("layer",),
    "zarr": ("layer", "features"),
    "loom": ("layer", "features"),
    "text": ("orientation",),
}

_LEVELS, _ENTRIES = 3, 200
"""How deep, and among how many files, what may be meant is looked for."""


def read_counts(
    path: str | Path,
    *,
    layer: str | None = None,
    genome: str | None = None,
    features: str | None = None,
    orientation: str | None = None,
    round: Literal["nearest", "stochastic"] | None = None,
    round_seed: int = 0,
    modality: Literal["rna", "atac"] | str | None = None,
) -> AnnData:
    """Read a count matrix of any supported format; the content tells the format where the name does not.

    Parameters
    ----------
    path
        A 10x folder (or its matrix file), 10x ``.h5``, ``.h5ad``, ``.h5mu``, ``.zarr``, ``.loom``, or a dense table
        (``.csv``, ``.tsv``, ``.txt``, ``.tab``, also with ``.gz``).
    layer
        AnnData and loom files: a layer, or ``raw``; ``None`` for the main matrix.
    genome
        10x h5: which genome, where there are several.
    features
        10x, and AnnData and loom files with a column of feature types: the type to keep; ``None`` for genes.
    orientation
        Dense tables: ``genes_by_cells`` or ``cells_by_genes``; ``None`` to go by the names.
    round
        How estimated counts (alevin, RSEM, kallisto, SoupX, CellBender) become whole numbers: ``nearest`` (halves to
        the even number), or ``stochastic``, up with the probability of the fraction, so that the mean of many entries
        below a half is kept; ``None`` refuses fractions. The log and ``uns`` say what it changed.
    round_seed
        Of the draws of ``stochastic``: same seed, same counts.
    modality
        Of a file that holds several: which to read. ``rna`` or ``atac`` says which table of a ``.h5mu`` it is, and
        which rows of 10x output, or of an ``.h5ad`` with feature types; ``None`` reads genes.

    Returns
    -------
    AnnData
        ``X``: whole-number counts (n_cells, n_genes), CSR float32; ``obs`` and ``var`` as they came in;
        ``uns["sclatent"]["read"]``: format, layer, orientation, size, total, and what rounding changed.

    Raises
    ------
    InputError
        If the file is missing, damaged or of no known format; if the values are not counts; if an option does not fit
        the format.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    check_file(path)
    if round not in (None, "nearest", "stochastic"):
        raise InputError(f"{path}: `round: {round}`: must be nearest or stochastic")
    kind = _format(path)
    options = {"layer": layer, "genome": genome, "features": features, "orientation": orientation}
    for key, value in options.items():
        if value is not None and key not in _TAKES[kind]:
            raise InputError(f"{path}: `{key}: {value}` does not apply to a {kind} file: remove it")
    rounding = None if round is None else Rounding(round, round_seed)
    if kind.startswith("10x") and features is None and modality == "atac":
        features = PEAKS
    with parsing(path, "counts", only_memory=True):
        if kind in ("h5ad", "zarr"):
            from sclatent.io._formats.h5ad import read_anndata

            return read_anndata(path, layer=layer, features=features, modality=modality, rounding=rounding)
        if kind == "h5mu":
            from sclatent.io._formats.mudata import read_mudata

            return read_mudata(path, modality=modality, layer=layer, rounding=rounding)
        if kind == "loom":
            from sclatent.io._formats.loom import read_loom

            return read_loom(path, layer=layer, features=features, rounding=rounding)
        if kind == "text":
            from sclatent.io._formats.text import read_text

            return read_text(path, orientation=orientation, rounding=rounding)
        if kind == "10x h5":
            from sclatent.io._formats.tenx import read_10x_h5 as reader
        else:
            from sclatent.io._formats.folder import read_10x_folder as reader
        return reader(path, genome=genome, features=features, rounding=rounding)


def _format(path: Path) -> str:
    from sclatent.io._formats.folder import is_10x_folder
    from sclatent.io._formats.text import ENDINGS

    if path.is_dir():
        if is_10x_folder(path):
            return "10x folder"
        if any((path / name).exists() for name in (".zgroup", "zarr.json")):
            return "zarr"
        inside = _inside(path)
        hint = f": did you mean {inside} in it?" if inside else ": what is there to read?"
        raise InputError(f"{path}: a folder without matrix.mtx(.gz), and no zarr store{hint}")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes)")
    name = path.name.lower().removesuffix(".gz")
    if starts_with(path, HDF5):
        return _hdf5(path)
    if name.endswith((".h5ad", ".h5mu", ".h5", ".hdf5", ".loom")):
        if path.name.lower().endswith(".gz") or starts_with(path, GZIP):
            raise InputError(f"{path}: HDF5 files are read as they are, not gzipped: unpack it first (gunzip)")
        return _hdf5(path)
    if name.endswith(".mtx"):
        return "10x folder"
    if name.endswith(ENDINGS):
        return "text"
    raise InputError(
        f"{path}: unknown ending: expected a 10x folder, .h5, .h5ad, .h5mu, .zarr, .loom, .csv, .tsv or .txt (also .gz)"
    )


def _inside(folder: Path) -> str | None:
    """Return what may be meant by a folder without counts of its own: ``outs/filtered_feature_bc_matrix``."""
    from sclatent.io._formats.folder import is_10x_folder

    level = [folder]
    for _ in range(_LEVELS):
        level = sorted((p for f in level for p in islice(f.iterdir(), _ENTRIES)), key=lambda p: ("raw" in p.name, p))
        level = [p for p in level if not p.name.startswith(".") and os.access(p, os.R_OK)][:_ENTRIES]
        folders = [p for p in level if p.is_dir() and os.access(p, os.X_OK)]
        found = [p for p in folders if is_10x_folder(p) or p.name.endswith("matrix")]
        found += [p for p in level if p.suffix == ".h5ad" or ("matrix" in p.name and p.suffix == ".h5")]
        if found:
            return str(found[0].relative_to(folder))
        level = folders
    return None


def _hdf5(path: Path) -> str:
    import h5py

    with open_hdf5(path, "HDF5") as file:
        if "obs" in file and "var" in file:
            return "h5mu" if "mod" in file else "h5ad"
        if isinstance(file.get("matrix"), h5py.Dataset) and "row_attrs" in file:
            return "loom"
        return "h5ad" if path.suffix.lower() == ".h5ad" else "10x h5"
