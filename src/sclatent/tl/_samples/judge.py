"""Drawn cells against real ones: whether anything tells them apart, and where they differ."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.data.expected import need_counts
from sclatent.data.modalities import RNA, further, measured
from sclatent.settings import checks_arguments
from sclatent.tl._model.subset import evenly
from sclatent.tl._samples.judge_genes import CELLS, FEWEST, Look, look, of_genes
from sclatent.tl._samples.judge_peaks import Peaks, look_at_peaks, of_both, of_peaks

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
Judge = Callable[[Any, Any, int], dict[str, float]]
Take = Callable[..., Any]
"""Cells, and what they are, to what is compared of them."""

BOTH = "both"
"""What the table calls the rows about all modalities of the same cells."""
IDEAL = {
    "auroc": 0.5,
    "zero_fraction_difference": 0.0,
    "zero_fraction_error": 0.0,
    "mean_error": 0.0,
    "variance_error": 0.0,
    "library_size_distance": 0.0,
    "open_fraction_ratio": 1.0,
    "open_fraction_distance": 0.0,
    "prevalence_error": 0.0,
    "count_ratio": 1.0,
    "correlation_agreement": 1.0,
    "correlation_strength": 1.0,
    "neighbour_distance": 1.0,
}
"""What each measure is for cells of one kind, with no end of them."""


@checks_arguments
def check_samples(real: AnnData, drawn: AnnData, *, training: AnnData | None = None, seed: int = 0) -> pd.DataFrame:
    """Judge drawn cells by real ones that the model has not seen.

    A classifier has to tell one from the other (Lopez-Paz & Oquab 2017); further measures say where they differ.

    Parameters
    ----------
    real
        Held-out cells: whole-number counts in ``X`` of all genes that were drawn, and of others perhaps. Where several
        modalities were drawn, these have them too, as ``prepared.h5ad`` has.
    drawn
        From `sclatent.tl.sample`, as many, and of what the real cells are: a batch or condition that was set cannot
        look like all of them.
    training
        Cells × genes that the model was trained on: they show what chance alone does to each measure.
    seed
        Of the folds and of the bootstrap.

    Returns
    -------
    DataFrame
        One row per ``measure``, with its value for the ``drawn`` and for the ``training`` cells, each against the real
        ones, and what is ``ideal``; an interval (95 %, ``low`` to ``high``) for the AUROC:

        ``auroc`` of gradient boosting that is shown principal components of the log-normalised counts and the log
        total, five-fold, and has to tell real cells from the others; ``zero_fraction_difference`` and
        ``zero_fraction_error`` (mean and root mean square over genes); ``mean_error`` and ``variance_error``, root
        mean square over genes of the log2 ratio of mean and of variance of the normalised counts;
        ``library_size_distance`` (Kolmogorov–Smirnov); ``correlation_agreement``, between the gene–gene correlations
        of both (200 most variable genes), and ``correlation_strength``, the ratio of their root mean squares;
        ``neighbour_distance``, from a cell to the nearest real one (principal components), over that between real
        cells.

        Where several modalities were drawn the first column is ``modality``. Those of ``atac``: ``auroc`` with latent
        semantic indexing (TF-IDF, truncated SVD) in place of principal components; ``open_fraction_ratio`` and
        ``open_fraction_distance`` of the share of peaks that are open in a cell, ratio of the means and
        Kolmogorov–Smirnov; ``prevalence_error``, root mean square over the peaks that are open in five real cells or
        more of the log2 ratio of the share of cells that they are open in; ``count_ratio`` of the mean count of an
        open peak; ``correlation_agreement`` and ``correlation_strength`` of pairs of peaks; ``neighbour_distance``.
        Those of ``both``, of cells that were measured for all: ``auroc`` of a classifier that is shown all of them;
        correlations of genes with peaks. They are left out where there are fewer than ten such cells.

    Raises
    ------
    InputError
        If there are too few cells, or the real ones lack a gene, a peak or a modality.
    """
    import pandas as pd

    views, kinds = _views(drawn), {"real": real, "drawn": drawn}
    if training is not None:
        kinds["training"] = training
    for cells in kinds.values():
        need_counts(cells)
    taken = {name: [take(cells, what) for what, cells in kinds.items()] for name, (_, take) in views.items()}
    tables = {name: _table(judge, *taken[name], seed=seed) for name, (judge, _) in views.items()}
    if len(views) == 1:
        return tables[RNA]
    both = [looks_of_both(cells, drawn, what) for what, cells in kinds.items()]
    if None in both[:2]:
        log.warning("check_samples: fewer than %d cells have all modalities: they are judged apart only", FEWEST)
    else:
        tables[BOTH] = _table(of_both, *both, seed=seed)
    return pd.concat(tables, names=["modality"]).reset_index("modality").reset_index(drop=True)


def _views(drawn: AnnData) -> dict[str, tuple[Judge, Take]]:
    """Return how cells are judged and looked at, by modality."""
    views: dict[str, tuple[Judge, Take]] = {RNA: (of_genes, lambda cells, what: look(cells, drawn.var_names, what))}
    for name in further(drawn):
        views[name] = (of_peaks, functools.partial(look_at_peaks, drawn=drawn, name=name))
    return views


def looks_of_both(cells: AnnData, drawn: AnnData, what: str) -> tuple[Look, Peaks] | None:
    """Return what is compared of cells that were measured for all modalities; None if there are too few."""
    (name,) = further(drawn)
    rows = evenly(np.flatnonzero(measured(cells, RNA) & measured(cells, name)), CELLS)
    if len(rows) < FEWEST:
        return None
    return look(cells, drawn.var_names, what, rows), look_at_peaks(cells, what, drawn=drawn, name=name, rows=rows)


def _table(judge: Judge, real: Any, drawn: Any, training: Any = None, *, seed: int) -> pd.DataFrame:
    """Return one row per measure, of drawn and of training cells, if there are some, against the real ones."""
    import pandas as pd

    found = judge(real, drawn, seed)
    low, high = found.pop("low"), found.pop("high")
    table = pd.DataFrame({"drawn": found}, dtype=float)
    table["low"] = table["high"] = np.nan
    table.loc["auroc", ["low", "high"]] = low, high
    known = {} if training is None else judge(real, training, seed)
    table["training"] = [known.get(name, np.nan) for name in table.index]
    table["ideal"] = [IDEAL[name] for name in table.index]
    return table.rename_axis("measure").reset_index()
