"""What of a model is asked for by name: a covariate that it is conditioned on, with a level or number; a modality."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from sclatent.settings import InputError, did_you_mean


def asked(card: dict[str, Any], given: Mapping[str, Any], where: str) -> tuple[dict[int, int], dict[int, float]]:
    """Return level codes by categorical column, and standardised values by numeric column.

    Parameters
    ----------
    card
        Of a trained model: ``batch``, ``levels``, ``covariates``, ``centre``, ``scale``.
    given
        Column → level or number; whole numbers may be names of levels.
    where
        What the message begins with.

    Raises
    ------
    InputError
        If the model is not conditioned on such a column, or knows no such level, or a number is none.
    """
    codes: dict[int, int] = {}
    values: dict[int, float] = {}
    for name, value in given.items():
        if name in card["batch"]:
            column = card["batch"].index(name)
            codes[column] = _code(name, value, card["levels"][column], where)
        elif name in card["covariates"]:
            column = card["covariates"].index(name)
            values[column] = (_number(name, value, where) - card["centre"][column]) / card["scale"][column]
        else:
            known = [*card["batch"], *card["covariates"]]
            raise InputError(
                f"{where}: the model is not conditioned on '{name}'{did_you_mean(str(name), known)}: "
                f"it is conditioned on {', '.join(known) or 'no column'}"
            )
    return codes, values


def check_modality(name: str, known: Collection[str], where: str) -> None:
    """Stop if a model has no such modality.

    Parameters
    ----------
    name
        What was asked for.
    known
        The modalities that the model has.
    where
        What the message begins with.

    Raises
    ------
    InputError
        If it has none.
    """
    if name not in known:
        raise InputError(
            f"{where}: the model has no modality '{name}'{did_you_mean(str(name), known)}: it has {', '.join(known)}"
        )


def _code(name: str, value: Any, known: list[str], where: str) -> int:
    level = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    if level not in known:
        raise InputError(
            f"{where}: column '{name}' has no level '{level}'{did_you_mean(level, known)}: known: {', '.join(known)}"
        )
    return known.index(level)


def _number(name: str, value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise InputError(f"{where}: column '{name}' holds numbers, found '{value}': give a number")
    return number
