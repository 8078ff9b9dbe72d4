"""Run the notebook code of README.md as it stands, in a folder with counts of the name that it reads.

    python tests/readme_notebook.py FOLDER

Nothing but the installed package is used, so this works in an environment that has only the wheel.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks() -> list[str]:
    """Return the Python blocks of the section "In a notebook", and of the atlas' own section none."""
    section = README.read_text(encoding="utf-8").partition("\n## In a notebook\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)


def run(folder: Path) -> dict[str, Any]:
    """Run the blocks in `folder` and return their names; raise if the atlas or the page is not there afterwards."""
    import sclatent as sl

    counts = sl.simulate(400, 300, seed=1)
    counts.obs["donor"] = counts.obs["batch"].astype(str)
    sl.io.write_h5ad(counts, folder / "my/pbmc.h5ad")
    (folder / "my/pbmc.yaml").write_text("counts: my/pbmc.h5ad\nbatch: donor\nlabels: cell_type\n")
    names: dict[str, Any] = {"__name__": "notebook"}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for number, block in enumerate(blocks(), start=1):
            exec(compile(block, f"README.md, block {number}", "exec", dont_inherit=True), names)
        atlas = sl.io.read_h5ad("atlas.h5ad")
        page = Path("knob.html").read_text(encoding="utf-8")
    finally:
        os.chdir(before)
    if (
        atlas.n_obs != names["prepared"].n_obs
        or "X_sclatent" not in atlas.obsm
        or not page.startswith("<!DOCTYPE html>")
    ):
        raise AssertionError(f"the atlas or the page is not what it should be: {atlas}")
    return names


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    done = run(target)
    import sclatent

    print(f"{sclatent.__file__}: {done['atlas'].shape} in the atlas, verdict: {done['verdict']['verdict']}")
