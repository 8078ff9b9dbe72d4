"""Some of the cells of a step. What is drawn at random is drawn for all of them: it is the same in any parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor


class Part(NamedTuple):
    """The cells ``first`` to ``last`` (without it) of the ``n`` cells of a step."""

    first: int
    last: int
    n: int

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.last - self.first

    def pieces(self, n: int) -> list[Part]:
        """Return these cells in `n` pieces, or in as many as there are cells; as even as `numpy.array_split`."""
        n = min(n, self.size)
        each, more = divmod(self.size, max(n, 1))
        ends = [self.first + i * each + min(i, more) for i in range(n + 1)]
        return [Part(first, last, self.n) for first, last in pairwise(ends)]


_looked_at: ContextVar[Part | None] = ContextVar("_looked_at", default=None)


@contextmanager
def looking_at(part: Part) -> Iterator[None]:
    """Within it, `for_all` gives the rows of these cells."""
    token = _looked_at.set(part)
    try:
        yield
    finally:
        _looked_at.reset(token)


def for_all(draw: Callable[[tuple[int, ...]], Tensor], shape: tuple[int, ...], cells: int) -> Tensor:
    """Return ``draw(shape)``, or, where a part of the cells is looked at, its stretch of what is drawn for all.

    Parameters
    ----------
    draw
        Draws a tensor of a shape.
    shape
        Shape that is wanted.
    cells
        Its dimension of cells. It may hold several draws, one after the other, each of all cells.
    """
    part = _looked_at.get()
    if part is None or part.size == part.n:
        return draw(shape)
    draws = shape[cells] // part.size
    drawn = draw((*shape[:cells], draws * part.n, *shape[cells + 1 :]))
    stretch = drawn.unflatten(cells, (draws, part.n)).narrow(cells + 1, part.first, part.size)
    return stretch.flatten(cells, cells + 1)
