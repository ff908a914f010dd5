"""Thin QR: native against NumPy (LAPACK), MLX's own and the pure MLX form.

The floor counts the operations of Householder's method with Q formed, 4 m n^2 - 4/3 n^3, at the float32 rate of a
matrix product, and one pass over A and Q. "close" matrices have nearly parallel columns (two passes of Cholesky QR),
"singular" ones a repeated column (Householder).
"""

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from harness import Benchmark, Work
from metalfaiss.faissmlx.qr import pure_mlx_qr, qr

Peers = Callable[[np.ndarray, mx.array], dict[str, Work]]

FULL = [(100_000, 64), (1_000_000, 16), (4096, 256), (1024, 1024), (256, 32), (10_000, 64, 16), (1000, 256, 32)]
PURE = [(4096, 64), (512, 128), (256, 32), (1000, 64, 16)]  # the pure form takes seconds on larger ones


def matrix(shape: tuple[int, ...], kind: str) -> np.ndarray:
    a = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    if kind == "close":
        a[..., 1:] = a[..., :1] + np.float32(1e-3) * a[..., 1:]
    elif kind == "singular":
        a[..., -1] = a[..., 0]
    return a


def run(bench: Benchmark, shape: tuple[int, ...], kind: str, peers: Peers) -> None:
    name = "x".join(map(str, shape)) + (f", {kind}" if kind else "")
    if not bench.wants(name):
        return
    a = matrix(shape, kind)
    x = mx.array(a)
    *batch, m, n = shape
    count = int(np.prod(batch))
    bench.case(
        name,
        {"native": lambda: qr(x), **peers(a, x)},
        flops=count * (4 * m * n * n - 4 / 3 * n**3),
        nbytes=4 * count * (2 * m * n + n * n),
    )


def main() -> None:
    bench = Benchmark("qr", __doc__)

    def libraries(a: np.ndarray, x: mx.array) -> dict[str, Work]:
        peers: dict[str, Work] = {"numpy": lambda: np.linalg.qr(a)}
        if a.size <= 10**6 and mx.default_device() == mx.cpu:  # MLX has no QR on GPUs
            peers["mlx"] = lambda: mx.linalg.qr(x)
        return peers

    def pure(_: np.ndarray, x: mx.array) -> dict[str, Work]:
        compiled = mx.compile(pure_mlx_qr)
        return {"pure MLX": lambda: pure_mlx_qr(x), "pure MLX, compiled": lambda: compiled(x)}

    for shape in bench.pick(full=FULL, quick=[(256, 32), (1000, 64, 16)]):
        run(bench, shape, "", libraries)
    for shape in bench.pick(full=[(100_000, 64), (4096, 256), (256, 32)], quick=[(256, 32)]):
        for kind in ("close", "singular"):
            run(bench, shape, kind, libraries)
    for shape in bench.pick(full=PURE, quick=[(256, 32)]):
        run(bench, shape, "against the pure form", pure)
    bench.finish(
        summary={
            "geometric mean against numpy": bench.geometric_mean("numpy"),
            "geometric mean against pure MLX, compiled": bench.geometric_mean("pure MLX, compiled"),
        }
    )


if __name__ == "__main__":
    main()
