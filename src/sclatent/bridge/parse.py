"""What the Snakefile asks while it is parsed: the datasets, and the files that a user's counts consist of."""

from __future__ import annotations

import time
from collections.abc import Mapping
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from sclatent.settings import DatasetSettings, InputError, check_path, did_you_mean, load_datasets, missing_files

DEMO_COUNTS = ("demo/demo.h5ad", "demo/pbmc68k.h5ad")
"""Count files that the rule `demo_counts` writes; dataset files name them like any other counts."""

DATASETS = "datasets"
"""The key of Snakemake's `config`; misspelled on the command line, it would run what ``config/config.yaml`` lists."""

_AHEAD = 120
"""Seconds by which the clock of a file server may be ahead."""
_TENX_FILES = (
    *("*matrix.mtx*", "*barcodes.tsv*", "*features.tsv*", "*genes.tsv*"),
    *("*quants_mat.mtx*", "*quants_mat_rows.txt*", "*quants_mat_cols.txt*"),
    *("*cells_x_genes.mtx*", "*cells_x_genes.barcodes.txt*", "*cells_x_genes.genes.txt*"),
)


def read_config(config: Mapping[str, Any]) -> dict[str, DatasetSettings]:
    """Return the datasets that Snakemake's `config` selects, by name, after checking that their files are there.

    Parameters
    ----------
    config
        ``datasets``: a list of dataset files, relative to the working directory.

    Returns
    -------
    dict
        Settings by the name of the dataset.

    Raises
    ------
    InputError
        One line about a misspelled key, the first mistake in the selection or in a dataset file, or the first missing
        file.
    """
    if not config:
        raise InputError(
            f"config: no dataset is named: {Path.cwd()} has no config/config.yaml (or an empty one), and there is no "
            "`--config 'datasets=[my/pbmc.yaml]'`: give one of the two"
        )
    if DATASETS not in config:
        found = ", ".join(f"'{key}'{did_you_mean(str(key), [DATASETS])}" for key in config)
        raise InputError(
            f"config: `datasets` is missing, found {found}: list your dataset files, such as "
            "`datasets: [config/datasets/demo.yaml]`"
        )
    for key in map(str, config):
        # a workflow that uses this one as a module may hand on keys of its own
        if key != DATASETS and get_close_matches(key.lower(), [DATASETS], cutoff=0.8):
            raise InputError(f"config: unknown key '{key}' (did you mean '{DATASETS}'?): it would be ignored")
    datasets = load_datasets(config[DATASETS])
    for settings in datasets.values():
        missing_files(settings, made=DEMO_COUNTS)
        for sample in settings.counts:
            # whoever packed a folder chose the names in it
            for file in source_files(sample.path):
                check_path(file, f"{settings.file}: counts: {file}")
                _check_time(file, f"{settings.file}: counts: {file}")
    return datasets


def _check_time(file: str, where: str) -> None:
    """Stop at a file from the future: it is newer than all that is made of it, so every run would make that anew."""
    path = Path(file)
    ahead = path.stat().st_mtime - time.time() if path.exists() else 0.0
    if ahead > _AHEAD:
        raise InputError(
            f"{where} was changed in the future, {ahead / 60:.0f} minutes ahead of this machine's clock: set the "
            "clocks, or `touch` the file"
        )


def source_files(path: str) -> list[str]:
    """Return the files that `path` consists of.

    Snakemake does not notice a file that is replaced inside a folder, so a 10x folder is declared by its own files and
    any other folder (zarr) by the files at its top, which hold its metadata.

    Parameters
    ----------
    path
        A file or folder of counts.

    Returns
    -------
    list of str
        The files, sorted; `path` itself if it is no folder.
    """
    folder = Path(path)
    if not folder.is_dir():
        return [path]
    files = sorted(f for f in folder.iterdir() if f.is_file())
    tenx = [f for f in files if any(fnmatch(f.name, pattern) for pattern in _TENX_FILES)]
    return [str(f) for f in tenx or files] or [path]
