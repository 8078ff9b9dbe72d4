"""The dataset file as typed models: one class per section, defaults and ranges beside their meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from sclatent.settings._base import Settings, taken_by
from sclatent.settings.counts import Sample, Samples, check_name, check_names
from sclatent.settings.errors import did_you_mean
from sclatent.settings.modalities import ModalitiesSettings, fit_models, with_counts
from sclatent.settings.model import ModelSettings
from sclatent.settings.sample import SampleSettings
from sclatent.settings.sections import (
    AxesSettings,
    CellsSettings,
    CycleSettings,
    GenesSettings,
    MapSettings,
    SplitSettings,
    TraverseSettings,
)

ORGANISMS = ("human", "mouse")
"""Organisms with a built-in list of cell-cycle genes."""


def _as_list(value: Any) -> Any:
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def _listed(names: list[str | None]) -> str:
    return ", ".join("(no name)" if name is None else f"'{name}'" for name in names)


Columns = Annotated[list[str], BeforeValidator(_as_list)]


class DatasetSettings(Settings):
    """One dataset file. The dataset is called after the file."""

    name: str = Field(exclude=True)
    file: str = Field(exclude=True)
    counts: Samples = Field(description="a path, a mapping (see below), or a list of samples")
    modalities: ModalitiesSettings | None = Field(
        None, description="the modalities of the cells, `rna` and `atac`; null: RNA alone, from `counts`"
    )
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
        description="also measure how noisy the gradient of each objective is, and where the noise comes from, with "
        "figures; see docs/randomness.md",
    )
    sample: SampleSettings | None = Field(None, description="cells to draw from every model; null: none")

    def parts(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Return what a stage function takes of this dataset, as its keywords.

        ``prepare(counts, **dataset.parts(prepare))`` prepares as the dataset file says.
        """
        return {name: getattr(self, name) for name in taken_by(function)}

    @model_validator(mode="before")
    @classmethod
    def _counts_of_modalities(cls, given: Any) -> Any:
        return with_counts(given) if isinstance(given, dict) else given

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
        check_names(self.counts, "counts")
        if self.modalities is not None:
            self._check_modalities(self.modalities)
        for key in ("batch", "condition", "covariates", "labels"):
            columns = getattr(self, key)
            twice = next((column for column in columns if columns.count(column) > 1), None)
            if twice is not None:
                raise ValueError(f"{key}: '{twice}' is listed twice")
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
                f"'{both[0]}' is named under `batch` and under `condition`: use `batch` for how a cell was measured, "
                "`condition` for what was done to it"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: a seed is listed twice")
        if self.cycle.genes is None and self.organism not in ORGANISMS:
            raise ValueError(
                f"organism: no built-in cell-cycle genes for '{self.organism}'"
                f"{did_you_mean(self.organism, ORGANISMS)}: use human or mouse, or give "
                "`cycle: {genes: FILE}`"
            )
        return self

    @property
    def samples(self) -> list[Sample]:
        """The samples of all modalities, each file once."""
        peaks = [] if self.modalities is None else self.modalities.atac.counts or []
        return list({sample.path: sample for sample in (*self.counts, *peaks)}.values())

    def _check_modalities(self, modalities: ModalitiesSettings) -> None:
        peaks = modalities.atac.counts or []
        check_names(peaks, "modalities.atac.counts")
        ours, theirs = ([sample.name for sample in samples] for samples in (self.counts, peaks))
        if sorted(map(str, ours)) != sorted(map(str, theirs)):
            raise ValueError(
                f"modalities.atac.counts: the samples are called {_listed(theirs)}, those of rna {_listed(ours)}: "
                "cells are matched within samples, so give both the same names"
            )
        if self.gradients:
            raise ValueError(
                "gradients: are measured of models of RNA alone, but `modalities` names two: remove one of the two"
            )
        self.models.update(fit_models(modalities, self.models))
