"""The frame around a job: its log, its threads, and what a mistake looks like."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import sclatent
from sclatent.bridge.files import read_json
from sclatent.bridge.guard import guard
from sclatent.bridge.logs import into
from sclatent.bridge.trouble import AtWork, about_disk, mark_of, remove_scratch
from sclatent.settings import InputError, ModelSettings, SampleSettings, moved, sections_from_json, taken_by

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

T = TypeVar("T")

log = logging.getLogger(__name__)


class Stage:
    """What a script sees of its job: Snakemake's `input`, `output`, `params`, `wildcards`, and a few habits over them.

    Parameters
    ----------
    snakemake
        The object that Snakemake gives to a script.
    """

    def __init__(self, snakemake: Any) -> None:
        self.input = snakemake.input
        self.output = snakemake.output
        self.params = snakemake.params
        self.wildcards = snakemake.wildcards
        # unlike `threads`, a resource is not cut down to --cores: the thread count decides the last bits of a model
        self.threads = int(snakemake.resources.get("fixed_threads", snakemake.threads))

        self._settings = sections_from_json(text) if (text := getattr(snakemake.params, "settings", None)) else {}
        if "counts" in self._settings:
            # inside a module with a prefix, counts that a rule wrote are not where the dataset file says
            self._settings["counts"] = moved(self._settings["counts"], self._where)
            if self._settings.get("modalities") is not None:
                self._settings["modalities"] = self._settings["modalities"].moved(self._where)

    def parts(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Return the settings that a stage function takes, as its keywords.

        Only those that the rule declares are there: the default of another would be wrong, and another value of it
        would not run the rule again.

        Parameters
        ----------
        function
            A stage function.

        Returns
        -------
        dict
            Keywords of `function`.

        Raises
        ------
        KeyError
            If the function takes a setting that the rule does not declare.
        """
        missing = [name for name in taken_by(function) if name not in self._settings]
        if missing:
            raise KeyError(f"{function.__name__} takes `{missing[0]}`, which the rule does not declare in its `params`")
        return {name: self._settings[name] for name in taken_by(function)}

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return str(self._settings["name"])

    @property
    def model(self) -> ModelSettings:
        """The model that the rule is about."""
        model: ModelSettings = self._settings["models"][self.wildcards.model]
        return model

    @property
    def sample(self) -> SampleSettings:
        """The cells that are to be drawn."""
        sample: SampleSettings = self._settings["sample"]
        return sample

    def _where(self, path: str) -> str:
        return next((made for made in self.input.get("made", []) if made.endswith(path)), path)

    @property
    def folder(self) -> Path:
        """Folder of the model of one seed."""
        return Path(self.output[0]).parent

    def by_seed(self, paths: Iterable[str], read: Callable[[Path], T]) -> dict[int, T]:
        """Read one file per seed.

        Parameters
        ----------
        paths
            Files of a rule's input, in folders called ``seed-{seed}``.
        read
            Reads one file.

        Returns
        -------
        dict
            What `read` returned, by seed.
        """
        return {_seed(path): read(path) for path in map(Path, paths)}

    def by_run(self, paths: Iterable[str], read: Callable[[Path], T]) -> dict[tuple[str, int], T]:
        """Read one file per model and seed.

        Parameters
        ----------
        paths
            Files of a rule's input, in folders ``{model}/seed-{seed}``.
        read
            Reads one file.

        Returns
        -------
        dict
            What `read` returned, by (model, seed).
        """
        return {(path.parents[1].name, _seed(path)): read(path) for path in map(Path, paths)}

    def selected_seeds(self) -> dict[str, int]:
        """Return the selected seed of every model.

        Returns
        -------
        dict
            Seeds by the name of the model.
        """
        paths = map(Path, self.input.selected)
        return {path.parent.name: read_json(path)["seed"] for path in paths}


def _seed(path: Path) -> int:
    return int(path.parent.name.removeprefix("seed-"))


