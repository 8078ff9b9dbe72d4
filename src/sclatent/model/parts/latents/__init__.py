"""The kinds of latent that come with the package: importing this makes all of them known."""

from sclatent.model.parts.latent import LATENTS
from sclatent.model.parts.latents import fullrank, gammas, point, positive, states, topics  # noqa: F401

__all__ = ["LATENTS"]
