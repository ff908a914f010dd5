"""gemm_av, gemm_at_b and z_step against NumPy's BLAS and mx.matmul.

The floor counts 2 m n k operations a product, and every byte of the inputs and the output once. MLX hands a graph to
another thread and back, which costs 10 to 100 microseconds however much is in it: small products stand several in a
graph, and one case, "alone", shows what a single evaluation costs.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from harness import Benchmark, Work
from metalfaiss.faissmlx.kernels.gemm_kernels import gemm_at_b, gemm_av, z_step

Array = np.ndarray
OPS = ("gemm_av", "gemm_at_b", "z_step")
MX_MATMUL_GFLOPS = 2.5  # about what the reference BLAS of MLX's Linux wheel does: decides which cases can wait for it
MX_MATMUL_SECONDS = 0.5
GRAPH_FLOPS = 2e8  # small products are evaluated several in a graph, as they are used
MOST_BYTES = 1.1e9  # of A: NumPy and MLX hold a copy each


def shapes(bench: Benchmark) -> list[tuple[int, int, int]]:
    rows = bench.pick(full=[1_000, 10_000, 100_000, 1_000_000], quick=[1_000, 10_000])
    cols = bench.pick(full=[64, 256, 1024], quick=[64, 512])
    ks = bench.pick(full=[8, 32, 128], quick=[8, 42])
    return [(m, n, k) for m in rows for n in cols for k in ks if 4 * m * n <= MOST_BYTES]


def contenders(op: str, a_np: Array, a: mx.array, b_np: Array, b: mx.array, times: int) -> dict[str, Work]:
    numpy, ours, mlx = {
        "gemm_av": (lambda: a_np @ b_np, lambda: gemm_av(a, b), lambda: mx.matmul(a, b)),
        "gemm_at_b": (lambda: a_np.T @ b_np, lambda: gemm_at_b(a, b), lambda: mx.matmul(a.T, b)),
        "z_step": (
            lambda: a_np.T @ (a_np @ b_np),
            lambda: z_step(a, b),
            lambda: mx.matmul(a.T, mx.matmul(a, b)),
        ),
    }[op]
    works = {"native": ours, "numpy": numpy, "mx.matmul": mlx}
    return {who: lambda work=work: [work() for _ in range(times)] for who, work in works.items()}


def run(bench: Benchmark, op: str, a_np: Array, a: mx.array, k: int, alone: bool = False) -> None:
    (m, n), rng = a_np.shape, np.random.default_rng(1)
    name = f"{op} {m}x{n}, k={k}" + (", alone" if alone else "")
    if not bench.wants(name):
        return
    b_np = rng.random((m if op == "gemm_at_b" else n, k), dtype=np.float32)
    b = mx.array(b_np)
    mx.eval(b)
    flops = 2.0 * m * n * k * (2 if op == "z_step" else 1)
    times = 1 if alone else round(min(max(GRAPH_FLOPS / flops, 1), 32))
    works = contenders(op, a_np, a, b_np, b, times)
    if times * flops > MX_MATMUL_GFLOPS * 1e9 * MX_MATMUL_SECONDS:
        del works["mx.matmul"]
    nbytes = 4.0 * (m * n + n * k * (2 if op == "z_step" else 1) + (0 if op == "z_step" else m * k))
    bench.case(name, works, flops=flops, nbytes=nbytes, rounds=min(3, bench.args.rounds), times=times)


def main() -> None:
    bench = Benchmark("gemm", __doc__)
    rng = np.random.default_rng(0)
    a_np, a = np.zeros((0, 0), dtype=np.float32), mx.zeros((0, 0))
    for m, n, k in [*shapes(bench), (512, 256, 32)]:
        if a_np.shape != (m, n):
            a_np = rng.random((m, n), dtype=np.float32)
            a = mx.array(a_np)
            mx.eval(a)
        for op in OPS:
            run(bench, op, a_np, a, k)
    for op in OPS:
        run(bench, op, a_np, a, 32, alone=True)
    summary = {f"{op} x {peer}, mean": bench.geometric_mean(peer, op) for op in OPS for peer in ("numpy", "mx.matmul")}
    products = [c.ratios["numpy"] for c in bench.cases if not c.name.startswith("z_step")]
    summary["products x numpy, least"] = min(products, default=float("nan"))
    bench.finish(summary=summary)


if __name__ == "__main__":
    main()
