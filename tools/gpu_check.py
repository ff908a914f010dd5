#!/usr/bin/env python3
"""Everything there is to prove on an NVIDIA GPU, in one run: see docs/cuda.md.

    python tools/gpu_check.py                                   # all parts
    python tools/gpu_check.py --parts smoke,bench --limit 240   # some, in 4 minutes

Parts, in this order unless --parts names another:

    build      pip install '.[cuda,test]' in the environment that runs this script
    smoke      every operation on small shapes against the CPU; twice, with the kernels of the first run kept on disk
    bench      benchmarks/bench_gpu.py: the table against pure MLX and PyTorch
    tests      the test suite with the GPU as default device (tests/metal is another way to run the same kernels)
    memcheck   compute-sanitizer on the smoke part: accesses out of bounds
    racecheck  compute-sanitizer on the smoke part: races in shared memory

Each part has a share of --limit (or what --limits gives it, as bench=150,tests=200). Logs go to --out, one a part, and
a table of the outcomes at the end. The exit code is 0 when every part passed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMOKE = [sys.executable, "tests/gpu/smoke.py"]
SHARES = {"build": 300.0, "smoke": 120.0, "bench": 300.0, "tests": 600.0, "memcheck": 240.0, "racecheck": 240.0}


@dataclass
class Outcome:
    part: str
    passed: bool
    seconds: float
    last: str  # line of the log


def sanitizer() -> str | None:
    return shutil.which("compute-sanitizer") or next(
        (str(p) for p in [Path("/usr/local/cuda/bin/compute-sanitizer")] if p.exists()), None
    )


def commands(part: str, seconds: float, args: argparse.Namespace) -> list[list[str]]:
    if part == "build":
        return [[sys.executable, "-m", "pip", "install", "-q", ".[cuda,test]"]]
    if part == "smoke":
        return [SMOKE, SMOKE]
    if part == "bench":
        options = ["--json", str(args.out / "bench_gpu.json"), "--limit", str(seconds - 10), *args.bench]
        return [[sys.executable, "benchmarks/bench_gpu.py", *options]]
    if part == "tests":
        pytest = [sys.executable, "-m", "pytest", "--device", "gpu", "-q", "--tb=short", "-p", "no:benchmark"]
        return [[*pytest, "--ignore=tests/metal", "-n", str(args.workers), *args.pytest, "tests"]]
    tool = sanitizer()
    if tool is None:
        return []
    return [[tool, "--tool", part, "--error-exitcode", "9", "--print-limit", "20", *SMOKE, "--only", args.smoke_only]]


def run(part: str, seconds: float, args: argparse.Namespace, environment: dict[str, str]) -> Outcome:
    """Runs the commands of a part, one after the other. What is over time is interrupted, then killed."""
    start, passed, log = time.monotonic(), True, args.out / f"{part}.log"
    wanted = commands(part, seconds, args)
    with log.open("w") as out:
        for command in wanted:
            out.write(f"$ {' '.join(command)}\n")
            out.flush()
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
            try:
                passed &= process.wait(max(5.0, seconds - (time.monotonic() - start))) == 0
            except subprocess.TimeoutExpired:
                passed = False
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                out.write(f"\nout of time: {seconds:.0f} s\n")
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    if not wanted:
        return Outcome(part, False, 0.0, "compute-sanitizer was not found")
    return Outcome(part, passed, time.monotonic() - start, lines[-1][:100] if lines else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(SHARES))
    parser.add_argument("--limit", type=float, help="seconds for all parts together")
    parser.add_argument("--limits", default="", help="seconds of single parts: bench=150,tests=200")
    parser.add_argument("--out", type=Path, default=Path("gpu_check"), help="folder of the logs (default gpu_check)")
    parser.add_argument("--workers", type=int, default=4, help="processes that test at once (default 4)")
    parser.add_argument("--tail", type=int, default=60, help="lines of each log to print (default 60)")
    parser.add_argument("--smoke-only", default="", help="for the sanitizers: checks whose name contains this")
    parser.add_argument("--bench", type=str.split, default=[], help="more arguments of bench_gpu.py, in one string")
    parser.add_argument("--pytest", type=str.split, default=[], help="more arguments of pytest, in one string")
    args = parser.parse_args()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    given = dict(pair.split("=") for pair in args.limits.split(",") if pair)
    parts = args.parts.split(",")
    if unknown := set(parts) - set(SHARES):
        parser.error(f"parts must be among {', '.join(SHARES)}. Received {', '.join(sorted(unknown))}.")
    limits = {part: float(given.get(part, SHARES[part])) for part in parts}
    begin, outcomes = time.monotonic(), []
    with tempfile.TemporaryDirectory() as cache:  # empty, so that the first run of the smoke part compiles
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", "XDG_CACHE_HOME": cache}
        for part in parts:
            left = args.limit - (time.monotonic() - begin) if args.limit else limits[part]
            outcomes.append(run(part, min(limits[part], left), args, environment))
            log = (args.out / f"{part}.log").read_text(errors="replace").splitlines()
            print(f"\n=== {part}\n" + "\n".join(log[-args.tail :]), flush=True)
            (args.out / "outcomes.json").write_text(json.dumps([asdict(o) for o in outcomes], indent=1))
    print("\n=== outcomes")
    for o in outcomes:
        print(f"{o.part:10}{'passed' if o.passed else 'FAILED':8}{o.seconds:7.1f} s  {o.last}")
    return 0 if all(o.passed for o in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
