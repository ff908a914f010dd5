"""Truncated SVD by randomised block subspace iteration, native or from MLX operations alone.

N. Halko, P. G. Martinsson, J. A. Tropp: Finding structure with randomness. SIAM Review 53 (2011), 217-288,
doi:10.1137/090771806. The iteration is on the smaller side of A; the factors come from a Rayleigh-Ritz step by way of a
QR of A V, never from the Gram matrix, whose singular values would lose half of their digits.
"""

from collections.abc import Sequence

import mlx.core as mx

from metalfaiss._host import integer, require_int
from metalfaiss.errors import ArgumentError
from metalfaiss.faissmlx._operations import Operations, StreamOrDevice, on, operations, transposed
from metalfaiss.faissmlx.compiled import compiled as compiled_form
from metalfaiss.faissmlx.qr import checked_dtype
from metalfaiss.faissmlx.svd_derivatives import attach_derivatives

__all__ = ["svd_step", "svd_step_c", "topk_svd"]


def svd_step(A: mx.array, V: mx.array, *, native: bool = True, stream: StreamOrDevice = None) -> mx.array:
    """One step of subspace iteration: an orthonormal basis of the columns of ``A^T (A V)``.

    Args:
        A (array): shape ``(..., m, n)``; float32, float16 or bfloat16, any strides.
        V (array): shape ``(..., n, k)``; batch dimensions broadcast with those of ``A``.
        native (bool): one pass over ``A`` and a native QR, or ``mx.matmul`` twice and `pure_mlx_qr`.
        stream (Stream or Device, optional): where to run.

    Returns:
        array: Q of the thin QR, shape ``(..., n, min(n, k))``, of the promoted dtype.

    Raises:
        ValueError: the inner dimensions differ, or the stream's device has no kernel.
        TypeError: an input is complex or float64.
    """
    ops = operations(native)
    with on(stream):
        return ops.qr(ops.z(A, V))[0]


svd_step_c = compiled_form(svd_step)
"""`svd_step` through the cache of compiled functions: traced once for each shape, dtype and stream."""


def topk_svd(
    A: mx.array,
    k: int,
    *,
    iters: int = 5,
    oversample: int | None = None,
    native: bool = True,
    compiled: bool = True,
    band_size: int | None = None,
    streams: Sequence[StreamOrDevice] | None = None,
    key: mx.array | None = None,
    stream: StreamOrDevice = None,
) -> tuple[mx.array, mx.array, mx.array]:
    """The k leading singular triplets of A, by randomised block subspace iteration.

    The subspace has ``l = min(k + oversample, m, n)`` dimensions; the relative error of the j-th singular value falls
    like ``(s_{l+1} / s_j) ** (4 * iters)``. With the defaults that is 1e-6 for ``s_j = 1/j``, whatever k, and 1e-3 for
    ``s_j = 1/sqrt(j)``. Where l is min(m, n) no iteration is needed, and the result is a full SVD, truncated.

    In each row of Vt the entry of largest magnitude is positive (the first of several), which fixes the signs. The same
    input gives the same output, bit for bit, on one device. The ``l x l`` projected matrix is factored on a GPU, too,
    up to ``l = 128``; a larger one, and that of the pure form, goes to ``mx.linalg.svd``, which MLX has on the CPU
    alone.

    Derivatives with respect to A are those of the exact truncated SVD (`metalfaiss.faissmlx.svd_derivatives`), not of
    the iteration: those of S need distinct singular values, those of U and Vt also a gap after the k-th. ``vmap`` and
    ``compile`` work; ``compile(shapeless=True)`` raises an error, since the start depends on the shape.

    Args:
        A (array): shape ``(..., m, n)``; float32, float16 or bfloat16 (computed in float32), any strides.
        k (int): triplets wanted, 1 to min(m, n).
        iters (int): steps of subspace iteration, at least 1.
        oversample (int, optional): dimensions beyond k, at least 0; by default k, but at least 16. The projected SVD
            costs ``l ** 3`` operations on one core: from k of some hundreds, and on a GPU where it brings l down to
            128, less may be faster, with more iterations.
        native (bool): native kernels, or MLX operations alone (slower, on any device).
        compiled (bool): run the iteration as one compiled function, cached by shape, stream and settings.
        band_size (int, optional): columns of V that a product takes at a time; by default all at once.
        streams (sequence of Stream or Device, optional): the bands take turns on these. Without ``band_size`` there is
            one band for each. Equal to the whole up to rounding.
        key (array, optional): the random key of the start; by default always ``mx.random.key(0)``.
        stream (Stream or Device, optional): where to run.

    Returns:
        tuple of array: U ``(..., m, k)``, S ``(..., k)`` in descending order, Vt ``(..., k, n)``, of A's dtype (float32
        for integers). U and Vt are orthonormal also where A is rank-deficient or zero.

    Raises:
        ValueError: A has fewer than 2 dimensions, a number is out of range, or the stream's device has no kernel.
        TypeError: A is not an array, or is complex or float64.
        RuntimeError: at evaluation, from MLX, where A holds NaN or infinity. Where the projected matrix is factored on
            a GPU, the result is NaN instead.
    """
    dtype = _check(A, k, iters, oversample, band_size, streams)
    oversample = max(16, k) if oversample is None else oversample
    m, n = A.shape[-2:]
    bands = _bands(min(k + oversample, m, n), band_size, streams)
    with on(stream):
        tall = A.astype(mx.float32) if m >= n else transposed(A.astype(mx.float32))
        start = mx.random.normal((min(m, n), sum(bands)), key=mx.random.key(0) if key is None else key)
        factorise = compiled_form(_factorise) if compiled else _factorise
        U, S, Vt = factorise(
            mx.stop_gradient(tall),
            start,
            k=k,
            iters=iters,
            native=native,
            bands=bands,
            streams=None if streams is None else tuple(streams),
        )
        signs = _signs(Vt if m >= n else transposed(U))
        U, Vt = U * mx.swapaxes(signs, -1, -2), Vt * signs
        U, S, Vt = attach_derivatives(tall, U, S, Vt, operations(native), stream)
        if m < n:
            U, Vt = transposed(Vt), transposed(U)
        return U.astype(dtype), S.astype(dtype), Vt.astype(dtype)


