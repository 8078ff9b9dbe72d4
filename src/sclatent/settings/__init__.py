"""The dataset file as typed models: defaults, ranges, one-line errors."""

from sclatent.settings._base import taken_by
from sclatent.settings.arguments import checks_arguments
from sclatent.settings.counts import Sample, moved
from sclatent.settings.dataset import DatasetSettings
from sclatent.settings.describe import configuration_table, json_schema, write_docs
from sclatent.settings.errors import InputError, did_you_mean
from sclatent.settings.kinds.parts import DecoderSettings, LatentSettings, LikelihoodSettings, ObjectiveSettings
from sclatent.settings.load import (
    check_path,
    first_line,
    from_section_json,
    load_dataset,
    load_datasets,
    missing_files,
    section_json,
    sections_from_json,
)
from sclatent.settings.modalities import ATACSettings, ModalitiesSettings, RNASettings
from sclatent.settings.model import ModelSettings
from sclatent.settings.sample import SampleSettings
from sclatent.settings.sections import (
    AxesSettings,
    CellsSettings,
    CycleSettings,
    GenesSettings,
    MapSettings,
    SplitSettings,
    TraverseSettings,
)
from sclatent.settings.stages import NO_FILE, takes_settings
from sclatent.settings.yaml12 import read_yaml

__all__ = [
    "NO_FILE",
    "ATACSettings",
    "AxesSettings",
    "CellsSettings",
    "CycleSettings",
    "DatasetSettings",
    "DecoderSettings",
    "GenesSettings",
    "InputError",
    "LatentSettings",
    "LikelihoodSettings",
    "MapSettings",
    "ModalitiesSettings",
    "ModelSettings",
    "ObjectiveSettings",
    "RNASettings",
    "Sample",
    "SampleSettings",
    "SplitSettings",
    "TraverseSettings",
    "check_path",
    "checks_arguments",
    "configuration_table",
    "did_you_mean",
    "first_line",
    "from_section_json",
    "json_schema",
    "load_dataset",
    "load_datasets",
    "missing_files",
    "moved",
    "read_yaml",
    "section_json",
    "sections_from_json",
    "taken_by",
    "takes_settings",
    "write_docs",
]
