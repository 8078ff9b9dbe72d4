"""The settings of one model: likelihood, networks, training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sclatent.settings._base import Settings


class ModelSettings(Settings):
    """One variational autoencoder and how it is trained."""

    likelihood: Literal["poisson", "nb", "zip", "zinb", "bernoulli"] = Field(
        "nb", description="distribution of the counts; bernoulli takes only whether a count is above 0 (open chromatin)"
    )
    dispersion: Literal["gene", "gene-batch", "gene-cell"] = Field(
        "gene",
        description="nb and zinb: one θ per gene, per gene and level of the first batch column, or per gene and cell",
    )
    decoder: Literal["mlp", "linear"] = Field(
        "mlp", description="from latent axes to genes: a network, or a linear map"
    )
    rotate: Literal["varimax", "ica", "none"] = Field(
        "varimax", description="mlp and linear: orthogonal rotation of the axes after training, which the decoder undoes"
    )
    n_latent: int = Field(10, ge=1, le=1024, description="number of latent axes")
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
    weight_decay: float = Field(1e-3, ge=0, description="decoupled weight decay of the weight matrices")
    patience: int = Field(15, ge=1, description="epochs without a better validation ELBO before training stops")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train; auto: a GPU when there is one")
