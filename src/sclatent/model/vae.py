"""The variational autoencoder: encoder, decoder, likelihood, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sclatent.model import saving
from sclatent.model.data import Batch, Batches, CountData
from sclatent.model.parts import log_likelihoods
from sclatent.model.parts.decoders import Decoder
from sclatent.model.parts.encoder import Encoder
from sclatent.model.parts.latents import make_latent
from sclatent.model.parts.likelihoods import Likelihood
from sclatent.model.parts.modality import Further, Modality, ShrunkenDecoder
from sclatent.model.parts.posterior import Axes, Posterior
from sclatent.model.views import RNA, only, parts
from sclatent.settings import ModelSettings


class CountVAE(nn.Module):
    """A VAE on counts: z from the latent's prior, rates μ = l · softmax(decoder(z)), counts from the likelihood.

    Parameters
    ----------
    n_genes
        Genes of the model.
    settings
        Likelihood, latent, networks, number of axes.
    n_levels
        Number of levels of each categorical covariate.
    n_continuous
        Number of continuous covariates.
    rest
        Whether the library size counts more than the model's genes, so that the softmax has a *rest* category.
    further
        Modalities of the same cells beside the genes, by name.
    seed
        Seed of the initial weights.
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
    def predictive(self, batch: Batch, noise: torch.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Rate (B × genes), float64, at one draw of q(z | x), and the other parameters of the likelihood, by name.

        Parameters
        ----------
        batch
            The minibatch of B cells.
        noise
            Generator of the draw.

        Returns
        -------
        tuple
            μ (B × genes), counts per cell, and arrays (1 or B × genes) by name.
        """
        posterior = self.encode(batch)
        eps = torch.randn((1, len(batch), self.latent.n_noise), generator=noise, device=self.device)
        code = posterior.sample(eps)[0]
        logits = self.decoder(code, self.design(batch.categorical, batch.continuous))
        mu = log_likelihoods.log_rate(logits, batch).double().exp().cpu().numpy()
        return mu, self.likelihood.shape(code, batch.categorical)

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

    @torch.no_grad()
    def along_axes(
        self, data: CountData, indices: np.ndarray | None = None, *, size: int = 1024, given: str | None = None
    ) -> Axes:
        """Mean, SD and KL of q(z | x) along the axes, float32 (cells × axes each), after any rotation.

        Parameters
        ----------
        data
            The cells.
        indices
            Positions of the cells; None: all.
        size
            Cells at a time.
        given
            The modality that x is; where a cell does not have it, its posterior is the prior. None: all that was
            measured.

        Returns
        -------
        Axes
            ``mean``, ``sd`` and ``kl`` (nats; NaN where it has no closed form).
        """
        index = np.arange(data.n_cells) if indices is None else np.asarray(indices)
        out = Axes(*(np.empty((len(index), self.latent.n_axes), np.float32) for _ in range(3)))
        done = 0
        for batch in Batches(data, self.device).stream(index, size):
            seen = batch if given is None else only(batch, given)
            for whole, part in zip(out, self.encode(seen).along(self.rotation), strict=True):
                whole[done : done + len(batch)] = part
            done += len(batch)
        return out

    def posterior(self, data: CountData, indices: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and SD of q(z | x) along the axes, float32 (cells × axes each), after any rotation.

        Parameters
        ----------
        data
            The cells.
        indices
            Positions of the cells; None: all.

        Returns
        -------
        tuple of ndarray
            Mean and SD.
        """
        mean, sd, _ = self.along_axes(data, indices)
        return mean, sd

    @torch.no_grad()
    def draws(self, data: CountData, indices: np.ndarray, n: int, *, seed: int = 0) -> np.ndarray:
        """Draws from q(z | x) along the axes (n × cells × axes), float32, after any rotation.

        Parameters
        ----------
        data
            The cells.
        indices
            Positions of the cells.
        n
            Draws per cell.
        seed
            Same seed, same draws.

        Returns
        -------
        ndarray
            (n × cells × axes), float32.
        """
        noise, parts = torch.Generator(device=self.device).manual_seed(seed), []
        for batch in Batches(data, self.device).stream(np.asarray(indices), 256):
            eps = torch.randn((n, len(batch), self.latent.n_noise), generator=noise, device=self.device)
            axes = self.latent.axes_at(self.encode(batch).sample(eps)) @ self.rotation.T
            parts.append(axes.cpu().numpy())
        return np.concatenate(parts, axis=1)

    @torch.no_grad()
    def prior_draws(self, n: int, *, seed: int = 0) -> np.ndarray | None:
        """Draw positions along the axes from the prior.

        Parameters
        ----------
        n
            Number of cells.
        seed
            Of the draws.

        Returns
        -------
        ndarray or None
            (n × axes) float32; None: the latent has no prior to draw from.
        """
        noise = torch.Generator(device=self.device).manual_seed(seed)
        prior = self.latent.unseen(n, self.rotation, noise)
        if prior is None:
            return None
        code = prior.sample(torch.randn((1, n, self.latent.n_noise), generator=noise, device=self.device))[0]
        return np.asarray((self.latent.axes_at(code) @ self.rotation.T).cpu().numpy())

    def moved(self, z: np.ndarray, axis: int, step: float) -> np.ndarray:
        """Return coordinates along the axes (cells × axes) a step along one axis; they stay where cells can be.

        Parameters
        ----------
        z
            Coordinates along the axes (cells × axes), after any rotation.
        axis
            Number of the axis, from 0 on.
        step
            How far, in the unit of `z`.

        Returns
        -------
        ndarray
            (cells × axes).
        """
        return self.latent.moved(z, axis, step)

    def _code(self, z: np.ndarray) -> Tensor:
        """Return the codes (cells × n_code) at coordinates along the axes (cells × axes)."""
        at = torch.as_tensor(np.asarray(z), dtype=torch.float32, device=self.device)
        return self.latent.code_at(at @ self.rotation)

    @torch.no_grad()
    def log_fraction(
        self,
        z: np.ndarray,
        categorical: np.ndarray | None = None,
        continuous: np.ndarray | None = None,
        *,
        of: str = RNA,
    ) -> np.ndarray:
        """Log μ/l (cells × genes, or the features of the modality `of`) at coordinates `z` (cells × axes) on the axes.

        Without covariates the decoder is asked for the average level and the average covariate.

        Parameters
        ----------
        z
            Coordinates along the axes (cells × axes), after any rotation.
        categorical
            Level of each covariate column as an integer (cells × columns); None: the average level.
        continuous
            Scaled continuous covariates (cells × columns); None: their average, 0.
        of
            The modality that is decoded.

        Returns
        -------
        ndarray
            (cells × genes): log of the share of the library that each gene has.
        """
        n = len(z)
        codes = np.full((n, len(self.n_levels)), -1) if categorical is None else categorical
        values = np.zeros((n, self.n_continuous)) if continuous is None else continuous
        design = self.design(
            torch.as_tensor(np.asarray(codes), dtype=torch.int64, device=self.device),
            torch.as_tensor(np.asarray(values), dtype=torch.float32, device=self.device),
        )
        modality = self.modalities[of]
        logits = modality.decoder(self._code(z), design)
        return torch.log_softmax(logits, 1)[:, : modality.n_genes].cpu().numpy()

    def log_rate(
        self,
        z: np.ndarray,
        library: np.ndarray,
        categorical: np.ndarray | None = None,
        continuous: np.ndarray | None = None,
    ) -> np.ndarray:
        """Log μ (cells × genes) at the coordinates `z` (cells × axes) along the axes, for library sizes (cells,).

        Parameters
        ----------
        z
            Coordinates along the axes (cells × axes), after any rotation.
        library
            Library size l of each cell (cells,), in counts.
        categorical
            Level of each covariate column as an integer (cells × columns); None: the average level.
        continuous
            Scaled continuous covariates (cells × columns); None: their average, 0.

        Returns
        -------
        ndarray
            (cells × genes): log of the expected count.
        """
        library = np.maximum(np.asarray(library, dtype=np.float32), np.float32(1e-30))
        return self.log_fraction(z, categorical, continuous) + np.log(library)[:, None]

    @torch.no_grad()
    def sample(
        self,
        z: np.ndarray,
        library: np.ndarray,
        categorical: np.ndarray | None = None,
        continuous: np.ndarray | None = None,
        *,
        seed: int = 0,
    ) -> np.ndarray:
        """Draw counts (cells × genes), float32, from the likelihood at the coordinates `z` (cells × axes).

        Parameters
        ----------
        z
            Coordinates along the axes (cells × axes), after any rotation.
        library
            Library size l of each cell (cells,), in counts.
        categorical
            Level of each covariate column as an integer (cells × columns); None: the average level.
        continuous
            Scaled continuous covariates (cells × columns); None: their average, 0.
        seed
            Same seed, same counts.

        Returns
        -------
        ndarray
            (cells × genes), whole numbers as float32.
        """
        rng = np.random.default_rng(seed)
        mu = np.exp(self.log_rate(z, library, categorical, continuous).astype(np.float64))
        levels = np.full((len(z), len(self.n_levels)), -1) if categorical is None else np.asarray(categorical)
        known = torch.as_tensor(levels, dtype=torch.int64, device=self.device)
        return self.likelihood.draw(rng, mu, **self.likelihood.shape(self._code(z), known)).astype(np.float32)

    # --- files ------------------------------------------------------------------------------------------------------

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

    def save(self, folder: Path | str, extra: dict[str, Any] | None = None) -> None:
        """Write ``model.safetensors`` and ``model.json`` (the architecture, and what `extra` holds) to `folder`.

        Parameters
        ----------
        folder
            Where the two files go.
        extra
            More keys of ``model.json``; ready for JSON.
        """
        saving.save_model(self, Path(folder), extra or {})

    @classmethod
    def load(cls, folder: Path | str) -> CountVAE:
        """Read a model that `save` wrote, on any machine, onto the CPU.

        Parameters
        ----------
        folder
            A folder with the two files.

        Returns
        -------
        CountVAE
            The model, in evaluation mode.

        Raises
        ------
        InputError
            A file is missing, damaged, or of another version.
        """
        return saving.load_model(cls, Path(folder))[0]
