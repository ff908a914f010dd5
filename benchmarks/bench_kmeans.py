"""K-means: native against faiss-cpu, in one run, with the same objective.

The floor of an exhaustive assignment is its arithmetic, 2 n k d operations an iteration, at the rate of a matrix
product. Sketches go below it.
"""

from __future__ import annotations

import time

import faiss
import numpy as np

import metalfaiss

N, D, K, ITERATIONS = 84_000, 384, 1024, 10
ROUNDS = 3


def embeddings(n: int, d: int) -> np.ndarray:
    """Gaussian with a decaying spectrum, of unit length."""
    x = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
    x /= np.sqrt(1 + np.arange(d, dtype=np.float32))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def clustered(n: int, d: int) -> np.ndarray:
    """300 groups in 64 dimensions, and noise in all, of unit length."""
    rng = np.random.default_rng(0)
    groups = 3 * rng.standard_normal((300, 64), dtype=np.float32)
    z = rng.standard_normal((n, 64), dtype=np.float32) + groups[rng.integers(0, 300, n)]
    axes = rng.standard_normal((64, d), dtype=np.float32) * np.arange(1, 65, dtype=np.float32)[:, None] ** -0.4
    x = z @ axes + 0.5 * rng.standard_normal((n, d), dtype=np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def main() -> None:
    print(f"{N} x {D}, {K} centroids, {ITERATIONS} iterations; medians of {ROUNDS} alternating runs")
    for make in (embeddings, clustered):
        x = make(N, D)
        seconds: dict[str, list[float]] = {"faiss": [], "metalfaiss": []}
        objective = {}
        for _ in range(ROUNDS):
            for module in (faiss, metalfaiss):
                km = module.Kmeans(D, K, niter=ITERATIONS)
                begun = time.perf_counter()
                km.train(x)
                seconds[module.__name__].append(time.perf_counter() - begun)
                objective[module.__name__] = km.obj[-1]
        theirs, ours = (float(np.median(seconds[name])) for name in ("faiss", "metalfaiss"))
        gap = objective["metalfaiss"] / objective["faiss"] - 1
        print(f"{make.__name__}: faiss {theirs:.2f} s, ours {ours:.2f} s: {theirs / ours:.2f} x; objective {gap:+.2%}")


if __name__ == "__main__":
    main()
