"""Which kinds of a model go together: a mistake is one line when the file is read, and a table in the documentation."""

from __future__ import annotations

from typing import Any

from sclatent.settings.kinds.parts import (
    DECODERS,
    LATENTS,
    LIKELIHOODS,
    OBJECTIVES,
    DecoderSettings,
    DrawnSettings,
    LatentSettings,
    ObjectiveSettings,
)

TABLE_BEGIN = "<!-- together:begin (written by make docs) -->"
TABLE_END = "<!-- together:end -->"


def misfit(
    decoder: DecoderSettings, latent: LatentSettings, objective: ObjectiveSettings, devices: int = 1
) -> str | None:
    """Return the line that says why these do not go together; None: they do. Every likelihood goes with all."""
    if devices > 1 and objective.of_all_cells:
        return (
            f"devices: objective: {objective.kind} compares each cell with all of the steps before, of which each of "
            f"{devices} devices sees its share: set `devices` to 1, or `baseline` to none or others"
        )
    for one in latent.parts:
        if (why := _misfit(one, objective)) is not None:
            return why
    nothing = not any(one.density for one in latent.parts)
    if nothing and isinstance(objective, DrawnSettings) and objective != _plain(type(objective)):
        return f"latent: {latent.told} has nothing to draw: remove `draws` and `noise` of the objective"
    if not latent.turns and decoder.rotation not in ("programs", "none"):
        return (
            f"rotate: {decoder.rotation} turns the axes, and those of latent: {latent.told} cannot be turned: "
            "remove `rotate`"
        )
    return None


def _misfit(latent: LatentSettings, objective: ObjectiveSettings) -> str | None:
    """Return why a block of axes does not go with an objective."""
    if objective.density and not latent.density:
        return (
            f"objective: {objective.kind} needs the density of the latent, but {latent.kind} has none: "
            "use `objective: elbo`"
        )
    if objective.of_draws and latent.relaxed:
        return (
            f"objective: {objective.kind} needs the density of what is drawn, but latent: {latent.kind} draws "
            "a smooth version of its states: use `objective: elbo` or `objective: score`"
        )
    if latent.relaxed and objective.density and latent != _plain(type(latent)):
        return (
            f"objective: {objective.kind} draws the states themselves, so the settings of latent: "
            f"{latent.kind} would be ignored: use `latent: {latent.kind}`"
        )
    return None


def _plain(settings: type[Any]) -> Any:
    """Return the settings of a kind as they are when only its name is given."""
    return settings()


def table() -> str:
    """Return what goes with what as a Markdown table: latents by objectives, for all decoders and likelihoods."""
    lines = ["| latent | " + " | ".join(OBJECTIVES) + " | `rotate` |", "|---" * (len(list(OBJECTIVES)) + 2) + "|"]
    for kind in LATENTS:
        latent = _plain(LATENTS[kind])
        goes = [
            all(misfit(_plain(DECODERS[decoder]), latent, _plain(OBJECTIVES[one])) is None for decoder in DECODERS)
            for one in OBJECTIVES
        ]
        turns = latent.turns
        lines.append(f"| {kind} | " + " | ".join("yes" if one else "–" for one in [*goes, turns]) + " |")
    every = (
        "Blocks go with what every one of them goes with; `rotate` turns those blocks that can be turned, each in "
        "itself.\n\n"
        f"Every decoder ({', '.join(DECODERS)}) and every likelihood ({', '.join(LIKELIHOODS)}) goes with all of them."
    )
    return "\n".join([*lines, "", every, ""])
