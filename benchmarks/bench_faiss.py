"""The index library against faiss-cpu, work by work, in one run: what a FAISS user gets by changing one import.

    python benchmarks/bench_faiss.py [--quick] [--only ivf] [--data vectors.npy]

A case is a function under `@case`: it gets the benchmark and the data, and calls `bench.case` with contenders "native"
and "faiss". Both work on the same vectors with the same trained parts, take turns, and report their recall where a
search is not exact.

Without --data (a .npy file, float32, at least 2 columns) the vectors are synthetic: Gaussian clusters of unequal size
with a decaying spectrum, of unit length, as sentence embeddings are.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np

import metalfaiss
from harness import Benchmark

Case = Callable[[Benchmark, "Data"], None]
CASES: list[Case] = []
NLIST, NPROBE, K = 1024, 16, 10


def case(function: Case) -> Case:
    CASES.append(function)
    return function


def clustered(n: int, d: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    spectrum = 1 / np.sqrt(1 + np.arange(d, dtype=np.float32))
    centers = rng.standard_normal((1000, d), dtype=np.float32) * spectrum
    weights = rng.exponential(size=1000)
    rng = np.random.default_rng(seed)
    x = centers[rng.choice(1000, size=n, p=weights / weights.sum())]
    x += rng.standard_normal((n, d), dtype=np.float32) * (0.6 * spectrum)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@dataclass
class Data:
    xb: np.ndarray
    xq: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.xb.shape[0]}x{self.xb.shape[1]}"

    @cached_property
    def truth(self) -> np.ndarray:
        """The ids of the nearest vectors, (nq, K)."""
        return metalfaiss.knn(self.xq, self.xb, K)[1]

    def recall(self, found: np.ndarray) -> float:
        hits = [np.isin(a[a >= 0], b).sum() for a, b in zip(found[:, :K], self.truth, strict=False)]
        return float(sum(hits)) / (len(found) * K)

    @cached_property
    def nlist(self) -> int:
        return min(NLIST, len(self.xb) // 40)

    @cached_property
    def centroids(self) -> np.ndarray:
        """By FAISS, for both contenders."""
        kmeans = faiss.Kmeans(self.xb.shape[1], self.nlist, niter=10)
        kmeans.train(self.xb)
        return kmeans.centroids


def synthetic(quick: bool) -> Data:
    n = 20_000 if quick else 84_000
    return Data(clustered(n, 384, 1), clustered(1000, 384, 2))


def from_file(path: str, quick: bool) -> Data:
    x = np.ascontiguousarray(np.load(path), dtype=np.float32)
    rows = np.random.default_rng(0).permutation(len(x))[: 21_000 if quick else None]
    return Data(x[np.sort(rows[1000:])], x[np.sort(rows[:1000])])


def compare_search(
    bench: Benchmark, data: Data, name: str, ours: Any, theirs: Any, xq: np.ndarray, rounds: int | None = None
) -> None:
    """A search of both, with the recall of each."""
    if bench.wants(name):
        found = ours.search(xq, K)[1], theirs.search(xq, K)[1]
        notes = {"recall": data.recall(found[0]), "of faiss": data.recall(found[1])}
        contenders = {"native": lambda: ours.search(xq, K), "faiss": lambda: theirs.search(xq, K)}
        bench.case(name, contenders, rounds=rounds, notes=notes)


# ------------------------------------------------------------------------------------------------ IVF


def ivf_pair(data: Data, codes: bool) -> tuple[Any, Any]:
    """Trained indexes with the same centroids, without vectors."""
    pair = []
    for library in (metalfaiss, faiss):
        d = data.xb.shape[1]
        quantizer = library.IndexFlatL2(d)
        quantizer.add(data.centroids)
        if codes:
            index = library.IndexIVFScalarQuantizer(quantizer, d, data.nlist, library.ScalarQuantizer.QT_8bit)
            index.train(data.xb)
        else:
            index = library.IndexIVFFlat(quantizer, d, data.nlist)
        index.nprobe = NPROBE
        pair.append(index)
    return pair[0], pair[1]


@case
def ivf_flat(bench: Benchmark, data: Data) -> None:
    name = f"IVF{data.nlist},Flat"
    if not any(bench.wants(f"{name} {what}") for what in ("add", "search")):
        return
    ours, theirs = ivf_pair(data, codes=False)

    def add(index: Any) -> Callable[[], None]:
        return lambda: (index.reset(), index.add(data.xb))[1]

    bench.case(
        f"{name} add {data.name}",
        {"native": add(ours), "faiss": add(theirs)},
        rounds=3,
        flops=2.0 * data.xb.size * data.nlist,
    )
    for index in (ours, theirs):
        add(index)()
    compare_search(bench, data, f"{name} search 1000 queries, nprobe {NPROBE}", ours, theirs, data.xq)
    compare_search(bench, data, f"{name} search 1 query, nprobe {NPROBE}", ours, theirs, data.xq[:1])
    threads_case(bench, f"{name} search 16 threads of single queries, nprobe {NPROBE}", ours, theirs, data.xq)


@case
def ivf_sq8(bench: Benchmark, data: Data) -> None:
    name = f"IVF{data.nlist},SQ8"
    if not any(bench.wants(f"{name} {what}") for what in ("add", "search")):
        return
    ours, theirs = ivf_pair(data, codes=True)
    for index in (ours, theirs):
        index.add(data.xb)
    compare_search(bench, data, f"{name} search 1000 queries, nprobe {NPROBE}", ours, theirs, data.xq)
    compare_search(bench, data, f"{name} search 1 query, nprobe {NPROBE}", ours, theirs, data.xq[:1])


def threads_case(bench: Benchmark, name: str, ours: Any, theirs: Any, xq: np.ndarray) -> None:
    """16 Python threads, each with queries of its own, one at a time."""

    def work(index: Any) -> Callable[[], None]:
        def run() -> None:
            def queries(thread: int) -> None:
                for i in range(thread, 480, 16):
                    index.search(xq[i % len(xq)][None], K)

            threads = [threading.Thread(target=queries, args=(t,)) for t in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        return run

    bench.case(name, {"native": work(ours), "faiss": work(theirs)}, notes={"queries": 480.0})


# ------------------------------------------------------------------------------------------- codes, flat


@case
def sq8_exhaustive(bench: Benchmark, data: Data) -> None:
    name = "SQ8 search"
    if not bench.wants(name):
        return
    pair = []
    for library in (metalfaiss, faiss):
        index = library.IndexScalarQuantizer(data.xb.shape[1], library.ScalarQuantizer.QT_8bit)
        index.train(data.xb)
        index.add(data.xb)
        pair.append(index)
    compare_search(bench, data, f"{name} 1000 queries, {data.name}", pair[0], pair[1], data.xq, rounds=3)
    compare_search(bench, data, f"{name} 1 query, {data.name}", pair[0], pair[1], data.xq[:1])


@case
def range_flat(bench: Benchmark, data: Data) -> None:
    name = f"Flat range search 200 queries, {data.name}"
    if not bench.wants(name):
        return
    ours, theirs = metalfaiss.IndexFlatL2(data.xb.shape[1]), faiss.IndexFlatL2(data.xb.shape[1])
    ours.add(data.xb)
    theirs.add(data.xb)
    xq = data.xq[:200]
    radius = float(np.median(theirs.search(xq, 100)[0][:, -1]))
    limits = ours.range_search(xq, radius)[0]
    bench.case(
        name,
        {"native": lambda: ours.range_search(xq, radius), "faiss": lambda: theirs.range_search(xq, radius)},
        rounds=3,
        flops=2.0 * data.xb.size * len(xq),
        notes={"results": float(limits[-1])},
    )


def main() -> None:
    path = None
    if "--data" in sys.argv:
        at = sys.argv.index("--data")
        path = sys.argv[at + 1]
        del sys.argv[at : at + 2]
    faiss.omp_set_num_threads(metalfaiss.num_threads())
    bench = Benchmark("faiss", __doc__)
    data = synthetic(bench.args.quick) if path is None else from_file(path, bench.args.quick)
    source = "synthetic clusters" if path is None else Path(path).name
    bench.console.print(f"vectors: {source}, {data.name}")
    for function in CASES:
        function(bench, data)
    bench.finish(summary={"geometric mean against faiss": bench.geometric_mean("faiss")})


if __name__ == "__main__":
    main()
