"""Run every part of `parts.py` in a process of its own, within its time; write the figures; print a table last.

    tests/gpu/run.sh                                   # all parts on the GPU, at most eight minutes
    tests/gpu/run.sh --parts speed large               # some of them
    tests/gpu/run.sh --device cpu --small              # all of it in miniature, where there is no GPU

Written to `--out` ($OUT, else results/gpu): figures.json, figures.tsv and log.txt. The exit status is 1 when a part
failed or a figure is beyond its limit.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

PARTS = {
    "likelihoods": 60,
    "same": 90,
    "training": 100,
    "speed": 160,
    "steps": 40,
    "large": 110,
    "stages": 80,
    "tests": 120,
}
"""Most seconds of each part, in order."""
TOTAL = 470.0
"""Most seconds of all parts together."""


def emit(
    figure: str, value: float | int | str, unit: str = "", *, most: float | None = None, least: float | None = None
) -> None:
    """Print one figure, with whether it is within its limit."""
    number = value if isinstance(value, int | str) else float(f"{value:.6g}")
    good = (most is None or value <= most) and (least is None or value >= least)  # nothing holds for NaN
    limit = f"<= {most:g}" if most is not None else f">= {least:g}" if least is not None else ""
    ok = ("yes" if good else "NO") if limit else ""
    print("@ " + json.dumps({"figure": figure, "value": number, "unit": unit, "limit": limit, "ok": ok}), flush=True)


def machine(device: str) -> dict[str, Any]:
    """Return the card's name and the versions that decide what was measured."""
    found: dict[str, Any] = {"device": device, "card": platform.processor() or platform.machine()}
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        found |= {
            "card": torch.cuda.get_device_name(),
            "GPU GB": round(total / 1e9, 1),
            "free GB": round(free / 1e9, 1),
        }
    found |= {"CPU cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__}
    found |= {"CUDA": torch.version.cuda, "numpy": np.__version__}
    return found | {"scvi-tools": "there" if importlib.util.find_spec("scvi") else "not there: only sclatent is timed"}


def run_part(part: str, args: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Run one part for so many seconds at most; return its figures and how it ended."""
    command = [sys.executable, str(Path(__file__).with_name("parts.py")), part, "--device", args.device]
    command += ["--small"] if args.small else []
    log, start = args.out / "log.txt", time.monotonic()
    with log.open("a") as stream:
        print(f"\n=== {part}", file=stream, flush=True)
        before = stream.tell()
        # a session of its own, so that what the part has started ends with it
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(seconds)
            ended = "done" if code == 0 else f"failed (exit status {code})"
        except subprocess.TimeoutExpired:
            ended = f"stopped after {seconds:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    with log.open() as stream:
        stream.seek(before)
        lines = stream.read().splitlines()
    figures = [json.loads(line[2:]) for line in lines if line.startswith("@ ")]
    others = [line for line in lines if line.strip() and not line.startswith("@ ")]
    why = others[-1] if ended.startswith("failed") and others else ""
    return {"ended": ended, "why": why, "seconds": round(time.monotonic() - start, 1), "figures": figures}


def write(out: Path, about: dict[str, Any], parts: dict[str, dict[str, Any]]) -> None:
    """Write what is known so far, so that a run cut short leaves its figures."""
    (out / "figures.json").write_text(json.dumps({"machine": about, "parts": parts}, indent=1) + "\n")
    rows = ["part\tfigure\tvalue\tunit\tlimit\tok\tcard"]
    for part, result in parts.items():
        rows += [
            "\t".join([part, f["figure"], str(f["value"]), f["unit"], f["limit"], f["ok"], about["card"]])
            for f in result["figures"]
        ]
    (out / "figures.tsv").write_text("\n".join(rows) + "\n")


def table(about: dict[str, Any], parts: dict[str, dict[str, Any]]) -> None:
    """Print the machine, how each part ended, and its figures; of errors within their limits only the largest share."""
    print("; ".join(f"{name} {value}" for name, value in about.items()))
    for part, result in parts.items():
        print(f"\n{part}: {result['ended']}, {result['seconds']} s {result['why'][:300]}")
        small = [f for f in result["figures"] if f["ok"] == "yes" and f["limit"].startswith("<=")]
        for f in result["figures"]:
            if f not in small:
                value = f"{f['value']:.4g}" if isinstance(f["value"], float) else str(f["value"])
                print(f"  {f['figure']:<52} {value:>10} {f['unit']:<9} {f['limit']:<6} {f['ok']}".rstrip())
        shares = [(f["value"] / float(f["limit"][3:]), f) for f in small if float(f["limit"][3:])]
        if shares:
            share, f = max(shares, key=lambda pair: pair[0])
            print(f"  {len(small)} errors within limits; nearest, {share:.0%} of {f['limit'][3:]}: {f['figure']}")


def main() -> int:
    """Parse the command line, run the parts, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true", help="miniature sizes, to try the script itself")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "results/gpu")))
    parser.add_argument("--seconds", type=float, default=TOTAL, help="most seconds of all parts together")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("PyTorch finds no usable GPU: nothing was measured (try --device cpu --small)")
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "log.txt").write_text("")
    about, parts, start = machine(args.device), {}, time.monotonic()
    for part in args.parts:
        left = args.seconds - (time.monotonic() - start)
        if left < 10:
            parts[part] = {"ended": "not begun: no time left", "why": "", "seconds": 0.0, "figures": []}
        else:
            parts[part] = run_part(part, args, min(PARTS[part], left))
        print(f"{part}: {parts[part]['ended']}, {parts[part]['seconds']} s", flush=True)
        write(args.out, about, parts)
    table(about, parts)
    bad = [part for part, result in parts.items() if result["ended"] != "done"]
    beyond = [f["figure"] for result in parts.values() for f in result["figures"] if f["ok"] == "NO"]
    print(f"\nparts that did not end well: {', '.join(bad) or 'none'}; figures beyond their limit: {len(beyond)}")
    return int(bool(bad or beyond))


if __name__ == "__main__":
    sys.exit(main())
