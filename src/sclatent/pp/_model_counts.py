"""What the stages that ask a model about cells read of prepared cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sclatent.data import slots
from sclatent.data.blocks import subset
from sclatent.data.expected import need_split
from sclatent.data.modalities import slot
from sclatent.pp._peaks import model_peaks
from sclatent.settings import checks_arguments

if TYPE_CHECKING:
    from anndata import AnnData


@checks_arguments
def model_counts(prepared: AnnData) -> AnnData:
    """Return the counts that the model sees, and what is known of their cells and genes.

    Parameters
    ----------
    prepared
        What `prepare` returns.

    Returns
    -------
    AnnData
        AnnData of the genes with ``var["in_model"]``: ``X``, ``obs`` and ``var`` as in `prepared`, of ``uns`` only what
        the columns are called. The stages that ask a model about cells take it instead of `prepared`, which is several
        times larger.
    """
    from anndata import AnnData

    need_split(prepared)
    genes = prepared.var[slots.IN_MODEL].to_numpy(dtype=bool)
    matrices, tables = model_peaks(prepared)
    return AnnData(
        subset(prepared.X, np.ones(prepared.n_obs, dtype=bool), genes),
        obs=prepared.obs,
        var=prepared.var[genes],
        obsm=matrices,
        uns={slots.UNS: {slots.UNS_PREPARED: prepared.uns[slots.UNS][slots.UNS_PREPARED], **slot(tables)}},
    )
