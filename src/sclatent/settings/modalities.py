"""Modalities of the same cells: RNA, and open chromatin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from sclatent.settings._base import Settings
from sclatent.settings.counts import Samples, moved
from sclatent.settings.kinds.parts import (
    LIKELIHOODS,
    PEAK_LIKELIHOODS,
    BernoulliSettings,
    LikelihoodSettings,
    OneOf,
)

if TYPE_CHECKING:
    from sclatent.settings.model import ModelSettings

RNA, ATAC = "rna", "atac"


class RNASettings(Settings):
    """Expression of genes: what a dataset without `modalities` consists of."""

    counts: Samples | None = Field(None, description="the counts of RNA, as `counts`; null: those under `counts`")
    likelihood: Annotated[LikelihoodSettings, OneOf(LIKELIHOODS)] | None = Field(
        None, description="distribution of the counts of RNA in all models; null: the likelihood of each model"
    )


class ATACSettings(Settings):
    """Open chromatin: how often each peak was cut in each cell, or whether it was."""

    counts: Samples | None = Field(
        None, description="the counts of peaks, as `counts`; null: from the files under `counts`, which then hold both"
    )
    likelihood: Annotated[LikelihoodSettings, OneOf(PEAK_LIKELIHOODS)] = Field(
        BernoulliSettings(), description="bernoulli: whether a peak is open; poisson: how many fragments it has"
    )
    n_top: Literal["all"] | Annotated[int, Field(ge=2)] = Field(
        25_000, description="number of peaks in the model: those that vary most among training cells; or all"
    )
    min_cells: int = Field(10, ge=0, description="peaks that are open in fewer cells are removed")
    min_peaks: int = Field(1, ge=0, description="measured cells in which fewer peaks are open are removed")


class ModalitiesSettings(Settings):
    """Which modalities the cells were measured in."""

    rna: RNASettings = Field(description="expression of genes")
    atac: ATACSettings = Field(description="open chromatin")

    def moved(self, where: Callable[[str], str]) -> ModalitiesSettings:
        """Return the same with other paths of the samples.

        Parameters
        ----------
        where
            Gives the new path of a path.

        Returns
        -------
        ModalitiesSettings
            A copy.
        """
        atac = self.atac.model_copy(update={"counts": moved(self.atac.counts or [], where)})
        return self.model_copy(update={"atac": atac})


def stand_in(modalities: Any) -> Any:
    """Return counts that go with modalities where nobody asks for any; None if they have some of their own."""
    if isinstance(modalities, ModalitiesSettings):
        return modalities.atac.counts
    if not isinstance(modalities, dict):
        return "-"
    rna, atac = (modalities.get(name) or {} for name in (RNA, ATAC))
    if not isinstance(rna, dict) or not isinstance(atac, dict):
        return "-"
    return None if rna.get("counts") is not None else atac.get("counts") or "-"


def with_counts(given: dict[str, Any]) -> dict[str, Any]:
    """Put the counts of RNA under `counts`, and say for peaks where theirs are.

    Raises
    ------
    ValueError
        Counts that stand nowhere, or twice; the line, with the key.
    """
    modalities = given.get("modalities")
    if not isinstance(modalities, dict) or set(modalities) - {RNA, ATAC}:
        return given  # which is refused
    parts = {name: dict(one) if isinstance(one, dict) else one for name, one in modalities.items()}
    # `rna:` alone is a key without a value: it has nothing of its own to say
    parts |= {name: {} for name in (RNA, ATAC) if name in parts and parts[name] is None}
    rna, atac = parts.get(RNA), parts.get(ATAC)
    if not isinstance(rna, dict) or not isinstance(atac, dict):
        for name in (RNA, ATAC):
            if name not in parts:
                raise ValueError(
                    f"modalities.{name}: missing: a dataset of two modalities has `rna` and `atac`; one alone is given "
                    "as `counts`"
                )
        return {**given, "modalities": parts}
    own = rna.pop("counts", None)
    if own is not None and "counts" in given:
        raise ValueError(
            "modalities.rna.counts: the counts of RNA are given twice, here and under `counts`: remove one of the two"
        )
    out = {**given, "modalities": parts}
    if own is not None:
        out["counts"] = own
    if out.get("counts") is None:
        raise ValueError("modalities.rna.counts: missing: say where the counts are, here or under `counts`")
    if atac.get("counts") is None:
        if own is not None:
            raise ValueError(
                "modalities.atac.counts: missing: say where the counts of peaks are, or put one file with both "
                "modalities under `counts`"
            )
        atac["counts"] = out["counts"]
    return out


def fit_models(modalities: ModalitiesSettings, models: dict[str, ModelSettings]) -> dict[str, ModelSettings]:
    """Return the models with the likelihood of RNA; each must have a latent of which posteriors can be multiplied.

    Raises
    ------
    ValueError
        A model that does not fit; the line, with the key.
    """
    out = {}
    for name, model in models.items():
        if not model.latent.several:
            raise ValueError(
                f"models.{name}.latent: the posteriors of several modalities are multiplied, and those of latent: "
                f"{model.latent.kind} cannot be: use `latent: gaussian`"
            )
        if model.devices > 1:
            raise ValueError(
                f"models.{name}.devices: several devices train the genes alone, found `modalities`: set `devices` to 1"
            )
        wanted = modalities.rna.likelihood
        if wanted is None:
            out[name] = model
            continue
        if "likelihood" in model.model_fields_set and model.likelihood != wanted:
            raise ValueError(
                f"models.{name}.likelihood: {model.likelihood.kind}, but modalities.rna.likelihood says {wanted.kind}: "
                "remove one of the two"
            )
        out[name] = model.model_copy(update={"likelihood": wanted})
    return out
