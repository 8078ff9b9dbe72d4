"""Where counts are, and how to read them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from difflib import SequenceMatcher
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from sclatent.settings._base import Settings
from sclatent.settings.words import Plain, numbers

_SCHEMES = ("https://", "http://")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check_name(name: str, what: str) -> str:
    """Return `name` if it can be used in a path and as a Snakemake wildcard, else raise ``ValueError``."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{what} '{name}' must start with a letter or digit and hold letters, digits, '_', '.', '-' only"
        )
    return name


class Sample(Settings):
    """Where one matrix of counts is and how to read it; further keys become obs columns."""

    model_config = ConfigDict(extra="allow", frozen=True)

    path: str = Field(description="file or 10x folder; relative to the working directory")
    name: str | None = Field(None, description="sample name; needed when there are several samples")
    layer: str | None = Field(None, description="h5ad, zarr, loom: a layer, or `raw`; null: `X`")
    genome: str | None = Field(None, description="10x h5 of Cell Ranger 2: which genome, when the file holds several")
    features: str | None = Field(
        None, description="10x, and h5ad, zarr, loom with feature types: the type to keep; null: `Gene Expression`"
    )
    orientation: Literal["genes_by_cells", "cells_by_genes"] | None = Field(
        None, description="dense text: whether rows are genes or cells; null: detect it"
    )
    round: Literal["nearest", "stochastic"] | None = Field(
        None,
        description="how to round estimated counts: `nearest`, or `stochastic`, which keeps the mean of many small "
        "values; null: fractions are an error",
    )
    round_seed: int = Field(0, ge=0, lt=2**32, description="seed of `round: stochastic`")
    url: str | None = Field(None, description="where to download `path` from if the file is missing")
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-fA-F]{64}$", description="checksum of the file; needed with `url`"
    )

    @model_validator(mode="after")
    def _check(self) -> Sample:
        if self.name is not None:
            check_name(self.name, "sample name")
        if self.round_seed != 0 and self.round != "stochastic":
            raise ValueError("`round_seed` is for `round: stochastic` and would do nothing: remove it")
        if self.url is not None and self.sha256 is None:
            raise ValueError("`url` needs `sha256`, so that a broken download is noticed")
        if self.url is not None and not self.url.startswith(_SCHEMES):
            raise ValueError(f"url: '{self.url}' must start with {', '.join(_SCHEMES)}: a local file needs `path` only")
        for key, value in (self.model_extra or {}).items():
            if (meant := _meant(key)) is not None:
                raise ValueError(
                    f"`{key}`: is `{meant}` meant? Any other key becomes an obs column: call such a column something "
                    "else"
                )
            if value is None:
                raise ValueError(f"`{key}` has no value (null): give one, or quote the word if it is a name")
            if not isinstance(value, str | int | float | bool):
                raise ValueError(f"`{key}` becomes an obs column and must be one word, number or truth value")
        return self

    @property
    def columns(self) -> dict[str, str | int | float | bool]:
        """Further keys of the sample: obs columns that hold one value each."""
        return dict(self.model_extra or {})


def _meant(key: str) -> str | None:
    """Return the key of a sample that another one is likely to be a misspelling of."""
    word = key.lower().replace("-", "_")
    for known in Sample.model_fields:
        forms = {known, f"{known}s", known.removesuffix("s"), f"{known}ing", f"{known}ed", f"{known}_name"}
        if word in forms or (len(known) > 4 and SequenceMatcher(None, word, known).ratio() > 0.85):
            return known
    return None


def _with_numbers(samples: list[Any]) -> list[Any]:
    """Return the samples of a YAML file, with numbers in a column that holds numbers in every sample that has it."""
    known = Sample.model_fields
    columns: dict[str, list[Any]] = {}
    for sample in samples:
        for key, value in sample.items() if isinstance(sample, dict) else ():
            if key not in known:
                columns.setdefault(key, []).append(value)
    found = {
        key: numbers(values) for key, values in columns.items() if all(isinstance(value, Plain) for value in values)
    }
    return [
        {key: (found.get(key) or {}).get(value, value) if isinstance(value, str) else value for key, value in s.items()}
        if isinstance(s, dict)
        else s
        for s in samples
    ]


def _one_or_many(value: Any) -> Any:
    if isinstance(value, str | dict):
        value = [value]
    if isinstance(value, list | tuple):
        items = [os.fspath(item) if isinstance(item, os.PathLike) else item for item in value]
        return _with_numbers([{"path": item} if isinstance(item, str) else item for item in items])
    if hasattr(value, "obs"):
        raise ValueError(f"found {type(value).__name__}, which was read already: `counts` is where files are")
    return value


Samples = Annotated[list[Sample], BeforeValidator(_one_or_many), Field(min_length=1)]


def moved(samples: list[Sample], where: Callable[[str], str]) -> list[Sample]:
    """Return the samples with other paths.

    Parameters
    ----------
    samples
        What stands under ``counts``.
    where
        Gives the new path of a path.

    Returns
    -------
    list of Sample
        Copies.
    """
    return [sample.model_copy(update={"path": where(sample.path)}) for sample in samples]


def check_names(samples: list[Sample], key: str) -> None:
    """Stop if one of several samples has no name, or two have the same."""
    if len(samples) < 2:
        return
    names = [sample.name for sample in samples]
    if None in names:
        raise ValueError(f"{key}: with several samples every one needs a `name`")
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise ValueError(f"{key}: two samples are called '{twice}'")
