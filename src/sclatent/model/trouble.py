"""What to say when counts are no counts, or a training goes astray."""

from __future__ import annotations

import numpy as np
import torch

from sclatent.model.batches import Batches, CountData
from sclatent.model.vae import CountVAE
from sclatent.settings import InputError


class Diverged(InputError):
    """The loss is not finite, or ran away.

    Attributes
    ----------
    cells
        Positions of the cells in the step that went wrong.
    """

    def __init__(self, cells: np.ndarray, message: str = "the loss is not finite") -> None:
        super().__init__(message)
        self.cells = cells


def check_data(data: CountData, train: np.ndarray) -> None:
    """Refuse what would make the loss meaningless: no cells, negative or non-finite counts and library sizes.

    Raises
    ------
    InputError
        One line that names the first cell (its position) and gene (its position).
    """
    if len(train) == 0:
        raise InputError("no training cells: check `split` and the filters on cells")
    if data.n_genes == 0:
        raise InputError("no genes for the model: check `genes` and the filters")
    counts = data.counts
    bad = ~np.isfinite(counts.data) | (counts.data < 0)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        cell = int(np.searchsorted(counts.indptr, at, side="right")) - 1
        raise InputError(
            f"counts: {int(bad.sum())} value(s) are negative or not finite, the first in cell {cell}, gene "
            f"{int(counts.indices[at])} ({counts.data[at]:g}): give whole-number counts"
        )
    library = np.asarray(data.library)
    if not np.isfinite(library).all() or (library < 0).any():
        cell = int(np.flatnonzero(~np.isfinite(library) | (library < 0))[0])
        raise InputError(f"library_size: {library[cell]:g} in cell {cell}: give totals of counts")


@torch.no_grad()
def explain(vae: CountVAE, batches: Batches, cells: np.ndarray) -> str:
    """One line on a loss that is not finite: which cells, which genes, what to check."""
    batch = batches.gather(cells[:4096])
    generator = torch.Generator(device=vae.device).manual_seed(0)
    log_prob, kl = vae.elbo_terms(batch, generator)
    wrong = np.asarray(cells[:4096])[~torch.isfinite(log_prob - kl).cpu().numpy()]
    advice = "check these cells for extreme or non-count values, or lower the model's `learning_rate`"
    largest = int(batch.values.argmax()) if len(batch.values) else None
    top = ""
    if largest is not None:
        top = (
            f"; the largest count of the step is {float(batch.values[largest]):g} "
            f"(cell {int(cells[int(batch.rows[largest])])}, gene {int(batch.columns[largest])})"
        )
    if len(wrong) == 0:
        return f"training: the loss is not finite in a step of {len(cells)} cells{top}: {advice}"
    named = ", ".join(str(c) for c in wrong[:5]) + (", …" if len(wrong) > 5 else "")
    return f"training: the loss is not finite in {len(wrong)} cell(s), positions {named}{top}: {advice}"
