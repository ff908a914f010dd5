"""What every benchmark shares: interleaved timing against peers, the floor of the work, a table, JSON and a plot.

A benchmark declares cases; a case is the same work done by several contenders, the first of which is ours:

    bench = Benchmark("gemm", __doc__)
    for m, n, k in bench.pick(full=SHAPES, quick=SHAPES[:2]):
        bench.case(f"A V {m}x{n}, k={k}", {"native": ..., "numpy": ...}, flops=2 * m * n * k, nbytes=4 * m * n)
    bench.finish()

Contenders take turns (A B C A B C ...), so that a drift of the machine's speed hits all of them. A figure is the median
over the rounds; a ratio is the median of the rounds' own ratios. The floor is what the machine would need if it ran at
its matrix-product rate and its memory bandwidth, both measured in the same run: max(flops / rate, bytes / bandwidth).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import TypeVar

import mlx.core as mx
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import metalfaiss
from metalfaiss import _core

T = TypeVar("T")
Work = Callable[[], object]
RESULTS = Path(__file__).parent / "results"
SETTLE = 0.2  # seconds: OpenBLAS's threads spin on after a product, on the next contender's cores
REFUSAL = "Received a GPU stream."  # how errors of operations without a GPU kernel end
LONG = 1.0  # seconds: what takes longer needs no untimed run before each timed one


def chip(device: mx.Device) -> str:
    """The name of the GPU, or of the processor."""
    if device == mx.gpu:
        return str(mx.device_info(device).get("device_name", "unnamed GPU"))
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("metalfaiss", "mlx", "numpy", "faiss-cpu", "scikit-learn", "scipy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


class Seconds(float):
    """What work took by its own clock, such as in a process of its own: returned, it counts instead of ours."""


def seconds(work: Work, at_least: float = 0.01, at_most_runs: int = 1000) -> float:
    """Seconds of one run, repeated until the sample is long enough for the clock."""
    runs, start = 0, time.perf_counter()
    while True:
        result = work()
        if isinstance(result, Seconds):
            return result
        evaluate(result)
        runs += 1
        elapsed = time.perf_counter() - start
        if elapsed >= at_least or runs >= at_most_runs:
            return elapsed / runs


def evaluate(result: object) -> None:
    """MLX is lazy: a run counts only when its arrays are computed."""
    results = result if isinstance(result, (tuple, list)) else [result]
    mx.eval([r for r in results if isinstance(r, mx.array)])


def matmul_rate(device: mx.Device) -> float:
    """Operations per second of a large float32 product, two a multiply-add: by NumPy, or on the GPU by MLX."""
    a_np = np.random.default_rng(0).standard_normal((2048, 2048), dtype=np.float32)
    a = mx.array(a_np) if device == mx.gpu else a_np
    return 2 * 2048**3 / min(seconds(lambda: a @ a) for _ in range(7))


def read_bandwidth(device: mx.Device) -> float:
    """Bytes per second that all threads together read from memory: a matrix of 256 MB times a vector."""
    a_np, v_np = np.ones((2**14, 2**12), dtype=np.float32), np.ones(2**12, dtype=np.float32)
    a, v = (mx.array(a_np), mx.array(v_np)) if device == mx.gpu else (a_np, v_np)
    return a_np.nbytes / min(seconds(lambda: a @ v) for _ in range(7))


@dataclass
class Case:
    name: str
    seconds: dict[str, float]
    ratios: dict[str, float]  # peer over ours: how many times faster ours is
    floor: float | None = None
    limit: str = ""  # what the floor counts: "operations" or "bytes"
    notes: dict[str, float | str] = field(default_factory=dict)


class Benchmark:
    """The cases of a run; ``options`` are command line options besides those of all benchmarks."""

    def __init__(self, stem: str, description: str | None, options: Sequence[argparse.ArgumentParser] = ()) -> None:
        parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, parents=options
        )
        parser.add_argument("--quick", action="store_true", help="fewer and smaller cases")
        parser.add_argument("--rounds", type=int, default=7, help="how often contenders take turns (7), at most")
        parser.add_argument("--only", default="", help="run the cases whose name contains this, in either case")
        parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu", help="where MLX runs (default cpu)")
        parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON and the plot go")
        self.args = parser.parse_args()
        self.device = mx.Device(mx.gpu if self.args.device == "gpu" else mx.cpu)
        mx.set_default_device(self.device)
        self.stem = stem if self.device == mx.cpu else f"{stem}_gpu"
        self.cases: list[Case] = []
        self.left_out: list[str] = []  # cases that have no kernel on this device
        self.console = Console(width=140)
        self.rate, self.bandwidth = matmul_rate(self.device), read_bandwidth(self.device)

    def pick(self, *, full: Sequence[T], quick: Sequence[T]) -> Sequence[T]:
        return quick if self.args.quick else full

    def wants(self, name: str) -> bool:
        return str(self.args.only).lower() in name.lower()

    @contextmanager
    def unless_refused(self, name: str) -> Iterator[None]:
        """Leaves out what has no kernel on the GPU, with a line that says so: the cases behind it still run."""
        try:
            yield
        except (RuntimeError, ValueError) as e:
            if self.device == mx.cpu or REFUSAL not in str(e):
                raise
            self.left_out.append(name)
            self.console.print(f"[dim]{name}:[/] left out: {escape(str(e))}", highlight=False)

    def case(
        self,
        name: str,
        contenders: dict[str, Work],
        *,
        flops: float = 0,
        nbytes: float = 0,
        rounds: int | None = None,
        times: int = 1,
        notes: dict[str, float | str] | None = None,
    ) -> Case | None:
        """Times one case; the first contender is ours. Returns None when --only, or the GPU, leaves it out.

        Long work takes fewer ``rounds`` than ``--rounds`` says. Small work is better done several `times` in one call,
        which MLX then evaluates as one graph: figures, flops and nbytes are those of one time.
        """
        if not self.wants(name):
            return None
        warm: dict[str, float] = {}
        with self.unless_refused(name):
            warm = {who: seconds(work, 0) for who, work in contenders.items()}  # first touch, compiled graphs, threads
        if not warm:
            return None
        samples: dict[str, list[float]] = {who: [] for who in contenders}
        for _ in range(min(rounds or self.args.rounds, self.args.rounds)):
            for who, work in contenders.items():
                time.sleep(SETTLE)
                if warm[who] < LONG:
                    seconds(work)  # untimed: its own threads wake up, and the processor, too
                samples[who].append(seconds(work) / times)
        ours, *peers = contenders
        ratios = {
            peer: statistics.median(p / o for p, o in zip(samples[peer], samples[ours], strict=True)) for peer in peers
        }
        medians = {who: statistics.median(values) for who, values in samples.items()}
        by_operations, by_bytes = flops / self.rate, nbytes / self.bandwidth
        case = Case(
            name,
            medians,
            ratios,
            floor=max(by_operations, by_bytes) or None,
            limit="operations" if by_operations > by_bytes else "bytes",
            notes=({"in one graph": str(times)} if times > 1 else {}) | (notes or {}),
        )
        self.cases.append(case)
        self.console.print(self._line(case), highlight=False)
        return case

    def _line(self, case: Case) -> str:
        times = ", ".join(f"{who} {format_seconds(s)}" for who, s in case.seconds.items())
        return f"[dim]{case.name}:[/] {times}"

    def geometric_mean(self, peer: str, contains: str = "") -> float:
        ratios = [c.ratios[peer] for c in self.cases if peer in c.ratios and contains in c.name]
        return statistics.geometric_mean(ratios) if ratios else float("nan")

    def finish(self, *, summary: dict[str, float] | None = None) -> None:
        """Prints the table and stores <stem>.json and <stem>.png."""
        if not self.cases and self.left_out:
            raise SystemExit(f"none of the {len(self.left_out)} cases has a kernel on this device: nothing is stored")
        if not self.cases:
            raise SystemExit(f"no case's name contains {self.args.only!r}: nothing is stored")
        self.console.print(self._table())
        for name, value in (summary or {}).items():
            self.console.print(f"{name}: {value:.2f}")
        self.args.out.mkdir(parents=True, exist_ok=True)
        record = {
            "benchmark": self.stem,
            "date": date.today().isoformat(),
            "chip": chip(self.device),
            "threads": _core.num_threads(),
            "simd_level": _core.simd_level(),
            "versions": versions() | {"metalfaiss": metalfaiss.__version__},
            "matmul_gflops": self.rate / 1e9,
            "read_gbytes_per_s": self.bandwidth / 1e9,
            "summary": summary or {},
            "left_out": self.left_out,
            "cases": [asdict(case) for case in self.cases],
        }
        path = self.args.out / f"{self.stem}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")
        self.console.print(f"stored {path} and {self._plot(path.with_suffix('.png'))}")

    def _machine(self) -> str:
        of_cpu = f", {_core.num_threads()} threads, {_core.simd_level()}" if self.device == mx.cpu else ""
        return chip(self.device) + of_cpu

    def _table(self) -> Table:
        peers = list(dict.fromkeys(peer for case in self.cases for peer in case.ratios))
        table = Table(
            title=f"{self.stem} on {self._machine()}: "
            f"{self.rate / 1e9:.0f} GFLOP/s in a matrix product, {self.bandwidth / 1e9:.1f} GB/s read"
        )
        table.add_column("work")
        for heading in ("native", "floor", "of floor", *(f"x {peer}" for peer in peers), "notes"):
            table.add_column(heading, justify="right")
        for case in self.cases:
            ours = next(iter(case.seconds.values()))
            floor = (format_seconds(case.floor), f"{case.floor / ours:.0%} {case.limit}") if case.floor else ("", "")
            ratios = (f"{case.ratios[p]:.2f}" if p in case.ratios else "" for p in peers)
            notes = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in case.notes.items())
            table.add_row(case.name, format_seconds(ours), *floor, *ratios, notes)
        return table

    def _plot(self, path: Path) -> Path:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        peers = list(dict.fromkeys(peer for case in self.cases for peer in case.ratios))
        height = 0.8 / max(1, len(peers))
        fig, ax = plt.subplots(figsize=(9, 1.2 + 0.3 * len(self.cases) * max(1, len(peers)) ** 0.5))
        for i, peer in enumerate(peers):
            shown = [(row, case.ratios[peer]) for row, case in enumerate(self.cases) if peer in case.ratios]
            ax.barh(
                [row + i * height for row, _ in shown], [ratio for _, ratio in shown], height, label=f"against {peer}"
            )
        ax.set_yticks(range(len(self.cases)), [case.name for case in self.cases], fontsize=7)
        ax.set_xscale("log")
        ax.axvline(1, color="black", linewidth=0.8)
        ax.invert_yaxis()
        ax.set_xlabel("times faster (log scale)")
        ax.set_title(f"{self.stem}: {self._machine()}", fontsize=9)
        ax.legend(fontsize=7)
        fig.tight_layout()
        fig.savefig(path, dpi=110)
        plt.close(fig)
        return path


def format_seconds(s: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if s >= scale:
            return f"{s / scale:.3g} {unit}"
    return f"{s * 1e9:.0f} ns"
