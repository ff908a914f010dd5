"""pairwise_distances against FAISS, SciPy and pure MLX.

FAISS and pure MLX use the expanded form |q|^2 - 2 q.b + |b|^2, which loses digits where vectors are near each other and
far from the origin; SciPy computes in float64. The error column is the largest relative error on data of mean 100 and
spread 1. Inner products, a plain matrix product, show what the differences cost. The floor counts two operations a
difference, at the rate of a matrix product, or the bytes read and written.

    python benchmarks/bench_pairwise_distances.py [--quick]
"""

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from harness import Benchmark
from metalfaiss.metrics import METRIC_INNER_PRODUCT
from metalfaiss.pairwise import pairwise_distances

try:
    import faiss
except ImportError:
    faiss = None
try:
    from scipy.spatial.distance import cdist
except ImportError:
    cdist = None

SHAPES = [
    (1000, 10_000, 16),
    (1000, 10_000, 128),
    (1000, 5000, 384),
    (1000, 5000, 768),
    (1, 100_000, 128),
    (16, 100_000, 128),
    (100_000, 16, 64),
]


def expanded(q: mx.array, b: mx.array) -> mx.array:
    norms_q = mx.sum(q * q, axis=-1, keepdims=True)
    return norms_q - 2 * (q @ b.T) + mx.sum(b * b, axis=-1)


def largest_error(distances: Callable[..., object], q: np.ndarray, b: np.ndarray) -> float:
    q, b = q[:20] + np.float32(100), b[:50] + np.float32(100)
    exact = np.square(q[:, None].astype(np.float64) - b[None]).sum(-1)
    return float(np.max(np.abs(np.array(distances(q, b)) - exact) / exact))


def main() -> None:
    bench = Benchmark("pairwise_distances", __doc__)
    rng = np.random.default_rng(0)
    compiled = mx.compile(expanded)
    for nq, nb, d in bench.pick(full=SHAPES, quick=SHAPES[1:2]):
        name = f"{nq} x {nb}, d={d}"
        if not bench.wants(name):
            continue
        q = rng.standard_normal((nq, d), dtype=np.float32)
        b = rng.standard_normal((nb, d), dtype=np.float32)
        mq, mb = mx.array(q), mx.array(b)
        contenders = {
            "native": lambda mq=mq, mb=mb: pairwise_distances(mq, mb),
            "native inner product": lambda mq=mq, mb=mb: pairwise_distances(mq, mb, METRIC_INNER_PRODUCT),
            "pure MLX": lambda mq=mq, mb=mb: compiled(mq, mb),
        }
        notes: dict[str, float | str] = {"error": largest_error(pairwise_distances, q, b)}
        if faiss is not None:
            contenders["faiss"] = lambda q=q, b=b: faiss.pairwise_distances(q, b)
            notes["faiss's"] = largest_error(faiss.pairwise_distances, q, b)
        if cdist is not None:
            contenders["scipy"] = lambda q=q, b=b: cdist(q, b, "sqeuclidean")
        nbytes = 4 * (nq * d + nb * d + nq * nb)
        bench.case(name, contenders, flops=2 * nq * nb * d, nbytes=nbytes, rounds=3, notes=notes)
    bench.finish()


if __name__ == "__main__":
    main()
