"""Gene programs of a GMT file."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pandas as pd

from sclatent.data.textfiles import open_text
from sclatent.settings import InputError

MIN_GENES = 5
"""Programs with fewer genes in the data are left out."""


def read_gmt(path: str | Path) -> pd.DataFrame:
    """Read gene programs, one per line: name, description, genes, separated by tabs.

    Returns
    -------
    DataFrame with ``source`` (program) and ``target`` (gene), each pair once: a network as decoupler takes it.

    Raises
    ------
    InputError
        If the file cannot be read or a line has fewer than three fields.
    """
    path = Path(path)
    try:
        with open_text(path) as file:
            lines = re.split("\r\n|\r|\n", file.read())  # not at every sign that Unicode calls a line break
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"axes.programs: {path} cannot be read: {error}") from None
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) < 3:
            raise InputError(
                f"axes.programs: {path}, line {number}: {len(fields)} field(s) separated by tabs, a GMT line has a "
                "name, a description and at least one gene"
            )
        pairs += [(fields[0].strip(), gene.strip()) for gene in fields[2:] if gene.strip()]
    if not pairs:
        raise InputError(f"axes.programs: {path} holds no gene program")
    return pd.DataFrame(pairs, columns=["source", "target"]).drop_duplicates(ignore_index=True)
