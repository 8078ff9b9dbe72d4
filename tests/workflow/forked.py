"""Snakemake in processes that are forked from one that has imported it, which is most of what a dry run takes.

Run as a script it is that process: it reads a line of JSON for each run from its standard input, and writes the exit
status of the run to its standard output.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import selectors
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


class Forked:
    """The process that has imported Snakemake, as seen by the tests."""

    def __init__(self) -> None:
        # it ends with the tests, which closes its input
        self.server = subprocess.Popen(
            [sys.executable, __file__], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(self, arguments: list[str], folder: Path, environment: dict[str, str], timeout: float) -> tuple[int, str]:
        """Run Snakemake in a folder; return its exit status and what it said."""
        with tempfile.NamedTemporaryFile("r", encoding="utf-8") as said:
            asked = {"arguments": arguments, "folder": str(folder), "said": said.name, "environment": environment}
            print(json.dumps(asked), file=self.server.stdin, flush=True)
            with selectors.DefaultSelector() as selector:
                selector.register(self.server.stdout, selectors.EVENT_READ)
                assert selector.select(timeout), f"Snakemake did not end within {timeout:.0f} s"
            return int(self.server.stdout.readline()), said.read()


def serve() -> dict[str, Any]:
    """Fork for each line of the standard input; return what it asks for, in the fork."""
    for line in sys.stdin:
        process = os.fork()
        if not process:
            return json.loads(line)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
    sys.exit()


if __name__ == "__main__":
    for name in ("snakemake.cli", "sclatent.bridge"):
        importlib.import_module(name)
    asked = serve()
    for number, mode, path in ((0, os.O_RDONLY, os.devnull), (1, os.O_WRONLY | os.O_TRUNC, asked["said"])):
        os.dup2(os.open(path, mode), number)
    os.dup2(1, 2)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.path[0], sys.argv = asked["folder"], ["snakemake", *asked["arguments"]]
    runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
