"""Gene ids: where a table of genes has them, which are one gene, and which matter for quality control."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sclatent.data.genes import GENOME_PREFIX, folded, look_like_ids, read_list

if TYPE_CHECKING:
    import pandas as pd

# versions are .12, and .12_3 where GENCODE lifted a gene to another genome; the copy on Y of a gene that X and Y share
# is its own gene, called …_PAR_Y or, before GENCODE 25, ENSGR…
_VERSION = re.compile(r"(ENS[A-Z]*G(?:R\d{5,}|\d{6,}))(?:\.\d+)?(?:_\d+)?(_PAR_Y)?")
_ID_COLUMNS = (
    "geneids",
    "geneid",
    "ensemblid",
    "ensemblids",
    "ensemblgeneid",
    "ensemblgeneids",
    "ensembl",
    "accession",
)
"""Usual names of a column of gene ids, in lower case without `_`, `.`, `-` and blanks."""
_LOOSE_ID_COLUMNS = ("featureid", "featureids", "id", "ids", "genestableid", "stableid", "gene", "feature", "index")
"""Names that hold gene ids or anything else: taken where most values are Ensembl ids."""
MANY_GENES = 2000
"""In a set of so many genes some are mitochondrial and ribosomal, unless they were taken out."""


def strip_version(name: str) -> str:
    """Return an Ensembl gene id without its version, and any other name as it is.

    The copy on Y of a gene of the pseudoautosomal regions (``ENSG00000182378.15_PAR_Y``, once ``ENSGR0000182378``)
    keeps its mark: it is another gene than the one on X.
    """
    found = _VERSION.fullmatch(name)
    if found is None:
        return name
    stem, on_y = found.groups()
    if stem.startswith("ENSGR"):
        return f"ENSG0{stem.removeprefix('ENSGR')}_PAR_Y"
    return stem + (on_y or "")


def id_column(var: pd.DataFrame) -> str | None:
    """Return the column of a table of genes that holds gene ids, by its name, if there is one."""
    usual = {folded(column): str(column) for column in reversed(list(var.columns))}
    for name in _ID_COLUMNS:
        if name in usual and var[usual[name]].dtype.kind not in "bfc":
            return usual[name]
    for name in _LOOSE_ID_COLUMNS:
        if name in usual and look_like_ids([str(value) for value in var[usual[name]]]):
            return usual[name]
    return None


def raw_ids(var: pd.DataFrame) -> list[str]:
    """Return the id of every gene as it was written, from its column or else the names; empty where there is none."""
    names = [GENOME_PREFIX.sub("", str(name).strip()) for name in var.index]
    own = [name if _VERSION.fullmatch(name) else "" for name in names]
    column = id_column(var)
    if column is None:
        return own
    values = var[column]
    given = [
        "" if gap else GENOME_PREFIX.sub("", str(value).strip())
        for value, gap in zip(values, values.isna(), strict=True)
    ]
    return [value or name for value, name in zip(given, own, strict=True)]


def gene_ids(var: pd.DataFrame) -> list[str]:
    """Return the id of every gene without version, empty where there is none."""
    return [strip_version(value) for value in raw_ids(var)]


def qc_ids(kind: str) -> frozenset[str]:
    """Return the Ensembl ids, human and mouse, of mitochondrial (``mt``) or ribosomal (``ribo``) genes."""
    table = read_list("qc_genes.tsv")
    return frozenset(table["ensembl"][table["kind"] == kind])
