"""Exact search as one operation, ``knn``, against faiss-cpu and pure MLX.

    python benchmarks/bench_knn.py [--quick]

Cases: from 1 to 1000 queries, k from 1 to 1000, storage types, both metrics, and data on which float32 loses its
digits, so that many candidates are scored again in float64: far from the origin, near duplicates, all vectors equal.

The floor of a case is its multiply-adds at the rate of a float32 matrix product, or reading the vectors once. Pure MLX
takes part up to 16 queries: the Linux wheel's matrix product would take minutes for 1000. It expands |q - b|^2, holds
the (nq, nb) matrix, and partitions it; in chunks of 16384 vectors it holds less and merges.
"""

from __future__ import annotations

from collections.abc import Callable

import faiss
import mlx.core as mx
import numpy as np

from harness import Benchmark
from metalfaiss import METRIC_INNER_PRODUCT, METRIC_L2, knn

Arrays = tuple[mx.array, mx.array]


def unit_vectors(n: int, d: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


def pure_mlx(xq: mx.array, xb: mx.array, k: int) -> Arrays:
    distances = mx.square(xb).sum(axis=1) - 2 * (xq @ xb.T) + mx.square(xq).sum(axis=1, keepdims=True)
    ids = mx.argpartition(distances, k, axis=1)[:, :k]
    return nearest_first(mx.take_along_axis(distances, ids, axis=1), ids, k)


def chunked_mlx(xq: mx.array, xb: mx.array, k: int, size: int = 16384) -> Arrays:
    found = []
    for start in range(0, xb.shape[0], size):
        distances, ids = pure_mlx(xq, xb[start : start + size], k)
        found.append((distances, ids + start))
    distances, ids = (mx.concatenate(x, axis=1) for x in zip(*found, strict=True))
    return nearest_first(distances, ids, k)


def nearest_first(distances: mx.array, ids: mx.array, k: int) -> Arrays:
    order = mx.argsort(distances, axis=1)[:, :k]
    return mx.take_along_axis(distances, order, axis=1), mx.take_along_axis(ids, order, axis=1)


def case(
    bench: Benchmark,
    name: str,
    xq: np.ndarray,
    xb: np.ndarray,
    k: int,
    *,
    metric: int = METRIC_L2,
    dtype: mx.Dtype = mx.float32,
    mlx: bool = False,
) -> None:
    if not bench.wants(name):
        return
    theirs = faiss.IndexFlat(xb.shape[1], metric)
    theirs.add(xb)
    q, b = mx.array(xq), mx.array(xb).astype(dtype)
    mx.eval(q, b)
    contenders: dict[str, Callable[[], object]] = {
        "native": lambda: knn(q, b, k, metric),
        "faiss": lambda: theirs.search(xq, k),
    }
    if mlx:
        contenders |= {"mlx": lambda: pure_mlx(q, b, k), "chunked mlx": lambda: chunked_mlx(q, b, k)}
    bench.case(
        name,
        contenders,
        flops=2.0 * len(xq) * xb.size,
        nbytes=float(b.nbytes),
        rounds=3 if len(xq) >= 256 else None,
    )


def main() -> None:
    bench = Benchmark("knn", __doc__)
    n, d = bench.pick(full=[100_000, 128], quick=[20_000, 128])
    xb, xq = unit_vectors(n, d, 0), unit_vectors(1000, d, 1)
    size = f"{n}x{d}"
    for nq in bench.pick(full=[1, 2, 4, 8, 16, 64, 256, 1000], quick=[1, 16]):
        case(bench, f"{size}, nq={nq}, k=10", xq[:nq], xb, 10, mlx=nq in (1, 16))
    for k in bench.pick(full=[1, 100, 1000], quick=[100]):
        case(bench, f"{size}, nq=256, k={k}", xq[:256], xb, k)
    for nq in (1, 256):
        case(bench, f"{size} inner product, nq={nq}, k=10", xq[:nq], xb, 10, metric=METRIC_INNER_PRODUCT)
        for dtype in (mx.float16, mx.bfloat16):
            short = str(dtype).removeprefix("mlx.core.")
            case(bench, f"{size} {short}, nq={nq}, k=10", xq[:nq], xb, 10, dtype=dtype)
    far = 1e4 * np.ones(d, dtype=np.float32)
    case(bench, f"{size} at 1e4, spread 1, nq=256, k=10", far + xq[:256], far + xb, 10)
    cloud = np.concatenate([xb[: n // 2], xb[:1] + np.float32(1e-6) * xb[n // 2 :]])
    case(bench, f"{size} half near duplicates, nq=256, k=10", xq[:256], cloud, 10)
    case(bench, f"{size} all equal, nq=16, k=10", xq[:16], np.tile(xb[:1], (n, 1)), 10)
    bench.finish(summary={"geometric mean against faiss": bench.geometric_mean("faiss")})


if __name__ == "__main__":
    main()
