"""One process of a training in several. Run as a module, by `launch`."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import torch

from sclatent.model.distributed.job import forget_counts, read_job
from sclatent.model.distributed.launch import LEFT_ALONE
from sclatent.model.distributed.ranks import Lost, joined
from sclatent.model.training.diagnose import Diverged
from sclatent.model.training.trainer import carry_out
from sclatent.settings import InputError


def main(folder: Path, rank: int, level: int) -> int:
    """Train as process `rank`; return the exit status."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # what all have to say, one says
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logging.getLogger("sclatent").setLevel(logging.ERROR if rank else level)
    try:
        done = _train(folder, rank)
    except Lost as error:
        _say(folder, rank, str(error))
        return LEFT_ALONE
    except MemoryError as error:
        _say(folder, rank, f"MemoryError: {error}")
        return 1
    except BaseException:
        _say(folder, rank, traceback.format_exc())
        return 1
    if rank == 0:
        torch.save(done, folder / "done.pt")
    return 0


def _train(folder: Path, rank: int) -> dict[str, Any]:
    job = read_job(folder)
    if job.device == "cuda":
        torch.cuda.set_device(rank)
    with joined(rank, job.settings.devices, folder / "meeting", job.device) as ranks:
        ranks.add(torch.zeros(1))  # all have opened the counts
        if rank == 0:
            forget_counts(folder)
        try:
            vae, history = carry_out(job, ranks)
        except Diverged as trouble:
            return {"diverged": [torch.from_numpy(trouble.cells), trouble.problem, trouble.largest]}
        except InputError as error:
            return {"refused": str(error)}
    return {"weights": vae.state_dict(), "history": json.dumps(history)}


def _say(folder: Path, rank: int, text: str) -> None:
    if folder.exists():
        (folder / f"error-{rank}.txt").write_text(text, encoding="utf-8")


def _end_with_parent() -> None:
    """End when whoever started this process is gone: nobody would wait for the result."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    sys.stderr.flush()
    os._exit(code)  # threads of a library that waits for others end with it
