"""Reading back the small files that stages hand to each other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def read_h5ad(path: str | Path, **parts: Any) -> AnnData:
    """Read a stage file for the next stage, the names of its cells packed.

    Parameters
    ----------
    path
        The file.
    parts
        Keywords of `sclatent.io.read_h5ad` that say what of it to read.

    Returns
    -------
    AnnData
        The stage file: cells × genes.
    """
    from sclatent.io import read_h5ad

    return read_h5ad(path, packed=True, **parts)


def read_json(path: str | Path) -> Any:
    """Read what `sclatent.io.write_json` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    object
        Mappings, lists, strings and numbers.
    """
    return json.loads(Path(path).read_text(encoding="utf-8"))


_TEXT = re.compile(
    r"model|axis|name|kind|evidence|also|strength|(genes|levels|programs)_(up|down)|program|best_axis_.*"
)
"""Columns of names in the tables that stages write; what stands in the others are numbers and truth values."""


def read_table(path: str | Path) -> pd.DataFrame:
    """Read what `sclatent.io.write_table` wrote: only an empty field is missing, and a name stays as it is.

    A cell type called "NA", "1" or "001", and a model called "2", come back as this text.

    Parameters
    ----------
    path
        A TSV file, gzipped or not.

    Returns
    -------
    DataFrame
        One row per line. Columns of numbers hold numbers, those of truth values bool, all others text.
    """
    import pandas as pd

    def read(**how: Any) -> pd.DataFrame:
        return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], **how)

    return read(dtype={name: str for name in read(nrows=0) if _TEXT.fullmatch(str(name))})
