"""The kinds of latent that come with the package: importing this makes all of them known."""

from sclatent.model.parts.latent import LATENTS
from sclatent.model.parts.latents import circle, flow, fullrank, gammas, mixture, point, positive, states, topics  # noqa: F401
from sclatent.model.parts.latents.blocks import make_latent

__all__ = ["LATENTS", "make_latent"]
