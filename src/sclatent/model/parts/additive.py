r"""A decoder in which every axis has its own response curve for every gene.

Along axis k, gene g responds by a sum of J smooth functions of the coordinate, with weights of its own:

.. math::

    f_{kg}(z_k) = \sum_j \varphi_j(z_k)\, A_{kjg}

The four functions are softened hinges, two to each side: :math:`\varphi(z) = s(\pm z - c)` for :math:`c = 0, 1`,
where :math:`s(t) = \log(1 + e^{2t}) / 2`. They are non-negative, and :math:`s(z) - s(-z) = z`, so a straight line is
among the curves. What happens on one side of an axis is free of what happens on the other: an axis can be two programs.

Two ways to pool the axes, both one matrix product of width K · J:

- ``log``: curves add up in the logits, :math:`a_g = b_g + \sum_k f_{kg}(z_k)`. Axes multiply rates.
- ``counts``: non-negative curves add up in expression, :math:`e^{a_g} = e^{b_g}\,(1 + \sum_k f_{kg}(z_k))` with
  :math:`A > 0`: the shared background :math:`b`, and parts that only ever add to it (the count-space form of the
  logsumexp pooling of DRVI, Moinfar & Theis 2024).

Covariates shift the logits of each gene, so under ``counts`` they are a factor of its rate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sclatent.model.parts.decoders import DECODERS, Decoder
from sclatent.settings import ModelSettings
from sclatent.settings.kinds.parts import AdditiveSettings
from sclatent.settings.kinds.registry import unknown_kind

SHARPNESS = 2.0
KNOTS = (0.0, 1.0)
N_FUNCTIONS = 2 * len(KNOTS)
POOLINGS = ("log", "counts")
SHARE = 0.3
"""``counts``: expression that the axes add at the start, relative to the background."""
SCALE = 20.0
"""``counts``: log A = scale × parameter, so that weights which start small can grow within a training."""


def basis(z: Tensor) -> Tensor:
    """Return the J functions of each coordinate, (… × K × J): rising from 0, from 1, and falling from 0, from −1."""
    hinges = [sign * z - knot for sign in (1.0, -1.0) for knot in KNOTS]
    return nn.functional.softplus(torch.stack(hinges, -1), beta=SHARPNESS)


def prior_mean() -> Tensor:
    """Return the mean of the J functions under z ~ N(0, 1), by quadrature."""
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    weight = torch.exp(-0.5 * z * z)
    return ((basis(z) * weight[:, None]).sum(0) / weight.sum()).float()


@DECODERS.register
class AdditiveDecoder(Decoder):
    """Response curves that add up in the logits (``pooling: log``) or in expression (``pooling: counts``)."""

    settings = AdditiveSettings
    average: Tensor

    def __init__(self, n_latent: int, n_design: int, n_out: int, settings: ModelSettings, generator: torch.Generator):
        super().__init__(n_latent, n_design, n_out, settings, generator)
        assert isinstance(settings.decoder, AdditiveSettings)
        self.pooling, self.sparsity = settings.decoder.pooling, settings.decoder.sparsity
        if self.pooling not in POOLINGS:
            raise unknown_kind("pooling", self.pooling, POOLINGS)
        width = n_latent * N_FUNCTIONS
        self.register_buffer("average", prior_mean(), persistent=False)
        noise = torch.empty(width, n_out).normal_(generator=generator)
        if self.pooling == "log":
            self.curves = nn.Parameter(0.05 * noise)
        else:
            start = math.log(SHARE / (n_latent * float(self.average.sum())))
            self.curves = nn.Parameter((start + 0.5 * noise) / SCALE)
        self.covariates = nn.Parameter(torch.zeros(n_design, n_out))

    @torch.no_grad()
    def start_linear(self, entries: range, weight: Tensor) -> None:
        """Set the curves of these entries to straight lines: s(z) − s(−z) = z. Under ``counts`` no curve can fall."""
        if self.pooling == "log":
            for k, line in zip(entries, weight.to(self.bias), strict=True):
                for knot, share in ((0, 1.0), (len(KNOTS), -1.0)):  # rising from 0, falling from 0
                    self.curves[k * N_FUNCTIONS + knot, : len(line)] = share * line

    def weights(self) -> Tensor:
        """A (K · J × n_out); positive under ``counts``."""
        return self.curves if self.pooling == "log" else (SCALE * self.curves).exp()

    def forward(self, z: Tensor, design: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return logits (B × n_out)."""
        functions = basis(z)
        if self.pooling == "log":
            # centred, so that the bias is the logit of the average cell whatever the weights
            logits = torch.addmm(self.bias, (functions - self.average).flatten(1), self.curves)
        else:
            logits = self.bias + torch.log1p(functions.flatten(1) @ self.weights())
        return torch.addmm(logits, design, self.covariates) if design.shape[1] else logits

    def penalty(self) -> Tensor | None:
        """Minus the log density of a Laplace prior on the weights, in nats: most genes do not respond to most axes."""
        return self.sparsity * self.weights().abs().sum() if self.sparsity else None

    @torch.no_grad()
    def response(self, z: Tensor) -> Tensor:
        """Return the response curves of all axes at the coordinates `z` (n,), as (K × n × n_out).

        Under ``log`` what the axis adds to the logit, 0 on average over the prior; under ``counts`` what it adds to
        the rate, as a multiple of the background.
        """
        functions = basis(z)
        if self.pooling == "log":
            functions = functions - self.average
        weights = self.weights().reshape(-1, N_FUNCTIONS, self.bias.shape[0])
        return torch.einsum("nj,kjg->kng", functions, weights)
