"""Hostile input: thousands of spoiled files, each of which must be read, or refused with one line.

    python tests/benchmarks/fuzz.py                                    # 10,000 inputs, some ten minutes of an idle core
    python tests/benchmarks/fuzz.py --only h5ad --first 4711 --inputs 1   # one of them again
    python tests/benchmarks/fuzz.py --write docs/hostile-input.md

Every input is made from a sound file by a seed, so a number names it. They are read in a process of their own, which is
replaced after a crash, a hang or too much memory. What counts as a failure: any other exception than `InputError`, more
than one line, a sign that is not printable in it, more than 1 GB of memory, 20 seconds of CPU, a signal, a
pickle that is loaded, and counts that change when they are written and read again.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import logging
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

import _hostile
import numpy as np

import sclatent as sl
from sclatent.bridge.parse import read_config
from sclatent.data.genes import cycle_genes
from sclatent.data.programs import read_gmt
from sclatent.settings import InputError, from_section_json, load_dataset, section_json

MEMORY, SECONDS = 1 << 30, 20.0
SLOW = 5.0
"""Seconds by the clock after which an input is named."""
SPARE = 3 << 29
"""What may be asked for at once beyond what the process has: more is a claim that was believed."""


def read(path: Path, kind: str, folder: Path) -> None:
    """Read a file as the pipeline does; counts are written and read again."""
    if kind == "yaml":
        settings = load_dataset(path)
        sections = [name for name in type(settings).model_fields if name not in ("name", "file")]
        assert from_section_json(section_json(settings, *sections)).models == settings.models
        with contextlib.suppress(InputError):
            read_config({"datasets": [str(path)]})
    elif kind == "metadata":
        sl.io.read_metadata(path)
    elif kind == "gmt":
        read_gmt(path)
    elif kind == "genes":
        cycle_genes("human", path)
    else:
        layer = {"h5ad": "counts", "loom": "spliced"}.get(kind) if len(str(path)) % 2 else None
        counts = sl.io.read_counts(path, layer=layer)
        sl.io.write_h5ad(counts, folder / "again.h5ad")
        again = sl.io.read_h5ad(folder / "again.h5ad")
        assert list(again.obs_names) == list(counts.obs_names)
        assert list(again.var_names) == list(counts.var_names)
        assert (again.X != counts.X).nnz == 0


def judge(kind: str, number: int, base: Path, folder: Path) -> tuple[str, str]:
    """Make one input, read it, and return the verdict (`read`, `refused` or what is wrong) and the line."""
    rng = np.random.default_rng([number, *kind.encode()])
    path = _hostile.spoil(_hostile.copy(base, folder), kind, rng)
    before = peak()
    try:
        read(path, kind, folder)
        verdict, said = "read", ""
    except InputError as error:
        verdict, said = "refused", str(error)
        if "too little memory" in said or "Unable to allocate" in said:
            verdict = "memory"
        elif not said.isprintable() or len(said) > 3000:
            verdict = "line"
    except BaseException:
        verdict, said = "exception", traceback.format_exc()
    if peak() > MEMORY and peak() > before:
        verdict = "memory"
    return verdict, said


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def work(connection: Connection, bases: dict[str, Path], folder: Path) -> None:
    """Judge what comes through the connection until it closes."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.disable()
    warnings.simplefilter("ignore")
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # HDF5 says there what h5py raises
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + SPARE, size + SPARE))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEMORY, MEMORY))
    while True:
        try:
            kind, number = connection.recv()
        except EOFError:
            return
        scratch = Path(tempfile.mkdtemp(dir=folder))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        connection.send(judge(kind, number, bases[kind], scratch))
        shutil.rmtree(scratch, ignore_errors=True)


class Worker:
    """The process that reads, started anew when it is lost."""

    def __init__(self, bases: dict[str, Path], folder: Path) -> None:
        self.bases, self.folder = bases, folder
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, self.bases, self.folder), daemon=True)
        self.process.start()
        other.close()

    def judge(self, kind: str, number: int) -> tuple[str, str]:
        self.connection.send((kind, number))
        verdict = "hang", f"no answer in {SECONDS:.0f} s"
        if self.connection.poll(10 * SECONDS):  # by the clock, where others want the same cores
            try:
                verdict = self.connection.recv()
            except (EOFError, ConnectionResetError):
                self.process.join()
                code = self.process.exitcode or 0
                verdict = (
                    "hang" if code == -signal.SIGPROF else "crash",
                    f"ended with {signal.Signals(-code).name if code < 0 else code}",
                )
        if verdict[0] in ("hang", "crash", "memory"):
            self.process.kill()
            self.process.join()
            self._start()
        return verdict


def kept(line: str) -> str:
    """Return a line without what is of one input alone, to count kinds of lines."""
    return re.sub(r"'[^']*'|\d+|[^ ]*/tmp[^ ]*", "…", line)[:160]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=np.inf, help="end after so long, however many there were")
    parser.add_argument("--only", nargs="*", choices=list(_hostile.MAKERS))
    parser.add_argument("--write", type=Path, help="a Markdown page for the table")
    arguments = parser.parse_args()
    kinds = arguments.only or list(_hostile.MAKERS)
    start = time.perf_counter()
    counts: dict[str, collections.Counter[str]] = {kind: collections.Counter() for kind in kinds}
    failures: dict[tuple[str, str, str], list[int]] = {}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        bases = {}
        for kind in kinds:
            (folder / "sound" / kind).mkdir(parents=True)
            bases[kind] = _hostile.MAKERS[kind](folder / "sound" / kind)
            read(bases[kind], kind, folder)  # imports what reading needs, before the worker is forked
        worker = Worker(bases, folder)
        stopped: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
        for i in range(arguments.inputs):
            if stopped or time.perf_counter() - start > arguments.seconds:
                break
            kind, number = kinds[i % len(kinds)], arguments.first + i // len(kinds)
            begun = time.perf_counter()
            verdict, said = worker.judge(kind, number)
            if (took := time.perf_counter() - begun) > SLOW:
                print(f"{kind} {number}: {verdict} after {took:.0f} s", flush=True)
            if i % 500 == 499:
                print(f"{i + 1:,} inputs in {time.perf_counter() - start:.0f} s", flush=True)
            counts[kind][verdict] += 1
            if verdict not in ("read", "refused"):
                last = said.strip().splitlines()[-1] if said.strip() else ""
                known = failures.setdefault((kind, verdict, kept(last)), [])
                known.append(number)
                if len(known) == 1:
                    print(f"{kind} {number}: {verdict}\n{said[-1500:]}", flush=True)
        worker.process.kill()
    for (kind, verdict, line), numbers in failures.items():
        print(f"{len(numbers):5d} × {kind}: {verdict}: {line}   --first {numbers[0]}")
    table = "\n".join(
        ["| kind | inputs | read | refused in one line | anything else |", "|---|---:|---:|---:|---:|"]
        + [
            f"| {kind} | {c.total():,} | {c['read']:,} | {c['refused']:,} | {c.total() - c['read'] - c['refused']:,} |"
            for kind, c in counts.items()
        ]
    )
    total = sum(c.total() for c in counts.values())
    print(f"{table}\n{total:,} inputs in {time.perf_counter() - start:.0f} s")
    if arguments.write:
        head = arguments.write.read_text(encoding="utf-8").split("\n| kind | inputs")[0].rstrip("\n")
        arguments.write.write_text(f"{head}\n\n{table}\n", encoding="utf-8")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
