"""Start the processes of a training, wait for them, and say how one was lost."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from sclatent.model.distributed.job import Job, check_alone, write_job
from sclatent.model.training.diagnose import Diverged
from sclatent.model.vae import CountVAE
from sclatent.settings import InputError

LEFT_ALONE = 3
"""Exit status of a process that ended because another was lost."""
LOOK_EVERY = 0.05
"""Seconds between looks at the processes."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def run_together(job: Job) -> tuple[CountVAE, list[dict[str, float]]]:
    """Train in ``devices`` processes of this machine; return the model and its history, as one process would.

    The processes are interpreters of their own, which read the job from a scratch folder: a script that calls this
    needs no ``if __name__ == "__main__"``. They end when this process does, however it ends.

    Raises
    ------
    InputError
        A training that diverged; a process that a signal ended.
    """
    check_alone(job)
    with tempfile.TemporaryDirectory(prefix="sclatent-") as name:
        folder = Path(name)
        write_job(job, folder)
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(job.settings.devices):
                processes.append(_start(folder, rank, job))
            _wait(processes, folder, job)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        return _result(folder, job)


def _start(folder: Path, rank: int, job: Job) -> subprocess.Popen[bytes]:
    threads = str(max(1, job.threads // job.settings.devices))
    environment = os.environ | dict.fromkeys(_THREADS, threads)
    # what this process can import, they can
    environment["PYTHONPATH"] = os.pathsep.join(place for place in sys.path if place)
    # all are on this machine: its name need not be known to a name server
    environment.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform.startswith("linux") else "lo0")
    level = logging.getLogger("sclatent").getEffectiveLevel()
    command = [sys.executable, "-m", "sclatent.model.distributed.process", str(folder), str(rank), str(level)]
    if rank:  # what all have to warn of, one says
        environment["PYTHONWARNINGS"] = "ignore"
    # what comes through the pipe never does; that it is closed says that this process is gone
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True)


def _wait(processes: list[subprocess.Popen[bytes]], folder: Path, job: Job) -> None:
    """Wait until all have ended well, or the first has not."""
    while True:
        codes = [process.poll() for process in processes]
        if all(code == 0 for code in codes):
            return
        # whoever is left alone can say so before we know who is to blame
        blamed = [rank for rank, code in enumerate(codes) if code not in (None, 0, LEFT_ALONE)]
        if blamed:
            raise _blame(blamed[0], codes[blamed[0]] or 0, folder, job)
        if LEFT_ALONE in codes and all(code is not None for code in codes):
            raise RuntimeError(
                f"the processes of the {job.what} lost each other: {_said(folder, codes.index(LEFT_ALONE))}"
            )
        time.sleep(LOOK_EVERY)


def _blame(rank: int, code: int, folder: Path, job: Job) -> Exception:
    who = f"process {rank + 1} of the {job.settings.devices} of the {job.what}"
    if code >= 0:
        said = _said(folder, rank)
        return MemoryError(said) if said.startswith("MemoryError") else RuntimeError(f"{who} failed:\n{said}")
    name = signal.Signals(-code).name
    why = "as a rule the machine or the cluster job had no more memory: " if name == "SIGKILL" else ""
    again = "" if job.checkpoint is None else ": it goes on from its last checkpoint"
    return InputError(f"{who} was ended by signal {-code} ({name}): {why}run again{again}")


def _said(folder: Path, rank: int) -> str:
    path = folder / f"error-{rank}.txt"
    return path.read_text(encoding="utf-8") if path.exists() else "it said nothing"


def _result(folder: Path, job: Job) -> tuple[CountVAE, list[dict[str, float]]]:
    done = torch.load(folder / "done.pt", weights_only=True)
    if "refused" in done:
        raise InputError(done["refused"])
    if "diverged" in done:
        cells, problem, largest = done["diverged"]
        raise Diverged(cells.numpy(), problem, None if largest is None else tuple(largest))
    vae = job.model()
    vae.load_state_dict(done["weights"])
    return vae.eval(), json.loads(done["history"])
