"""select_k against mx.argpartition, NumPy's and FAISS's selection.

mx.argpartition and np.argpartition give the k smallest unordered; select_k and faiss.kmin sort them. The floor is one
read of the values.

    python benchmarks/bench_select_k.py [--quick]
"""

import mlx.core as mx
import numpy as np

from harness import Benchmark
from metalfaiss.selection import select_k

try:
    import faiss
except ImportError:
    faiss = None


def main() -> None:
    bench = Benchmark("select_k", __doc__)
    rng = np.random.default_rng(0)
    long = rng.random((1000, 100_000), dtype=np.float32)

    def case(name: str, a: np.ndarray, k: int, rounds: int = 3) -> None:
        if not bench.wants(name):
            return
        x = mx.array(a)
        contenders = {
            "native": lambda: select_k(x, k),
            "mx.argpartition": lambda: mx.argpartition(x, k - 1, axis=-1)[..., :k],
            "np.argpartition": lambda: np.argpartition(a, k - 1, axis=-1)[..., :k],
        }
        if faiss is not None:
            contenders["faiss.kmin"] = lambda: faiss.kmin(a, k)
        bench.case(name, contenders, nbytes=x.nbytes, rounds=rounds)

    for k in bench.pick(full=[1, 10, 100, 1000, 10_000], quick=[10, 1000]):
        case(f"1000 x 100000, k={k}", long if k < 10_000 else long[:100], k)
    part = long[:100]
    case("100 x 100000 ascending, k=100", np.sort(part, axis=-1), 100)
    case("100 x 100000 descending, k=100", -np.sort(part, axis=-1), 100)
    case("100 x 100000 of 10 values, k=100", np.floor(part * 10), 100)
    case("1 x 10000000, k=100", long.reshape(-1)[None, :10_000_000], 100)
    short = long.reshape(-1)[:20_000_000]
    for n, k in bench.pick(full=[(10, 3), (100, 1), (100, 10), (100, 100), (1000, 10), (1000, 100)], quick=[(100, 10)]):
        case(f"{short.size // n} x {n}, k={k}", short.reshape(-1, n), k)
    bench.finish()


if __name__ == "__main__":
    main()
