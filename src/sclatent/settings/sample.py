"""The section `sample` of a dataset file: cells to draw from every model."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from sclatent.settings._base import Settings
from sclatent.settings.errors import did_you_mean
from sclatent.settings.model import ModelSettings
from sclatent.settings.words import as_written, resolve_numbers

AXIS = re.compile(r"axis_([1-9][0-9]*)")


Size = Annotated[float, Field(gt=0)]
# told apart by what stands there, so that the line about a wrong size names its modality
_ONE, _BY_NAME = "constrained-size", "dict[size]"
Sizes = Annotated[
    Annotated[Size, Tag(_ONE)] | Annotated[dict[str, Size], Tag(_BY_NAME)],
    Discriminator(lambda value: _BY_NAME if isinstance(value, dict) else _ONE),
]


class SampleSettings(Settings):
    """Which cells to draw."""

    n: int = Field(1000, ge=1, le=1_000_000, description="cells to draw")
    given: dict[str, str] = Field(
        {}, description="column of `batch`, `condition` or `covariates`: its level or number for all drawn cells"
    )
    axis: dict[str, float] = Field({}, description="axis, such as `axis_3`: value of the drawn cells on it")
    phase: Literal["G1", "S", "G2M"] | float | None = Field(
        None, description="phase of the cell cycle (or radians), through the knob; null: as in the data"
    )
    library: Sizes | None = Field(
        None,
        description="library size of every drawn cell, with `modalities` by name (`{rna: 5000, atac: 800}`); null: as "
        "in the data",
    )
    prior: bool = Field(
        False, description="draw positions on the axes from the prior instead of the density of the cells"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="seed of the draws")

    @field_validator("given", mode="before")
    @classmethod
    def _levels_as_written(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {str(key): as_written(item) if isinstance(item, str) else _text(item) for key, item in value.items()}

    @field_validator("axis", "library", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        return resolve_numbers(value)

    @field_validator("phase", mode="before")
    @classmethod
    def _phase(cls, value: Any) -> Any:
        return resolve_numbers(value)


def _text(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float | bool) else value


def misfit(
    sample: SampleSettings,
    categories: Iterable[str],
    numbers: Iterable[str],
    models: Mapping[str, ModelSettings],
    modalities: Iterable[str],
) -> str | None:
    """Say what of a section `sample` cannot be with the rest of the dataset file, or None.

    Parameters
    ----------
    sample
        The section.
    categories, numbers
        Columns that the models are conditioned on.
    models
        The models, by name.
    modalities
        Of the cells.
    """
    known = [*categories, *numbers]
    for name, value in sample.given.items():
        if name not in known:
            return (
                f"sample.given: no model is conditioned on '{name}'{did_you_mean(name, known)}: "
                f"{'known: ' + ', '.join(known) if known else 'name it under `batch` or `condition`'}"
            )
        if name in numbers and not _is_number(value):
            return f"sample.given: column '{name}' holds numbers, found '{value}': give a number"
    if (why := _library_misfit(sample.library, list(modalities))) is not None:
        return why
    if sample.phase is not None and sample.prior:
        return "sample: the prior has no cell cycle: remove `phase`, or `prior`"
    for name, model in models.items():
        for axis in sample.axis:
            found = AXIS.fullmatch(axis)
            if found is None or int(found[1]) > model.n_axes:
                return (
                    f"sample.axis: model '{name}' has no axis '{axis}': its axes are axis_1 to axis_{model.n_axes}"
                    + (" at most" if model.n_latent == "auto" else "")
                )
        if sample.prior and model.latent.kind == "point":
            return f"sample.prior: latent: point of model '{name}' has no prior to draw from: remove `prior`"
    return None


def _library_misfit(library: float | dict[str, float] | None, names: list[str]) -> str | None:
    if isinstance(library, dict):
        for name in library:
            if name not in names:
                known = ", ".join(names)
                return f"sample.library: the cells have no modality '{name}'{did_you_mean(name, names)}: known: {known}"
    elif library is not None and len(names) > 1:
        return (
            f"sample.library: found {library:g} for cells with {', '.join(names)}: give a number for each by name, "
            "such as `{rna: 5000, atac: 800}`"
        )
    return None


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
