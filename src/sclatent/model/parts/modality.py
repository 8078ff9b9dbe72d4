"""One kind of measurement of a cell: its genes, and the encoder, decoder and likelihood that go with them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sclatent.model.data import Batch
from sclatent.model.parts import additive  # noqa: F401  registers its decoder
from sclatent.model.parts.decoders import DECODERS
from sclatent.model.parts.encoder import Encoder
from sclatent.model.parts.latent import Latent
from sclatent.model.parts.likelihood import Sizes
from sclatent.model.parts.likelihoods import LIKELIHOODS
from sclatent.settings import ModelSettings

__all__ = ["DECODERS", "Modality"]


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
    """

    name = "rna"

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
    ) -> None:
        super().__init__()
        self.n_genes, n_code = n_genes, latent.n_code
        n_out, width = n_genes + int(rest), settings.n_hidden
        self.encoder = Encoder(n_genes, latent.n_parameters, width, settings.n_layers, settings.dropout, generator)
        self.decoder = DECODERS[settings.decoder.kind](n_code, n_design, n_out, settings, generator)
        sizes = Sizes(n_genes, n_code, n_levels)
        self.likelihood = LIKELIHOODS[settings.likelihood.kind](sizes, settings.likelihood, generator)

    def log_prob(self, code: Tensor, batch: Batch, design: Tensor, masks: torch.Generator | None) -> Tensor:
        """Log p(x | code) of each cell (B,), nats; `masks`, when given, switches dropout on."""
        return self.likelihood.log_prob(self.decoder(code, design, masks), code, batch)
