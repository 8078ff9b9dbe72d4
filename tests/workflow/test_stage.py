"""The frame around a job: where its words go, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sclatent import bridge
from sclatent.io import write_table
from sclatent.settings import InputError

PREAMBLE = """
import os, sys
from types import SimpleNamespace
from sclatent import bridge
from sclatent.settings import InputError


class Named(dict):
    __getattr__ = dict.get

    def __iter__(self):
        return iter(self.values())


snakemake = SimpleNamespace(
    rule="try", input=Named(), output=["results/out.h5ad"], params=Named(), wildcards=Named(dataset="a"), threads=2,
    resources=Named(fixed_threads=1), log=["logs/try.log"],
)
with bridge.stage(snakemake) as job:
"""


@pytest.fixture
def script(tmp_path: Path):
    def start(body: str, **how: object) -> subprocess.Popen[str]:
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        (tmp_path / "script.py").write_text(PREAMBLE + lines)
        return subprocess.Popen(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **how,
        )

    return start


def finish(process: subprocess.Popen[str], tmp_path: Path) -> tuple[int, str, str, list[str]]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err, (tmp_path / "logs/try.log").read_text().splitlines()


def test_names_in_tables_of_stages_come_back_as_they_are(tmp_path):
    table = pd.DataFrame(
        {
            "axis": ["axis_1", "axis_2", "axis_3"],
            "name": ["001", "NA", "1"],
            "levels_up": ["1", "", "null"],
            "best_axis_S": ["1E3", "010", None],
            "model": ["1", "2", "3"],
            "effect": [0.5, np.nan, 1.0],
            "active": [True, False, True],
            "eta2_name": [1, 2, 3],
        }
    )
    write_table(table, tmp_path / "a.tsv")
    again = bridge.read_table(tmp_path / "a.tsv")
    for name in ("axis", "name", "model"):
        assert list(again[name]) == list(table[name])
    assert list(again["levels_up"].fillna("")) == ["1", "", "null"]
    assert list(again["best_axis_S"].fillna("")) == ["1E3", "010", ""]
    assert again["active"].dtype == bool
    assert (again["effect"].dtype, again["eta2_name"].dtype) == (np.float64, np.int64)


def test_a_mistake_is_the_last_line_of_the_log_and_the_only_one_on_the_terminal(script, tmp_path):
    body = "print('reading')\nraise InputError('a.yaml: counts: not\\nwhole numbers')"
    code, out, err, log = finish(script(body), tmp_path)
    assert code == 1
    assert (out, err) == ("", "a.yaml: counts: not whole numbers\n")
    assert log[-1] == "a.yaml: counts: not whole numbers"
    assert "reading" in log
    assert not any("Traceback" in line for line in log)


def test_a_programming_error_keeps_its_traceback(script, tmp_path):
    code, _, err, log = finish(script("[][3]"), tmp_path)
    assert code == 1
    for text in (err, "\n".join(log)):
        assert text.startswith("Traceback") or "\nTraceback" in text
        assert text.rstrip().endswith("IndexError: list index out of range")
        assert 'script.py", line' in text


def test_everything_that_is_said_goes_to_the_log(script, tmp_path):
    body = (
        "import logging, subprocess, warnings\n"
        "logging.getLogger('sclatent.tl').info('filtered 3 cells')\n"
        "logging.getLogger('fontTools').info('chatter')\n"
        "warnings.warn('beware')\n"
        "subprocess.run(['sh', '-c', 'echo from below; echo and aside >&2'])\n"
    )
    code, out, err, log = finish(script(body), tmp_path)
    assert (code, out, err) == (0, "", "")
    text = "\n".join(log)
    for word in ("try a (sclatent ", "threads: 1", "filtered 3 cells", "beware", "from below", "and aside"):
        assert word in text
    assert "chatter" not in text
    assert re.search(r"done: [\d.]+ s, [\d.]+ s of CPU, at most [\d.]+ GB of memory$", log[-1])


def test_a_warning_of_ours_is_on_the_terminal_too(script, tmp_path):
    body = (
        "import logging, warnings\n"
        "logging.getLogger('sclatent.io').warning('%s: left out 2 rows', 'a%d\\x1b[2J.tsv')\n"
        "logging.getLogger('fontTools').warning('chatter')\n"
        "warnings.warn('beware')\n"
    )
    code, out, err, log = finish(script(body), tmp_path)
    assert (code, out) == (0, "")
    said = [line for line in err.splitlines() if line]
    assert len(said) == 1
    assert said[0].startswith("try a: warning: a%d")
    assert said[0].endswith(".tsv: left out 2 rows")
    assert "\x1b" not in err
    assert any(re.search(r"^[\d:]{8} warning: a%d.*: left out 2 rows$", line) for line in log)
    assert any("warning: chatter" in line for line in log)


def test_threads_are_set_before_numerical_libraries_are_imported(script, tmp_path):
    # the variables are read when the libraries are imported
    body = (
        "assert not {'numpy', 'torch', 'numba'} & set(sys.modules)\n"
        "import torch\n"
        "print(job.threads, torch.get_num_threads(), os.environ['OPENBLAS_NUM_THREADS'])\n"
    )
    _, _, err, log = finish(script(body), tmp_path)
    assert err == ""
    assert log[-2] == "1 1 1"


def test_a_job_that_is_stopped_leaves_no_scratch_files(script, tmp_path):
    body = (
        "from sclatent.data.atomic import atomic\n"
        "import time\n"
        "with atomic('results/table.tsv') as scratch:\n"
        "    scratch.write_text('half')\n"
        "    time.sleep(60)\n"
    )
    process = script(body)
    results = tmp_path / "results"
    deadline = time.monotonic() + 30
    while not list(results.rglob("table.tsv")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert list(results.iterdir()) == []
    log = (tmp_path / "logs/try.log").read_text().splitlines()
    assert log[-1] == "try a: the job was stopped from outside (signal 15, SIGTERM)"


@pytest.mark.parametrize(
    ("number", "said", "above"),
    [
        (signal.SIGSEGV, "SIGSEGV): a library crashed", "Segmentation fault"),
        (signal.SIGABRT, "SIGABRT): a library crashed", "Aborted"),
        (signal.SIGKILL, "GB of memory: usually the machine or the cluster job had no more", None),
        (signal.SIGXCPU, "SIGXCPU): it was stopped from outside, or reached a limit", None),
    ],
)
def test_a_job_that_a_signal_ends_gets_a_line(script, tmp_path, number, said, above):
    code, out, err, log = finish(script(f"print('at work')\nos.kill(os.getpid(), {int(number)})"), tmp_path)
    assert code == 128 + number
    assert log[-1].startswith(f"try a: the job was ended by signal {int(number)} (")
    assert said in log[-1]
    assert (out, err) == ("", log[-1] + "\n")
    assert above is None or any(above in line for line in log[:-1])


def test_a_job_does_not_outlive_the_process_that_waits_for_it(script, tmp_path):
    body = "import time\nPath = __import__('pathlib').Path\nPath('pid').write_text(str(os.getpid()))\ntime.sleep(60)"
    process = script(body)
    file = tmp_path / "pid"
    deadline = time.monotonic() + 30
    while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    job = int(file.read_text())
    assert job != process.pid
    process.kill()
    process.communicate(timeout=30)  # the job holds the other ends of the pipes: they close when it is gone

    def alive() -> bool:
        stat = Path(f"/proc/{job}/stat")
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"

    while alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive()
    assert (tmp_path / "logs/try.log").read_text().endswith("stopped from outside (signal 15, SIGTERM)\n")


def test_a_lack_of_memory_is_one_line(script, tmp_path):
    code, _, err, log = finish(script("raise MemoryError('Unable to allocate 7 TiB')"), tmp_path)
    assert code == 1
    assert err == "try a: out of memory (Unable to allocate 7 TiB): run it where there is more\n"
    assert log[-1] == err.strip()


def test_a_section_that_the_rule_does_not_pass_is_not_there(tmp_path):
    from types import SimpleNamespace

    from sclatent import tl
    from sclatent.bridge import Stage
    from sclatent.settings import load_dataset, section_json

    file = tmp_path / "a.yaml"
    file.write_text(
        "counts: c.h5ad\nlabels: [cell_type]\ntraverse: {steps: 11}\nmodels: {x: {}, y: {likelihood: poisson}}\n"
    )
    text = section_json(load_dataset(file), "traverse", model="y")
    job = Stage(
        SimpleNamespace(
            input={},
            output=[],
            params=SimpleNamespace(settings=text),
            wildcards=SimpleNamespace(model="y"),
            threads=1,
            resources={},
        )
    )
    assert job.name == "a"
    assert job.model.likelihood.kind == "poisson"
    assert job.parts(tl.traverse)["traverse"].steps == 11
    with pytest.raises(KeyError, match="mixing takes `batch`, which the rule does not declare"):
        # its default instead would be wrong, and another value would not re-run the rule
        job.parts(tl.mixing)


def test_a_name_in_the_log_moves_no_cursor_and_makes_no_line_of_its_own(script, tmp_path):
    body = "import logging\nlogging.getLogger('sclatent').info('cell %s', 'a\\x1b[2J\\n12:00:00 done: all')"
    _, _, err, log = finish(script(body), tmp_path)
    assert err == ""
    assert log[-3].endswith("cell a\\x1b[2J")
    assert log[-2] == "    12:00:00 done: all"


def test_a_job_whose_whole_process_group_was_killed_is_said_by_the_next(script, tmp_path):
    """As a cluster does at the limit of memory or time: nobody is left to write into the log."""
    body = (
        "from sclatent.data.atomic import atomic\n"
        "import time\n"
        "with atomic(job.output[0]) as scratch:\n"
        "    scratch.write_text('half')\n"
        "    print('at work', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = script(body, start_new_session=True)
    log = tmp_path / "logs/try.log"
    deadline = time.monotonic() + 60
    while not (log.exists() and "at work" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert log.read_text().endswith("at work\n")
    assert len(list((tmp_path / "results").iterdir())) == 1
    code, _, _, lines = finish(script("print('again')"), tmp_path)
    assert code == 0
    assert "the attempt before this one" in lines[1]
    assert "ended without a message: it was killed with all its processes" in lines[1]
    assert list((tmp_path / "results").iterdir()) == []
    _, _, _, lines = finish(script("print('once more')"), tmp_path)
    assert not any("without a word" in line for line in lines)


def test_a_second_run_of_a_job_that_is_at_work_is_one_line(script, tmp_path):
    first = script("import sys, time\nprint('at work', flush=True)\ntime.sleep(60)")
    log = tmp_path / "logs/try.log"
    deadline = time.monotonic() + 60
    while not (log.exists() and "at work" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    code, _, err, lines = finish(script("print('second')"), tmp_path)
    assert code == 1
    assert re.fullmatch(
        r"logs/try.log: another run is working on this job \(process \d+, since .*\): wait for it, or stop it\n", err
    )
    assert "at work" in lines
    assert "second" not in lines
    os.kill(first.pid, signal.SIGTERM)
    first.communicate(timeout=30)
    assert not list((tmp_path / "logs").glob(".*running"))


FULL = """
import numpy as np
from sclatent.io import write_h5ad, write_table
import anndata, pandas as pd
matrix = np.random.default_rng(0).poisson(3.0, (2000, 700)).astype('f4')
"""


@pytest.mark.parametrize(
    "write",
    [
        "write_h5ad(anndata.AnnData(matrix), job.output[0])",
        "write_table(pd.DataFrame(matrix), job.output[0])",
        "import matplotlib.pyplot as plt, sclatent as sl\nf = plt.figure(figsize=(20, 20))\n"
        "f.figimage(np.random.default_rng(0).random((2000, 2000)))\nsl.pl.save({'a': f}, 'results/figures')",
    ],
)
def test_a_file_that_may_not_grow_is_one_line_and_leaves_nothing(script, tmp_path, write):
    """The limit of a file's size stands for a full disk, which needs a mount: see the test below."""
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
    code, _, err, log = finish(script(FULL + limit + write), tmp_path)
    assert code == 1
    (line,) = err.splitlines()
    assert line == log[-1]
    assert "cannot be written: the file reached the size limit (ulimit -f): raise it, and run again" in line
    left = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert left == []


