"""A real Slurm of one node for the tests: its own configuration, ports and keys, in a folder of its own.

One partition, one stand-in GPU, no accounting database. A job that uses more memory than it asked for is killed by
Slurm, which looks each second (`OverMemoryKill`): containers have no control groups that would end it. A limit of the
address space is no stand-in for that: a library may wait forever for what it is not given.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
_PLACES = ("/usr/sbin", "/usr/local/sbin")

CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
ReturnToService=2
GresTypes=gpu
MinJobAge=14400
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE OverSubscribe=FORCE:4 State=UP
"""


def missing() -> str:
    """Say what is not there to start a Slurm with; nothing if all is."""
    absent = [name for name in (*DAEMONS, "sbatch") if program(name) is None]
    return f"no {', '.join(absent)} (Debian: slurm-wlm, munge)" if absent else ""


def program(name: str) -> str | None:
    return shutil.which(name) or next((f"{place}/{name}" for place in _PLACES if Path(place, name).exists()), None)


class OneNode:
    """The three daemons; `environment` is what a process needs to speak to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}",
        }

    def start(self) -> None:
        for name in ("controller", "spool", "bin"):
            (self.folder / name).mkdir(parents=True)
        # the executor clears Slurm's variables in a job, and `srun` would look in /etc
        srun = self.folder / "bin/srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {program("srun")} "$@"\n')
        srun.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        host = socket.gethostname().split(".")[0]
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
        text = CONFIGURATION.format(
            host=host, ports=_free_ports(2), user=getpass.getuser(), folder=self.folder, cpus=os.cpu_count(),
            memory=max(memory - 1024, 512),
        )  # fmt: skip
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "gres.conf").write_text(f"NodeName={host} Name=gpu Count=1 File=/dev/null\n")
        self._run(
            "munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", f"--key-file={key}",
            f"--log-file={self.folder}/munged.log", f"--pid-file={self.folder}/munged.pid",
            f"--seed-file={self.folder}/munged.seed",
        )  # fmt: skip
        _until(lambda: (self.folder / "munge.socket").exists(), 20, self.said)
        self._run("slurmctld", "-D")
        self._run("slurmd", "-D")
        _until(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"), 60, self.said)

    def restart_controller(self) -> None:
        self._end("slurmctld")
        self._run("slurmctld", "-D")
        _until(lambda: bool(self.ask("sinfo", "-h", "-o", "%T")), 60, self.said)

    def stop(self) -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            self.ask("scancel", "--user", getpass.getuser())
            _until(lambda: not self.ask("squeue", "-h", "-t", "running,completing"), 20, str)
        for name in reversed(DAEMONS):
            self._end(name)

    def ask(self, *command: str) -> str:
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, timeout=30, check=False
        )
        return done.stdout.strip()

    def said(self) -> str:
        logs = [self.folder / f"{name}.log" for name in DAEMONS] + [self.folder / f"{name}.out" for name in DAEMONS]
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-800:]}" for log in logs if log.exists())

    def _run(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [str(program(name)), *arguments], env=os.environ | self.environment, stdout=out, stderr=out
            )

    def _end(self, name: str) -> None:
        process = self.processes.pop(name, None)
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _until(condition, seconds: float, otherwise) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise())
        time.sleep(0.2)
