"""A latent made of blocks of different kinds: ``{gaussian: 28, lognormal: 4}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, model_serializer

from sclatent.settings.errors import did_you_mean
from sclatent.settings.kinds.parts import LATENTS, LatentSettings, OneOf
from sclatent.settings.words import resolve

AXES = "axes"
"""The key of a block that says how many axes it has."""
MOST = 1024


class BlocksSettings(LatentSettings):
    """Blocks of axes, each of a kind of its own; their codes stand side by side.

    Attributes
    ----------
    blocks
        The settings of each block and its number of axes, in the order of the axes.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    kind: Literal["blocks"] = "blocks"
    blocks: tuple[tuple[LatentSettings, int], ...]

    @property
    def parts(self) -> tuple[LatentSettings, ...]:
        """The settings of each block."""
        return tuple(one for one, _ in self.blocks)

    def sizes(self, n_axes: int) -> tuple[int, ...]:
        """Return the axes of each block."""
        return tuple(n for _, n in self.blocks)

    @property
    def own_axes(self) -> int:
        """Axes of all blocks together."""
        return sum(n for _, n in self.blocks)

    @property
    def told(self) -> str:
        """The blocks, as in a dataset file."""
        return "{" + ", ".join(f"{one.kind}: {n}" for one, n in self.blocks) + "}"

    @property
    def density(self) -> bool:  # type: ignore[override]
        """Whether all blocks have one."""
        return all(one.density for one in self.parts)

    @property
    def relaxed(self) -> bool:  # type: ignore[override]
        """Whether any block trains with draws that are smoother than what it is."""
        return any(one.relaxed for one in self.parts)

    @property
    def turns(self) -> bool:  # type: ignore[override]
        """Whether the axes of any block can be turned."""
        return any(one.turns for one in self.parts)

    @model_serializer(mode="plain")
    def _as_written(self) -> dict[str, Any]:
        """Return the blocks as in a dataset file: a number of axes, or a mapping where more is set."""
        out: dict[str, Any] = {}
        for one, n in self.blocks:
            more = {key: value for key, value in one.model_dump(mode="json").items() if key != "kind"}
            out[one.kind] = {AXES: n, **more} if more else n
        return out


def blocks_of(given: Mapping[str, Any]) -> BlocksSettings | None:
    """Return the blocks that a mapping of kinds to numbers of axes stands for; None: it is none.

    Raises
    ------
    ValueError
        A kind that is not known, or a number of axes that it cannot have: the user's line, without the key.
    """
    if not any(key in LATENTS for key in given):
        return None
    one_of, blocks = OneOf(LATENTS), []
    for kind, value in given.items():
        if kind not in LATENTS:
            names = ", ".join(f"'{name}'" for name in LATENTS)
            raise ValueError(f"'{kind}' is not one of {names}{did_you_mean(str(kind), LATENTS)}")
        more = dict(value) if isinstance(value, Mapping) else {AXES: value}
        n = resolve(more.pop(AXES, None))
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            longer = f" or `{kind}: {{{AXES}: 4, …}}`" if len(LATENTS[kind].model_fields) > 1 else ""
            raise ValueError(
                f"{kind}: a block needs a whole number of axes, 1 or more, found {'none' if n is None else repr(n)}: "
                f"write `{kind}: 4`{longer}"
            )
        settings = one_of({"kind": kind, **more})
        assert isinstance(settings, LatentSettings)
        if n < settings.fewest:
            raise ValueError(f"{kind}: needs {settings.fewest} axes or more, found {n}")
        blocks.append((settings, n))
    made = BlocksSettings(blocks=tuple(blocks))
    if len(blocks) == 1:
        one, n = blocks[0]
        alone = one.kind if len(type(one).model_fields) == 1 else f"{{kind: {one.kind}, …}}"
        raise ValueError(f"one block alone is not a mixture: write `latent: {alone}` and `n_latent: {n}`")
    if made.own_axes > MOST:
        raise ValueError(f"{made.told} has {made.own_axes} axes, {MOST} is the maximum: use fewer")
    return made


def blocks_in_schema() -> dict[str, Any]:
    """Return what editors should take for blocks."""
    n = {"type": "integer", "minimum": 1, "maximum": MOST}
    kinds = {}
    for kind in LATENTS:
        schema = LATENTS[kind].model_json_schema()
        fields = {key: value for key, value in schema["properties"].items() if key != "kind"}
        more = {"type": "object", "properties": {AXES: n, **fields}, "required": [AXES], "additionalProperties": False}
        kinds[kind] = {"anyOf": [n, more]} if fields else n
    return {
        "type": "object",
        "properties": kinds,
        "additionalProperties": False,
        "minProperties": 2,
        "description": "blocks of axes of different kinds, by their numbers",
    }
