"""The dataset file as typed models: one class per section, defaults and ranges beside their meaning."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from sclatent.settings._base import Settings, taken_by
from sclatent.settings.errors import did_you_mean
from sclatent.settings.model import ModelSettings
from sclatent.settings.sample import SampleSettings, misfit
from sclatent.settings.sections import (
    AxesSettings,
    CellsSettings,
    CycleSettings,
    GenesSettings,
    MapSettings,
    SplitSettings,
    TraverseSettings,
)
from sclatent.settings.words import Plain, numbers

_SCHEMES = ("https://", "http://")
ORGANISMS = ("human", "mouse")
"""Organisms with a built-in list of cell-cycle genes."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check_name(name: str, what: str) -> str:
    """Return `name` if it can be used in a path and as a Snakemake wildcard, else raise ``ValueError``."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{what} '{name}' must start with a letter or digit and hold letters, digits, '_', '.', '-' only"
        )
    return name


def _as_list(value: Any) -> Any:
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


Columns = Annotated[list[str], BeforeValidator(_as_list)]


class Sample(Settings):
    """Where one matrix of counts is and how to read it; further keys become obs columns."""

    model_config = ConfigDict(extra="allow", frozen=True)

    path: str = Field(description="file or 10x folder; relative to the working directory")
    name: str | None = Field(None, description="sample name; needed when there are several samples")
    layer: str | None = Field(None, description="h5ad, zarr, loom: a layer, or `raw`; null: `X`")
    genome: str | None = Field(None, description="10x h5 of Cell Ranger 2: which genome, when the file holds several")
    features: str | None = Field(None, description="10x: the feature type to keep; null: `Gene Expression`")
    orientation: Literal["genes_by_cells", "cells_by_genes"] | None = Field(
        None, description="dense text: what rows and columns are; null: detect it"
    )
    round: Literal["nearest", "stochastic"] | None = Field(
        None,
        description="how to round estimated counts: `nearest`, or `stochastic`, which keeps the mean of many small "
        "values; null: fractions are an error",
    )
    round_seed: int = Field(0, ge=0, lt=2**32, description="seed of `round: stochastic`")
    url: str | None = Field(None, description="where to download `path` from if the file is missing")
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-fA-F]{64}$", description="checksum of the file; needed with `url`"
    )

    @model_validator(mode="after")
    def _check(self) -> Sample:
        if self.name is not None:
            check_name(self.name, "sample name")
        if self.round_seed != 0 and self.round != "stochastic":
            raise ValueError("`round_seed` is for `round: stochastic` and would do nothing: remove it")
        if self.url is not None and self.sha256 is None:
            raise ValueError("`url` needs `sha256`, so that a broken download is noticed")
        if self.url is not None and not self.url.startswith(_SCHEMES):
            raise ValueError(f"url: '{self.url}' must start with {', '.join(_SCHEMES)}: a local file needs `path` only")
        for key, value in (self.model_extra or {}).items():
            if value is None:
                raise ValueError(f"`{key}` has no value (null): give one, or quote the word if it is a name")
            if not isinstance(value, str | int | float | bool):
                raise ValueError(f"`{key}` becomes an obs column and must be one word, number or truth value")
        return self

    @property
    def columns(self) -> dict[str, str | int | float | bool]:
        """Further keys of the sample: obs columns that hold one value each."""
        return dict(self.model_extra or {})


def _with_numbers(samples: list[Any]) -> list[Any]:
    """Return the samples of a YAML file, with numbers in a column that holds numbers in every sample that has it."""
    known = Sample.model_fields
    columns: dict[str, list[Any]] = {}
    for sample in samples:
        for key, value in sample.items() if isinstance(sample, dict) else ():
            if key not in known:
                columns.setdefault(key, []).append(value)
    found = {
        key: numbers(values) for key, values in columns.items() if all(isinstance(value, Plain) for value in values)
    }
    return [
        {key: (found.get(key) or {}).get(value, value) if isinstance(value, str) else value for key, value in s.items()}
        if isinstance(s, dict)
        else s
        for s in samples
    ]


class DatasetSettings(Settings):
    """One dataset file. The dataset is called after the file."""

    name: str = Field(exclude=True)
    file: str = Field(exclude=True)
    counts: list[Sample] = Field(min_length=1, description="a path, a mapping (see below), or a list of samples")
    join: Literal["inner", "outer"] = Field(
        "inner", description="genes of several samples: inner: those in all; outer: those in any (0 where absent)"
    )
    metadata: str | None = Field(
        None, description="TSV/CSV of per-cell columns, joined on the barcode in its first column"
    )
    organism: str = Field(
        "human", description="human or mouse: selects the cell-cycle genes; any name if `cycle.genes` is given"
    )
    batch: Columns = Field([], description="obs column(s) of categories that the decoder is conditioned on")
    condition: Columns = Field(
        [],
        description="obs column(s) of categories, such as a treatment, that the decoder is conditioned on as on "
        "`batch`; axes may be named after them",
    )
    covariates: Columns = Field([], description="obs column(s) of numbers that the decoder is conditioned on")
    labels: Columns = Field(
        [],
        description="obs columns used only to evaluate the result: categories, unless they hold numbers with fractions",
    )
    library_size: str | None = Field(
        None, description="null: the sum over the model's genes; else an obs column with the total over more genes"
    )
    split: SplitSettings = Field(SplitSettings(), description="training, validation and test cells")
    cells: CellsSettings = Field(CellsSettings(), description="filters on cells")
    genes: GenesSettings = Field(GenesSettings(), description="filters on genes, and the genes of the model")
    models: dict[str, ModelSettings] = Field(
        default_factory=lambda: {"nb": ModelSettings()}, min_length=1, description="the models to train, by name"
    )
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field([0], min_length=1, description="one training per seed")
    cycle: CycleSettings = Field(CycleSettings(), description="the cell cycle")
    axes: AxesSettings = Field(AxesSettings(), description="annotation of the latent axes")
    traverse: TraverseSettings = Field(TraverseSettings(), description="traversals")
    map: MapSettings = Field(MapSettings(), description="neighbours, Leiden and UMAP")
    gradients: bool = Field(
        False,
        description="also measure how noisy the gradient of each objective is, and where the noise comes from; figures "
        "of it. See docs/randomness.md",
    )
    sample: SampleSettings | None = Field(None, description="cells to draw from every model; null: none")

    def parts(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Return what a stage function takes of this dataset, as its keywords.

        ``prepare(counts, **dataset.parts(prepare))`` prepares as the dataset file says.
        """
        return {name: getattr(self, name) for name in taken_by(function)}

    @field_validator("counts", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [{"path": value}]
        if isinstance(value, dict):
            value = [value]
        if isinstance(value, list):
            return _with_numbers([{"path": item} if isinstance(item, str) else item for item in value])
        return value

    @field_validator("models")
    @classmethod
    def _model_names(cls, models: dict[str, ModelSettings]) -> dict[str, ModelSettings]:
        reserved = {"figures", "counts.h5ad", "prepared.h5ad", "cycle.h5ad", "columns.tsv", "models.tsv"}
        for name in models:
            check_name(name, "model name")
            if name in reserved:
                raise ValueError(f"model name '{name}' is taken in the folder of results: choose another")
        return models

    @model_validator(mode="after")
    def _check(self) -> DatasetSettings:
        check_name(self.name, "dataset name")
        if len(self.counts) > 1:
            names = [sample.name for sample in self.counts]
            if None in names:
                raise ValueError("counts: with several samples every one needs a `name`")
            if len(set(names)) < len(names):
                twice = next(n for n in names if names.count(n) > 1)
                raise ValueError(f"counts: two samples are called '{twice}'")
        grouped = [("batch", column) for column in self.batch] + [("condition", column) for column in self.condition]
        for key, column in grouped:
            if column in self.covariates:
                raise ValueError(
                    f"'{column}' is named under `{key}` and under `covariates`: "
                    "a column is either categories or numbers"
                )
        both = [column for column in self.condition if column in self.batch]
        if both:
            raise ValueError(
                f"'{both[0]}' is named under `batch` and under `condition`: say which, how a cell was measured or what "
                "was done to it"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: a seed is listed twice")
        if self.cycle.genes is None and self.organism not in ORGANISMS:
            raise ValueError(
                f"organism: no built-in cell-cycle genes for '{self.organism}'"
                f"{did_you_mean(self.organism, ORGANISMS)}: use human or mouse, or give "
                "`cycle: {genes: FILE}`"
            )
        if self.sample is not None:
            categories = [*self.batch, *self.condition]
            if (why := misfit(self.sample, categories, self.covariates, self.models)) is not None:
                raise ValueError(why)
        return self
