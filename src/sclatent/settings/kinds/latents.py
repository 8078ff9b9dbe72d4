"""The settings of the latents beside the default, and what goes with what."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from sclatent.settings.kinds.parts import LATENTS, LatentSettings, add


class _Fixed(LatentSettings):
    turns: ClassVar[bool] = False


class PointSettings(_Fixed):
    """A point: a plain autoencoder."""

    density: ClassVar[bool] = False
    kind: Literal["point"] = "point"


class FullRankSettings(LatentSettings):
    """Normal axes with a full covariance."""

    kind: Literal["fullrank"] = "fullrank"


class LogNormalSettings(_Fixed):
    """Amounts, log-normal."""

    kind: Literal["lognormal"] = "lognormal"
    bounded: bool = Field(
        True,
        description="lognormal: keep μ within ± 2 and σ below 1; otherwise gradients grow as exp(μ)",
    )


class ExponentialSettings(_Fixed):
    """Amounts, most of them small."""

    kind: Literal["exponential"] = "exponential"


class GammaSettings(_Fixed):
    """Amounts of any shape."""

    kind: Literal["gamma"] = "gamma"


class BetaSettings(_Fixed):
    """From 0 to 1."""

    kind: Literal["beta"] = "beta"


class CircleSettings(_Fixed):
    """Angles."""

    angles: ClassVar[bool] = True
    kind: Literal["circle"] = "circle"
    harmonics: int = Field(2, ge=1, le=8, description="circle: number of harmonics of the decoder's curves")


class _Shares(_Fixed):
    fewest: ClassVar[int] = 2


class DirichletSettings(_Shares):
    """Shares that add up to 1."""

    kind: Literal["dirichlet"] = "dirichlet"
    concentration: float = Field(
        1.0, ge=0.1, le=1000, description="dirichlet: concentration of the prior; below 1, a cell has few topics"
    )


class LogisticNormalSettings(_Shares):
    """Shares that add up to 1, a softmax of normal numbers."""

    kind: Literal["logistic-normal"] = "logistic-normal"
    spread: float = Field(
        2.0,
        gt=0,
        le=10,
        description="logistic-normal: SD of the prior's contrasts; the larger, the fewer topics a cell has",
    )


class StatesSettings(_Shares):
    """One of several discrete states."""

    relaxed: ClassVar[bool] = True
    kind: Literal["states"] = "states"
    temperature: float = Field(
        0.3,
        ge=0.05,
        lt=1,
        description="states: temperature of the Gumbel-Softmax draws at the end of the schedule; it falls from 1. "
        "Trained models draw discrete states",
    )
    straight_through: bool = Field(
        False, description="states: decode discrete states in training too, with the gradient of the relaxed draw"
    )


class MixtureSettings(_Fixed):
    """Normal axes under a mixture of states."""

    kind: Literal["mixture"] = "mixture"
    states: int = Field(10, ge=2, le=1024, description="mixture: normal states that the prior is made of")


class FlowSettings(LatentSettings):
    """Normal axes whose posterior an affine flow bends."""

    fewest: ClassVar[int] = 2
    kind: Literal["flow"] = "flow"
    layers: int = Field(2, ge=1, le=32, description="flow: affine coupling layers, the same for all cells")


for one in (
    PointSettings,
    FullRankSettings,
    LogNormalSettings,
    ExponentialSettings,
    GammaSettings,
    BetaSettings,
    CircleSettings,
    DirichletSettings,
    LogisticNormalSettings,
    StatesSettings,
    MixtureSettings,
    FlowSettings,
):
    add(LATENTS, one)
