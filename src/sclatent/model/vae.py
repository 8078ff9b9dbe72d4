"""The variational autoencoder: encoder, decoder, likelihood, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sclatent.model import checkpoint, likelihoods
from sclatent.model.additive import AdditiveDecoder
from sclatent.model.batches import Batch, Batches, CountData
from sclatent.model.decoders import Decoder, LinearDecoder, MLPDecoder
from sclatent.model.networks import Encoder, draw, init_linear
from sclatent.settings import ModelSettings
from sclatent.settings.registry import Registry, unknown_kind

DECODERS: Registry[Callable[..., Decoder]] = Registry("decoder")
for _kind, _decoder in (("mlp", MLPDecoder), ("linear", LinearDecoder), ("additive", AdditiveDecoder)):
    DECODERS.add(_kind, _decoder)
LIKELIHOODS = ("poisson", "nb", "zip", "zinb", "bernoulli")
DISPERSIONS = ("gene", "gene-batch", "gene-cell")
LOG_THETA = (-9.21, 18.42)
"""Range of log θ: 1e-4 (all but a point mass at 0) to 1e8 (Poisson)."""


class CountVAE(nn.Module):
    """A VAE on counts: z ~ N(0, I), rates μ = l · softmax(decoder(z)), counts from the likelihood of the settings.

    Parameters
    ----------
    n_genes
        Genes of the model.
    settings
        Likelihood, networks, number of axes.
    n_levels
        Number of levels of each categorical covariate.
    n_continuous
        Number of continuous covariates.
    rest
        Whether the library size counts more than the model's genes, so that the softmax has a *rest* category.
    seed
        Seed of the initial weights.
    """

    rotation: Tensor
    level_frequency: Tensor

    def __init__(
        self,
        n_genes: int,
        settings: ModelSettings,
        *,
        n_levels: tuple[int, ...] = (),
        n_continuous: int = 0,
        rest: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.n_genes, self.settings, self.rest = n_genes, settings, rest
        self.n_levels, self.n_continuous = tuple(int(n) for n in n_levels), n_continuous
        generator = torch.Generator().manual_seed(seed)
        self.n_design = sum(self.n_levels) + n_continuous
        n_out = n_genes + int(rest)
        # layers fill themselves from the global generator before ours does: leave that one as it was
        with torch.random.fork_rng(devices=[]):
            self._build(n_out, generator)
        # mean of the one-hot columns over the training cells: a level that training never saw is then the average one
        self.register_buffer("level_frequency", torch.zeros(sum(self.n_levels)))
        # orthogonal map from the network's coordinates to the axes: axes = z @ rotation.T
        self.register_buffer("rotation", torch.eye(settings.n_axes))

    def _build(self, n_out: int, generator: torch.Generator) -> None:
        """Make the networks and the parameters of the likelihood, filled from `generator`."""
        settings, n_genes = self.settings, self.n_genes
        for key, known in (("likelihood", LIKELIHOODS), ("dispersion", DISPERSIONS)):
            if getattr(settings, key) not in known:
                raise unknown_kind(key, getattr(settings, key), known)
        self.encoder = Encoder(
            n_genes, settings.n_axes, settings.n_hidden, settings.n_layers, settings.dropout, generator
        )
        self.decoder = DECODERS[settings.decoder](settings.n_axes, self.n_design, n_out, settings, generator)
        self.uses_theta = settings.likelihood in ("nb", "zinb")
        self.uses_gate = settings.likelihood in ("zip", "zinb")
        if self.uses_theta:
            rows = self.n_levels[0] if settings.dispersion == "gene-batch" and self.n_levels else 1
            self.log_theta = nn.Parameter(torch.full((rows, n_genes), 1.0))
        if self.uses_theta and settings.dispersion == "gene-cell":
            self.theta_head = nn.Linear(settings.n_axes, n_genes, bias=False)
            init_linear(self.theta_head, generator, 0.1)
        if self.uses_gate:
            self.gate_head = nn.Linear(settings.n_axes, n_genes)
            init_linear(self.gate_head, generator, 0.1)
            nn.init.constant_(self.gate_head.bias, -3.0)

    # --- pieces that training uses --------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.rotation.device

    def design(self, categorical: Tensor, continuous: Tensor) -> Tensor:
        """Covariates as the decoder sees them (B × columns): centred one-hot levels, then the continuous ones."""
        parts = []
        for column, n in enumerate(self.n_levels):
            code = categorical[:, column]
            hot = nn.functional.one_hot(code.clamp(min=0), n).to(torch.float32)
            start = sum(self.n_levels[:column])
            centred = hot - self.level_frequency[start : start + n]
            parts.append(centred * (code >= 0).to(torch.float32)[:, None])
        parts.append(continuous)
        return torch.cat(parts, 1)

    def theta(self, z: Tensor, categorical: Tensor) -> Tensor:
        """Inverse dispersion θ ((1 | B) × genes) of the network's coordinates `z`."""
        log_theta: Tensor = self.log_theta
        if log_theta.shape[0] > 1:
            code = categorical[:, 0]
            known = log_theta[code.clamp(min=0)]
            log_theta = torch.where((code >= 0)[:, None], known, log_theta.mean(0, keepdim=True))
        if self.settings.dispersion == "gene-cell":
            log_theta = log_theta + self.theta_head(z)
        return log_theta.clamp(*LOG_THETA).exp()

    def log_prob(self, z: Tensor, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Log p(x | z) of each cell (B,), nats, constants included; `z` in the network's coordinates."""
        logits = self.decoder(z, self.design(batch.categorical, batch.continuous), generator)
        match self.settings.likelihood:
            case "poisson":
                return likelihoods.poisson(logits, batch)
            case "nb":
                return likelihoods.negative_binomial(logits, self.theta(z, batch.categorical), batch)
            case "zip":
                return likelihoods.zero_inflated_poisson(logits, self.gate_head(z), batch)
            case "zinb":
                return likelihoods.zero_inflated_nb(logits, self.theta(z, batch.categorical), self.gate_head(z), batch)
            case "bernoulli":
                return likelihoods.bernoulli(logits, batch)
            case other:
                raise unknown_kind("likelihood", other, LIKELIHOODS)

    def elbo_terms(
        self, batch: Batch, noise: torch.Generator, masks: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return log p(x | z) and KL(q || p) of each cell (B,), with one draw z = mean + sd · ε.

        `noise` draws ε; `masks`, when given, switches dropout on.
        """
        mean, sd = self.encoder(batch, masks)
        eps = torch.randn(mean.shape, generator=noise, device=mean.device)
        z, kl = draw(mean, sd, eps)
        return self.log_prob(z, batch, masks), kl

    @torch.no_grad()
    def predictive(
        self, batch: Batch, noise: torch.Generator
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Rate, θ (or None) and probability of an extra zero (or None) at one draw of q(z | x), float64 (B × genes)."""
        mean, sd = self.encoder(batch, None)
        z = mean + sd * torch.randn(mean.shape, generator=noise, device=mean.device)
        logits = self.decoder(z, self.design(batch.categorical, batch.continuous))
        mu = likelihoods.log_rate(logits, batch).double().exp().cpu().numpy()
        theta = gate = None
        if self.uses_theta:
            theta = self.theta(z, batch.categorical).double().cpu().numpy()
            theta = np.broadcast_to(theta, mu.shape)
        if self.uses_gate:
            gate = torch.sigmoid(self.gate_head(z)).double().cpu().numpy()
        return mu, theta, gate

    def marginal(self, batch: Batch, samples: int, noise: torch.Generator, chunk: int = 8) -> tuple[Tensor, Tensor]:
        """Return the ELBO and the importance-weighted log p(x) ≥ log 1/S Σ p(x, z_s)/q(z_s | x) of each cell (B,).

        Burda et al. 2016. The draws are decoded `chunk` at a time, so memory does not grow with `samples`.
        """
        mean, sd = self.encoder(batch, None)
        weights = []
        for start in range(0, samples, chunk):
            n = min(chunk, samples - start)
            eps = torch.randn((n, *mean.shape), generator=noise, device=mean.device)
            z = mean + sd * eps
            # log p(z) − log q(z | x); the 2π terms cancel
            prior = (-0.5 * z * z + 0.5 * eps * eps + sd.log()).sum(2)
            log_x = self.log_prob(z.reshape(-1, z.shape[2]), batch.repeat(n)).reshape(n, -1)
            weights.append(log_x.double() + prior.double())
        log_w = torch.cat(weights)
        return log_w.mean(0), torch.logsumexp(log_w, 0) - np.log(samples)

    # --- what users ask: arrays in, arrays out --------------------------------------------------------------------

    @torch.no_grad()
    def posterior(
        self, data: CountData, indices: np.ndarray | None = None, *, size: int = 1024
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and SD of q(z | x) along the axes, float32 (cells × axes each), after any rotation."""
        index = np.arange(data.n_cells) if indices is None else np.asarray(indices)
        mean = np.empty((len(index), self.settings.n_axes), np.float32)
        sd = np.empty_like(mean)
        batches = Batches(data, self.device)
        done = 0
        for batch in batches.stream(index, size):
            m, s = self.encoder(batch, None)
            # the diagonal of R Σ Rᵀ; Σ is diagonal in the network's coordinates
            rotated = (s * s) @ (self.rotation * self.rotation).T
            mean[done : done + len(batch)] = (m @ self.rotation.T).cpu().numpy()
            sd[done : done + len(batch)] = rotated.sqrt().cpu().numpy()
            done += len(batch)
        return mean, sd

    @torch.no_grad()
    def log_fraction(
        self, z: np.ndarray, categorical: np.ndarray | None = None, continuous: np.ndarray | None = None
    ) -> np.ndarray:
        """Log μ/l (cells × genes) at the coordinates `z` (cells × axes) along the axes.

        Without covariates the decoder is asked for the average level and the average covariate.
        """
        n = len(z)
        at = torch.as_tensor(np.asarray(z), dtype=torch.float32, device=self.device) @ self.rotation
        codes = np.full((n, len(self.n_levels)), -1) if categorical is None else categorical
        values = np.zeros((n, self.n_continuous)) if continuous is None else continuous
        design = self.design(
            torch.as_tensor(np.asarray(codes), dtype=torch.int64, device=self.device),
            torch.as_tensor(np.asarray(values), dtype=torch.float32, device=self.device),
        )
        logits = self.decoder(at, design)
        return torch.log_softmax(logits, 1)[:, : self.n_genes].cpu().numpy()

    def log_rate(
        self,
        z: np.ndarray,
        library: np.ndarray,
        categorical: np.ndarray | None = None,
        continuous: np.ndarray | None = None,
    ) -> np.ndarray:
        """Log μ (cells × genes) at the coordinates `z` (cells × axes) along the axes, for library sizes (cells,)."""
        library = np.maximum(np.asarray(library, dtype=np.float32), np.float32(1e-30))
        return self.log_fraction(z, categorical, continuous) + np.log(library)[:, None]

    @staticmethod
    def kl(mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
        """KL(N(mean, sd²) || N(0, 1)) in nats, per cell and axis (cells × axes)."""
        return 0.5 * (mean * mean + sd * sd - 1.0) - np.log(sd)

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
        """Draw counts (cells × genes), float32, from the likelihood at the coordinates `z` (cells × axes)."""
        rng = np.random.default_rng(seed)
        mu = np.exp(self.log_rate(z, library, categorical, continuous).astype(np.float64))
        at = torch.as_tensor(np.asarray(z), dtype=torch.float32, device=self.device) @ self.rotation
        if self.settings.likelihood == "bernoulli":
            return (rng.random(mu.shape) < -np.expm1(-mu)).astype(np.float32)
        if self.uses_theta:
            codes = np.full((len(z), len(self.n_levels)), -1) if categorical is None else categorical
            theta = self.theta(at, torch.as_tensor(np.asarray(codes), dtype=torch.int64, device=self.device))
            shape = np.broadcast_to(theta.cpu().numpy().astype(np.float64), mu.shape)
            mu = mu * rng.standard_gamma(shape) / shape
        counts = rng.poisson(np.minimum(mu, 1e15)).astype(np.float32)
        if self.uses_gate:
            counts[rng.random(mu.shape) < torch.sigmoid(self.gate_head(at)).cpu().numpy()] = 0
        return counts

    # --- files ------------------------------------------------------------------------------------------------------

    def architecture(self) -> dict[str, Any]:
        """Everything that rebuilds an untrained copy."""
        return {
            "n_genes": self.n_genes,
            "n_levels": list(self.n_levels),
            "n_continuous": self.n_continuous,
            "rest": self.rest,
            "settings": self.settings.model_dump(mode="json"),
        }

    def save(self, folder: Path | str, extra: dict[str, Any] | None = None) -> None:
        """Write ``model.safetensors`` and ``model.json`` (the architecture, and what `extra` holds) to `folder`."""
        checkpoint.save_model(self, Path(folder), extra or {})

    @classmethod
    def load(cls, folder: Path | str) -> CountVAE:
        """Read a model that `save` wrote, on any machine, onto the CPU."""
        return checkpoint.load_model(cls, Path(folder))[0]
