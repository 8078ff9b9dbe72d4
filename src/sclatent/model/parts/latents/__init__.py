"""The kinds of latent that come with the package: importing this makes all of them known."""

from sclatent.model.parts.latent import LATENTS
from sclatent.model.parts.latents import (  # noqa: F401
    circle,
    flow,
    fullrank,
    gammas,
    gaussian,
    mixture,
    point,
    positive,
    states,
    topics,
)
from sclatent.model.parts.latents.blocks import make_latent

__all__ = ["LATENTS", "make_latent"]
