"""Thin QR and orthonormal bases: native, and from MLX operations alone.

Shapes: ``m`` rows, ``n`` columns, ``k = min(m, n)``; ``...`` are batch dimensions. Arrays are float32, float16 or
bfloat16 (computed in float32, returned in the dtype that came in; integers count as float32).
"""

from __future__ import annotations

import mlx.core as mx

from metalfaiss._core import qr
from metalfaiss.errors import ArgumentError

__all__ = ["complete_basis", "orthonormal_columns", "orthonormal_rows", "pure_mlx_qr", "qr"]

StreamOrDevice = mx.Stream | mx.Device | mx.DeviceType | None


def pure_mlx_qr(A: mx.array, *, stream: StreamOrDevice = None) -> tuple[mx.array, mx.array]:
    """Thin QR from MLX operations alone, on any device: the result of :func:`qr`, up to rounding.

    Householder reflections, one column after another: ``2 k`` steps of a few operations each, so that compiling it
    pays. It composes with ``mx.compile``, ``mx.grad`` and ``mx.vmap``; derivatives need full column rank (of the first
    ``m`` columns where ``m < n``) and are finite otherwise, but not meaningful.

    Args:
        A: shape ``(..., m, n)``.
        stream: where to run.

    Returns:
        ``Q`` of shape ``(..., m, k)``, orthonormal also where ``A`` is rank-deficient or zero, and ``R`` of shape
        ``(..., k, n)``, upper triangular, its diagonal not negative.

    Raises:
        ValueError: ``A`` has fewer than 2 dimensions.
        TypeError: ``A`` is complex or float64.

    Source: Golub, Van Loan: Matrix Computations, 4th edition, algorithms 5.1.1 and 5.2.1.
    """
    dtype = checked_dtype("pure_mlx_qr", A)
    with mx.stream(mx.default_device() if stream is None else stream):
        q, r = _householder(A.astype(mx.float32))
        return q.astype(dtype), r.astype(dtype)


def checked_dtype(op: str, A: mx.array) -> mx.Dtype:
    """The dtype of the result."""
    if not isinstance(A, mx.array):
        raise TypeError(f"[{op}] A must be an mlx.core.array. Received {type(A).__name__}.")
    if A.ndim < 2:
        raise ArgumentError(f"[{op}] A must have at least 2 dimensions. Received shape {A.shape}.")
    if A.dtype in (mx.complex64, mx.float64):
        raise TypeError(f"[{op}] Arrays must be float32, float16 or bfloat16. Received {A.dtype}.")
    return A.dtype if mx.issubdtype(A.dtype, mx.floating) else mx.float32


def _householder(A: mx.array) -> tuple[mx.array, mx.array]:
    *batch, m, n = A.shape
    k = min(m, n)
    if A.size == 0:
        return mx.zeros((*batch, m, k)), mx.zeros((*batch, k, n))
    # Columns are brought to a largest entry of one: squares neither overflow nor vanish. QR does not depend on the
    # scale, so neither does its derivative.
    scale = _or_one(mx.stop_gradient(mx.max(mx.abs(A), axis=-2, keepdims=True)))
    work = A / scale
    # Masks as arrays, not as numbers: a compiled kernel has its numbers built in, and each column would be another one.
    rows, columns = mx.arange(m)[:, None], mx.arange(k)
    below, diagonal = rows >= columns, rows == columns
    reflectors = []
    for j in range(k):
        v, factor = _reflector(work[..., j : j + 1], below[:, j : j + 1], diagonal[:, j : j + 1], j)
        work = work - v @ (factor * (v.swapaxes(-1, -2) @ work))
        reflectors.append((v, factor))
    q = mx.broadcast_to(mx.eye(m, k), (*batch, m, k))
    for v, factor in reversed(reflectors):
        q = q - v @ (factor * (v.swapaxes(-1, -2) @ q))
    r = mx.triu(work[..., :k, :])
    pivots = mx.stop_gradient(mx.sum(r[..., :k] * mx.eye(k), axis=-1, keepdims=True))
    sign = mx.where(pivots < 0, -1.0, 1.0)
    return q * sign.swapaxes(-1, -2), r * sign * scale


