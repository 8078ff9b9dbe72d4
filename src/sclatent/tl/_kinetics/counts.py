"""Counts of cells by the bin of their angle: likelihood, its slope and curvature, dispersion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sclatent.tl._kinetics.mechanism import BINS, Array, Ints

MOST_THETA = 1e4
"""Inverse dispersion that stands for a Poisson."""


@dataclass(frozen=True)
class Binned:
    """Counts (kinds × cells × genes), the cells sorted by bin.

    ``library`` (cells,) is relative to the mean; ``bin`` (cells,) the bin of each; ``starts`` where each bin that holds
    cells begins, ``held`` these bins; ``theta`` (kinds × genes) the inverse dispersion.
    """

    counts: Array
    library: Array
    bin: Ints
    starts: Ints
    held: Ints
    theta: Array

    @classmethod
    def of(cls, counts: Array, library: Array, angle: Array) -> Binned:
        """Sort cells into bins."""
        place = np.rint(np.mod(angle, 2 * np.pi) / (2 * np.pi) * BINS).astype(np.int64) % BINS
        order = np.argsort(place, kind="stable")
        held, starts = np.unique(place[order], return_index=True)
        theta = np.full((counts.shape[0], counts.shape[2]), MOST_THETA)
        return cls(counts[:, order], library[order], place[order], starts, held, theta)

    def by_bin(self, values: Array) -> Array:
        """Sum values (kinds × cells × genes) over the cells of each bin: (genes × kinds · bins)."""
        out = np.zeros((values.shape[2], values.shape[0], BINS))
        out[:, :, self.held] = np.add.reduceat(values, self.starts, axis=1).transpose(2, 0, 1)
        return out.reshape(len(out), -1)

    def expected(self, log_mean: Array) -> Array:
        """Return expected counts (kinds × cells × genes) of log means (genes × kinds · bins)."""
        kinds = self.counts.shape[0]
        mean = np.exp(log_mean.reshape(len(log_mean), kinds, BINS)[:, :, self.bin])
        return mean.transpose(1, 2, 0) * self.library[:, None]

    def slope(self, log_mean: Array) -> tuple[Array, Array]:
        """Slope and expected curvature of the log-likelihood with the log means (genes × kinds · bins each)."""
        mu = self.expected(log_mean)
        shrink = 1 + mu / self.theta[:, None, :]
        return self.by_bin((self.counts - mu) / shrink), self.by_bin(mu / shrink)

    def log_likelihood(self, log_mean: Array, gene: int) -> Array:
        """Log-likelihood (draws,) of one gene for log means (draws × kinds · bins), up to a constant."""
        total = np.zeros(len(log_mean))
        for kind, counts in enumerate(self.counts[:, :, gene]):
            at = log_mean[:, kind * BINS + self.held]
            total += at @ np.add.reduceat(counts, self.starts)
            theta = self.theta[kind, gene]
            if theta >= MOST_THETA:
                total -= np.exp(at) @ np.add.reduceat(self.library, self.starts)
            else:
                ratio = np.exp(log_mean[:, kind * BINS + self.bin]) * (self.library / theta)
                total -= np.log1p(ratio) @ (counts + theta)
        return total

    def with_dispersion(self, log_mean: Array) -> Binned:
        """Return the same with the inverse dispersion of each kind and gene by its moments about these log means."""
        mu = self.expected(log_mean)
        excess = ((self.counts - mu) ** 2 - mu).sum(1)
        theta = (mu**2).sum(1) / np.maximum(excess, 1e-12)
        return Binned(self.counts, self.library, self.bin, self.starts, self.held, np.clip(theta, 0.05, MOST_THETA))
