"""The parts of a model that come in kinds, each kind with settings of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from sclatent.settings._base import Settings
from sclatent.settings.errors import did_you_mean
from sclatent.settings.kinds.registry import Registry

Rotation = Literal["programs", "varimax", "ica", "none"]
Dispersion = Literal["gene", "gene-batch", "gene-cell"]
Noise = Literal["independent", "antithetic", "stratified", "sobol"]


class KindSettings(Settings):
    """The settings of one kind; `kind` is its name, a `Literal` with a default."""

    kind: str


class LikelihoodSettings(KindSettings):
    """Distribution of the counts."""


class DecoderSettings(KindSettings):
    """From the latent code to genes."""

    @property
    def rotation(self) -> Rotation:
        """How the axes are rotated after training, if the latent can be rotated."""
        return "none"


class LatentSettings(KindSettings):
    """What the latent axes are.

    Attributes
    ----------
    density
        Whether the posterior has one.
    relaxed
        Whether training draws something smoother than what `log_q` is the density of.
    turns
        Whether the axes can be rotated.
    fewest
        Axes that it takes at least.
    angles
        Whether its axes are angles.
    several
        Whether the posteriors of several modalities can be multiplied.
    """

    density: ClassVar[bool] = True
    relaxed: ClassVar[bool] = False
    turns: ClassVar[bool] = True
    fewest: ClassVar[int] = 1
    angles: ClassVar[bool] = False
    several: ClassVar[bool] = False

    @property
    def parts(self) -> tuple[LatentSettings, ...]:
        """The settings of each block of axes: of one kind there is one."""
        return (self,)

    def sizes(self, n_axes: int) -> tuple[int, ...]:
        """Return how many of `n_axes` axes each of the `parts` has."""
        return (n_axes,)

    @property
    def own_axes(self) -> int | None:
        """Number of axes, where the settings say it; None: `n_latent` does."""
        return None

    @property
    def told(self) -> str:
        """What a line says of it."""
        return self.kind


class ObjectiveSettings(KindSettings):
    """What training minimises.

    Attributes
    ----------
    density
        Whether it asks for the density of the posterior.
    of_draws
        Whether it asks for the density of what `sample` draws, and follows the gradient through it.
    of_all_cells
        Whether it carries something over from all cells of a step, so that several devices cannot share them.
    """

    density: ClassVar[bool] = False
    of_draws: ClassVar[bool] = False

    @property
    def of_all_cells(self) -> bool:
        """Whether the loss of a cell depends on other cells."""
        return False


class PoissonSettings(LikelihoodSettings):
    """Poisson."""

    kind: Literal["poisson"] = "poisson"


class NBSettings(LikelihoodSettings):
    """Negative binomial."""

    kind: Literal["nb"] = "nb"
    dispersion: Dispersion = Field(
        "gene",
        description="nb and zinb: one θ per gene, per gene and level of the first batch column, or per gene and cell",
    )


class ZIPSettings(LikelihoodSettings):
    """Poisson with extra zeros."""

    kind: Literal["zip"] = "zip"


class ZINBSettings(NBSettings):
    """Negative binomial with extra zeros."""

    kind: Literal["zinb"] = "zinb"  # type: ignore[assignment]


class BernoulliSettings(LikelihoodSettings):
    """Whether a count is above 0."""

    kind: Literal["bernoulli"] = "bernoulli"


class _Rotated(DecoderSettings):
    rotate: Rotation = Field(
        "programs",
        description="mlp and linear: orthogonal rotation of the axes after training, which the decoder undoes",
    )

    @property
    def rotation(self) -> Rotation:
        """How the axes are rotated after training."""
        return self.rotate


class MLPSettings(_Rotated):
    """A network beside a linear map."""

    kind: Literal["mlp"] = "mlp"


class LinearSettings(_Rotated):
    """A linear map."""

    kind: Literal["linear"] = "linear"


class AdditiveSettings(DecoderSettings):
    """A response curve per axis and gene, which fixes the axes."""

    kind: Literal["additive"] = "additive"
    pooling: Literal["log", "counts"] = Field(
        "log", description="additive: response curves are added in the log rates, or (non-negative) in expression"
    )
    sparsity: float = Field(
        1.0, ge=0, description="additive: strength of the Laplace prior on the response curves (nats per unit weight)"
    )


class GaussianSettings(LatentSettings):
    """Normal axes with a diagonal covariance."""

    several: ClassVar[bool] = True
    kind: Literal["gaussian"] = "gaussian"


class DrawnSettings(ObjectiveSettings):
    """An objective that says how often, and how, the posterior of a cell is drawn from."""

    independent: ClassVar[str] = ""
    """Why its draws have to be independent; empty: they do not."""

    draws: int = Field(1, ge=1, le=256, description="draws from the posterior of each cell in a training step")
    noise: Noise = Field(
        "independent",
        description="how the draws of a cell depend on one another: not at all, in pairs of opposite sign, one in each "
        "of equally likely intervals per axis, or as a shifted Sobol sequence",
    )

    @model_validator(mode="after")
    def _as_many_as_it_takes(self) -> Self:
        if self.noise == "independent":
            return self
        if self.independent:
            raise ValueError(f"{self.kind} works with independent draws only, {self.independent}: remove `noise`")
        if self.noise == "antithetic" and self.draws % 2:
            raise ValueError(
                f"antithetic noise comes in pairs, found draws: {self.draws}: set `draws` to an even number"
            )
        if self.draws == 1:
            raise ValueError(f"{self.noise} noise couples several draws, found draws: 1: set `draws` to 2 or more")
        if self.noise == "sobol" and self.draws & (self.draws - 1):
            raise ValueError(f"sobol noise needs 2, 4, 8, … draws, found {self.draws}: set `draws` to a power of 2")
        return self


class PathwiseSettings(DrawnSettings):
    """The ELBO, differentiated through the draws."""

    kind: Literal["elbo"] = "elbo"


def _kinds(key: str, *settings: type[KindSettings]) -> Registry[type[KindSettings]]:
    registry: Registry[type[KindSettings]] = Registry(key)
    for one in settings:
        add(registry, one)
    return registry


def add(registry: Registry[type[KindSettings]], settings: type[KindSettings]) -> None:
    """Make the settings of a kind known under its name."""
    registry.add(name_of(settings), settings)


def name_of(settings: type[KindSettings]) -> str:
    """Return the name of the kind that has these settings."""
    name = settings.model_fields["kind"].default
    if not isinstance(name, str):
        raise TypeError(f'{settings.__name__} needs `kind: Literal["NAME"] = "NAME"`')
    return name


LIKELIHOODS = _kinds("likelihood", PoissonSettings, NBSettings, ZIPSettings, ZINBSettings, BernoulliSettings)
PEAK_LIKELIHOODS = _kinds("likelihood", BernoulliSettings, PoissonSettings)
"""Those of open chromatin."""
DECODERS = _kinds("decoder", MLPSettings, LinearSettings, AdditiveSettings)
LATENTS = _kinds("latent", GaussianSettings)
OBJECTIVES = _kinds("objective", PathwiseSettings)


class OneOf:
    """A setting that is one of the kinds of a registry: its name, or a mapping of ``kind`` and its settings.

    A union by tag to which a kind can be added.

    Parameters
    ----------
    kinds
        The kinds.
    other, other_schema
        What else a mapping without ``kind`` may stand for (None: nothing), and how editors know it.
    """

    def __init__(
        self,
        kinds: Registry[type[KindSettings]],
        other: Callable[[Mapping[str, Any]], KindSettings | None] | None = None,
        other_schema: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        self.kinds, self.other, self.other_schema = kinds, other, other_schema

    def __call__(self, value: Any) -> KindSettings:
        """Return the settings that `value` stands for; a ``ValueError`` is the user's line, without the key."""
        if isinstance(value, KindSettings):
            value = value.model_dump()
        if isinstance(value, str):
            value = {"kind": value}
        names = ", ".join(f"'{name}'" for name in self.kinds)
        if not isinstance(value, Mapping):
            raise ValueError(f"expected one of {names}, or a mapping such as {{kind: {next(iter(self.kinds))}}}")
        if "kind" not in value:
            if self.other is not None and (found := self.other(value)) is not None:
                return found
            raise ValueError(f"`kind` is missing: one of {names}")
        kind = value["kind"]
        if not isinstance(kind, str) or kind not in self.kinds:
            raise ValueError(f"'{kind}' is not one of {names}{did_you_mean(str(kind), self.kinds)}")
        settings = self.kinds[kind]
        for key in value:
            if key not in settings.model_fields:
                known = [name for name in settings.model_fields if name != "kind"]
                hint = did_you_mean(str(key), known) or f": it has {', '.join(known) or 'no further keys'}"
                raise ValueError(f"{kind} has no key '{key}'{hint}")
        return settings.model_validate(dict(value))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        mappings = [handler(self.kinds[name].__pydantic_core_schema__) | {"required": ["kind"]} for name in self.kinds]
        others = [] if self.other_schema is None else [self.other_schema()]
        return {"anyOf": [{"enum": list(self.kinds)}, *mappings, *others]}