def _reflector(column: mx.array, below: mx.array, diagonal: mx.array, j: int) -> tuple[mx.array, mx.array]:
    """v and the factor that make ``I - factor v v^T`` clear the column below row j. A zero column's is 0."""
    tail = mx.where(below, column, 0.0)
    largest = mx.stop_gradient(mx.max(mx.abs(tail), axis=-2, keepdims=True))
    tail = tail / _or_one(largest)
    squares = mx.sum(mx.square(tail), axis=-2, keepdims=True)
    zero = squares == 0
    norm = mx.sqrt(mx.where(zero, 1.0, squares))  # the derivative of sqrt at 0 is infinite
    head = tail[..., j : j + 1, :]
    v = tail + mx.where(diagonal, mx.where(head < 0, -norm, norm), 0.0)
    return v, mx.where(zero, 0.0, 2.0 / mx.sum(mx.square(v), axis=-2, keepdims=True))


def _or_one(x: mx.array) -> mx.array:
    return mx.where(x == 0, 1.0, x)


def orthonormal_columns(A: mx.array, *, native: bool = True, stream: StreamOrDevice = None) -> mx.array:
    """Orthonormal columns that span those of ``A``: the Q of its QR.

    Args:
        A: shape ``(..., m, n)``.
        native: by :func:`qr`, else by :func:`pure_mlx_qr`.
        stream: where to run.

    Returns:
        Shape ``(..., m, min(m, n))``. Where ``A`` is rank-deficient, the columns span more than ``A``'s do.

    Raises:
        ValueError: ``A`` has fewer than 2 dimensions, or ``native`` has no kernel for the stream's device.
        TypeError: ``A`` is complex or float64.
    """
    return (qr if native else pure_mlx_qr)(A, stream=stream)[0]


def orthonormal_rows(A: mx.array, *, native: bool = True, stream: StreamOrDevice = None) -> mx.array:
    """Orthonormal rows that span those of ``A``: :func:`orthonormal_columns` of the transpose.

    Args:
        A: shape ``(..., m, n)``.
        native: by :func:`qr`, else by :func:`pure_mlx_qr`.
        stream: where to run.

    Returns:
        Shape ``(..., min(m, n), n)``.

    Raises:
        ValueError: ``A`` has fewer than 2 dimensions, or ``native`` has no kernel for the stream's device.
        TypeError: ``A`` is complex or float64.
    """
    checked_dtype("orthonormal_rows", A)
    q = orthonormal_columns(mx.swapaxes(A, -1, -2, stream=stream), native=native, stream=stream)
    return mx.swapaxes(q, -1, -2, stream=stream)


def complete_basis(Q: mx.array, *, native: bool = True, stream: StreamOrDevice = None) -> mx.array:
    """An orthogonal matrix whose first columns are ``Q``'s.

    Args:
        Q: shape ``(..., m, k)``, orthonormal columns, ``k <= m``.
        native: by :func:`qr`, else by :func:`pure_mlx_qr`.
        stream: where to run.

    Returns:
        Shape ``(..., m, m)``; its first ``k`` columns equal ``Q`` up to rounding. The others are not unique, so that
        it has no derivative.

    Raises:
        ValueError: ``Q`` has fewer than 2 dimensions or more columns than rows, or ``native`` has no kernel for the
            stream's device.
        TypeError: ``Q`` is complex or float64.
    """
    checked_dtype("complete_basis", Q)
    *batch, m, k = Q.shape
    if k > m:
        raise ArgumentError(f"[complete_basis] Q must have at most as many columns as rows. Received shape {Q.shape}.")
    # Rank-deficient on purpose: Q stays orthonormal all the same, and zero columns become the complement.
    padded = mx.concatenate([Q, mx.zeros((*batch, m, m - k), dtype=Q.dtype)], axis=-1, stream=stream)
    return (qr if native else pure_mlx_qr)(padded, stream=stream)[0]
