"""A run that is killed with all its processes, three times at random moments, ends in the same results."""

from __future__ import annotations

import subprocess
import sys

from .conftest import ROOT


def test_a_run_that_was_killed_three_times_ends_in_the_same_results():
    command = [sys.executable, str(ROOT / "tests/benchmarks/kills.py"), "--kills", "3", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 kills, in 1 folders, ended in the same results" in done.stdout