@contextlib.contextmanager
def stage(snakemake: Any) -> Iterator[Stage]:
    """Frame a script: what it says goes to the rule's log, and a user's mistake ends it with one line.

    Enter it before anything heavy is imported, since numerical libraries read their number of threads when they are.
    Messages, warnings, progress bars and what C libraries print go to the log; our own warnings are printed on the
    terminal too. `InputError` becomes the last line of the log, is printed on the terminal as well, and ends the job
    without a traceback; any other exception keeps its traceback, in the log and on the terminal. A job that a signal
    ends (a crash, too little memory) gets a line as well, from a process that waits for it.

    Parameters
    ----------
    snakemake
        The object that Snakemake gives to a script.

    Yields
    ------
    Stage
    """
    start = time.perf_counter()
    job = Stage(snakemake)
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(job.threads)))
    # threads that spin while they wait for each other stall a training when other programs want the same cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # a progress bar in a log file is read afterwards: one line every ten seconds is enough
    os.environ |= {"MPLBACKEND": "Agg", "TQDM_MININTERVAL": "10"}
    name = " ".join([str(snakemake.rule), *(str(value) for value in snakemake.wildcards)])
    # in a job of its own, that is; a test or a notebook that calls this is not to be taken over
    own = vars(sys.modules["__main__"]).get("snakemake", Stage) is snakemake
    if own:
        Path(snakemake.log[0]).parent.mkdir(parents=True, exist_ok=True)
        guard(snakemake.log[0], name)
    signal.signal(signal.SIGTERM, functools.partial(_terminated, name))
    with _alone(snakemake.log[0]) as before, into(snakemake.log[0], name) as terminal:
        log.info("%s (sclatent %s, threads: %d)", name, sclatent.__version__, job.threads)
        if before:
            log.warning("%s", before)
        remove_scratch(job.output)
        try:
            yield job
        except InputError as error:
            raise _end(str(error), terminal) from None
        except MemoryError as error:
            traceback.print_exc()
            line = f"{name}: out of memory ({str(error) or 'allocation failed'}): run it where there is more"
            raise _end(line, terminal) from None
        except Exception as error:
            line = about_disk(error, Path(next(iter(job.output))).parent)
            raise _end(f"{name}: {line}" if line else traceback.format_exc().rstrip(), terminal) from None
        log.info("done: %s", used(time.perf_counter() - start))
    if own:
        gc.freeze()  # the process ends here, and collecting garbage first would take up to a second


@contextlib.contextmanager
def _alone(path: str) -> Iterator[str]:
    """End with a line if another run is at the same job, before its log is written over."""
    try:
        with mark_of(path) as before:
            yield before
    except AtWork as error:
        print(error, file=sys.stderr, flush=True)
        raise SystemExit(1) from None


def _end(text: str, terminal: int) -> SystemExit:
    """Say in the log and on the terminal how a job ended."""
    with contextlib.suppress(OSError):  # the log may lie on the disk that is full
        print(text, file=sys.stderr, flush=True)
    os.write(terminal, f"{text}\n".encode())
    return SystemExit(1)


def used(seconds: float) -> str:
    """Say what this process and those that it waited for have used so far.

    That is `seconds` by the clock, CPU time, and the largest memory of one process.
    """
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu, peak = sum(one.ru_utime + one.ru_stime for one in both), max(one.ru_maxrss for one in both)
    return f"{seconds:.1f} s, {cpu:.1f} s of CPU, at most {peak * 1024 / 1e9:.2f} GB of memory"  # Linux counts in KiB


def _terminated(name: str, number: int, frame: object) -> None:
    """End in good order when a cluster or a user stops the job, so that scratch files are removed."""
    line = f"{name}: the job was stopped from outside (signal {number}, {signal.Signals(number).name})\n"
    os.write(2, line.encode())  # a handler may interrupt a write to sys.stderr, which must not be entered twice
    raise SystemExit(128 + number)
