"""Settings of the cycle stage."""

from __future__ import annotations

from pydantic import Field

from sclatent.settings._base import Settings


class CycleSettings(Settings):
    """The cell cycle: which genes tell it."""

    genes: str | None = Field(
        None, description="a TSV of your own (gene, phase), or null: the built-in list of `organism`"
    )
