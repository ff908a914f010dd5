"""What a truncated SVD is made of, in its two forms: native kernels, or MLX's own operations."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx

from metalfaiss._core import square_svd
from metalfaiss.faissmlx.kernels.gemm_kernels import gemm_at_b, gemm_av, z_step
from metalfaiss.faissmlx.qr import pure_mlx_qr, qr

__all__ = ["Operations", "StreamOrDevice", "on", "operations", "transposed"]

StreamOrDevice: TypeAlias = mx.Stream | mx.Device | mx.DeviceType | None


class Operations(NamedTuple):
    """Products, a thin QR and an SVD of ``(..., m, n)`` arrays, on the default stream."""

    av: Callable[[mx.array, mx.array], mx.array]  # A V
    at_b: Callable[[mx.array, mx.array], mx.array]  # A^T B
    z: Callable[[mx.array, mx.array], mx.array]  # A^T (A V)
    qr: Callable[[mx.array], tuple[mx.array, mx.array]]
    svd: Callable[[mx.array], tuple[mx.array, mx.array, mx.array]]  # of square matrices


def operations(native: bool) -> Operations:
    """The native operations, or the same from ``mx.matmul`` and `pure_mlx_qr`."""
    return _NATIVE if native else _PURE


def on(stream: StreamOrDevice) -> AbstractContextManager[Any]:
    """Makes the stream the default one within a ``with`` block; None changes nothing."""
    return nullcontext() if stream is None else mx.stream(stream)


def transposed(x: mx.array) -> mx.array:
    return mx.swapaxes(x, -1, -2)


def _at_b(A: mx.array, B: mx.array) -> mx.array:
    return mx.matmul(transposed(A), B)


def _z(A: mx.array, V: mx.array) -> mx.array:
    return _at_b(A, mx.matmul(A, V))


def _svd(A: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    U, S, Vt = mx.linalg.svd(A, stream=mx.cpu)  # which MLX has on the CPU alone
    return U, S, Vt


_NATIVE = Operations(gemm_av, gemm_at_b, z_step, qr, square_svd)
_PURE = Operations(mx.matmul, _at_b, _z, pure_mlx_qr, _svd)
