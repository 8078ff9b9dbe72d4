"""The messages for counts that are negative or not finite, and for a training that diverges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sclatent.model.data import Batches, CountData
from sclatent.model.objective import Objective
from sclatent.model.vae import CountVAE
from sclatent.settings import InputError


class Diverged(InputError):
    """The loss is not finite, or runs away.

    Attributes
    ----------
    cells
        Positions of the cells in question: of the step, or those whose own loss is not finite.
    largest
        Position of the cell and of the gene of the largest count among them, and that count.
    """

    def __init__(
        self,
        cells: np.ndarray,
        problem: str = "the loss is not finite",
        largest: tuple[int, int, float] | None = None,
        cell_names: Sequence[str] | None = None,
        gene_names: Sequence[str] | None = None,
    ) -> None:
        self.cells, self.problem, self.largest = cells, problem, largest
        if largest is None:
            super().__init__(problem)
            return

        def name(position: int, names: Sequence[str] | None) -> str:
            return f"no. {position}" if names is None else f"'{names[position]}'"

        some = ", ".join(name(int(c), cell_names) for c in cells[:3]) + (", …" if len(cells) > 3 else "")
        super().__init__(
            f"training: {problem}, twice, in {len(cells)} cell(s) ({some}); the largest count there is {largest[2]:g} "
            f"(cell {name(largest[0], cell_names)}, gene {name(largest[1], gene_names)}): check these for values that "
            "are no counts, or lower `learning_rate` of the model"
        )

    def named(self, cell_names: Sequence[str], gene_names: Sequence[str]) -> Diverged:
        """Return the same with the names of cells and genes instead of their positions.

        Parameters
        ----------
        cell_names
            Names of all cells, in the order of the counts.
        gene_names
            Names of the model's genes.

        Returns
        -------
        Diverged
            The exception, whose line names them.
        """
        return Diverged(self.cells, self.problem, self.largest, cell_names, gene_names)


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
    if (wrong := data.source.wrong()) is not None:
        raise InputError(
            f"counts: {wrong.n} value(s) are negative or not finite, the first in cell {wrong.cell}, gene "
            f"{wrong.gene} ({wrong.value:g}): give whole-number counts"
        )
    library = np.asarray(data.library)
    if not np.isfinite(library).all() or (library < 0).any():
        cell = int(np.flatnonzero(~np.isfinite(library) | (library < 0))[0])
        raise InputError(f"library_size: {library[cell]:g} in cell {cell}: give totals of counts")
    for other in data.others.values():
        check_data(other, train)


@torch.no_grad()
def explain(vae: CountVAE, objective: Objective, batches: Batches, cells: np.ndarray, size: int = 4096) -> Diverged:
    """Return the error of a training that diverged among `cells`: which of them, which gene to look at.

    They are looked at `size` at a time, until some have a score that is not finite.
    """
    noise = torch.Generator(device=vae.device).manual_seed(0)
    largest = (int(cells[0]), 0, 0.0)
    for start in range(0, len(cells), size):
        some = np.asarray(cells[start : start + size])
        batch = batches.gather(some)
        bad = ~torch.isfinite(objective.score(vae, batch, noise))
        wrong = some[bad.cpu().numpy()]
        values = batch.values
        if len(wrong):
            values, largest = values * bad[batch.rows], (int(wrong[0]), 0, 0.0)
        if len(values):
            at = int(values.argmax())
            found = (int(some[int(batch.rows[at])]), int(batch.columns[at]), float(values[at]))
            largest = max(largest, found, key=lambda entry: entry[2])
        if len(wrong):
            return Diverged(wrong, "the loss is not finite or runs away", largest)
    return Diverged(cells, "the loss is not finite or runs away", largest)
