"""Wait for a job and say how it died. Run as a script, with the standard library alone; see `guard`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL")


def watch(job: int, log: str, name: str) -> int:
    """Wait for the process `job`, add a line to `log` if a signal ended it, and return the exit status to end with."""

    def hand_on(number: int, frame: FrameType | None) -> None:
        os.kill(job, number)

    # an interrupt from the keyboard reaches the job by itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for to_hand_on in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(to_hand_on, hand_on)
    _, status, usage = os.wait4(job, 0)
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    number = os.WTERMSIG(status)
    line = said(number, name, usage.ru_maxrss / 1e6)
    with open(log, "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(f"{line}\n")
    mark = os.path.join(os.path.dirname(log), f".{os.path.basename(log)}.running")  # noqa: PTH118, PTH119, PTH120
    if os.path.exists(mark):  # noqa: PTH110
        os.remove(mark)  # noqa: PTH107
    print(line, file=sys.stderr, flush=True)
    return 128 + number


def said(number: int, name: str, gigabytes: float) -> str:
    """Return the line about a job that the signal `number` ended."""
    try:
        signal_name = signal.Signals(number).name
    except ValueError:
        signal_name = "unknown"
    start = f"{name}: the job was ended by signal {number} ({signal_name})"
    if signal_name == "SIGKILL":
        return (
            f"{start} after it had used {gigabytes:.1f} GB of memory: usually the machine or the cluster job had no "
            "more: give it more memory, or run fewer jobs at once"
        )
    if signal_name in _CRASHES:
        return f"{start}: a library crashed, the lines above say where: this is not your mistake, please report it"
    return f"{start}: it was stopped from outside, or reached a limit of the machine or the cluster"


if __name__ == "__main__":
    sys.exit(watch(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
