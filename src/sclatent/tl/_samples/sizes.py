"""Library sizes that are asked for: a number, one for each cell, or these by modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sclatent.data.modalities import RNA
from sclatent.settings import InputError
from sclatent.tl._model.conditions import check_modality

if TYPE_CHECKING:
    from sclatent.tl._model.train import TrainedModel

Array = npt.NDArray[Any]
Library = npt.ArrayLike | Mapping[str, npt.ArrayLike] | None


def asked_sizes(trained: TrainedModel, library: Library, n: int) -> dict[str, Array]:
    """Return the library sizes (n,) that are asked for, by modality; empty if none is.

    Raises
    ------
    InputError
        If a size is no number above 0, or more peaks than there are would be open, or there is no such modality, or of
        several it is not said which is meant.
    """
    if library is None:
        return {}
    names = list(trained.vae.modalities)
    if not isinstance(library, Mapping):
        if len(names) > 1:
            raise InputError(
                f"sample: library: the model has {', '.join(names)}: give a number for each by name, such as "
                "{'rna': 5000, 'atac': 800}"
            )
        return {RNA: _sizes(library, n, "")}
    out = {}
    for name, one in library.items():
        check_modality(name, names, "sample: library")
        out[name] = _sizes(one, n, f"{name}: ")
        about = trained.card.get("modalities", {}).get(name, {})
        most = float(out[name].max())
        if about.get("likelihood") == "bernoulli" and most > (there := len(about["features"])):
            raise InputError(f"sample: library: {name}: found {most:g}, but there are {there} peaks, each open or not")
    return out


def _sizes(library: npt.ArrayLike, n: int, where: str) -> Array:
    try:
        sizes = np.broadcast_to(np.asarray(library, np.float64), n).copy()
    except (TypeError, ValueError):
        raise InputError(f"sample: library: {where}expected a number, or one for each of the {n} cells") from None
    wrong = sizes[~(np.isfinite(sizes) & (sizes > 0))]
    if len(wrong):
        raise InputError(f"sample: library: {where}expected numbers above 0, found {wrong[0]:g}")
    return sizes


def in_words(library: Library) -> Any:
    """Return what was asked for as plain values: sizes of single cells are not told one by one."""
    if isinstance(library, Mapping):
        return {name: in_words(one) for name, one in library.items()}
    return "one for each cell" if np.ndim(library) else library  # type: ignore[arg-type]
