"""What all settings models share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused, values are not changed after they were checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
