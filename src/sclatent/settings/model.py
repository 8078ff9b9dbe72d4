"""The settings of one model: likelihood, networks, training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sclatent.settings._base import Settings

MOST_AXES = 32
"""Latent axes when there are cells and genes enough for them."""


class ModelSettings(Settings):
    """One variational autoencoder and how it is trained."""

    likelihood: Literal["poisson", "nb", "zip", "zinb", "bernoulli"] = Field(
        "nb", description="distribution of the counts; bernoulli takes only whether a count is above 0 (open chromatin)"
    )
    dispersion: Literal["gene", "gene-batch", "gene-cell"] = Field(
        "gene",
        description="nb and zinb: one θ per gene, per gene and level of the first batch column, or per gene and cell",
    )
    decoder: Literal["mlp", "linear", "additive"] = Field(
        "mlp", description="from latent axes to genes: a network, a linear map, or a response curve per axis and gene"
    )
    pooling: Literal["log", "counts"] = Field(
        "log", description="additive: response curves add up in the log rates, or, non-negative, in expression"
    )
    sparsity: float = Field(
        1.0, ge=0, description="additive: strength of the Laplace prior on the response curves (nats per unit weight)"
    )
    rotate: Literal["programs", "varimax", "ica", "none"] | None = Field(
        None,
        description="mlp and linear: orthogonal rotation of the axes after training, which the decoder undoes; "
        "null: programs",
    )
    n_latent: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto",
        description="number of latent axes; auto: 32, but one per 8 training cells where these are few (at least 10), "
        "and no more than genes; axes that the data do not need stay empty",
    )
    n_hidden: int = Field(128, ge=1, le=8192, description="units of each hidden layer")
    n_layers: int = Field(1, ge=1, le=8, description="hidden layers of the encoder and of the mlp decoder")
    dropout: float = Field(0.3, ge=0, lt=1, description="fraction of hidden units left out in each training step")
    epochs: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="most passes through the training cells; auto: fewer with more cells"
    )
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="cells per training step; auto: 64 to 512, growing with the number of cells"
    )
    learning_rate: float = Field(4e-3, gt=0, le=1, description="highest learning rate of the one-cycle schedule")
    weight_decay: float = Field(
        0.1, ge=0, description="decoupled weight decay of the matrices; less, as 2,000/cells, beyond 2,000 cells"
    )
    patience: int = Field(
        15,
        ge=1,
        description="epochs without a better validation ELBO before training stops, in the second half of the schedule",
    )
    refit: bool = Field(
        True,
        description="go on after training on training and validation cells together: half as many epochs with 2,000 "
        "cells, and ever fewer with fewer cells (it would overfit) or more (it would not pay)",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train; auto: a GPU when there is one")

    @model_validator(mode="after")
    def _decoder_options(self) -> ModelSettings:
        if self.decoder == "additive":
            if self.rotate not in (None, "none"):
                raise ValueError(
                    f"rotate: {self.rotate} is for decoder: mlp or linear; the response curves of decoder: additive "
                    "already fix the axes: remove `rotate`"
                )
            return self
        for key in ("pooling", "sparsity"):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key}: is for decoder: additive only, found decoder: {self.decoder}: remove `{key}`")
        return self

    @property
    def rotation(self) -> Literal["programs", "varimax", "ica", "none"]:
        """How the axes are rotated after training."""
        if self.decoder == "additive":
            return "none"
        return self.rotate or "programs"

    @property
    def n_axes(self) -> int:
        """Number of latent axes; the most that `auto` gives where nothing is known of the cells yet."""
        return MOST_AXES if self.n_latent == "auto" else self.n_latent

    def with_axes(self, n_cells: int, n_genes: int) -> ModelSettings:
        """Return the settings with the number of axes that `auto` stands for, given the training cells and genes."""
        if self.n_latent != "auto":
            return self
        return self.model_copy(update={"n_latent": max(1, min(MOST_AXES, max(10, n_cells // 8), n_genes))})
