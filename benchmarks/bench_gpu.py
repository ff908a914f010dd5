"""The table of work on an NVIDIA GPU: MetalFaiss, pure MLX and PyTorch on the same shapes.

    python benchmarks/bench_gpu.py [--contenders metalfaiss,mlx,torch] [--only knn] [--limit 300] [--json out.json]

Each contender runs in a process of its own, one after the other, on data made on the GPU. A figure is the median of the
time of one call, of calls enqueued one behind the other until 50 ms have passed (`ms`); `latency` is that of a single
call, waited for. The floor is the bytes of the inputs at 4.2 TB/s read or written, an H200's device copy.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BANDWIDTH = 4.2e12
Work = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    name: str
    kind: str
    sizes: tuple[int, ...]
    target: float  # milliseconds
    half: bool = False
    nbytes: float = 0


def knn_case(nb: int, nq: int, k: int, target: float, half: bool = False) -> Case:
    name = f"knn {nb // 1_000_000}M x 128{' float16' if half else ''}, {nq} queries, k={k}"
    return Case(name, "knn", (nb, 128, nq, k), target, half, nb * 128 * (2 if half else 4))


M = 1_000_000
CASES = [
    knn_case(M, 1000, 10, 4.0),
    knn_case(M, 1000, 100, 4.1),
    knn_case(M, 10000, 10, 41.4),
    knn_case(M, 1, 10, 0.17),
    knn_case(M, 1, 10, 0.11, half=True),
    knn_case(M, 100, 10, 0.5),
    knn_case(10 * M, 100, 10, 1.5, half=True),
    Case("select_k (1000, 1M), k=10", "select_k", (1000, M, 10), 1.4, nbytes=4e9),
    Case("select_k (1000, 1M), k=100", "select_k", (1000, M, 100), 1.8, nbytes=4e9),
    Case("select_k (1000, 1M), k=1000", "select_k", (1000, M, 1000), 3.0, nbytes=4e9),
    Case("qr 1M x 64", "qr", (M, 64), 2.5, nbytes=8 * M * 64),
    Case("qr 100k x 256", "qr", (100_000, 256), 2.5, nbytes=8 * 100_000 * 256),
    Case("qr 4096 x 256", "qr", (4096, 256), 0.6, nbytes=8 * 4096 * 256),
    Case("qr 10000 of 64 x 16", "qr", (10000, 64, 16), 2.0, nbytes=8 * 10000 * 64 * 16),
    Case("z_step 1M x 512, k=32", "z_step", (M, 512, 32), 0.8, nbytes=4 * M * 512),
    Case("z_step 512 x 256, k=32, in a chain", "z_chain", (512, 256, 32), 0.020),
    Case("svd_step 512 x 256, k=32, compiled, in a chain", "svd_chain", (512, 256, 32), 0.060),
    Case("topk_svd 100k x 1024, k=64", "topk_svd", (100_000, 1024, 64), 6.0, nbytes=4 * 100_000 * 1024),
]
CHAIN = 100  # steps, of which each takes the one before


# ------------------------------------------------------------------ contenders


class WithMlx:
    """What MetalFaiss and pure MLX share."""

    def __init__(self) -> None:
        import mlx.core as mx

        self.mx = mx
        mx.set_default_device(mx.gpu)
        self.version = str(mx.__version__)

    def normal(self, *shape: int, half: bool = False) -> Any:
        x = self.mx.random.normal(shape, dtype=self.mx.float16 if half else self.mx.float32)
        self.mx.eval(x)
        return x

    def enqueue(self, result: Any) -> None:
        self.mx.async_eval(result)

    def wait(self) -> None:
        self.mx.synchronize()


class MetalFaiss(WithMlx):
    def __init__(self) -> None:
        super().__init__()
        self.metalfaiss = importlib.import_module("metalfaiss")
        self.version = self.metalfaiss.__version__

    def knn(self, xb: Any, xq: Any, k: int) -> Work:
        return lambda: self.metalfaiss.knn(xq, xb, k)

    def select_k(self, x: Any, k: int) -> Work:
        return lambda: self.metalfaiss.select_k(x, k)

    def qr(self, a: Any) -> Work:
        function = importlib.import_module("metalfaiss.faissmlx.qr").qr
        return lambda: function(a)

    def z_step(self, a: Any, v: Any) -> Work:
        function = importlib.import_module("metalfaiss.faissmlx.kernels.gemm_kernels").z_step
        return lambda: function(a, v)

    def svd_step(self, a: Any, v: Any) -> Work:
        function = importlib.import_module("metalfaiss.faissmlx.svd").svd_step_c
        return lambda: function(a, v)

    def topk_svd(self, a: Any, k: int) -> Work:
        function = importlib.import_module("metalfaiss.faissmlx.svd").topk_svd
        # A subspace of k + 16 dimensions, where PyTorch has k: more work, and smaller errors.
        return lambda: function(a, k, iters=2, oversample=16)


class Mlx(WithMlx):
    def knn(self, xb: Any, xq: Any, k: int) -> Work:
        mx = self.mx
        xq = xq.astype(xb.dtype)

        def search() -> Any:
            found = []
            for part in mx.split(xq, max(1, len(xq) // 1000)):  # of 10000 queries the distances alone are 40 GB
                d = mx.square(xb).sum(axis=1) - 2 * (part @ xb.T)
                ids = mx.argpartition(d, k, axis=1)[:, :k]
                found.append((mx.take_along_axis(d, ids, axis=1), ids))
                mx.eval(found[-1])
            return found

        return search

    def select_k(self, x: Any, k: int) -> Work:
        return lambda: self.mx.topk(x, k)

    def z_step(self, a: Any, v: Any) -> Work:
        return lambda: a.T @ (a @ v)


class Torch:
    def __init__(self) -> None:
        self.torch: Any = importlib.import_module("torch")
        self.version = self.torch.__version__

    def normal(self, *shape: int, half: bool = False) -> Any:
        return self.torch.randn(*shape, device="cuda", dtype=self.torch.float16 if half else self.torch.float32)

    def enqueue(self, result: Any) -> None:
        pass

    def wait(self) -> None:
        self.torch.cuda.synchronize()

    def knn(self, xb: Any, xq: Any, k: int) -> Work:
        torch = self.torch
        xq = xq.to(xb.dtype)

        def search() -> Any:
            found = []
            for part in xq.split(1000):  # of 10000 queries the distances alone are 40 GB
                d = xb.square().sum(1) - 2 * (part @ xb.T)
                found.append(torch.topk(d, k, largest=False))
            return found

        return search

    def select_k(self, x: Any, k: int) -> Work:
        return lambda: self.torch.topk(x, k, largest=False)

    def qr(self, a: Any) -> Work:
        return lambda: self.torch.linalg.qr(a)

    def z_step(self, a: Any, v: Any) -> Work:
        return lambda: a.T @ (a @ v)

    def topk_svd(self, a: Any, k: int) -> Work:
        return lambda: self.torch.svd_lowrank(a, q=k, niter=2)


CONTENDERS: dict[str, Callable[[], Any]] = {"metalfaiss": MetalFaiss, "mlx": Mlx, "torch": Torch}


# ------------------------------------------------------------------ timing


def make(contender: Any, case: Case) -> tuple[Work, int] | None:
    """The work and how many times it is done in one; None where the contender has none."""
    s = case.sizes
    if case.kind == "knn" and hasattr(contender, "knn"):
        return contender.knn(contender.normal(s[0], s[1], half=case.half), contender.normal(s[2], s[1]), s[3]), 1
    if case.kind == "select_k" and hasattr(contender, "select_k"):
        return contender.select_k(contender.normal(s[0], s[1]), s[2]), 1
    if case.kind == "qr" and hasattr(contender, "qr"):
        return contender.qr(contender.normal(*s)), 1
    if case.kind == "z_step" and hasattr(contender, "z_step"):
        return contender.z_step(contender.normal(s[0], s[1]), contender.normal(s[1], s[2])), 1
    if case.kind in ("z_chain", "svd_chain"):
        step = {"z_chain": "z_step", "svd_chain": "svd_step"}[case.kind]
        if not hasattr(contender, step):
            return None
        a, v = contender.normal(s[0], s[1]) * 0.03, contender.normal(s[1], s[2])
        function = getattr(contender, step)

        def chain() -> Any:
            w = v
            for _ in range(CHAIN):
                w = function(a, w)()
            return w

        return chain, CHAIN
    if case.kind == "topk_svd" and hasattr(contender, "topk_svd"):
        return contender.topk_svd(contender.normal(s[0], s[1]), s[2]), 1
    return None


def measure(contender: Any, work: Work, times: int, most_seconds: float = 1.0) -> dict[str, float]:
    def run(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            contender.enqueue(work())
        contender.wait()
        return (time.perf_counter() - start) / calls

    first = run(1)  # compiles
    begin = time.perf_counter()
    run(1)
    latencies, pipelined = [run(1)], []
    calls = max(1, min(50, int(0.05 / max(latencies[0], 1e-6))))
    while len(pipelined) < 7 and (len(pipelined) < 2 or time.perf_counter() - begin < most_seconds):
        pipelined.append(run(calls))
        latencies.append(run(1))
    return {
        "ms": 1e3 * statistics.median(pipelined) / times,
        "latency": 1e3 * statistics.median(latencies) / times,
        "first": 1e3 * first,
    }


def run_contender(name: str, only: str, deadline: float) -> None:
    """Prints a line of JSON a case."""
    base, _, limits = name.partition("@")
    contender = CONTENDERS[base]()
    if limits:
        core = importlib.import_module("metalfaiss")._core
        core.set_knn_limits(**{k: int(v) for k, v in (pair.split("=") for pair in limits.split(";"))})
    print(json.dumps({"contender": name, "version": contender.version}), flush=True)
    for case in CASES:
        if only not in case.name or time.time() > deadline:
            continue
        try:
            made = make(contender, case)
            if made:
                print(json.dumps({"case": case.name, **measure(contender, *made)}), flush=True)
                del made
        except Exception as e:
            print(json.dumps({"case": case.name, "error": f"{type(e).__name__}: {str(e)[:300]}"}), flush=True)


# ------------------------------------------------------------------ the table


def table(found: dict[str, dict[str, dict[str, Any]]], only: str) -> str:
    names = list(found)
    titles = "".join(f"{n[-12:]:>13}{'latency':>9}" for n in names)
    lines = [f"{'work':50}{'floor':>8}{'target':>8}{titles}"]
    for case in CASES:
        if only not in case.name:
            continue
        floor = 1e3 * case.nbytes / BANDWIDTH
        line = f"{case.name:50}{floor:8.2f}{case.target:8.3g}"
        for name in names:
            r = found[name].get(case.name, {})
            line += f"{r['ms']:13.3f}{r['latency']:9.3f}" if "ms" in r else f"{'error' if r else '-':>13}{'':9}"
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--contenders",
        default="metalfaiss,mlx,torch",
        help="metalfaiss@scratch=67108864;threadgroups=1056 runs with such limits of knn",
    )
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--limit", type=float, default=600, help="seconds for all contenders together")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--run", metavar="NAME DEADLINE", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        run_contender(args.run[0], args.only, float(args.run[1]))
        return
    found: dict[str, dict[str, dict[str, Any]]] = {}
    names, end = args.contenders.split(","), time.time() + args.limit
    for i, name in enumerate(names):
        share = (end - time.time()) / (len(names) - i)
        command = [sys.executable, __file__, "--only", args.only, "--run", name, str(time.time() + share)]
        cases = found.setdefault(name, {})
        try:
            done = subprocess.run(
                command, text=True, timeout=share + 20, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            output = done.stdout
        except subprocess.TimeoutExpired as e:
            raw = e.stdout or b""
            output = raw.decode() if isinstance(raw, bytes) else raw
        for line in output.splitlines():
            record = json.loads(line) if line.startswith("{") else {}
            if "case" in record:
                cases[record.pop("case")] = record
                if "error" in record:
                    print(f"{name}: {record['error']}", flush=True)
            elif not record:
                print(f"{name}: {line}", flush=True)
        if args.json:
            args.json.write_text(json.dumps(found, indent=1))
        print(table(found, args.only) + "\n", flush=True)


if __name__ == "__main__":
    main()
