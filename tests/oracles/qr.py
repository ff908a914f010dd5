"""QR: the accuracy contract, and matrices that are hard to factor."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import mlx.core as mx
import numpy as np

from metalfaiss.faissmlx.qr import qr

__all__ = [
    "DIFFICULT",
    "QR",
    "batched_views",
    "check_batch",
    "check_contract",
    "exact_qr",
    "one_number",
    "strided_views",
    "weights_for",
    "with_condition",
]

QR = Callable[..., tuple[mx.array, mx.array]]
View = tuple[mx.array, np.ndarray]


def with_condition(rng: np.random.Generator, m: int, n: int, condition: float) -> np.ndarray:
    k = min(m, n)
    u = np.linalg.qr(rng.standard_normal((m, k)))[0]
    v = np.linalg.qr(rng.standard_normal((n, k)))[0]
    return ((u * np.logspace(0, -np.log10(condition), k)) @ v.T).astype(np.float32)


def check_contract(a: np.ndarray, q: mx.array, r: mx.array) -> None:
    """Orthonormal Q, a small residual, R upper triangular with a diagonal that is not negative."""
    *batch, m, n = a.shape
    k = min(m, n)
    assert q.shape == (*batch, m, k)
    assert r.shape == (*batch, k, n)
    exact = a.astype(np.float64).reshape(-1, m, n)
    for one, q64, r64 in zip(
        exact,
        np.array(q).astype(np.float64).reshape(-1, m, k),
        np.array(r).astype(np.float64).reshape(-1, k, n),
        strict=True,
    ):
        scale = np.abs(one).max(initial=0) or 1.0  # keeps the norms of 1e30 and 1e-30 in range
        assert np.abs(q64.T @ q64 - np.eye(k)).max(initial=0) <= 1e-5
        assert np.linalg.norm(one / scale - q64 @ (r64 / scale)) <= 1e-6 * np.sqrt(n) * np.linalg.norm(one / scale)
        assert (np.tril(r64, -1) == 0).all()
        assert (np.diagonal(r64) >= 0).all()


def exact_qr(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    q, r = np.linalg.qr(a.astype(np.float64))
    sign = np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return q * sign[..., None, :], r * sign[..., :, None]


def one_number(function: QR, weights: tuple[mx.array, mx.array]) -> Callable[[mx.array], mx.array]:
    def value(a: mx.array) -> mx.array:
        q, r = function(a)
        return mx.sum(q * weights[0]) + mx.sum(r * weights[1])

    return value


def weights_for(rng: np.random.Generator, m: int, n: int) -> tuple[mx.array, mx.array]:
    k = min(m, n)
    return mx.array(rng.standard_normal((m, k)), mx.float32), mx.array(rng.standard_normal((k, n)), mx.float32)


def strided_views(rng: np.random.Generator, shape: tuple[int, int]) -> Iterator[View]:
    """Matrices that are not contiguous, and the same as NumPy's."""
    base = rng.standard_normal(shape).astype(np.float32)
    x = mx.array(base)
    yield x[:75].T, base[:75].T
    yield x[::2, 1::3], base[::2, 1::3]
    yield x[::-1], base[::-1]
    yield x[:, ::-1], base[:, ::-1]
    yield x[::-2, ::-3], base[::-2, ::-3]
    yield x[::-2, ::-3].T, base[::-2, ::-3].T
    yield mx.broadcast_to(x[:, :1], (shape[0], 5)), np.repeat(base[:, :1], 5, axis=1)


def batched_views(rng: np.random.Generator, matrix: tuple[int, int]) -> Iterator[View]:
    """Batches of two dimensions in every order of storage."""
    base = rng.standard_normal((3, 2, *matrix)).astype(np.float32)
    x = mx.array(base)
    yield x, base
    yield x[::-1, :, ::2], base[::-1, :, ::2]
    yield x.transpose(1, 0, 3, 2), base.transpose(1, 0, 3, 2)
    yield x.transpose(1, 3, 0, 2), base.transpose(1, 3, 0, 2)
    yield mx.broadcast_to(x[:, :1], x.shape), np.broadcast_to(base[:, :1], base.shape)


def check_batch(want: np.ndarray, view: mx.array) -> None:
    """The contract for all, and the bits of one alone; on GPUs its numbers: it may go another way there."""
    q, r = qr(view)
    check_contract(want, q, r)
    alone = qr(view[1, 0])
    tolerance = 1e-5 if mx.default_device() == mx.gpu else 0
    np.testing.assert_allclose(np.array(q[1, 0]), np.array(alone[0]), rtol=0, atol=tolerance)
    np.testing.assert_allclose(np.array(r[1, 0]), np.array(alone[1]), rtol=0, atol=10 * tolerance)


def singular_matrices() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    a = rng.standard_normal((90, 20)).astype(np.float32)
    duplicated, dropped = a.copy(), a.copy()
    duplicated[:, 11] = duplicated[:, 3]
    dropped[:, [0, 7, 19]] = 0
    tall = np.zeros((3000, 30), np.float32)  # deep enough for a tree of row chunks
    tall[:, :3] = 1
    graded = np.eye(20, dtype=np.float32)
    graded[0] = 1
    return {
        "zero": np.zeros((50, 10), np.float32),
        "zero square": np.zeros((5, 5), np.float32),
        "zero wide": np.zeros((4, 9), np.float32),
        "rank one": np.outer(a[:, 0], a[0]).astype(np.float32),
        "duplicated": duplicated,
        "zero columns": dropped,
        "zero rows": np.where(np.arange(90)[:, None] < 15, a, 0).astype(np.float32),
        "rank 5": (a[:, :5] @ a[:5]).astype(np.float32),
        "wide rank one": np.outer(a[:8, 0], a[0]).astype(np.float32),
        "ones": np.ones((40, 40), np.float32),
        "tall": tall,
        "graded": graded * np.float32(1e-25) + (np.arange(20) == 0)[:, None].astype(np.float32),
        "square duplicated": np.repeat(a[:20, :10], 2, axis=1),
    }


def badly_scaled_matrices() -> dict[str, np.ndarray]:
    a = np.random.default_rng(8).standard_normal((90, 20)).astype(np.float32)
    columns = np.logspace(-30, 30, 20).astype(np.float32)
    duplicated = a * columns
    duplicated[:, 7] = duplicated[:, 3]
    return {
        "1e-30": a * np.float32(1e-30),
        "1e30": a * np.float32(1e30),
        "1e-37": a * np.float32(1e-37),
        "1e37": a * np.float32(1e37),
        "columns": a * columns,
        "columns, duplicated": duplicated,
        "rows": a * np.logspace(-30, 30, 90).astype(np.float32)[:, None],
        "rank one 1e30": np.full((90, 20), 1e30, np.float32),
        "rank one 1e-30": np.full((90, 20), 1e-30, np.float32),
        "wide": a[:8] * np.float32(1e30),
    }


DIFFICULT = {**singular_matrices(), **badly_scaled_matrices()}
