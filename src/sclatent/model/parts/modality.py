"""One kind of measurement of a cell: its genes, and the encoder, decoder and likelihood that go with them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sclatent.model.batch import Batch
from sclatent.model.parts import additive  # noqa: F401  registers its decoder
from sclatent.model.parts.decoders import DECODERS, Decoder, LinearDecoder
from sclatent.model.parts.encoder import Encoder
from sclatent.model.parts.latent import Latent
from sclatent.model.parts.likelihood import Sizes
from sclatent.model.parts.likelihoods import LIKELIHOODS
from sclatent.settings import ModelSettings
from sclatent.settings.kinds import parts as kinds
from sclatent.settings.kinds.parts import LikelihoodSettings, OneOf

__all__ = ["DECODERS", "Further", "Modality"]


START = 0.05
"""Factor on the first weights of `ShrunkenDecoder`."""
PRIOR_SCALE, PRIOR_FREEDOM = 0.1, 3.0
"""Scale and degrees of freedom of Student's t, their prior: how much one unit of an axis moves the log rate of a usual
feature. Its tails are heavy, so that a feature which tells types of cells apart may move as far as its cells say."""

WIDTH = 32
"""Hidden units of the encoder of peaks: with more it learns the few cells that have a peak by heart."""


class ShrunkenDecoder(LinearDecoder):
    """A linear map for tens of thousands of features, each of which few cells have.

    Every feature begins nearly as in the average cell, and a prior keeps it there until enough cells say
    otherwise: with free weights a rare feature learns its few cells by heart. A network would learn no more, and take
    most of the time and memory of a training.
    """

    def __init__(self, n_latent: int, n_design: int, n_out: int, settings: ModelSettings, generator: torch.Generator):
        super().__init__(n_latent, n_design, n_out, settings, generator)
        with torch.no_grad():
            self.weight.weight.mul_(START)

    def penalty(self) -> Tensor:
        """Return minus the log density of the weights under their prior, but for a constant; nats for all cells."""
        scaled = self.weight.weight.square() / (PRIOR_FREEDOM * PRIOR_SCALE**2)
        return 0.5 * (PRIOR_FREEDOM + 1) * torch.log1p(scaled).sum()


class Further(NamedTuple):
    """A modality beside the genes."""

    n_features: int
    likelihood: LikelihoodSettings

    def within(self, settings: ModelSettings) -> ModelSettings:
        """Return the settings of a model, as they are for this modality.

        Parameters
        ----------
        settings
            Settings of the whole model.

        Returns
        -------
        ModelSettings
            Those with the likelihood of this modality, and with a narrow encoder.
        """
        width = min(settings.n_hidden, max(WIDTH, settings.n_axes))
        return settings.model_copy(update={"likelihood": self.likelihood, "n_hidden": width})

    def described(self) -> dict[str, Any]:
        """Return it as plain values.

        Returns
        -------
        dict
            What `from_description` takes.
        """
        return {"n_features": self.n_features, "likelihood": self.likelihood.model_dump(mode="json")}

    @classmethod
    def from_description(cls, described: dict[str, Any]) -> Further:
        """Make a modality from what `described` returned.

        Parameters
        ----------
        described
            Plain values.

        Returns
        -------
        Further
            The same modality.
        """
        return cls(int(described["n_features"]), OneOf(kinds.LIKELIHOODS)(described["likelihood"]))  # type: ignore[arg-type]


class Modality(nn.Module):
    """Counts of RNA, or of whatever else has rates μ = l · softmax(decoder(z)).

    Parameters
    ----------
    n_genes
        Genes.
    settings
        Likelihood, networks.
    latent
        The axes that all modalities of a cell share.
    n_design
        Columns of the covariates as the decoder sees them.
    n_levels
        Levels of each categorical covariate.
    rest
        Whether the softmax has a *rest* category beside the genes.
    generator
        Fills the weights.
    decoder
        From the axes to features; by default that of the settings.
    """

    def __init__(
        self,
        n_genes: int,
        settings: ModelSettings,
        latent: Latent,
        *,
        n_design: int,
        n_levels: tuple[int, ...],
        rest: bool,
        generator: torch.Generator,
        decoder: type[Decoder] | None = None,
    ) -> None:
        super().__init__()
        self.n_genes, self.rest, n_code = n_genes, rest, latent.n_code
        n_out, width = n_genes + int(rest), settings.n_hidden
        self.encoder = Encoder(n_genes, latent.n_parameters, width, settings.n_layers, settings.dropout, generator)
        self.decoder = (decoder or DECODERS[settings.decoder.kind])(n_code, n_design, n_out, settings, generator)
        sizes = Sizes(n_genes, n_code, n_levels)
        self.likelihood = LIKELIHOODS[settings.likelihood.kind](sizes, settings.likelihood, generator)

    def log_prob(self, code: Tensor, batch: Batch, design: Tensor, masks: torch.Generator | None) -> Tensor:
        """Log p(x | code) of each cell (B,), nats; `masks`, when given, switches dropout on."""
        return self.likelihood.log_prob(self.decoder(code, design, masks), code, batch)
