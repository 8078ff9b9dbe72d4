"""The cell-cycle genes of a dataset, and the S and G2/M scores of scanpy."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from sclatent.data.blocks import row_blocks
from sclatent.data.gene_ids import gene_ids, tell_nothing
from sclatent.data.genes import ORGANISMS, cycle_genes, match_genes, symbol_column
from sclatent.data.normalise import gene_sums, log_scaled
from sclatent.data.slots import G2M_SCORE, S_SCORE, SYMBOL

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

MIN_GENES = 5
"""Fewest genes of each list; with fewer there is no score and therefore no cycle."""


@dataclass(frozen=True)
class ListGenes:
    """The genes of the two lists found in a dataset: `position` (column of the counts) and `phase` of each."""

    position: np.ndarray
    phase: np.ndarray
    n_listed: dict[str, int]
    reason: str = ""

    @property
    def n(self) -> dict[str, int]:
        """Number of genes found, by phase."""
        return {phase: int((self.phase == phase).sum()) for phase in ("S", "G2M")}


def symbols(var: pd.DataFrame) -> tuple[list[str], str]:
    """Return the names to match gene lists against, and where they come from.

    ``var["symbol"]`` where the dataset has it (and it is not a copy of the ids), else the column that holds most
    cell-cycle genes when names are ids or numbers, else the names.
    """
    if SYMBOL in var and not tell_nothing([str(name) for name in var[SYMBOL]]):
        same = bool((var[SYMBOL].astype(str) == var.index.astype(str)).all())
        return [str(name) for name in var[SYMBOL]], "gene names" if same else f"var column '{SYMBOL}'"
    column = symbol_column(var)
    if column is not None:
        return [str(name) for name in var[column]], f"var column '{column}'"
    return [str(name) for name in var.index], "gene names"


def find_list_genes(var: pd.DataFrame, totals: np.ndarray, organism: str, path: str | None) -> ListGenes:
    """Find the genes of the S and G2/M lists among the dataset's genes.

    Parameters
    ----------
    var
        (genes,) the dataset's gene table.
    totals
        (genes,) total counts: of two genes of one symbol the one with more counts is taken.
    organism, path
        Which built-in list, or a file of one's own.

    Returns
    -------
    The genes found; with too few of them, `reason` says so in one line, and names the list that would have matched.
    """
    table = cycle_genes(organism, path)
    names, where = symbols(var)
    found = match_genes(names, list(table["gene"]), aliases=list(table["aliases"]), weights=totals)
    ids = gene_ids(var)
    own, other, matched = 0, None, 0
    if path is None:
        own = _hits(names, ids, organism)
        other, matched = max(
            ((o, _hits(names, ids, o)) for o in ORGANISMS if o != organism),
            key=lambda pair: pair[1],
            default=(None, 0),
        )
        if matched <= max(2 * own, MIN_GENES):
            other = None
    if other is None:
        by_id = match_genes(ids, [e or "-" for e in table["ensembl"]], weights=totals)
        own_ids = match_genes(ids, list(table["gene"]), weights=totals)
        by_case = match_genes(
            names, list(table["gene"]), aliases=list(table["aliases"]), weights=totals, ignore_case=True
        )
        for extra in (by_id, own_ids, by_case):
            fill = (found < 0) & (extra >= 0) & ~np.isin(extra, found[found >= 0])
            found = np.where(fill, extra, found)
    keep = found >= 0
    listed = {phase: int((table["phase"] == phase).sum()) for phase in ("S", "G2M")}
    genes = ListGenes(found[keep], table["phase"].to_numpy(str)[keep], listed)
    n = genes.n
    if other is not None:
        reason = (
            f"organism is {organism}, but only {own} of {len(table)} {organism} cell-cycle genes are among the {where} "
            f"and ids, and {matched} of the {other} list are: set `organism: {other}`"
        )
    elif min(n.values()) < MIN_GENES:
        reason = (
            f"too few cell-cycle genes: {n['S']} of {listed['S']} S and {n['G2M']} of {listed['G2M']} G2/M genes found "
            f"among the {where} ({names[0]}, …), at least {MIN_GENES} of each are needed: "
            "check `organism`, `genes.symbols` or `cycle.genes`"
        )
    else:
        return genes
    return ListGenes(genes.position, genes.phase, listed, reason)


def _hits(names: list[str], ids: list[str], organism: str) -> int:
    """Return how many genes of an organism's lists are there, by symbol or by id, whichever finds more."""
    table = cycle_genes(organism)
    by_name = match_genes(names, list(table["gene"]), aliases=list(table["aliases"]))
    return max(int((found >= 0).sum()) for found in (by_name, match_genes(ids, [e or "-" for e in table["ensembl"]])))


def log_normalise(counts: sp.csr_matrix, library: np.ndarray) -> sp.csr_matrix:
    """Return log1p(count / library · median library), (cells, genes) float32."""
    size = np.asarray(library, np.float64)
    factor = np.divide(np.median(size), size, out=np.zeros_like(size), where=size > 0)
    return log_scaled(counts, factor)


def list_scores(normalised: sp.csr_matrix, genes: ListGenes) -> pd.DataFrame:
    """Return scanpy's S and G2/M score of every cell.

    Parameters
    ----------
    normalised
        (cells, genes) log-normalised counts.
    genes
        The list genes in it.

    Returns
    -------
    DataFrame with ``S_score`` and ``G2M_score`` (cells): the mean of the list genes minus that of control genes of like
    abundance (``scanpy.tl.score_genes`` with ``ctrl_as_ref=False`` and ``random_state=0``; control size the shorter
    list, as in ``score_genes_cell_cycle``). Gene sets too small for 25 abundance bins get fewer bins.
    """
    import pandas as pd

    means = gene_sums(normalised) / normalised.shape[0]
    control = min(genes.n.values())
    weights = np.stack(
        [_weights(means, genes.position[genes.phase == phase], control) for phase in ("S", "G2M")], axis=1
    )
    scores = np.empty((normalised.shape[0], 2))
    for rows, block in row_blocks(normalised):
        scores[rows] = block @ weights
    return pd.DataFrame(scores, columns=[S_SCORE, G2M_SCORE])


def _weights(means: np.ndarray, listed: np.ndarray, control: int) -> np.ndarray:
    """Return (genes,) the weights of scanpy's score: of listed genes, and of control genes of similar abundance.

    scanpy chooses the control genes by the mean of each gene and asks for all cells at once. As many cells as there are
    genes, with a count in one gene each, have the same means, and the score of such a cell tells the weight of its
    gene.
    """
    import anndata as ad
    import pandas as pd
    import scanpy as sc

    n = len(means)
    names = pd.Index([f"g{i}" for i in range(n)])
    data = ad.AnnData(sp.diags(n * means, format="csr"), var=pd.DataFrame(index=names))
    data.obs_names = names
    bins = max(1, min(25, n // 20))
    while bins >= 1:
        # a bin that contains only list genes has no control genes: coarser bins are used then
        with contextlib.suppress(RuntimeError):
            sc.tl.score_genes(
                data,
                list(names[listed]),
                ctrl_size=control,
                n_bins=bins,
                score_name="weight",
                random_state=0,
                use_raw=False,
                ctrl_as_ref=False,
            )
            return np.divide(data.obs["weight"].to_numpy(), n * means, out=np.zeros(n), where=means > 0)
        bins //= 2
    log.warning("no control genes beside the cell-cycle genes: the score is the mean of the list genes")
    out = np.zeros(n)
    out[listed] = 1 / len(listed)
    return out
