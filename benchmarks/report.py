"""Runs the whole suite and every benchmark on this machine, and packs a report to send back.

    pip install ".[test,bench]" && python benchmarks/report.py

The tests run on the CPU and, where MLX has a GPU, again with the GPU as default device; the benchmarks likewise. What
fails is part of the report. It holds the machine's configuration, the tests' output and the benchmarks' tables and
JSON: nothing else of the machine.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
import zipfile
from datetime import date
from pathlib import Path

import mlx.core as mx

from harness import chip

ROOT = Path(__file__).resolve().parent.parent


def run(name: str, command: list[str], folder: Path, cwd: Path) -> str:
    """Runs a command with its output in <folder>/<name>.txt; one line of what came of it."""
    print(f"{name} ...", end=" ", flush=True)
    start = time.monotonic()
    with open(folder / f"{name}.txt", "w") as log:
        status = subprocess.run([sys.executable, *command], cwd=cwd, stdout=log, stderr=subprocess.STDOUT).returncode
    lines = (folder / f"{name}.txt").read_text().rstrip().splitlines() or ["(no output)"]
    line = f"{'passed' if status == 0 else f'FAILED ({status})'} in {time.monotonic() - start:.0f} s: {lines[-1]}"
    print(line, flush=True)
    return f"| {name} | {line} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all benchmark cases: an hour rather than ten minutes")
    parser.add_argument("--out", type=Path, default=Path.cwd(), help="where the report goes (default: here)")
    args = parser.parse_args()
    devices = ["cpu", "gpu"] if mx.device_count(mx.gpu) else ["cpu"]
    name = f"metalfaiss-report-{chip(mx.Device(getattr(mx, devices[-1]))).replace(' ', '-')}-{date.today().isoformat()}"
    folder = args.out.resolve() / name
    folder.mkdir(parents=True, exist_ok=True)

    rows = [run("config", ["-m", "metalfaiss"], folder, ROOT)]
    for device in devices:
        rows.append(
            run(
                f"tests_{device}",
                ["-m", "pytest", "-q", *(["-n", "auto"] if device == "cpu" else []), "--device", device],
                folder,
                ROOT,
            )
        )
        for bench in sorted((ROOT / "benchmarks").glob("bench_*.py")):
            command = [str(bench), "--device", device, "--out", str(folder), *([] if args.full else ["--quick"])]
            rows.append(run(f"{bench.stem}_{device}", command, folder, ROOT / "benchmarks"))
    table = "\n".join(["| step | result |", "|---|---|", *rows])
    (folder / "report.md").write_text(f"# {name}\n\n{platform.platform()}\n\n{table}\n")

    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(folder.iterdir()):
            packed.write(file, f"{name}/{file.name}")
    print(f"the report: {archive}")


if __name__ == "__main__":
    main()
