"""Writing MuData files: whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sclatent.data.atomic import atomic
from sclatent.io._write import COMPRESSION
from sclatent.settings import checks_arguments

if TYPE_CHECKING:
    from mudata import MuData


@contextlib.contextmanager
def columns_stay() -> Iterator[None]:
    """Within it mudata copies no column of a modality to all cells: from 0.4 on it never does."""
    import mudata

    options = getattr(mudata, "set_options", None)
    with options(pull_on_update=False) if options is not None else contextlib.nullcontext():
        yield


@checks_arguments
def write_h5mu(mdata: MuData, path: str | Path) -> None:
    """Write a MuData, compressed.

    Parameters
    ----------
    mdata
        Cells × features of each modality.
    path
        The file; it appears whole or not at all.
    """
    with atomic(path) as scratch, columns_stay():
        # no shuffle: anndata's writer takes compression off a single number, but not that
        mdata.write_h5mu(str(scratch), **{key: COMPRESSION[key] for key in ("compression", "compression_opts")})
