"""The variational autoencoder, and what is asked of it along its axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr

from sclatent.model import saving
from sclatent.model.batch import RNA, only
from sclatent.model.data import Batches, CountData
from sclatent.model.network import Network
from sclatent.model.parts.posterior import Axes


class CountVAE(Network):
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
            (n,) positions of the cells; None: all.
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
            (n,) positions of the cells; None: all.

        Returns
        -------
        tuple of ndarray
            Mean and SD, float32 (n × axes) each, in latent units.
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
            (n,) positions of the cells.
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
        *,
        of: str = RNA,
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
        of
            The modality that is decoded.

        Returns
        -------
        ndarray
            (cells × genes): log of the rate.
        """
        library = np.maximum(np.asarray(library, dtype=np.float32), np.float32(1e-30))
        return self.log_fraction(z, categorical, continuous, of=of) + np.log(library)[:, None]

    @torch.no_grad()
    def sample(
        self,
        z: np.ndarray,
        library: np.ndarray,
        categorical: np.ndarray | None = None,
        continuous: np.ndarray | None = None,
        *,
        of: str = RNA,
        scores: np.ndarray | None = None,
        theta: np.ndarray | None = None,
        seed: int = 0,
    ) -> np.ndarray:
        """Draw counts (cells × genes), float32, from the likelihood at the coordinates `z` (cells × axes).

        Parameters
        ----------
        z, library, categorical, continuous
            As in `log_rate`: (cells × axes), (cells,), (cells × columns), (cells × columns).
        of
            The modality whose counts are drawn.
        scores
            Normal scores (cells × genes) at which counts are read off their distributions; None: drawn one by one.
        theta
            Factors of the inverse dispersion (cells,), for likelihoods that have one; None: as it was learned.
        seed
            Same seed, same counts.

        Returns
        -------
        ndarray
            (cells × genes), whole numbers as float32.
        """
        rng = np.random.default_rng(seed)
        likelihood = self.modalities[of].likelihood
        mu = np.exp(self.log_rate(z, library, categorical, continuous, of=of).astype(np.float64))
        levels = np.full((len(z), len(self.n_levels)), -1) if categorical is None else np.asarray(categorical)
        known = torch.as_tensor(levels, dtype=torch.int64, device=self.device)
        shape = likelihood.shape(self._code(z), known)
        if theta is not None:
            shape = shape | {"theta": shape["theta"] * np.asarray(theta)[:, None]}
        mu = likelihood.sized(mu, **shape)
        if scores is not None:
            return likelihood.quantile(ndtr(scores), mu, **shape).astype(np.float32)
        return likelihood.draw(rng, mu, **shape).astype(np.float32)

    def save(self, folder: Path | str, extra: dict[str, Any] | None = None) -> None:
        """Write ``model.safetensors`` and ``model.json`` (the architecture, and what `extra` holds) to `folder`.

        Parameters
        ----------
        folder, extra
            Where the two files go; more keys of ``model.json``, ready for JSON.
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
