"""Says in one line why the package cannot be set up with this Python, if so; make asks before it installs anything.

It is written for old Pythons too, since it runs on whatever `python3` is. Status 1: another Python is needed; 2: a C
compiler is.
"""

import re
import shutil
import sys
import sysconfig
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
COMPILED_FROM = (3, 14)
"""From this Python on immutables 0.21, which Snakemake needs, has no wheel: pip compiles it."""


def other_python(version):
    """Return the line for a Python that ``requires-python`` leaves out, else None."""
    text = PYPROJECT.read_text(encoding="utf-8")
    low, high = map(int, re.search(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"', text, re.MULTILINE).groups())
    if (3, low) <= tuple(version[:2]) < (3, high):
        return None
    found = f"this is {version[0]}.{version[1]}"
    return f"Python 3.{low} to 3.{high - 1} is needed, {found}: make PYTHON=python3.{high - 2} ..."


def no_compiler(version, compiler, headers):
    """Return the line for a Python that needs a compiler where there is none, else None."""
    if tuple(version[:2]) < COMPILED_FROM or (shutil.which(compiler) and headers.exists()):
        return None
    needed = f"a C compiler and its own headers ({compiler}, {headers})"
    other = f"make PYTHON=python3.{COMPILED_FROM[1] - 1} ..."
    return f"Python {version[0]}.{version[1]} needs {needed}: install them, or {other}"


if __name__ == "__main__":
    line = other_python(sys.version_info)
    if line:
        sys.exit(line)
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    line = no_compiler(sys.version_info, compiler, Path(sysconfig.get_path("include")) / "Python.h")
    if line:
        sys.stderr.write(line + "\n")
        sys.exit(2)
