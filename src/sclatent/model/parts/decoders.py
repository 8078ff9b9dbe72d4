"""From latent axes to logits over genes: one small class per decoder."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from sclatent.model.kinds import Kinds
from sclatent.model.parts.layers import dropout, init_linear
from sclatent.settings import ModelSettings
from sclatent.settings.kinds import parts as kinds
from sclatent.settings.kinds.parts import DecoderSettings, LinearSettings, MLPSettings

NETWORK_SHARE = 0.1
"""Factor on what the network of `MLPDecoder` adds to its linear part: its weights then move the rates a tenth as fast
and weight decay holds them back the more, so that it says only what the linear part cannot."""


class Decoder(nn.Module, ABC):
    """What a decoder is: ``decoder(code, design) -> logits``.

    A kind is made as ``kind(n_code, n_design, n_out, settings, generator)``, with all settings of the model. `n_out`
    counts the genes and, when there is one, the *rest* category (last). ``bias`` (n_out,) is the logit of a
    cell at z = 0; the trainer starts it at the log mean fraction of each gene.
    """

    settings: ClassVar[type[DecoderSettings]]
    bias: nn.Parameter

    def __init__(
        self, n_latent: int, n_design: int, n_out: int, settings: ModelSettings, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_out))

    @abstractmethod
    def forward(self, z: Tensor, design: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return logits (B × n_out) of z (B × axes) under the covariates `design` (B × columns).

        Parameters
        ----------
        z
            Codes (B × axes).
        design
            Covariates (B × columns), see `CountVAE.design`.
        generator
            Generator of the dropout masks; None: no dropout.

        Returns
        -------
        Tensor
            (B × n_out), the unnormalised log rates a.
        """

    def start_linear(self, entries: range, weight: Tensor) -> None:
        """Start with `weight` (entries × genes) as the linear effect of some entries of the code on the logits.

        A kind that has no such part ignores it.

        Parameters
        ----------
        entries
            Positions in the code.
        weight
            Effects on the logits (entries × genes).
        """

    def penalty(self) -> Tensor | None:
        """Minus the log prior density of the weights, nats for all cells; None: no prior beside weight decay.

        Returns
        -------
        Tensor or None
            A scalar, nats.
        """
        return None


DECODERS: Kinds[type[Decoder]] = Kinds(kinds.DECODERS)


@DECODERS.register
class LinearDecoder(Decoder):
    """Logits are a linear map of z: the weights are the loadings."""

    settings = LinearSettings

    def __init__(self, n_latent: int, n_design: int, n_out: int, settings: ModelSettings, generator: torch.Generator):
        super().__init__(n_latent, n_design, n_out, settings, generator)
        self.weight = nn.Linear(n_latent, n_out, bias=False)
        self.covariates = nn.Parameter(torch.zeros(n_design, n_out))
        init_linear(self.weight, generator)

    @torch.no_grad()
    def start_linear(self, entries: range, weight: Tensor) -> None:
        """Set the weights of these entries."""
        self.weight.weight[: weight.shape[1], list(entries)] = weight.T.to(self.bias)

    def forward(self, z: Tensor, design: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return logits (B × n_out)."""
        logits = torch.addmm(self.bias, z, self.weight.weight.T)
        return torch.addmm(logits, design, self.covariates) if design.shape[1] else logits


@DECODERS.register
class MLPDecoder(Decoder):
    """Logits from a network that sees z and the covariates, plus a linear map of both.

    The network is kept small (`NETWORK_SHARE`): the sum generalises better than either, and its axes are nearly those
    of the linear part, one program each, which a free network spreads over many.
    """

    settings = MLPSettings

    def __init__(self, n_latent: int, n_design: int, n_out: int, settings: ModelSettings, generator: torch.Generator):
        super().__init__(n_latent, n_design, n_out, settings, generator)
        width, self.rate, self.n_latent = settings.n_hidden, settings.dropout, n_latent
        sizes = [n_latent + n_design] + [width] * settings.n_layers
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(sizes)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in self.layers])
        # inputs × genes: this layout makes all three products of a training step about a third faster
        self.last_weight = nn.Parameter(torch.empty(width + n_latent, n_out))
        self.covariates = nn.Parameter(torch.zeros(n_design, n_out))
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            init_linear(layer, generator, math.sqrt(2.0))
        with torch.no_grad():
            self.last_weight[:width].uniform_(-1 / math.sqrt(width), 1 / math.sqrt(width), generator=generator)
            small = 0.05 / math.sqrt(n_latent)
            self.last_weight[width:].uniform_(-small, small, generator=generator)

    @torch.no_grad()
    def start_linear(self, entries: range, weight: Tensor) -> None:
        """Set the weights of these entries in the linear map beside the network."""
        hidden = self.last_weight.shape[0] - self.n_latent
        self.last_weight[[hidden + k for k in entries], : weight.shape[1]] = weight.to(self.bias)

    def forward(self, z: Tensor, design: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return logits (B × n_out)."""
        h = torch.cat([z, design], 1)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            h = dropout(torch.relu(norm(layer(h))), self.rate, generator)
        logits = torch.addmm(self.bias, torch.cat([NETWORK_SHARE * h, z], 1), self.last_weight)
        return torch.addmm(logits, design, self.covariates) if design.shape[1] else logits
