"""The settings of the objectives beside the default."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sclatent.settings.kinds.parts import OBJECTIVES, DrawnSettings, add

Baseline = Literal["none", "running", "others"]


class _OfDraws(DrawnSettings):
    density: ClassVar[bool] = True
    of_draws: ClassVar[bool] = True


class StickingSettings(_OfDraws):
    """The ELBO without the noise of log q, once the KL has its full weight."""

    kind: Literal["stl"] = "stl"


class _Several(_OfDraws):
    draws: int = Field(5, ge=2, le=256, description="draws from the posterior of each cell in a training step")


class WeightedSettings(_Several):
    """The importance-weighted bound."""

    kind: Literal["iwae"] = "iwae"


class DoublySettings(_Several):
    """The importance-weighted bound by its doubly reparameterized gradient."""

    independent: ClassVar[str] = "otherwise its gradient is biased"
    kind: Literal["dreg"] = "dreg"


class ScoreFunctionSettings(DrawnSettings):
    """The ELBO by the score function (REINFORCE)."""

    density: ClassVar[bool] = True
    kind: Literal["score"] = "score"
    baseline: Baseline = Field(
        "running",
        description="score: baseline of a draw: none, the running mean of earlier steps, or the cell's other draws",
    )

    @property
    def of_all_cells(self) -> bool:
        """Whether it has the running mean over the cells of all steps."""
        return self.baseline == "running"

    @model_validator(mode="after")
    def _others_are_others(self) -> Self:
        if self.baseline == "others" and self.draws == 1:
            raise ValueError("baseline: others compares the draws of a cell, found draws: 1: set `draws` to 2 or more")
        if self.baseline == "others" and self.noise != "independent":
            raise ValueError(
                "baseline: others works with independent draws only, otherwise the gradient is biased, "
                f"found noise: {self.noise}: remove `noise`"
            )
        return self


for one in (StickingSettings, WeightedSettings, DoublySettings, ScoreFunctionSettings):
    add(OBJECTIVES, one)
