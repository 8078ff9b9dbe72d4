"""The mark that a job leaves while it is at work."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sclatent.bridge import trouble


def _state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc: marks are not asked for their process")
def test_a_process_that_has_ended_is_not_at_work_though_nobody_asked_for_it() -> None:
    assert trouble._born(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        assert trouble._born(child.pid)
        child.kill()
        deadline = time.monotonic() + 30
        while _state(child.pid) != "Z" and time.monotonic() < deadline:  # waiting for it would end the zombie
            time.sleep(0.01)
        assert _state(child.pid) == "Z"
        assert trouble._born(child.pid) == ""
    finally:
        child.communicate()
