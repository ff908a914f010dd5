"""What is composed of the kernels, through the simulator: subspace iteration, truncated SVD, the compile guide."""

import mlx.core as mx
import numpy as np
import pytest

from metalfaiss.faissmlx.qr import orthonormal_columns
from metalfaiss.faissmlx.svd import svd_step, svd_step_c, topk_svd

from .simulator import Simulator

Rng = np.random.Generator


def decaying(rng: Rng, m: int, n: int) -> np.ndarray:
    u, v = (np.linalg.qr(rng.standard_normal((rows, min(m, n))))[0] for rows in (m, n))
    return ((u / np.arange(1, min(m, n) + 1)) @ v.T).astype(np.float32)


def span_distance(q: np.ndarray, z: np.ndarray) -> float:
    """How far the columns of z lie outside those of q, relative to them."""
    return float(np.linalg.norm(z - q @ (q.T @ z)) / np.linalg.norm(z))


@pytest.mark.parametrize("compiled", [False, True])
def test_svd_step(simulator: Simulator, rng: Rng, compiled: bool) -> None:
    a, v = rng.standard_normal((70, 40), dtype=np.float32), rng.standard_normal((40, 6), dtype=np.float32)
    q = mx.array(v)
    for _ in range(3):
        q = (svd_step_c if compiled else svd_step)(mx.array(a), q)
    got = np.array(q).astype(np.float64)
    assert abs(got.T @ got - np.eye(6)).max() <= 1e-5
    want = np.float64(v)
    for _ in range(3):
        want = np.linalg.qr(a.T.astype(np.float64) @ (a.astype(np.float64) @ want))[0]
    assert span_distance(got, want) <= 1e-5


@pytest.mark.parametrize(("m", "n"), [(90, 50), (50, 90)])
@pytest.mark.parametrize("bands", [None, 9])
def test_topk_svd(simulator: Simulator, rng: Rng, m: int, n: int, bands: int | None) -> None:
    a = decaying(rng, m, n)
    U, S, Vt = (np.array(x).astype(np.float64) for x in topk_svd(mx.array(a), 4, band_size=bands))
    want = np.linalg.svd(a.astype(np.float64), compute_uv=False)[:4]
    np.testing.assert_allclose(S, want, rtol=1e-4)
    assert abs(U.T @ U - np.eye(4)).max() <= 1e-5
    assert abs(Vt @ Vt.T - np.eye(4)).max() <= 1e-5
    rest = np.sqrt((np.linalg.svd(a.astype(np.float64), compute_uv=False)[4:] ** 2).sum())
    assert np.linalg.norm(a - (U * S) @ Vt) <= (1 + 1e-4) * rest


def test_gradient_of_a_step(simulator: Simulator, rng: Rng) -> None:
    a, v = (mx.array(rng.standard_normal(shape, dtype=np.float32)) for shape in ((30, 12), (12, 3)))
    weights = mx.array(rng.standard_normal((12, 3), dtype=np.float32))

    def loss(x: mx.array, native: bool) -> mx.array:
        return (svd_step(x, v, native=native) * weights).sum()

    native, pure = (np.array(mx.grad(loss)(a, form)) for form in (True, False))
    np.testing.assert_allclose(native, pure, atol=1e-4 * abs(pure).max())


def test_orthonormal_columns_of_a_batch(simulator: Simulator, rng: Rng) -> None:
    q = np.array(orthonormal_columns(mx.array(rng.standard_normal((3, 20, 5), dtype=np.float32))))
    assert abs(np.swapaxes(q, 1, 2) @ q - np.eye(5)).max() <= 1e-5
