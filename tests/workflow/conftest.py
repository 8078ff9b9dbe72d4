"""Runs Snakemake as a user does: a process, in a working directory of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from .forked import Forked

ROOT = Path(__file__).resolve().parents[2]
SNAKEFILES = {"root": ROOT / "Snakefile", "workflow": ROOT / "workflow" / "Snakefile"}


@cache
def snakemake() -> Forked:
    return Forked()


class Study:
    """A working directory with `config/`, in which Snakemake runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "config").mkdir(parents=True, exist_ok=True)

    def __truediv__(self, path: str) -> Path:
        return self.folder / path

    def select(self, *names: str) -> None:
        self.write("config/config.yaml", {"datasets": [f"config/{name}.yaml" for name in names]})

    def dataset(self, name: str, **content: object) -> None:
        self.write(f"config/{name}.yaml", content)

    def write(self, path: str, content: object) -> None:
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        (self / path).parent.mkdir(parents=True, exist_ok=True)
        (self / path).write_text(text, encoding="utf-8")

    def command(self, *arguments: object, snakefile: Path = SNAKEFILES["root"]) -> list[str]:
        options = ["--snakefile", str(snakefile), "--directory", str(self.folder)]
        return [sys.executable, "-m", "snakemake", *options, *map(str, arguments)]

    def run(
        self, *arguments: object, snakefile: Path = SNAKEFILES["root"], **environment: str
    ) -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments, snakefile=snakefile)
        timeout = 1200  # a first run on a busy machine compiles for minutes
        everything = os.environ | environment
        if "PYTHONPATH" in environment:  # where the package is imported from; the process that is forked has done so
            out = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            return subprocess.run(command, cwd=self.folder, env=everything, timeout=timeout, check=False, **out)
        code, said = snakemake().run(command[3:], self.folder, everything, timeout)
        return subprocess.CompletedProcess(command, code, said)

    def ok(self, *arguments: object, **more: object) -> str:
        done = self.run(*arguments, **more)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def planned(self, *arguments: object, **more: object) -> dict[str, int]:
        """Jobs per rule of a dry run."""
        return jobs(self.ok("--dry-run", *arguments, **more))


def jobs(text: str) -> dict[str, int]:
    """Read Snakemake's table of jobs; empty when there is nothing to do."""
    table = re.search(r"^job +count\n-+ +-+\n(.*?)^total", text, flags=re.MULTILINE | re.DOTALL)
    if table is None:
        assert "Nothing to be done" in text, text
        return {}
    return {name: int(count) for name, count in re.findall(r"^(\S+) +(\d+)$", table[1], flags=re.MULTILINE)}


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What Snakemake printed, without its own lines about the profile and the configuration."""
    own = ("Using workflow specific profile", "Config file ")
    return [line for line in done.stdout.splitlines() if line.strip() and not line.startswith(own)]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "study")
