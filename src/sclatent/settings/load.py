"""From YAML to typed settings; every mistake becomes one line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sclatent.settings.arguments import checks_arguments
from sclatent.settings.dataset import DatasetSettings
from sclatent.settings.errors import InputError, check_file, check_path, did_you_mean
from sclatent.settings.errors.problems import first_line
from sclatent.settings.modalities import ATAC, RNA, stand_in
from sclatent.settings.sample import misfit
from sclatent.settings.yaml12 import read_yaml


@checks_arguments
def load_dataset(path: str | Path) -> DatasetSettings:
    """Read one dataset file; the dataset is called after the file.

    Parameters
    ----------
    path
        A YAML file such as ``config/datasets/pbmc.yaml``.

    Returns
    -------
    DatasetSettings
        The settings, with every default filled in.

    Raises
    ------
    InputError
        One line that names the file, the key, what was found and what to do.
    """
    path = Path(path)
    content = read_yaml(path)
    for key in ("name", "file"):
        if key in content:
            raise InputError(f"{path}: {key}: unknown key: a dataset is called after its file, here '{path.stem}'")
    try:
        settings = DatasetSettings.model_validate({**content, "name": path.stem, "file": str(path)})
    except ValidationError as error:
        raise InputError(f"{path}: {first_line(error, DatasetSettings)}") from None
    # here and not in the class: a rule has only some of the sections, and with them nothing to compare with
    if settings.sample is not None:
        categories = [*settings.batch, *settings.condition]
        modalities = [RNA] if settings.modalities is None else [RNA, ATAC]
        why = misfit(settings.sample, categories, settings.covariates, settings.models, modalities)
        if why is not None:
            raise InputError(f"{path}: {why}")
    return settings


def load_datasets(paths: Sequence[str | Path] | str | Path) -> dict[str, DatasetSettings]:
    """Read several dataset files; two of one name are an error, since they would share one folder of results.

    Parameters
    ----------
    paths
        Dataset files; one path is a list of one.

    Returns
    -------
    dict
        Settings by the name of the dataset.

    Raises
    ------
    InputError
        One line about the first mistake in a file, or about two files of one name.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    if not isinstance(paths, Sequence) or not paths or not all(isinstance(p, str | Path) for p in paths):
        raise InputError("config: datasets: expected a list of dataset files, such as [config/datasets/demo.yaml]")
    found: dict[str, DatasetSettings] = {}
    for path in paths:
        settings = load_dataset(path)
        if settings.name in found:
            if settings.file == found[settings.name].file:
                raise InputError(f"config: datasets: {path} is listed twice")
            raise InputError(
                f"{path}: the name '{settings.name}' is taken by {found[settings.name].file}: datasets are "
                "called after their file, so rename one of the two"
            )
        found[settings.name] = settings
    return found


def section_json(settings: DatasetSettings, *sections: str, model: str | None = None) -> str:
    """Return the named sections (and one model) as JSON, for a rule's ``params``; without names the whole file.

    A rule that carries only its own sections re-runs only when these change.

    Parameters
    ----------
    settings
        The whole dataset file.
    *sections
        Names of sections, such as ``cells`` and ``genes``, or of one key of a section (``sample.given``): where
        that is not given, it is as if the section were not.
    model
        Name of the model whose settings are included.

    Returns
    -------
    str
        JSON with sorted keys: the same settings give the same text.
    """
    named = sections or tuple(DatasetSettings.model_fields)
    dumped = settings.model_dump(mode="json", include={name.partition(".")[0] for name in named})
    for section, key in (name.split(".") for name in named if "." in name):
        value = (dumped[section] or {}).get(key)
        dumped[section] = {key: value} if value else None
    if model is not None:
        dumped["models"] = {model: settings.models[model].model_dump(mode="json")}
    return json.dumps({"name": settings.name, **dumped}, sort_keys=True)


def from_section_json(text: str) -> DatasetSettings:
    """Rebuild settings from `section_json`; sections that were left out have their defaults.

    Parameters
    ----------
    text
        What `section_json` returned.

    Returns
    -------
    DatasetSettings
        The settings.
    """
    content = json.loads(text)
    if "counts" not in content and (counts := stand_in(content.get("modalities"))) is not None:
        content["counts"] = counts
    return DatasetSettings.model_validate({"file": f"{content['name']}.yaml", **content})


def sections_from_json(text: str) -> dict[str, Any]:
    """Return the sections that `section_json` was asked for and no others, checked, and what the file is called.

    Parameters
    ----------
    text
        What `section_json` returned.

    Returns
    -------
    dict
        Settings by the name of the section.
    """
    settings = from_section_json(text)
    return {key: getattr(settings, key) for key in ("file", *json.loads(text))}


def missing_files(settings: DatasetSettings, made: Iterable[str] = ()) -> None:
    """Stop if a file that the dataset file names is not there and nothing will make it.

    Parameters
    ----------
    settings
        The dataset.
    made
        Paths that a rule of the workflow writes.

    Raises
    ------
    InputError
        For the first file or folder that is missing.
    """
    made = set(made)
    named: list[tuple[str, str | None]] = [("counts", s.path) for s in settings.counts if s.url is None]
    if settings.modalities is not None:
        named += [("modalities.atac.counts", s.path) for s in settings.modalities.atac.counts or () if s.url is None]
    named += [
        ("metadata", settings.metadata),
        ("cycle.genes", settings.cycle.genes),
        ("axes.programs", settings.axes.programs),
    ]
    for key, path in named:
        if path is None or path in made:
            continue
        if not path.strip():
            raise InputError(f"{settings.file}: {key}: found '{path}', which is no path: name a file")
        check_path(path, f"{settings.file}: {key}: {path}")
        try:
            there = Path(path).exists() and (not path.endswith("/") or Path(path).is_dir())
            check_file(path)
            near = (
                sorted(p.name for p in Path(path).parent.iterdir()) if not there and Path(path).parent.is_dir() else []
            )
        except OSError as error:
            raise InputError(
                f"{settings.file}: {key}: {path} cannot be looked at: {error.strerror or error}"
            ) from error
        if not there:
            hint = _not_expanded(path) or did_you_mean(Path(path).name, near)
            hint = hint or f" (paths are relative to {Path.cwd()})"
            raise InputError(f"{settings.file}: {key}: no such file: {path}{hint}")
        if not key.endswith("counts") and Path(path).is_dir():
            raise InputError(f"{settings.file}: {key}: {path} is a folder: name the file in it")


def _not_expanded(path: str) -> str:
    """Say what to do about a path that a shell or a browser would understand."""
    if "://" in path:
        return ": an address goes under `url`, with its `sha256`, beside the `path` of a local file"
    if path.startswith("~"):
        return ": `~` is not expanded: write the whole path"
    return ": patterns are not expanded: list the files, each with a `name`" if set("*?") & set(path) else ""
