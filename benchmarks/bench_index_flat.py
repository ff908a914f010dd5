"""Exact search with IndexFlatL2, against faiss-cpu and pure MLX: many queries, few, one; and the memory it takes.

    python benchmarks/bench_index_flat.py [--quick]

The vectors are Gaussian with a decaying spectrum and of unit length, as sentence embeddings are. Pure MLX takes part up
to 16 queries: the Linux wheel's matrix product would take minutes for 1000.

Memory is that of a process of its own, which holds the vectors twice (as NumPy's and as the index's) before it
searches; the figure is by how much its peak grows during the search.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import faiss
import mlx.core as mx
import numpy as np

import metalfaiss
from harness import Benchmark

SHAPES = [(84_000, 384), (100_000, 128)]
QUERIES = [1000, 16, 1]
MEMORY = [50_000, 200_000, 800_000]  # ntotal, at d = 64


def embeddings(n: int, d: int, seed: int) -> np.ndarray:
    spectrum = 1 / np.sqrt(1 + np.arange(d, dtype=np.float32))
    x = np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32)
    x *= spectrum  # in place, here and below: memory is measured after it
    x /= np.sqrt(np.einsum("ij,ij->i", x, x))[:, None]
    return x


def pure_mlx(xb: mx.array) -> Callable[[mx.array, int], tuple[mx.array, mx.array]]:
    norms = mx.square(xb).sum(axis=1)

    def search(xq: mx.array, k: int) -> tuple[mx.array, mx.array]:
        D = norms - 2 * (xq @ xb.T)
        I = mx.argpartition(D, k, axis=1)[:, :k]
        D = mx.take_along_axis(D, I, axis=1)
        order = mx.argsort(D, axis=1)
        found = mx.take_along_axis(D, order, axis=1) + mx.square(xq).sum(axis=1, keepdims=True)
        return found, mx.take_along_axis(I, order, axis=1)

    return search


def recall(index: metalfaiss.IndexFlat, theirs: faiss.IndexFlat, xq: np.ndarray, k: int) -> float:
    return float((index.search(xq, k)[1] == theirs.search(xq, k)[1]).mean())


def search_cases(bench: Benchmark, n: int, d: int) -> None:
    xb = embeddings(n, d, 0)
    ours, theirs, mlx = metalfaiss.IndexFlatL2(d), faiss.IndexFlatL2(d), pure_mlx(mx.array(xb))
    ours.add(xb)
    theirs.add(xb)
    for nq in bench.pick(full=QUERIES, quick=QUERIES[1:]):
        xq = embeddings(nq, d, 1)
        lazy = mx.array(xq)
        for k in (10, 100):
            name = f"{n}x{d}, {nq} {'query' if nq == 1 else 'queries'}, k={k}"
            contenders: dict[str, Callable[[], object]] = {
                "native": lambda xq=xq, k=k: ours.search(xq, k),
                "faiss": lambda xq=xq, k=k: theirs.search(xq, k),
            }
            if nq <= 16:
                contenders["mlx"] = lambda lazy=lazy, k=k: mlx(lazy, k)
            bench.case(
                name,
                contenders,
                flops=2.0 * nq * n * d,
                nbytes=4.0 * n * d,
                rounds=3 if nq == 1000 else None,
                notes={"same ids": recall(ours, theirs, xq[:100], k)} if bench.wants(name) else None,
            )


def chunked_cases(bench: Benchmark, n: int, d: int) -> None:
    """The cost of vectors that came in small batches, and of storing them in half the bytes."""
    xb = embeddings(n, d, 0)
    whole, batches, half = (metalfaiss.IndexFlatL2(d, dtype=t) for t in (mx.float32, mx.float32, mx.bfloat16))
    whole.add(xb)
    half.add(xb)
    for start in range(0, n, 77):
        batches.add(xb[start : start + 77])
    for nq in (16, 1):
        xq = embeddings(nq, d, 1)
        bench.case(
            f"{n}x{d} added by 77, {nq} {'query' if nq == 1 else 'queries'}, k=10",
            {
                "native": lambda xq=xq: batches.search(xq, 10),
                "added at once": lambda xq=xq: whole.search(xq, 10),
                "bfloat16": lambda xq=xq: half.search(xq, 10),
            },
            flops=2.0 * nq * n * d,
            nbytes=4.0 * n * d,
        )


def peak_growth(ntotal: int) -> float:
    """MB by which the peak of a fresh process grows during a search of 1000 queries for k=100."""
    program = f"import bench_index_flat; bench_index_flat.search_once({ntotal})"
    done = subprocess.run([sys.executable, "-c", program], cwd=sys.path[0], capture_output=True, text=True, check=True)
    return float(done.stdout)


def search_once(ntotal: int, d: int = 64) -> None:
    x = embeddings(ntotal, d, 0)
    index = metalfaiss.IndexFlatL2(d)
    index.add(x)
    index.search(x[:1], 1)
    before = peak()
    index.search(x[:1000], 100)
    print(peak() - before)


def peak() -> float:
    """MB that this process held at most. Linux's ru_maxrss would begin with the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    bench = Benchmark("index_flat", __doc__)
    for n, d in bench.pick(full=SHAPES, quick=[(20_000, 128)]):
        search_cases(bench, n, d)
    for n, d in bench.pick(full=[(100_000, 128)], quick=[(20_000, 128)]):
        chunked_cases(bench, n, d)
    summary = {
        f"geometric mean against faiss, {nq}": bench.geometric_mean("faiss", f" {nq}")
        for nq in ("1000 queries", "16 queries", "1 query")
    }
    if bench.wants("memory"):
        for ntotal in bench.pick(full=MEMORY, quick=MEMORY[:1]):
            summary[f"memory: MB beyond the data, {ntotal} vectors"] = peak_growth(ntotal)
    bench.finish(summary={name: value for name, value in summary.items() if value == value})


if __name__ == "__main__":
    main()
