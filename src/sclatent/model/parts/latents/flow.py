"""Affine coupling layers on a normal posterior: one map for all cells bends it (Dinh et al. 2017)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sclatent.model.parts.latent import LATENTS, LatentSettings
from sclatent.model.parts.latents.gaussian import SD_OFFSET, SMALLEST_SD, Gaussian, log_normal
from sclatent.model.parts.latents.point import ANYWHERE
from sclatent.model.parts.latents.topics import fixed_noise
from sclatent.model.parts.posterior import Axes, Posterior
from sclatent.settings.kinds.latents import FlowSettings

HIDDEN = 32
LARGEST_LOG_SCALE = 1.0
"""Bound of |log scale| of a layer, so that no draw is thrown far away."""


class Coupling(nn.Module):
    """One half of the axes moves and scales the other half: z₂ = y₂ exp(s(y₁)) + t(y₁). It begins as the identity."""

    def __init__(self, n_axes: int, first: bool) -> None:
        super().__init__()
        half = n_axes // 2
        self.kept = slice(0, half) if first else slice(half, n_axes)
        self.moved = slice(half, n_axes) if first else slice(0, half)
        n_kept, n_moved = (one.stop - one.start for one in (self.kept, self.moved))
        self.inner, self.outer = nn.Linear(n_kept, HIDDEN), nn.Linear(HIDDEN, 2 * n_moved)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def parts(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Return log scale and shift of the moved half."""
        log_scale, shift = self.outer(torch.tanh(self.inner(kept))).chunk(2, -1)
        return LARGEST_LOG_SCALE * torch.tanh(log_scale / LARGEST_LOG_SCALE), shift

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and the log of how much volume grows."""
        log_scale, shift = self.parts(y[..., self.kept])
        return self._joined(y[..., self.kept], y[..., self.moved] * log_scale.exp() + shift), log_scale.sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and the log of how much volume grew on the way to `z`."""
        log_scale, shift = self.parts(z[..., self.kept])
        return self._joined(z[..., self.kept], (z[..., self.moved] - shift) * (-log_scale).exp()), log_scale.sum(-1)

    def _joined(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([kept, moved] if self.kept.start == 0 else [moved, kept], -1)


class Layers(nn.ModuleList):
    """Coupling layers in turn."""

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and the log of how much volume grows."""
        grown = y.new_zeros(y.shape[:-1])
        for layer in self:
            y, more = layer(y)
            grown = grown + more
        return y, grown

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and the log of how much volume grew on the way to `z`."""
        grown = z.new_zeros(z.shape[:-1])
        for layer in reversed(list(self)):
            assert isinstance(layer, Coupling)
            z, more = layer.inverse(z)
            grown = grown + more
        return z, grown


class FlowPosterior(Posterior):
    """The image of N(m, σ²) under the layers, under the prior N(0, I)."""

    def __init__(self, mean: Tensor, sd: Tensor, layers: Layers) -> None:
        self._m, self._s, self.layers = mean, sd, layers

    def sample(self, noise: Tensor) -> Tensor:
        """Return the images of m + σ ε."""
        return self.layers(self._m + self._s * noise)[0]

    def log_q(self, code: Tensor) -> Tensor:
        """Log density, by the inverse of the layers."""
        y, grown = self.layers.inverse(code)
        return log_normal(y, self._m, self._s) - grown

    def log_prior(self, code: Tensor) -> Tensor:
        """Log N(code; 0, I)."""
        return log_normal(code)

    def log_ratio(self, code: Tensor, noise: Tensor) -> Tensor:
        """Log p − log q; ε is known, not computed back."""
        _, grown = self.layers(self._m + self._s * noise)
        return (-0.5 * code * code + 0.5 * noise * noise + self._s.log()).sum(-1) + grown

    def _points(self) -> Tensor:
        return self.sample(fixed_noise(self._m.shape[-1]).to(self._m))

    def mean(self) -> Tensor:
        """Return the means, over fixed draws."""
        return self._points().mean(0)

    def sd(self) -> Tensor:
        """Return the SDs, over fixed draws."""
        return self._points().std(0)

    def moved(self, code: Tensor, axis: int, step: float) -> Tensor:
        """Add the step."""
        return ANYWHERE.moved(code, axis, step)

    def detached(self) -> FlowPosterior:
        """Return the same, without gradient to the encoder and to the layers."""
        still = Still(self.layers)
        return FlowPosterior(self._m.detach(), self._s.detach(), still)  # type: ignore[arg-type]

    def along(self, rotation: Tensor) -> Axes:
        """Return mean and SD along the turned axes, over fixed draws; there is no KL per axis."""
        turned = self._points() @ rotation.T
        parts = (turned.mean(0), turned.std(0), torch.full_like(turned[0], math.nan))
        return Axes(*(part.detach().cpu().numpy() for part in parts))


class Still:
    """Layers whose weights get no gradient; what goes through them does."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers

    def __call__(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the layers do."""
        return self._run("forward", y)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return what their inverse does."""
        return self._run("inverse", z)

    def _run(self, way: str, at: Tensor) -> tuple[Tensor, Tensor]:
        wanted = [parameter.requires_grad for parameter in self.layers.parameters()]
        self.layers.requires_grad_(False)
        try:
            found: tuple[Tensor, Tensor] = getattr(self.layers, way)(at)
        finally:
            for parameter, one in zip(self.layers.parameters(), wanted, strict=True):
                parameter.requires_grad_(one)
        return found


@LATENTS.register
class Flow(nn.Module, Gaussian):
    """Axes with a standard normal prior, whose posterior an affine flow bends."""

    settings = FlowSettings
    rotates = True

    def __init__(self, settings: LatentSettings, n_axes: int) -> None:
        nn.Module.__init__(self)
        Gaussian.__init__(self, settings, n_axes)
        assert isinstance(settings, FlowSettings)
        self.layers = Layers(Coupling(n_axes, k % 2 == 0) for k in range(settings.layers))

    def fill(self, generator: torch.Generator) -> None:
        """Draw the inner weights."""
        with torch.no_grad():
            for layer in self.layers:
                assert isinstance(layer, Coupling)
                bound = 1 / math.sqrt(layer.inner.in_features)
                layer.inner.weight.uniform_(-bound, bound, generator=generator)
                layer.inner.bias.zero_()

    def posterior(self, raw: Tensor, progress: float = 1.0) -> FlowPosterior:  # type: ignore[override]
        """Return the posterior: the head gives mean and SD of what the layers bend."""
        mean, spread = raw.chunk(2, dim=-1)
        return FlowPosterior(mean, nn.functional.softplus(spread + SD_OFFSET) + SMALLEST_SD, self.layers)
