"""gemm_av, gemm_at_b and z_step against NumPy's BLAS and mx.matmul.

The floor counts 2 m n k operations a product, and every byte of the inputs and the output once.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from harness import Benchmark

from metalfaiss.faissmlx.kernels.gemm_kernels import gemm_at_b, gemm_av, z_step

MX_MATMUL_GFLOPS = 2.5  # about what the reference BLAS of MLX's Linux wheel does: decides which cases can wait for it
MX_MATMUL_SECONDS = 1.5
MOST_BYTES = 1.1e9  # of A: NumPy and MLX hold a copy each


def shapes(bench: Benchmark) -> list[tuple[int, int, int]]:
    rows = bench.pick(full=[1_000, 10_000, 100_000, 1_000_000], quick=[1_000, 10_000])
    cols = bench.pick(full=[64, 256, 512, 1024], quick=[64, 512])
    ks = bench.pick(full=[8, 32, 42, 64, 128], quick=[8, 42])
    return [(m, n, k) for m in rows for n in cols for k in ks if 4 * m * n <= MOST_BYTES]


def main() -> None:
    bench = Benchmark("gemm", __doc__)
    mx.set_default_device(mx.cpu)
    rng = np.random.default_rng(0)
    a_np, a = np.zeros((0, 0), dtype=np.float32), mx.zeros((0, 0))
    for m, n, k in [*shapes(bench), (512, 256, 32)]:
        if a_np.shape != (m, n):
            del a_np, a
            a_np = rng.random((m, n), dtype=np.float32)
            a = mx.array(a_np)
        v_np, b_np = rng.random((n, k), dtype=np.float32), rng.random((m, k), dtype=np.float32)
        v, b = mx.array(v_np), mx.array(b_np)
        mx.eval(a, v, b)
        flops, size = 2.0 * m * n * k, f"{m}x{n}, k={k}"
        works = {
            "gemm_av": (
                {"native": lambda: gemm_av(a, v), "numpy": lambda: a_np @ v_np, "mx.matmul": lambda: mx.matmul(a, v)},
                flops,
            ),
            "gemm_at_b": (
                {
                    "native": lambda: gemm_at_b(a, b),
                    "numpy": lambda: a_np.T @ b_np,
                    "mx.matmul": lambda: mx.matmul(a.T, b),
                },
                flops,
            ),
            "z_step": (
                {
                    "native": lambda: z_step(a, v),
                    "numpy": lambda: a_np.T @ (a_np @ v_np),
                    "mx.matmul": lambda: mx.matmul(a.T, mx.matmul(a, v)),
                },
                2 * flops,
            ),
        }
        for op, (contenders, operations) in works.items():
            if operations > MX_MATMUL_GFLOPS * 1e9 * MX_MATMUL_SECONDS:
                del contenders["mx.matmul"]
            nbytes = 4.0 * (m * n + (n * k if op == "z_step" else m * k) + n * k)
            bench.case(f"{op} {size}", contenders, flops=operations, nbytes=nbytes, rounds=5 if m >= 100_000 else None)
    products = ("gemm_av", "gemm_at_b")
    ratios = [c.ratios["numpy"] for c in bench.cases if c.name.startswith(products)]
    large = [c.ratios["numpy"] for c in bench.cases if c.name.startswith("z_step 100000") and "x1024" in c.name]
    bench.finish(
        summary={
            **{
                f"{op} x {peer}, mean": bench.geometric_mean(peer, op)
                for op in works
                for peer in ("numpy", "mx.matmul")
            },
            "products x numpy, least": min(ratios, default=float("nan")),
            "z_step beyond the caches x numpy, least": min(large, default=float("nan")),
        }
    )


if __name__ == "__main__":
    main()
