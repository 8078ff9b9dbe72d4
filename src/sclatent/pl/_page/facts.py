"""What the page says of each path, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sclatent.data import slots
from sclatent.pl._axes.table import RULE, by_axis, title
from sclatent.pl._paths import CYCLE, Path
from sclatent.tl._axes.strength import WEAK

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def axes_table(atlas: AnnData) -> pd.DataFrame | None:
    """Return ``uns["sclatent"]["axes"]`` by axis."""
    table = atlas.uns.get(slots.UNS, {}).get("axes")
    return None if table is None else by_axis(table)


def path_title(name: str, axes: pd.DataFrame | None) -> str:
    """Return what a path is called on the page."""
    return "Cell cycle (the knob)" if name == CYCLE else title(name, axes)


def facts(name: str, row: pd.Series | None, view: Path, knob: Mapping[str, Any]) -> list[list[str]]:
    """Return what is known of a path, as (what, words)."""
    told: list[list[str]] = []
    empty = int((~view.supported).sum())
    if name == CYCLE:
        found = knob.get("path") or {}
        if found:
            told.append(["Cells", f"{int(found['cells']):,} cycling cells"])
            told.append(["Latent variance along the knob", f"{float(found['variance_share']):.1%}"])
    elif row is not None:
        told.append(["KL", f"{float(row['kl']):.2f} nats per cell"])
        if row["strength"] == WEAK:
            told.append(["Weak", RULE])
        if row["evidence"]:
            told.append(["Named by", f"{row['evidence']}, which explains {float(row['effect']):.0%} of its variance"])
        else:
            told.append(["Named by", "nothing: no score explains a quarter of its variance"])
        if row["also"]:
            told.append(["Also", str(row["also"])])
        if "n_seeds" in row.index and np.isfinite(float(row["n_seeds"])) and float(row["n_seeds"]) > 0:
            told.append(["Stability", f"came back in {int(row['n_returned'])} of {int(row['n_seeds'])} other seeds"])
        else:
            told.append(["Stability", "not known: trained with one seed"])
        for key, label in (
            ("levels_up", f"Upper end ({row['evidence']})"),
            ("levels_down", f"Lower end ({row['evidence']})"),
            ("genes_up", "Rising genes"),
            ("genes_down", "Falling genes"),
            ("peaks_up", "Opening peaks"),
            ("peaks_down", "Closing peaks"),
        ):
            if row.get(key):
                told.append([label, str(row[key])])
    told.append(["Steps without cells", f"{empty} of {len(view.supported)}, greyed out" if empty else "none"])
    return told
