"""The settings of one model: likelihood, networks, training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from sclatent.settings._base import Settings
from sclatent.settings.errors import did_you_mean
from sclatent.settings.kinds import latents, objectives  # noqa: F401  they make their kinds known
from sclatent.settings.kinds.blocks import blocks_in_schema, blocks_of
from sclatent.settings.kinds.parts import (
    DECODERS,
    LATENTS,
    LIKELIHOODS,
    OBJECTIVES,
    DecoderSettings,
    GaussianSettings,
    KindSettings,
    LatentSettings,
    LikelihoodSettings,
    MLPSettings,
    NBSettings,
    ObjectiveSettings,
    OneOf,
    PathwiseSettings,
    Rotation,
)
from sclatent.settings.kinds.registry import Registry
from sclatent.settings.kinds.together import misfit
from sclatent.settings.words import resolve

MOST_AXES = 32
"""Latent axes when there are cells and genes enough for them."""
MOST_DEVICES = 16
"""GPUs of the largest machines."""


@dataclass(frozen=True)
class _Beside:
    """A setting of some kinds that may also stand beside the kind, as it did before kinds had settings.

    Attributes
    ----------
    kinds
        Where the kinds are.
    idle
        Values that say nothing to the other kinds: there they are left out.
    why
        What is said of any other value there; by default which kinds it is for.
    """

    kinds: Registry[type[KindSettings]]
    idle: tuple[Any, ...]
    why: str = ""


BESIDE = {
    "dispersion": _Beside(LIKELIHOODS, ("gene", "gene-batch", "gene-cell")),
    "pooling": _Beside(DECODERS, ("log",)),
    "sparsity": _Beside(DECODERS, (1.0,)),
    "rotate": _Beside(DECODERS, (None, "none"), "the response curves of decoder: additive already fix the axes"),
}


def _move(given: dict[str, Any], key: str, beside: _Beside, default: KindSettings) -> None:
    """Move `key` of the model into the settings of its kind, or drop it where it has no effect."""
    kinds, part, value = beside.kinds, beside.kinds.key, resolve(given.pop(key))
    chosen = given.get(part, default)
    if isinstance(chosen, KindSettings):
        chosen = {"kind": chosen.kind, **chosen.model_dump(exclude_unset=True)}
    chosen = dict(chosen) if isinstance(chosen, dict) else {"kind": chosen}
    kind = chosen.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        return  # the kind itself is refused
    if key not in kinds[kind].model_fields:
        if value in beside.idle:
            return
        having = " or ".join(name for name in kinds if key in kinds[name].model_fields)
        why = f"; {beside.why}" if beside.why else ""
        raise ValueError(f"{key}: is for {part}: {having} only, found {part}: {kind}{why}: remove `{key}`")
    if value is None and None in beside.idle:
        return
    if chosen.setdefault(key, value) != value:
        raise ValueError(f"{key}: is given twice, beside `{part}` and inside it: remove one of the two")
    given[part] = chosen


def _beside_in_schema(schema: dict[str, Any]) -> None:
    """Let editors take the settings that may stand beside their kind."""
    for key, beside in BESIDE.items():
        kind = next(name for name in beside.kinds if key in beside.kinds[name].model_fields)
        one = beside.kinds[kind].model_json_schema()["properties"][key]
        values = {"anyOf": [{k: v for k, v in one.items() if k in ("enum", "type", "minimum")}, {"type": "null"}]}
        where = f"the same as `{key}` in `{beside.kinds.key}`"
        schema["properties"][key] = {**values, "description": where}


class ModelSettings(Settings):
    """One variational autoencoder and how it is trained."""

    model_config = ConfigDict(json_schema_extra=_beside_in_schema)

    likelihood: Annotated[LikelihoodSettings, OneOf(LIKELIHOODS)] = Field(
        NBSettings(),
        description="distribution of the counts; bernoulli models only whether a count is above 0 (open chromatin)",
    )
    decoder: Annotated[DecoderSettings, OneOf(DECODERS)] = Field(
        MLPSettings(),
        description="from latent axes to genes: a network, a linear map, or a response curve per axis and gene; "
        "`{kind: additive, pooling: counts}` sets options of a kind (they can also be keys of the model)",
    )
    latent: Annotated[LatentSettings, OneOf(LATENTS, blocks_of, blocks_in_schema)] = Field(
        GaussianSettings(),
        description="what the latent axes are; gaussian: normal, with a diagonal covariance; fullrank: with a full "
        "one; point: no distribution; lognormal, exponential, gamma: amounts above 0; beta: from 0 to 1; circle: "
        "angles; dirichlet, logistic-normal: shares that add up to 1; states: each cell is in one of n_latent states; "
        "mixture: normal, within one of several states; flow: normal, bent; `{gaussian: 28, lognormal: 4}`: blocks",
    )
    objective: Annotated[ObjectiveSettings, OneOf(OBJECTIVES)] = Field(
        PathwiseSettings(),
        description="the loss of training, and the score for early stopping; elbo: evidence lower bound, "
        "differentiated through the draws; stl: the same, sticking the landing; iwae: the importance-weighted bound; "
        "dreg: the same by its doubly reparameterized gradient; score: the ELBO by the score function",
    )
    n_latent: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto",
        description="number of latent axes; auto: 32, but with few training cells one axis per 8 cells (at least 10), "
        "and never more than genes; axes that the data do not need stay inactive",
    )
    n_hidden: int = Field(128, ge=1, le=8192, description="units of each hidden layer")
    n_layers: int = Field(1, ge=1, le=8, description="hidden layers of the encoder and of the mlp decoder")
    dropout: float = Field(0.3, ge=0, lt=1, description="fraction of hidden units dropped in each training step")
    epochs: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="maximum number of passes through the training cells; auto: 100, fewer with more than 20,000 cells "
        "(8 with a million), more with fewer than 1,000",
    )
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="cells per training step; auto: 64 to 512, growing with the number of cells"
    )
    learning_rate: float = Field(
        4e-3,
        gt=0,
        le=1,
        description="highest learning rate of the one-cycle schedule, for 64 cells per step; it grows with the square "
        "root of `batch_size`, up to 512 cells",
    )
    weight_decay: float = Field(
        0.1, ge=0, description="decoupled weight decay of the matrices; beyond 2,000 cells it falls as 2,000/cells"
    )
    patience: int = Field(
        15,
        ge=1,
        description="epochs without a better validation ELBO before training stops, in the second half of the schedule",
    )
    refit: bool = Field(
        True,
        description="after training, continue on training and validation cells together: half as many epochs with "
        "2,000 cells, fewer with fewer cells (overfitting) or with more cells (little gain)",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train; auto: a GPU if there is one")
    devices: int = Field(
        1,
        ge=1,
        le=MOST_DEVICES,
        description="GPUs of one machine that train this model together, each with its share of every step; on a CPU, "
        "processes. See docs/cluster.md",
    )

    @model_validator(mode="before")
    @classmethod
    def _beside_its_kind(cls, given: Any) -> Any:
        """Put what stands beside a kind (`decoder: additive`, `pooling: counts`) into it."""
        if not isinstance(given, dict):
            return given
        given = dict(given)
        known = [*cls.model_fields, *BESIDE]
        for key in given:
            hint = "" if key in known else did_you_mean(str(key), known)
            if any(f"'{name}'" in hint for name in BESIDE):
                raise ValueError(f"{key}: unknown key{hint}")
        for key, part in BESIDE.items():
            if key in given:
                _move(given, key, part, cls.model_fields[part.kinds.key].default)
        return given

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if (why := misfit(self.decoder, self.latent, self.objective, self.devices)) is not None:
            raise ValueError(why)
        own = self.latent.own_axes
        if own is not None and self.n_latent not in ("auto", own):
            raise ValueError(
                f"n_latent: the blocks of latent: {self.latent.told} have {own} axes, found {self.n_latent}: "
                "remove `n_latent`"
            )
        if self.n_latent != "auto" and self.n_latent < self.latent.fewest:
            raise ValueError(
                f"n_latent: latent: {self.latent.kind} needs {self.latent.fewest} axes or more, found {self.n_latent}: "
                "set `n_latent` higher"
            )
        return self

    @model_serializer(mode="wrap")
    def _one_device_goes_without_saying(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave `devices` out where it is 1: models that were trained before there was this key are the same."""
        dumped: dict[str, Any] = dump(self)
        if dumped.get("devices") == 1:
            del dumped["devices"]
        return dumped

    @property
    def rotation(self) -> Rotation:
        """How the axes are rotated after training, if the latent can be rotated."""
        return self.decoder.rotation

    @property
    def n_axes(self) -> int:
        """Number of latent axes; the most that `auto` gives where nothing is known of the cells yet."""
        return (self.latent.own_axes or MOST_AXES) if self.n_latent == "auto" else self.n_latent

    def with_axes(self, n_cells: int, n_genes: int) -> ModelSettings:
        """Return the settings with the number of axes that `auto` stands for, given the training cells and genes."""
        if self.n_latent != "auto":
            return self
        usual = max(self.latent.fewest, min(MOST_AXES, max(10, n_cells // 8), n_genes))
        return self.model_copy(update={"n_latent": self.latent.own_axes or usual})
