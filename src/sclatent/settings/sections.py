"""The sections of a dataset file: which cells and genes stay, and what each later stage is told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sclatent.settings._base import Settings


class SplitSettings(Settings):
    """Which cells train, which choose, which judge."""

    validation: float = Field(0.1, gt=0, lt=0.5, description="fraction of cells for early stopping and seed selection")
    test: float = Field(0.1, gt=0, lt=0.5, description="fraction of cells that are used for the metrics only")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of the random split")
    column: str | None = Field(None, description="obs column with train / validation / test, instead of a random split")

    @model_validator(mode="after")
    def _check(self) -> SplitSettings:
        fields = type(self).model_fields
        drawn = [key for key in ("validation", "test", "seed") if getattr(self, key) != fields[key].default]
        if self.column is not None and drawn:
            raise ValueError(
                f"`column` says which cell is where, so `{drawn[0]}` would do nothing: remove one of the two"
            )
        return self


class CellsSettings(Settings):
    """Which cells stay."""

    min_genes: Literal["auto"] | Annotated[int, Field(ge=0)] = Field(
        "auto", description="remove cells with fewer detected genes; auto: the smaller of 200 and 5 % of the genes"
    )
    min_counts: int | None = Field(None, ge=0, description="remove cells with fewer counts")
    max_counts: int | None = Field(None, ge=1, description="remove cells with more counts")
    max_percent_mito: float | None = Field(
        None, ge=0, le=100, description="remove cells with more mitochondrial counts (%)"
    )
    doublets: bool = Field(
        False, description="score doublets with scrublet, per sample or batch, and remove the cells that it calls"
    )

    @model_validator(mode="after")
    def _check(self) -> CellsSettings:
        if self.min_counts is not None and self.max_counts is not None and self.min_counts > self.max_counts:
            raise ValueError(
                f"min_counts: {self.min_counts} is more than max_counts: {self.max_counts}, so no cell would be left"
            )
        return self


class GenesSettings(Settings):
    """Which genes are kept, and which are modelled."""

    n_top: Literal["all"] | Annotated[int, Field(ge=1)] = Field(
        2000, description="number of highly variable genes to model; or all: those that vary among training cells"
    )
    min_cells: int = Field(3, ge=0, description="remove genes that are detected in fewer cells")
    keep: list[str] = Field([], description="genes to model whatever their variability")
    symbols: str | None = Field(None, description="var column with gene symbols, when the names are identifiers")


class AxesSettings(Settings):
    """How the latent axes are annotated."""

    programs: str | None = Field(None, description="GMT file of gene programs, for the enrichment of each axis")


class TraverseSettings(Settings):
    """How finely a path through the latent space is decoded."""

    steps: int = Field(41, ge=5, le=201, description="steps of every traversal")


class MapSettings(Settings):
    """The neighbour graph, the clusters and the UMAP of the selected seed."""

    n_neighbors: int = Field(15, ge=2, le=200, description="neighbours per cell")
    resolution: float = Field(1.0, gt=0, description="Leiden resolution")
    min_dist: float = Field(0.5, ge=0, le=1, description="UMAP minimum distance")


class CycleSettings(Settings):
    """The cell cycle: which genes tell it."""

    genes: str | None = Field(
        None, description="a TSV of your own (gene, phase), or null: the built-in list of `organism`"
    )
