"""The index library against faiss-cpu, work by work, in one run: what a FAISS user gets by changing one import.

    python benchmarks/bench_faiss.py [--quick] [--rows 84000] [--rounds 7] [--only k-means] [--data vectors.npy]

K-means; IVF,Flat: add, search, and by 16 threads; IVF,SQ8; exhaustive SQ8; range search; binary codes; files. All of it
takes a few minutes. A case is a function under `@case`: it gets the benchmark and the data, and calls `bench.case` with
contenders "native" and "faiss". Both work on the same vectors with the same trained parts, take turns, and report their
recall where a search is not exact. What a case needs is made when --only asks for it.

Without --data the vectors are synthetic: Gaussian clusters of unequal size with a decaying spectrum, of unit length, as
sentence embeddings are.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np

import metalfaiss
from harness import Benchmark, Seconds

Case = Callable[[Benchmark, "Data"], None]
Pair = Callable[[], tuple[Any, Any]]
CASES: list[Case] = []
NLIST, NPROBE, K, QUERIES = 1024, 16, 10, 1000
LIBRARIES = {"native": metalfaiss, "faiss": faiss}


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


def ungrouped(n: int, d: int) -> np.ndarray:
    """Gaussian with a slowly decaying spectrum, of unit length."""
    x = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
    x /= np.sqrt(1 + np.arange(d, dtype=np.float32))
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
        return min(NLIST, max(len(self.xb) // 40, 1))

    @cached_property
    def centroids(self) -> np.ndarray:
        """By FAISS, for both contenders."""
        kmeans = faiss.Kmeans(self.xb.shape[1], self.nlist, niter=10)
        kmeans.train(self.xb)
        return kmeans.centroids


def synthetic(rows: int) -> Data:
    return Data(clustered(rows, 384, 1), clustered(QUERIES, 384, 2))


def from_file(path: Path, rows: int | None) -> Data:
    """Some of the rows are queries."""
    x = np.ascontiguousarray(np.load(path), dtype=np.float32)
    chosen = np.random.default_rng(0).permutation(len(x))[: None if rows is None else rows + QUERIES]
    return Data(x[np.sort(chosen[QUERIES:])], x[np.sort(chosen[:QUERIES])])


def compare_search(
    bench: Benchmark,
    data: Data,
    name: str,
    pair: Pair,
    xq: np.ndarray,
    *,
    rounds: int | None = None,
    flops: float = 0,
    nbytes: float = 0,
) -> None:
    """A search of both, with the recall of each; flops are those of one query."""
    if bench.wants(name):
        ours, theirs = pair()
        notes = {
            "recall": data.recall(ours.search(xq, K)[1]),
            "of faiss": data.recall(theirs.search(xq, K)[1]),
        }
        contenders = {"native": lambda: ours.search(xq, K), "faiss": lambda: theirs.search(xq, K)}
        bench.case(name, contenders, rounds=rounds, flops=flops * len(xq), nbytes=nbytes, notes=notes)


# -------------------------------------------------------------------------------------------- k-means


@case
def kmeans(bench: Benchmark, data: Data) -> None:
    """The floor is that of exhaustive assignment: a sketch goes below it."""
    k, iterations, (n, d) = data.nlist, 10, data.xb.shape
    for kind in ("", "ungrouped "):
        name = f"k-means, {k} centroids, {iterations} iterations, {kind}{data.name}"
        if not bench.wants(name):
            continue
        x = ungrouped(n, d) if kind else data.xb
        objective: dict[str, float | str] = {}

        def train(who: str, x: np.ndarray = x, objective: dict[str, float | str] = objective) -> None:
            trained = LIBRARIES[who].Kmeans(d, k, niter=iterations)
            trained.train(x)
            objective[who] = float(trained.obj[-1])

        done = bench.case(
            name,
            {"native": lambda train=train: train("native"), "faiss": lambda train=train: train("faiss")},
            rounds=3,
            flops=2.0 * n * k * d * iterations,
        )
        if done is not None:
            done.notes["objective"] = f"{float(objective['native']) / float(objective['faiss']) - 1:+.2%}"


# ------------------------------------------------------------------------------------------------ IVF


def ivf_pair(data: Data, codes: bool) -> tuple[Any, Any]:
    """Trained indexes with the same centroids, without vectors."""
    pair = []
    for library in LIBRARIES.values():
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


def ivf_searches(bench: Benchmark, data: Data, name: str, pair: Pair, component: int) -> None:
    """Searches of lists of equal size would do `flops`; a query alone reads its lists."""
    n, d = data.xb.shape
    scanned = n * min(1.0, NPROBE / data.nlist)
    flops, one = 2.0 * d * (data.nlist + scanned), d * (4.0 * data.nlist + component * scanned)
    what = f"nprobe {NPROBE}, {data.name}"
    compare_search(bench, data, f"{name} search {QUERIES} queries, {what}", pair, data.xq, flops=flops)
    compare_search(bench, data, f"{name} search 1 query, {what}", pair, data.xq[:1], flops=flops, nbytes=one)


@case
def ivf_flat(bench: Benchmark, data: Data) -> None:
    name = f"IVF{data.nlist},Flat"

    @cache
    def empty() -> tuple[Any, Any]:
        return ivf_pair(data, codes=False)

    @cache
    def pair() -> tuple[Any, Any]:
        for index in empty():
            index.reset()
            index.add(data.xb)
        return empty()

    def add(which: int) -> Callable[[], None]:
        return lambda: (empty()[which].reset(), empty()[which].add(data.xb))[1]

    if bench.wants(f"{name} add {data.name}"):
        empty()
        bench.case(
            f"{name} add {data.name}",
            {"native": add(0), "faiss": add(1)},
            rounds=3,
            flops=2.0 * data.xb.size * data.nlist,
        )
    ivf_searches(bench, data, name, pair, component=4)
    threads_case(bench, f"{name} search 16 threads of single queries, nprobe {NPROBE}, {data.name}", pair, data.xq)
    files_cases(bench, name, pair)


@case
def ivf_sq8(bench: Benchmark, data: Data) -> None:
    @cache
    def pair() -> tuple[Any, Any]:
        indexes = ivf_pair(data, codes=True)
        for index in indexes:
            index.add(data.xb)
        return indexes

    ivf_searches(bench, data, f"IVF{data.nlist},SQ8", pair, component=1)


def threads_case(bench: Benchmark, name: str, pair: Pair, xq: np.ndarray) -> None:
    """16 Python threads, each with queries of its own, one at a time."""
    if not bench.wants(name):
        return

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

    ours, theirs = pair()
    bench.case(name, {"native": work(ours), "faiss": work(theirs)}, notes={"queries": 480.0})


READ = """
import sys, time, {0}
start = time.perf_counter()
index = {0}.read_index(sys.argv[1])
print(time.perf_counter() - start)
"""


def read_by_new_process(library: Any, path: str) -> Seconds:
    """The seconds that reading takes it, its start and its imports aside."""
    command = [sys.executable, "-c", READ.format(library.__name__), path]
    return Seconds(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def files_cases(bench: Benchmark, name: str, pair: Pair) -> None:
    """Files of the page cache: ours are forced to the disk and renamed, FAISS's are not, unless this does it.

    A process that reads again and again finds memory that the heap kept; one that starts and reads its index does not.
    """
    kinds = ("write", "read", "read by a new process", "open by mmap")
    write, read, fresh, opened = (f"file of {name}: {what}" for what in kinds)
    if not any(bench.wants(each) for each in (write, read, fresh, opened)):
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = {who: str(Path(folder) / who) for who in LIBRARIES}
        indexes = dict(zip(LIBRARIES, pair(), strict=True))

        def works(work: Callable[[str, Any, str], object]) -> dict[str, Callable[[], object]]:
            return {who: lambda who=who: work(who, LIBRARIES[who], paths[who]) for who in LIBRARIES}

        writers = works(lambda who, library, path: library.write_index(indexes[who], path))
        for each in writers.values():
            each()

        def forced() -> None:  # all that waits, so that ours, next in turn, pays for its own file alone
            writers["faiss"]()
            os.sync()

        notes: dict[str, float | str] = {"MB": Path(paths["native"]).stat().st_size / 1e6}
        bench.case(write, writers | {"faiss, forced to the disk": forced}, rounds=3, notes=notes)
        bench.case(read, works(lambda who, library, path: library.read_index(path)), rounds=3, notes=notes)
        same = works(lambda who, library, path: read_by_new_process(library, paths["faiss"]))
        bench.case(fresh, same, notes=notes)
        mapped = works(lambda who, library, path: library.read_index(path, library.IO_FLAG_MMAP))
        bench.case(opened, mapped, notes=notes)


# ---------------------------------------------------------------------------------------- codes, flat


@case
def sq8_exhaustive(bench: Benchmark, data: Data) -> None:
    @cache
    def pair() -> tuple[Any, Any]:
        indexes = []
        for library in LIBRARIES.values():
            index = library.IndexScalarQuantizer(data.xb.shape[1], library.ScalarQuantizer.QT_8bit)
            index.train(data.xb)
            index.add(data.xb)
            indexes.append(index)
        return indexes[0], indexes[1]

    work = {"flops": 2.0 * data.xb.size, "nbytes": float(data.xb.size)}
    compare_search(bench, data, f"SQ8 search {QUERIES} queries, {data.name}", pair, data.xq, rounds=3, **work)
    compare_search(bench, data, f"SQ8 search 1 query, {data.name}", pair, data.xq[:1], **work)


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


@case
def binary_flat(bench: Benchmark, data: Data) -> None:
    """Random codes, twelve for each vector; the floor is one read of them."""
    n, bits = 12 * len(data.xb), 256
    names = {nq: f"binary flat, {bits} bits, {nq} queries of {n}" for nq in (1, 200)}
    if not any(bench.wants(name) for name in names.values()):
        return
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (n, bits // 8), dtype=np.uint8)
    ours, theirs = metalfaiss.IndexBinaryFlat(bits), faiss.IndexBinaryFlat(bits)
    ours.add(codes)
    theirs.add(codes)
    for nq, name in names.items():
        xq = rng.integers(0, 256, (nq, bits // 8), dtype=np.uint8)
        contenders = {"native": lambda xq=xq: ours.search(xq, K), "faiss": lambda xq=xq: theirs.search(xq, K)}
        bench.case(name, contenders, nbytes=codes.nbytes)


def main() -> None:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--data", type=Path, help="a .npy file of vectors, float32: 1000 rows of it are queries")
    options.add_argument("--rows", type=int, help="how many vectors (84000; --quick: 20000; --data: all)")
    bench = Benchmark("faiss", __doc__, [options])
    faiss.omp_set_num_threads(metalfaiss.num_threads())
    path, rows = bench.args.data, bench.args.rows
    if path is None:
        data, source = synthetic(rows or (20_000 if bench.args.quick else 84_000)), "synthetic clusters"
    else:
        data, source = from_file(path, rows or (20_000 if bench.args.quick else None)), path.name
    bench.console.print(f"vectors: {source}, {data.name}")
    for function in CASES:
        with bench.unless_refused(function.__name__):
            function(bench, data)
    bench.finish(summary={"geometric mean against faiss": bench.geometric_mean("faiss")})


if __name__ == "__main__":
    main()