def _factorise(
    A: mx.array,
    V: mx.array,
    *,
    k: int,
    iters: int,
    native: bool,
    bands: tuple[int, ...],
    streams: tuple[StreamOrDevice, ...] | None,
) -> tuple[mx.array, mx.array, mx.array]:
    """U, S, Vt of A with m >= n from the start V (n, l)."""
    ops = operations(native)
    whole = V.shape[-1] == A.shape[-1]
    if not whole:
        for _ in range(iters):
            V = ops.qr(_banded_z(ops, A, V, bands, streams))[0]
    Q, R = ops.qr(A if whole else ops.av(A, V))
    U, S, Vt = ops.svd(R)
    U, S, Vt = ops.av(Q, U[..., :k]), S[..., :k], Vt[..., :k, :]
    return U, S, Vt if whole else transposed(ops.av(V, transposed(Vt)))


def _banded_z(
    ops: Operations, A: mx.array, V: mx.array, bands: tuple[int, ...], streams: tuple[StreamOrDevice, ...] | None
) -> mx.array:
    if len(bands) == 1:
        return ops.z(A, V)
    parts, first = [], 0
    for i, width in enumerate(bands):
        with on(streams[i % len(streams)] if streams else None):
            parts.append(ops.z(A, V[..., first : first + width]))
        first += width
    return mx.concatenate(parts, axis=-1)


def _bands(width: int, band_size: int | None, streams: Sequence[StreamOrDevice] | None) -> tuple[int, ...]:
    """Widths of the bands that cover ``width`` columns."""
    size = band_size or (-(-width // len(streams)) if streams else width)
    return tuple(min(size, width - first) for first in range(0, width, size))


def _signs(Vt: mx.array) -> mx.array:
    """What makes the entry of largest magnitude in each row positive: (..., k, 1)."""
    if Vt.size == 0:
        return mx.ones((*Vt.shape[:-1], 1))
    largest = mx.argmax(mx.abs(Vt), axis=-1, keepdims=True)
    return mx.sign(mx.take_along_axis(Vt, largest, axis=-1))


def _check(
    A: mx.array,
    k: int,
    iters: int,
    oversample: int | None,
    band_size: int | None,
    streams: Sequence[StreamOrDevice] | None,
) -> mx.Dtype:
    """The dtype of the result."""
    dtype = checked_dtype("topk_svd", A)
    k = require_int("topk_svd", "k", k)
    if not 1 <= k <= min(A.shape[-2:]):
        raise ArgumentError(f"[topk_svd] k must be from 1 to min(m, n) = {min(A.shape[-2:])}. Received {k}.")
    integer("topk_svd", "iters", iters, 1)
    for name, value, at_least in (("oversample", oversample, 0), ("band_size", band_size, 1)):
        if value is not None:
            integer("topk_svd", name, value, at_least)
    if streams is not None and len(streams) < 1:
        raise ArgumentError("[topk_svd] streams must name at least one stream. Received none.")
    return dtype
