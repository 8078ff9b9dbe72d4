"""The variational autoencoder as training sees it: encoders, decoders, likelihoods and the latent between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sclatent.model.batch import RNA, Batch, parts
from sclatent.model.parts import log_likelihoods
from sclatent.model.parts.decoders import Decoder
from sclatent.model.parts.encoder import Encoder
from sclatent.model.parts.latents import make_latent
from sclatent.model.parts.likelihoods import Likelihood
from sclatent.model.parts.modality import Further, Modality, ShrunkenDecoder
from sclatent.model.parts.posterior import Posterior
from sclatent.settings import ModelSettings


class Network(nn.Module):
    """From counts to a posterior, and from codes to the probability of counts.

    What it is made of: see `CountVAE`.
    """

    rotation: Tensor
    level_frequency: Tensor
    progress: float = 1.0
    """How far training is, from 0 to 1, for kinds of latent that change on the way."""

    def __init__(
        self,
        n_genes: int,
        settings: ModelSettings,
        *,
        n_levels: tuple[int, ...] = (),
        n_continuous: int = 0,
        rest: bool = False,
        further: Mapping[str, Further] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.n_genes, self.settings, self.rest = n_genes, settings, rest
        self.n_levels, self.n_continuous = tuple(int(n) for n in n_levels), n_continuous
        generator = torch.Generator().manual_seed(seed)
        self.n_design = sum(self.n_levels) + n_continuous
        # layers fill themselves from the global generator before ours does: leave that one as it was
        self.further = dict(further or {})
        shared: dict[str, Any] = {"n_design": self.n_design, "n_levels": self.n_levels, "generator": generator}
        with torch.random.fork_rng(devices=[]):
            self.latent = make_latent(settings.latent, settings.n_axes)
            self.latent.fill(generator)
            self.modality = Modality(n_genes, settings, self.latent, rest=rest, **shared)
            kind: dict[str, Any] = {**shared, "rest": False, "decoder": ShrunkenDecoder}
            self.others = nn.ModuleDict(
                {
                    name: Modality(one.n_features, one.within(settings), self.latent, **kind)
                    for name, one in self.further.items()
                }
            )
        # mean of the one-hot columns over the training cells: a level that training never saw is then the average one
        self.register_buffer("level_frequency", torch.zeros(sum(self.n_levels)))
        # orthogonal map from the network's coordinates to the axes: axes = z @ rotation.T
        self.register_buffer("rotation", torch.eye(settings.n_axes))

    # --- pieces that training uses --------------------------------------------------------------------------------

    @property
    def modalities(self) -> dict[str, Modality]:
        """All modalities by name, the genes first."""
        return {RNA: self.modality, **self.others}  # type: ignore[dict-item]

    @property
    def encoder(self) -> Encoder:
        """From counts to the parameters of the posterior."""
        return self.modality.encoder

    @property
    def decoder(self) -> Decoder:
        """From the latent code to genes."""
        return self.modality.decoder

    @property
    def likelihood(self) -> Likelihood:
        """The distribution of the counts."""
        return self.modality.likelihood

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.rotation.device

    def design(self, categorical: Tensor, continuous: Tensor) -> Tensor:
        """Covariates as the decoder sees them (B × columns): centred one-hot levels, then the continuous ones.

        Parameters
        ----------
        categorical
            Level of each categorical column (B × columns), int64.
        continuous
            Scaled continuous covariates (B × columns), float32.

        Returns
        -------
        Tensor
            (B × columns), float32.
        """
        parts = []
        for column, n in enumerate(self.n_levels):
            code = categorical[:, column]
            hot = nn.functional.one_hot(code.clamp(min=0), n).to(torch.float32)
            start = sum(self.n_levels[:column])
            centred = hot - self.level_frequency[start : start + n]
            parts.append(centred * (code >= 0).to(torch.float32)[:, None])
        parts.append(continuous)
        return torch.cat(parts, 1)

    def encode(self, batch: Batch, masks: torch.Generator | None = None) -> Posterior:
        """Return q(z | x) of the cells, of all that was measured of each; `masks`, when given, switches dropout on.

        Parameters
        ----------
        batch
            The minibatch of B cells.
        masks
            Generator of the dropout masks; None: no dropout.

        Returns
        -------
        Posterior
            q(z | x) before any rotation.
        """
        if not self.others:
            return self.latent.posterior(self.encoder(batch, masks), self.progress)
        heads = [(modality.encoder(part, masks), cells) for modality, part, cells in parts(self.modalities, batch)]
        return self.latent.product(heads, batch.library, self.progress)

    def log_prob(self, code: Tensor, batch: Batch, masks: torch.Generator | None = None) -> Tensor:
        """Log p(x | code) of each cell (B,), nats, constants included; `code` (B × n_code) before any rotation.

        Of several modalities it is the sum over those that were measured.

        Parameters
        ----------
        code
            Codes (B × n_code) before any rotation.
        batch
            The minibatch of B cells.
        masks
            Generator of the dropout masks; None: no dropout.

        Returns
        -------
        Tensor
            (B,), nats.
        """
        design = self.design(batch.categorical, batch.continuous)
        if not self.others:
            return self.modality.log_prob(code, batch, design, masks)
        total = code.new_zeros(len(batch))
        for modality, part, cells in parts(self.modalities, batch):
            total = total.index_add(0, cells, modality.log_prob(code[cells], part, design[cells], masks))
        return total

    def log_prob_of_draws(self, code: Tensor, batch: Batch, masks: torch.Generator | None = None) -> Tensor:
        """Log p(x | code) of each draw and cell (draws × B), of `code` (draws × B × n_code).

        Parameters
        ----------
        code
            Codes (draws × B × n_code) before any rotation.
        batch
            The minibatch of B cells.
        masks
            Generator of the dropout masks; None: no dropout.

        Returns
        -------
        Tensor
            (draws × B), nats.
        """
        return self.log_prob(code.flatten(0, 1), batch.repeat(len(code)), masks).unflatten(0, code.shape[:2])

    @torch.no_grad()
    def predictive(
        self, batch: Batch, noise: torch.Generator, *, of: str = RNA
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Rate (B × genes), float64, at one draw of q(z | x), and the other parameters of the likelihood, by name.

        Parameters
        ----------
        batch
            The minibatch of B cells.
        noise
            Generator of the draw.
        of
            The modality whose rates are asked for.

        Returns
        -------
        tuple
            μ (B × genes), counts per cell, and arrays (1 or B × genes) by name.
        """
        posterior = self.encode(batch)
        eps = torch.randn((1, len(batch), self.latent.n_noise), generator=noise, device=self.device)
        code = posterior.sample(eps)[0]
        modality = self.modalities[of]
        logits = modality.decoder(code, self.design(batch.categorical, batch.continuous))
        counts = batch if of == RNA else batch.others[of]
        mu = log_likelihoods.log_rate(logits, counts).double().exp().cpu().numpy()
        return mu, modality.likelihood.shape(code, batch.categorical)

    def marginal(
        self, batch: Batch, samples: int, noise: torch.Generator, chunk: int = 8, *, posterior: Posterior | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the ELBO and the importance-weighted log p(x) ≥ log 1/S Σ p(x, z_s)/q(z_s | x) of each cell (B,).

        Burda et al. 2016. `posterior` is the encoder's unless given. The draws are decoded `chunk` at a time, so memory
        does not grow with `samples`.

        Parameters
        ----------
        batch
            The minibatch of B cells.
        samples
            S, draws per cell.
        noise
            Generator of the draws.
        chunk
            Draws that are decoded at a time.
        posterior
            Where the draws come from; None: the encoder.

        Returns
        -------
        tuple of Tensor
            ELBO and importance-weighted log p(x), (B,) each, nats.
        """
        posterior, weights = posterior or self.encode(batch), []
        for start in range(0, samples, chunk):
            shape = (min(chunk, samples - start), len(batch), self.latent.n_noise)
            eps = torch.randn(shape, generator=noise, device=self.device)
            code = posterior.sample(eps)
            ratio = posterior.log_ratio(code, eps)
            weights.append(self.log_prob_of_draws(code, batch).double() + ratio.double())
        log_w = torch.cat(weights)
        return log_w.mean(0), torch.logsumexp(log_w, 0) - np.log(samples)

    # --- what users ask: arrays in, arrays out --------------------------------------------------------------------

    def architecture(self) -> dict[str, Any]:
        """Everything that rebuilds an untrained copy.

        Returns
        -------
        dict
            Numbers of genes, levels and covariates, and the settings; ready for JSON.
        """
        return {
            "n_genes": self.n_genes,
            "n_levels": list(self.n_levels),
            "n_continuous": self.n_continuous,
            "rest": self.rest,
            "settings": self.settings.model_dump(mode="json"),
            **({"further": {name: one.described() for name, one in self.further.items()}} if self.further else {}),
        }

    def _code(self, z: np.ndarray) -> Tensor:
        """Return the codes (cells × n_code) at coordinates along the axes (cells × axes)."""
        at = torch.as_tensor(np.asarray(z), dtype=torch.float32, device=self.device)
        return self.latent.code_at(at @ self.rotation)
