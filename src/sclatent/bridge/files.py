"""Reading back the small files that stages hand to each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def read_json(path: str | Path) -> Any:
    """Read what `sclatent.io.write_json` wrote."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_table(path: str | Path) -> pd.DataFrame:
    """Read what `sclatent.io.write_table` wrote: only an empty field is missing, a cell type called "NA" is not."""
    import pandas as pd

    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""])
