"""One step of subspace iteration, and the truncated SVD, against NumPy, scikit-learn and the pure MLX form.

A step is two products and a thin QR: 4 m n k + 4 n k^2 operations, one pass over A. A truncated SVD of l columns is
`iters` steps, a product, a QR and a product; its accuracy, the largest relative error of the k singular values against
float64 on a spectrum s_j = 1 / j, stands beside each time, for ours and for scikit-learn's (n_iter and oversampling as
it chooses them).
"""

from collections.abc import Callable
from typing import TypeVar

import mlx.core as mx
import numpy as np
from sklearn.utils.extmath import randomized_svd

from harness import Benchmark
from metalfaiss.faissmlx.kernels.gemm_kernels import z_step
from metalfaiss.faissmlx.qr import qr
from metalfaiss.faissmlx.svd import svd_step, svd_step_c, topk_svd

T = TypeVar("T")
STEPS = [(512, 256, 32), (4096, 512, 32), (20000, 1024, 48)]
TOPK = [(20000, 1024, 32), (1024, 20000, 32), (4096, 512, 64)]
ITERS = 5
CHAIN = 10


def chain(one_step: Callable[[T], T], v: T) -> T:
    for _ in range(CHAIN):
        v = one_step(v)
    return v


def step(m: int, n: int, k: int) -> None:
    rng = np.random.default_rng(0)
    a, v = rng.standard_normal((m, n), dtype=np.float32), rng.standard_normal((n, k), dtype=np.float32)
    A, V = mx.array(a), mx.array(v)

    def numpy_step(v: np.ndarray) -> np.ndarray:
        return np.linalg.qr(a.T @ (a @ v))[0]

    native = {
        "native, compiled": lambda: svd_step_c(A, V),
        "native, eager": lambda: svd_step(A, V),
        "numpy": lambda: numpy_step(v),
    }
    chained = {
        "native, compiled": lambda: chain(lambda w: svd_step_c(A, w), V),
        "native, eager": lambda: chain(lambda w: svd_step(A, w), V),
        "numpy": lambda: chain(numpy_step, v),
    }
    pure = {
        "pure MLX, compiled": lambda: svd_step_c(A, V, native=False),
        "pure MLX, eager": lambda: svd_step(A, V, native=False),
    }
    cost = {"flops": 4.0 * m * n * k + 4 * n * k * k, "nbytes": 4.0 * m * n}
    bench.case(f"svd_step {m}x{n}, k={k}, one evaluated", native, **cost)
    bench.case(f"svd_step {m}x{n}, k={k}, in a chain", chained, times=CHAIN, **cost)
    if m < 20000:
        bench.case(f"svd_step {m}x{n}, k={k}, pure MLX", pure | {"native": native["native, compiled"]}, rounds=5)


def parts(m: int, n: int, k: int) -> None:
    """The two halves of a step, to see which of them a ratio comes from."""
    rng = np.random.default_rng(0)
    a, v = rng.standard_normal((m, n), dtype=np.float32), rng.standard_normal((n, k), dtype=np.float32)
    A, V = mx.array(a), mx.array(v)
    z = a.T @ (a @ v)
    Z = mx.array(z)
    products = {"native": lambda: z_step(A, V), "numpy": lambda: a.T @ (a @ v)}
    bench.case(f"products alone {m}x{n}, k={k}", products, flops=4.0 * m * n * k, nbytes=4.0 * m * n)
    bench.case(f"qr alone {n}x{k}", {"native": lambda: qr(Z), "numpy": lambda: np.linalg.qr(z)}, flops=4.0 * n * k * k)


def topk(m: int, n: int, k: int) -> None:
    a, exact = with_decaying_spectrum(m, n, k)
    A = mx.array(a)
    width = min(2 * k, m, n)

    def error(S: object) -> float:
        return float(np.max(np.abs(np.array(S) - exact) / exact))

    contenders = {
        "native": lambda: topk_svd(A, k),
        "native, eager": lambda: topk_svd(A, k, compiled=False),
        "native, two bands": lambda: topk_svd(A, k, band_size=k),
        "sklearn": lambda: randomized_svd(a, k, random_state=0),
    }
    if bench.wants(name := f"topk_svd {m}x{n}, k={k}"):
        bench.case(
            name,
            contenders,
            flops=4.0 * m * n * width * ITERS + 2.0 * m * n * width,
            nbytes=4.0 * m * n * (ITERS + 1),
            rounds=min(5, bench.args.rounds),
            notes={"error": error(topk_svd(A, k)[1]), "sklearn's": error(contenders["sklearn"]()[1])},
        )


def with_decaying_spectrum(m: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """A float32 matrix with s_j = 1 / j, and its k leading singular values in float64."""
    rng = np.random.default_rng(0)
    r = min(m, n)
    u, v = (np.linalg.qr(rng.standard_normal((rows, r), dtype=np.float32))[0] for rows in (m, n))
    a = (u / np.arange(1, r + 1, dtype=np.float32)) @ v.T
    tall = (a if m >= n else a.T).astype(np.float64)
    return np.ascontiguousarray(a), np.sqrt(np.linalg.eigvalsh(tall.T @ tall)[::-1][:k])


bench = Benchmark("svd", __doc__)
for shape in bench.pick(full=STEPS, quick=STEPS[:1]):
    step(*shape)
for shape in bench.pick(full=STEPS[:1], quick=[]):
    parts(*shape)
for shape in bench.pick(full=TOPK, quick=TOPK[2:]):
    topk(*shape)
bench.finish()
