"""Names and ids of genes: what they look like, where a table has them, which are one gene, which matter for QC."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

GENOME_PREFIX = re.compile(r"^(GRCh3[78]|hg19|hg38|GRCm3[89]|mm9|mm10|mm39)_+(?=.)")
_ENSEMBL = re.compile(r"(ENS[A-Z]*G\d{6,})(\.\d+)?")
_ID = (
    r"ENS[A-Z]*G(?:R\d{5,}|\d{6,})(?:\.\d+)?(?:_\d+)?(?:_PAR_Y)?"
    r"|FBgn\d{7}"  # fly
    r"|WBGene\d{8}"  # worm
    r"|Y[A-P][LR]\d{3}[WC](?:-[A-Z])?"  # baker's yeast
    r"|SP[ABCM][A-Z0-9]*\.\d+c?"  # fission yeast
    r"|AT[1-5CM]G\d{5}|(?:LOC_)?Os\d{2}g\d{5,7}|Zm\d{5}[a-z]{1,2}\d{6}"  # Arabidopsis, rice, maize
    r"|PF3D7_\w?\d{6,7}|PBANKA_\w?\d{6,7}|TGME49_\d{6}|DDB_G\d{7}"  # Plasmodium, Toxoplasma, Dictyostelium
)
_ANY_ID = re.compile(_ID)
# the id comes first or last; a symbol may hold - and . itself, so these separate nothing
_ID_FIRST = re.compile(rf"(?P<id>{_ID})[_|;:,/ ]+(?P<symbol>.+)")
_ID_LAST = re.compile(rf"(?P<symbol>.+?)[_|;:,/ ]+(?P<id>{_ID})")
_PLACE = re.compile(r"(?P<symbol>.+?)__chr\w+")
"""CEL-seq pipelines write the chromosome behind the symbol."""
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


def read_list(name: str) -> pd.DataFrame:
    """Return a table that ships with the package."""
    import pandas as pd

    with files("sclatent.data").joinpath(name).open("rb") as stream:
        return pd.read_csv(stream, sep="\t", dtype=str, keep_default_na=False, comment="#")


def is_id(name: str) -> bool:
    """Return True for a gene id of Ensembl (with version or not), FlyBase, WormBase, SGD, TAIR and the like."""
    return _ANY_ID.fullmatch(name) is not None


def parts(names: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """Return ids and symbols where names hold both, such as ``ENSG00000141510_TP53`` or ``TP53|ENSG00000141510``.

    Parameters
    ----------
    names
        Names of genes.

    Returns
    -------
    Ids (empty where a name has none) and symbols, or None if not more than half of the names are of this form. The
    chromosome behind ``TP53__chr17`` is taken off.
    """
    ids, symbols, found = [], [], 0
    for name in names:
        bare = GENOME_PREFIX.sub("", str(name).strip())
        alone = is_id(bare)
        match = None if alone else _ID_FIRST.fullmatch(bare) or _ID_LAST.fullmatch(bare) or _PLACE.fullmatch(bare)
        found += match is not None
        ids.append(match.groupdict().get("id", "") if match else bare if alone else "")
        symbols.append(match["symbol"] if match else bare)
    return (ids, symbols) if found > len(names) / 2 else None


def clean_names(names: Iterable[str]) -> list[str]:
    """Strip what annotation pipelines put around a gene's name: genome prefixes and versions of Ensembl ids.

    Parameters
    ----------
    names
        Names of genes.

    Returns
    -------
    list of str
        The cleaned names, in the same order.
    """
    out = []
    for name in names:
        bare = GENOME_PREFIX.sub("", str(name).strip())
        ensembl = _ENSEMBL.fullmatch(bare)
        out.append(ensembl.group(1) if ensembl else bare)
    return out


def look_like_ids(names: Sequence[str]) -> bool:
    """Return True if more than half of the names are gene ids (Ensembl, FlyBase, WormBase, SGD, TAIR and the like).

    Parameters
    ----------
    names
        Names of genes.

    Returns
    -------
    bool
        False for symbols, and where there are no names.
    """
    return len(names) > 0 and sum(map(is_id, clean_names(names))) > len(names) / 2


def tell_nothing(names: Sequence[str]) -> bool:
    """Return True if the names are no symbols: ids, or whole numbers (of NCBI, or of rows)."""
    bare = [str(name).strip() for name in names]
    return look_like_ids(bare) or sum(name.isdecimal() for name in bare) > len(bare) / 2


def folded(column: object) -> str:
    """Return the name of a column in lower case without `_`, `.`, `-` and blanks."""
    return re.sub(r"[\s_.-]", "", str(column)).lower()


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
    both = parts(names)
    own = [name if is_id(name) else "" for name in names] if both is None else both[0]
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