@pytest.mark.parametrize("megabytes", [1, 3])
def test_a_full_disk_is_one_line_and_leaves_nothing(script, tmp_path, megabytes):
    results = tmp_path / "results"
    results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(results)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        body = FULL + "write_h5ad(anndata.AnnData(np.random.default_rng(0).random((2000, 700))), job.output[0])"
        code, _, err, log = finish(script(body), tmp_path)
        left = list(results.rglob("*"))
        subprocess.run(["mount", "-o", "remount,ro", str(results)], check=True)
        again = finish(script(body), tmp_path)
    finally:
        subprocess.run(["umount", str(results)], check=True)
    assert code == 1
    (line,) = err.splitlines()
    assert line == log[-1]
    assert "cannot be written: the disk is full, or that of scratch files (TMPDIR): free some space" in line
    assert left == []
    assert "the folder is read-only: use another folder, or mount it writable" in again[2]
    assert len(again[2].splitlines()) == 1


@pytest.mark.parametrize(("option", "said"), [("size=64k", "the disk is full"), ("ro", "the folder is read-only")])
def test_a_folder_that_snakemake_cannot_work_in_is_one_line(tmp_path, option, said):
    from sclatent.bridge import check_room

    check_room(tmp_path)
    folder = tmp_path / "work"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        if option != "ro":
            (folder / "here").write_bytes(bytes(1 << 15))
        with pytest.raises(InputError, match=f"work cannot be written: {said}.* and run again") as found:
            check_room(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "the disk is full"),
        (Exception("I/O error: No space left on device (os error 28)"), "the disk is full"),  # as of safetensors
        (
            RuntimeError("Can't write data (errno = 122, error message = 'Disk quota exceeded')"),
            "your quota is used up",
        ),
        (PermissionError(13, "Permission denied", "results"), "you may not write there"),
        (OSError(116, "Stale file handle"), "the network file system lost it"),
    ],
)
def test_what_a_disk_says_in_the_words_of_each_library(tmp_path, error, said):
    from sclatent.bridge.trouble import about_disk

    wrapped = RuntimeError("while writing")
    wrapped.__cause__ = error
    for raised in (error, wrapped):
        line = about_disk(raised, tmp_path)
        assert line.startswith(f"{tmp_path} cannot be written: {said}")
        assert "\n" not in line
    assert about_disk(KeyError("x"), tmp_path) == ""
    assert about_disk(RuntimeError("a shape does not fit"), tmp_path) == ""


def test_a_checkpoint_without_room_leaves_nothing_and_stops_nothing(tmp_path, caplog, monkeypatch):
    from sclatent.model.training import checkpoint

    def full(state, path):
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    checkpoint.write(tmp_path / "a.pt", {})
    assert list(tmp_path.iterdir()) == []
    assert "a.pt: cannot be written (PytorchStreamWriter failed writing file" in caplog.text
