"""Rows of a file that holds several kinds of features (genes, proteins, peaks), told apart by their feature types."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sclatent.data.gene_ids import folded
from sclatent.io._counts import keep_genes
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
