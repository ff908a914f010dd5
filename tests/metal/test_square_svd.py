"""The kernel of square_svd through the simulator, against float64."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from metalfaiss._core import square_svd

from metalfaiss import _core

from .simulator import SCHEDULES, Simulator

Array = np.ndarray


def check(a: Array, tolerance: float = 1e-5) -> tuple[Array, Array, Array]:
    """Orthonormal factors of A, and singular values of float64 relative to the largest."""
    U, S, Vt = (np.array(x).astype(np.float64) for x in square_svd(mx.array(a)))
    want = np.linalg.svd(a.astype(np.float64), compute_uv=False)
    eye = np.eye(a.shape[-1])
    largest = np.maximum(want[..., :1], 1e-37)
    assert abs(U.swapaxes(-1, -2) @ U - eye).max(initial=0) <= tolerance
    assert abs(Vt @ Vt.swapaxes(-1, -2) - eye).max(initial=0) <= tolerance
    assert (abs(S - want) <= tolerance * largest).all()
    assert (np.diff(S, axis=-1) <= 0).all()
    assert (abs((U * S[..., None, :]) @ Vt - a) <= tolerance * largest[..., None]).all()
    return U, S, Vt


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 32, 33, 70])
def test_sizes(n: int, simulator: Simulator) -> None:
    rng = np.random.default_rng(n)
    check(rng.standard_normal((n, n), dtype=np.float32))
    check(np.triu(rng.standard_normal((n, n), dtype=np.float32)))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_values_that_decay(scale: float, simulator: Simulator) -> None:
    """A triangle as of a QR: small values are right relative to themselves."""
    rng = np.random.default_rng(1)
    r = np.linalg.qr(rng.standard_normal((20, 20)) * 0.3 ** np.arange(20))[1]
    a = (r * scale).astype(np.float32)
    S = check(a)[1]
    np.testing.assert_allclose(S, np.linalg.svd(a.astype(np.float64), compute_uv=False), rtol=1e-4)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_rank_deficient(rank: int, simulator: Simulator) -> None:
    rng = np.random.default_rng(rank)
    left, right = (rng.standard_normal((12, rank)) for _ in range(2))
    check((left @ right.T).astype(np.float32))
    diagonal = np.diag([*range(rank, 0, -1), *[0.0] * (12 - rank)]).astype(np.float32)
    S = check(diagonal)[1]
    np.testing.assert_allclose(S, diagonal.diagonal(), atol=1e-6)


def test_equal_values(simulator: Simulator) -> None:
    q = np.linalg.qr(np.random.default_rng(2).standard_normal((24, 24)))[0]
    check(q.astype(np.float32))
    check(np.eye(24, dtype=np.float32))
    check(np.ones((24, 24), dtype=np.float32))


def test_batches_and_strides(simulator: Simulator) -> None:
    a = np.random.default_rng(3).standard_normal((2, 3, 9, 9)).astype(np.float32)
    check(a)
    U = np.array(square_svd(mx.array(a).swapaxes(-1, -2))[0])
    alone = np.array(square_svd(mx.array(np.ascontiguousarray(a[1, 2].T)))[0])
    np.testing.assert_array_equal(U[1, 2], alone)
    mapped = mx.vmap(lambda x: square_svd(x)[1], in_axes=2)(mx.array(np.moveaxis(a[1], 0, 2)))
    np.testing.assert_array_equal(np.array(mapped), np.array(square_svd(mx.array(a[1]))[1]))
    assert [x.shape for x in square_svd(mx.zeros((0, 4, 4)))] == [(0, 4, 4), (0, 4), (0, 4, 4)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(bad: float, simulator: Simulator) -> None:
    a = np.ones((2, 9, 9), np.float32)
    a[0, 3, 4] = bad
    U, S, Vt = (np.array(x) for x in square_svd(mx.array(a)))
    assert all(np.isnan(x[0]).all() for x in (U, S, Vt))
    assert all(np.isfinite(x[1]).all() for x in (U, S, Vt))


def test_every_schedule_gives_the_same_bits() -> None:
    a = mx.array(np.random.default_rng(4).standard_normal((20, 20)).astype(np.float32))
    results = []
    for schedule in SCHEDULES:
        simulator = Simulator(schedule)
        with simulator.active(_core):
            results.append([np.array(x) for x in square_svd(a)])
        simulator.check()
    assert all(np.array_equal(x, y) for r in results for x, y in zip(r, results[0], strict=True))


def test_wrong_arrays() -> None:
    with pytest.raises(ValueError, match=r"\[square_svd\] A must be square. Received \(3, 2\)."):
        square_svd(mx.ones((3, 2)))
    with pytest.raises(TypeError, match=r"\[square_svd\] Arrays must be float32.*Received complex64."):
        square_svd(mx.ones((2, 2), dtype=mx.complex64))
