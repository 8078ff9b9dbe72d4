"""How long, how fast, how much: the schedule of a training, from its settings and the number of cells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sclatent.settings.model import ModelSettings


@dataclass(frozen=True)
class Schedule:
    """The schedule in optimiser steps, so that it means the same for any number of cells.

    Attributes
    ----------
    batch_size, epochs, steps_per_epoch
        Cells per step, most epochs, steps of an epoch.
    warmup
        Steps over which the KL weight grows from 0 to 1.
    peak
        Highest learning rate.
    """

    batch_size: int
    epochs: int
    steps_per_epoch: int
    warmup: int
    peak: float
    begun: float = 0.0
    """How far the training is where the schedule begins, from 0 to 1."""

    @property
    def steps(self) -> int:
        """Steps of the whole schedule."""
        return self.epochs * self.steps_per_epoch

    def learning_rate(self, step: int) -> float:
        """One cycle: a cosine from peak/25 up over the first tenth, then a cosine down to peak/10,000."""
        rise = max(1.0, RISE * self.steps)
        if step < rise:
            low, high, t = self.peak / 25, self.peak, step / rise
        else:
            low, high, t = self.peak, self.peak / 1e4, (step - rise) / max(1.0, self.steps - rise)
        return high + (low - high) * 0.5 * (1.0 + math.cos(math.pi * min(t, 1.0)))

    def progress(self, step: int) -> float:
        """How far the training is in step `step`, from 0 to 1."""
        return self.begun + (1.0 - self.begun) * (step / self.steps)

    def kl_weight(self, step: int) -> float:
        """Weight of the KL term in step `step` (from 0)."""
        return min(1.0, (step + 1) / self.warmup)

    @classmethod
    def make(cls, settings: ModelSettings, n: int) -> Schedule:
        """Return the schedule for `n` training cells."""
        size = batch_size(settings, n)
        steps_per_epoch = max(1, math.ceil(n / size))
        epochs = n_epochs(settings, n)
        warmup = max(1, math.ceil(WARMUP * epochs * steps_per_epoch))
        return cls(size, epochs, steps_per_epoch, warmup, peak_rate(settings, size))

    @classmethod
    def again(cls, settings: ModelSettings, n: int, epochs: int) -> Schedule:
        """Return the schedule of a refit on `n` cells for so many epochs: one cycle, with the full weight of the KL."""
        size = batch_size(settings, n)
        return cls(size, epochs, max(1, math.ceil(n / size)), 1, peak_rate(settings, size), AGAIN)

    def minibatches(self, order: np.ndarray) -> list[np.ndarray]:
        """Cut the cells of an epoch into its steps, as evenly as can be: no last step with a cell or two."""
        return np.array_split(order, self.steps_per_epoch)


WARMUP = 0.15
"""Share of the schedule over which the KL weight grows."""
RISE = 0.1
"""Share of the schedule over which the learning rate grows."""
AGAIN = 0.9
"""How far a training is where its refit begins: what was annealed is not heated up."""
REFIT = 0.5
"""Most epochs of a refit, for one of the training."""
MANY = 2000
"""Training cells from which on there are many."""
MOST_EPOCHS = 100
"""Passes through 2,000 cells; with fewer cells only as many more as the shortest schedule asks for."""
FEWEST_STEPS = 1000
"""Steps of the shortest schedule: a hundred passes through a hundred cells are far too few."""
STEPS = 4000
"""Steps that a schedule of at most a hundred passes should have: with more cells to a step there are fewer of them."""
SIZES = 64, 512
"""Fewest and most cells per step."""


def refit_epochs(n: int, epochs: int) -> int:
    """Epochs of a refit on `n` cells, after a training of `epochs`: most for 2,000 cells.

    With fewer it overfits sooner, and no cell is left to say so; with more it pays less.

    Parameters
    ----------
    n
        Number of cells.
    epochs
        Epochs of the training before.

    Returns
    -------
    int
        0: no refit.
    """
    return round(REFIT * epochs * min(max(n, 1) / MANY, MANY / max(n, 1)))


def decay(settings: ModelSettings, n: int) -> float:
    """Weight decay for `n` cells: like a prior, it counts for less the more data there are."""
    return settings.weight_decay * min(1.0, MANY / max(n, 1))


def batch_size(settings: ModelSettings, n: int) -> int:
    """Cells per step: small for few cells, so that there are enough steps."""
    if settings.batch_size != "auto":
        return int(settings.batch_size)
    return int(np.clip(2 ** round(math.log2(max(n, 1) / 40)), *SIZES))


def peak_rate(settings: ModelSettings, size: int) -> float:
    """Highest learning rate for so many cells per step.

    The setting is that of 64 cells. It grows with the square root of the cells per step, up to 512 cells: the noise of
    a gradient falls by that root, and Adam divides by the size of the gradient (Malladi et al. 2022, On the SDEs and
    scaling rules for adaptive gradient algorithms).
    """
    return settings.learning_rate * math.sqrt(np.clip(size, *SIZES) / SIZES[0])


def n_epochs(settings: ModelSettings, n: int) -> int:
    """Most passes through the cells: fewer with more cells, since each pass then holds more steps."""
    if settings.epochs != "auto":
        return int(settings.epochs)
    usual = int(np.clip(round(MOST_EPOCHS * math.sqrt(2000 / max(n, 1))), 8, MOST_EPOCHS))
    steps = math.ceil(max(n, 1) / batch_size(settings, n))
    return max(usual, min(MOST_EPOCHS, math.ceil(STEPS / steps)), math.ceil(FEWEST_STEPS / steps))
