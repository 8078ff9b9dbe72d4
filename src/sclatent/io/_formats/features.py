"""Which rows are genes: of a file with several kinds of features (genes, proteins, peaks), and by their names."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from sclatent.data.blocks import subset
from sclatent.data.gene_ids import GENOME_PREFIX, folded
from sclatent.settings import InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

PEAKS, GENES = "Peaks", "Gene Expression"
"""What Cell Ranger calls rows of open chromatin and of RNA."""
_COLUMNS = ("featuretypes", "featuretype", "modality", "featuremodality")
"""Columns that may hold feature types, in lower case without `_`, `.`, `-` and blanks."""
_WORDS = {
    GENES: ("geneexpression", "gene", "genes", "rna", "mrna", "gex", "expression", "transcriptome", "transcripts"),
    PEAKS: ("peaks", "peak", "atac", "chromatinaccessibility", "chromatin", "accessibility"),
    "other": (
        *("antibodycapture", "antibody", "antibodies", "protein", "proteins", "proteinexpression", "adt", "adts"),
        *("prot", "cite", "citeseq", "hto", "htos", "hashtag", "hashtags", "hashing", "multiplexingcapture"),
        *("crisprguidecapture", "crispr", "guide", "guides", "grna", "sgrna", "custom", "antigencapture"),
        *("airr", "vdj", "tcr", "bcr"),
    ),
}
_LISTED = 12

_NO_GENE = re.compile(
    "__(no_feature|ambiguous|too_low_aQual|not_aligned|alignment_not_unique)|N_(unmapped|multimapping|noFeature|ambiguous)"
)
"""What HTSeq and STAR count besides genes."""
_ANTIBODY = re.compile(
    r"(ADT|HTO)[-_. ].+|Hashtag[-_. ]?\d.*|.+[-_. ](ADT|HTO|TotalSeq[-_ ]?[ABCD]?\d*|hashtag\d*)", re.IGNORECASE
)
"""Antibodies, by what is put around their names."""
_SPREADSHEET = re.compile(
    # a day and a month, in the languages of Europe; `sep-1` and `mars-1` are genes of the worm, so case counts
    r"X?\d{1,2}[-. ](?i:Jan|Feb|Mar|Apr|Sept?|Oct|Nov|Dec|Mrz|Mär|Mars?|Mrt|Marzo?|Avr|Okt|Dez|Dic|Déc)\.?"
    r"|(Mar|Sept?|Dec|Mrz|Mär|Dez|Dic|Déc)[-. ]\d{1,2}"
    # a date in figures, with the time of day that other programs add
    r"|(\d{4}-\d\d-\d\d|\d{1,2}(?P<mark>[/.])\d{1,2}(?P=mark)(\d\d|\d{4}))([ T]0?0:00(:00)?)?|\d([.,]\d+)?[Ee]\+\d+"
)
"""What spreadsheets make of MARCH1, SEPT2, DEC1 and 2310009E13Rik: 1-Mar, 1.Mrz, 2021-03-01, 2.31E+13."""


def no_features(path: Path, key: str, wanted: str, known: list[str]) -> InputError:
    """Return the error of a feature type, or genome, that is not there."""
    listed = ", ".join(known[:_LISTED]) + (" …" if len(known) > _LISTED else "")
    return InputError(f"{path}: no {key} '{wanted}'{did_you_mean(wanted, known)}: set `{key}` to one of {listed}")


def choose_features(
    matrix: Any, var: pd.DataFrame, path: Path, *, features: str | None, modality: str | None
) -> tuple[Any, pd.DataFrame]:
    """Keep the genes of an AnnData or loom file that also holds proteins, guides or peaks; or what is asked for.

    Parameters
    ----------
    matrix, var
        (n_cells, n_features), and a row per feature.
    path
        File, for the line.
    features
        The feature type to keep; None: genes, or peaks where `modality` is ``atac``.
    modality
        Of a dataset of several.

    Raises
    ------
    InputError
        If there is no such feature type, or if the file holds proteins, guides or peaks only.
    """
    column = _column(var)
    if column is None:
        if features is not None:
            raise InputError(
                f"{path}: `features: {features}` does not apply: the file names no feature types (no var column "
                "'feature_types')"
            )
        return matrix, var
    types = var[column].astype(str)
    known = list(dict.fromkeys(types))
    if features is not None:
        wanted = [features]
    else:
        kind = PEAKS if modality == "atac" else GENES
        wanted = [word for word in known if kind_of_word(word) == kind]
        if not wanted and (modality is not None or any(kind_of_word(word) != "other" for word in known)):
            return matrix, var
    keep = types.isin(wanted).to_numpy()
    if not keep.any():
        raise no_features(path, "features", features or GENES, known)
    if keep.all():
        return matrix, var
    left = ", ".join(f"{n} {kind}" for kind, n in types[~keep].value_counts().items())
    log.info("%s: kept %d of %d features (%s); left out: %s", path, keep.sum(), len(keep), ", ".join(wanted), left)
    return keep_genes(matrix, var, keep)


def kind_of_word(word: object) -> str | None:
    """Return `GENES`, `PEAKS` or ``"other"`` for a word that names one, in any spelling; else None."""
    return next((kind for kind, words in _WORDS.items() if folded(word) in words), None)


def kind_of_features(var: pd.DataFrame) -> str | None:
    """Return what all features of a table are (`GENES`, `PEAKS` or ``"other"``); genes if some are; None: not told."""
    column = _column(var)
    if column is None:
        return None
    kinds = {kind_of_word(value) for value in var[column].astype(str).unique()}
    return next((kind for kind in (GENES, PEAKS, "other") if kind in kinds), None)


def _column(var: pd.DataFrame) -> str | None:
    """Return the column of feature types."""
    return next((name for name in var.columns if folded(name) in _COLUMNS and _words(var[name])), None)


def _words(values: pd.Series) -> bool:
    """Tell whether a column holds feature types: words for genes, peaks, proteins or guides, and not biotypes."""
    return any(kind_of_word(value) is not None for value in values.astype(str).unique())


def only_genes(matrix: Any, var: pd.DataFrame, path: str | Path) -> tuple[Any, pd.DataFrame]:
    """Leave out what HTSeq and STAR count besides genes, and antibodies beside genes; say which names are no names."""
    dates = [name for name in var.index if _SPREADSHEET.fullmatch(name)]
    if dates:
        log.warning(
            "%s: %d gene name(s) such as '%s' were changed by a spreadsheet (MARCH1 becomes 1-Mar): take the names "
            "from the original file",
            path,
            len(dates),
            dates[0],
        )
    genomes = Counter(found[1] for name in var.index if (found := GENOME_PREFIX.match(name)))
    if len(genomes) > 1 and "genome" not in var:
        counts = ", ".join(f"{genome}: {n}" for genome, n in genomes.items())
        log.warning("%s: holds genes of several genomes by their names (%s): all are read", path, counts)
    for pattern, what in ((_NO_GENE, "sums over reads"), (_ANTIBODY, "antibodies by their names")):
        odd = np.array([pattern.fullmatch(name) is not None for name in var.index])
        if odd.any() and (pattern is _NO_GENE or odd.mean() < 0.5):
            named = ", ".join(map(str, var.index[odd][:10])) + (" …" if odd.sum() > 10 else "")
            log.warning("%s: left out rows that are %s, not genes: %s", path, what, named)
            matrix, var = keep_genes(matrix, var, ~odd)
    return matrix, var


def are_antibodies(names: Sequence[str]) -> bool:
    """Tell whether more than half of the names are those of antibodies, by what is put around them."""
    return sum(_ANTIBODY.fullmatch(name) is not None for name in names) > len(names) / 2


def keep_genes(matrix: Any, var: pd.DataFrame, keep: np.ndarray) -> tuple[Any, pd.DataFrame]:
    """Return counts (n_cells, n_genes) and genes of a mask (n_genes,)."""
    if sparse.isspmatrix_csr(matrix):
        return subset(matrix, np.ones(matrix.shape[0], dtype=bool), keep), var[keep]
    return matrix[:, np.flatnonzero(keep)], var[keep]
