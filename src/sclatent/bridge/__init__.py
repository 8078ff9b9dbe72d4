"""Snakemake's side: what the Snakefile asks while it is parsed, and the frame around every job.

Nothing heavy is imported here: the Snakefile imports this room in every job.
"""

from sclatent.bridge.files import read_h5ad, read_json, read_table
from sclatent.bridge.parse import DEMO_COUNTS, read_config, source_files
from sclatent.bridge.resources import for_each, memory, minutes, training_threads
from sclatent.bridge.stage import Stage, stage
from sclatent.bridge.trouble import check_room
from sclatent.bridge.versions import VERSIONS

__all__ = [
    "DEMO_COUNTS",
    "VERSIONS",
    "Stage",
    "check_room",
    "for_each",
    "memory",
    "minutes",
    "read_config",
    "read_h5ad",
    "read_json",
    "read_table",
    "source_files",
    "stage",
    "training_threads",
]
