"""The JSON schema and the configuration table, generated from the settings models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from sclatent.settings._base import Settings
from sclatent.settings.counts import Sample
from sclatent.settings.dataset import DatasetSettings
from sclatent.settings.errors.problems import _step
from sclatent.settings.kinds import together
from sclatent.settings.kinds.parts import KindSettings, OneOf
from sclatent.settings.kinds.registry import Registry
from sclatent.settings.model import ModelSettings

TABLE_BEGIN = "<!-- configuration:begin (written by make docs) -->"
TABLE_END = "<!-- configuration:end -->"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a dataset file, for editors that complete and check YAML.

    Returns
    -------
    dict
        A schema of the draft 2020-12, ready for JSON.
    """
    schema = DatasetSettings.model_json_schema()
    for key in ("name", "file"):
        schema["properties"].pop(key)
    schema.pop("required")  # of the rest only `counts`, and each modality may have its own
    schema["anyOf"] = [{"required": ["counts"]}, {"required": ["modalities"]}]
    one = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Sample"}]}
    for part in (schema, schema["$defs"]["RNASettings"], schema["$defs"]["ATACSettings"]):
        none = [] if part is schema else [{"type": "null"}]
        part["properties"]["counts"] = {
            "anyOf": [*one["anyOf"], {"type": "array", "items": one, "minItems": 1}, *none],
            "description": part["properties"]["counts"]["description"],
        }
    modalities = schema["$defs"]["ModalitiesSettings"]["properties"]
    for name, part in modalities.items():  # `rna:` alone says that there is nothing more to say
        modalities[name] = {"anyOf": [part, {"type": "null"}], "description": part["description"]}
    for key in ("batch", "condition", "covariates", "labels"):
        column = schema["properties"][key]
        schema["properties"][key] = {
            "anyOf": [{"type": "string"}, {"type": "null"}, {"type": "array", "items": {"type": "string"}}],
            "default": [],
            "description": column["description"],
        }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "sclatent dataset file"}


def configuration_table() -> str:
    """Return every key of the dataset file as a Markdown table: key, default, meaning.

    Returns
    -------
    str
        One row per key.
    """
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in DatasetSettings.model_fields.items():
        if field.exclude:
            continue
        section = _step(DatasetSettings, name)
        if name == "counts":
            lines += _rows(Sample, "counts.")
        elif name == "models":
            lines += [_row("models", "one model `nb`", field.description), *_rows(ModelSettings, "models.*.")]
        elif isinstance(section, type) and issubclass(section, BaseModel):
            lines += _rows(section, f"{name}.")
        else:
            lines.append(_row(name, _default(field), field.description))
    return "\n".join(lines) + "\n"


def _rows(model: type[BaseModel], prefix: str) -> list[str]:
    rows = []
    for key, field in model.model_fields.items():
        kinds_of_one = any(isinstance(part, OneOf) for part in field.metadata)
        if not kinds_of_one and isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            rows += _rows(field.annotation, f"{prefix}{key}.")
            continue
        rows.append(_row(prefix + key, _default(field), field.description))
        # the settings of its kinds, each once
        for kinds in (part.kinds for part in field.metadata if isinstance(part, OneOf)):
            rows += _inside(kinds, f"{prefix}{key}.")
    return rows


def _inside(kinds: Registry[type[KindSettings]], prefix: str) -> list[str]:
    """Return a row for each setting of these kinds; its default is said for the kinds that differ from the first."""
    rows = []
    for name in dict.fromkeys(name for kind in kinds for name in kinds[kind].model_fields if name != "kind"):
        having = {kind: kinds[kind].model_fields[name] for kind in kinds if name in kinds[kind].model_fields}
        defaults = {kind: _default(field) for kind, field in having.items()}
        first = next(iter(defaults.values()))
        others = [f"{kind}: {default}" for kind, default in defaults.items() if default != first]
        description = next(iter(having.values())).description
        rows.append(_row(prefix + name, "; ".join([first, *others]), description))
    return rows


def _row(key: str, default: str, meaning: str | None) -> str:
    if not meaning:
        raise ValueError(f"the setting {key} has no description")
    return f"| `{key}` | {default} | {meaning.replace('|', chr(92) + '|')} |"


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, KindSettings):
        value = value.kind
    return "needed" if value is PydanticUndefined else f"`{json.dumps(value)}`"


def write_docs(readme: Path, schema: Path, randomness: Path | None = None) -> None:
    """Write the configuration table to `readme`, what goes with what to `randomness`, the JSON schema to `schema`.

    Parameters
    ----------
    readme
        README.md; the table is written between its two marks.
    schema
        Where the JSON schema is written.
    randomness
        docs/randomness.md; None: leave it as it is.
    """
    _between(readme, TABLE_BEGIN, configuration_table(), TABLE_END)
    if randomness is not None:
        _between(randomness, together.TABLE_BEGIN, together.table(), together.TABLE_END)
    schema.write_text(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _between(page: Path, begin: str, table: str, end: str) -> None:
    """Write a table between its markers in a page."""
    head, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, tail = rest.partition(end)
    page.write_text(f"{head}{begin}\n{table}{end}{tail}", encoding="utf-8")
