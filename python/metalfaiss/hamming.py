"""Hamming distances between binary codes, and how vectors and integers become codes. The order of bits is FAISS's: the
lowest of a byte first.
"""

from __future__ import annotations

from typing import Any, overload

import mlx.core as mx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Array, Stream
from metalfaiss._raw import read, write
from metalfaiss.errors import ArgumentError

__all__ = [
    "binary_to_real",
    "bitvecs2fvecs",
    "fvecs2bitvecs",
    "hammings",
    "knn_hamming",
    "pack_bitstrings",
    "real_to_binary",
    "unpack_bitstrings",
]

Codes = NDArray[np.uint8]

_WEIGHTS = [1, 2, 4, 8, 16, 32, 64, 128]


def _codes(op: str, name: str, x: Any) -> mx.array:
    dtype = getattr(x, "dtype", None)
    if not isinstance(x, mx.array | np.ndarray) or dtype not in (mx.uint8, np.uint8):
        received = type(x).__name__ if dtype is None else dtype
        raise TypeError(f"[{op}] {name} must be an array of uint8. Received {received}.")
    return x if isinstance(x, mx.array) else mx.array(np.ascontiguousarray(x))


@overload
def knn_hamming(
    xq: Codes, xb: Codes, k: int, variant: str = "hc", *, stream: Stream = None
) -> tuple[NDArray[np.int32], NDArray[np.int64]]: ...
@overload
def knn_hamming(
    xq: mx.array, xb: Array, k: int, variant: str = "hc", *, stream: Stream = None
) -> tuple[mx.array, mx.array]: ...
@overload
def knn_hamming(
    xq: Codes, xb: mx.array, k: int, variant: str = "hc", *, stream: Stream = None
) -> tuple[mx.array, mx.array]: ...
def knn_hamming(xq: Any, xb: Any, k: int, variant: str = "hc", *, stream: Stream = None) -> tuple[Any, Any]:
    """The ``k`` codes of ``xb`` nearest to every code of ``xq``, in memory that does not grow with their number.

    Distances are small integers, so a histogram per query always knows the k-th. Many queries are compared with a
    transposed block of codes through tables of 16 entries, as in André et al., "Cache locality is not enough" (2015).

    Args:
        xq: Queries, uint8, shape (..., nq, bytes).
        xb: Codes, uint8, shape (..., nb, bytes). Batch dimensions broadcast with those of ``xq``.
        k: Results per query, at least 1; more than nb is padded.
        variant: ``"hc"`` or ``"mc"``: FAISS's two ways to the same result; here they are one.
        stream: Where to run; a CPU stream.

    Returns:
        Distances, int32, and ids, int64, both (..., nq, k): NumPy arrays if both inputs are, otherwise lazy MLX arrays.
        Equal distances are ordered by id. Missing results have id -1 and distance 2^31 - 1.

    Raises:
        TypeError: An input is not uint8, or ``k`` not an integer.
        ValueError: Shapes do not match, ``k`` < 1, there is no such variant, or the stream is a GPU's.
    """
    op = "knn_hamming"
    if variant not in ("hc", "mc"):
        raise ArgumentError(f"[{op}] variant must be 'hc' or 'mc'. Received {variant!r}.")
    found = _core.knn_hamming(_codes(op, "xq", xq), _codes(op, "xb", xb), _host.require_int(op, "k", k), stream=stream)
    if isinstance(xq, mx.array) or isinstance(xb, mx.array):
        return found
    distances, ids = _host.to_numpy(*found)
    return distances, ids


def hammings(
    a: Array,
    b: Array,
    na: int | None = None,
    nb: int | None = None,
    nbytespercode: int | None = None,
    dis: NDArray[np.int32] | None = None,
    *,
    stream: Stream = None,
) -> Any:
    """The Hamming distance of every code of ``a`` to every code of ``b``.

    Args:
        a: uint8, shape (..., na, bytes).
        b: uint8, shape (..., nb, bytes).
        na, nb, nbytespercode, dis: FAISS's form: numbers of codes, and of bytes of a code, in arrays of any shape, and
            the array for the distances.
        stream: Where to run; a CPU stream.

    Returns:
        int32, shape (..., na, nb): a NumPy array if both inputs are, otherwise a lazy MLX array. None if there is
        ``dis``.

    Raises:
        TypeError: An input is not uint8.
        ValueError: Shapes do not match, or the stream is a GPU's.
    """
    op = "hammings"
    if na is not None and nb is not None and nbytespercode is not None and dis is not None:
        a, b = (read(op, "codes", x, (n, nbytespercode), np.uint8) for x, n in ((a, na), (b, nb)))
        write(op, "dis", dis, hammings(a, b, stream=stream))
        return None
    distances = _core.hammings(_codes(op, "a", a), _codes(op, "b", b), stream=stream)
    if isinstance(a, mx.array) or isinstance(b, mx.array):
        return distances
    return _host.to_numpy(distances)[0]


def _pack(op: str, x: Array, bits: Any) -> Any:
    """Codes of bits (n, d), in the form of ``x``."""
    if x.ndim != 2:
        raise ArgumentError(f"[{op}] x must have shape (n, d). Received {tuple(x.shape)}.")
    if not isinstance(x, mx.array):
        return np.packbits(bits, axis=1, bitorder="little")
    d = x.shape[1]
    padded = mx.pad(bits.astype(mx.uint8), [(0, 0), (0, -d % 8)])
    return mx.sum(mx.unflatten(padded, 1, (-1, 8)) * mx.array(_WEIGHTS, dtype=mx.uint8), axis=-1).astype(mx.uint8)


def _real(op: str, x: Any) -> Array:
    return x if isinstance(x, mx.array) else np.asarray(x)


def real_to_binary(x: Array) -> Any:
    """One bit a component: whether it is greater than 0.

    Args:
        x: shape (n, d).

    Returns:
        uint8, shape (n, ceil(d / 8)): NumPy for NumPy, lazy for ``mx.array``.

    Raises:
        ValueError: ``x`` does not have two dimensions.
    """
    x = _real("real_to_binary", x)
    return _pack("real_to_binary", x, x > 0)


def fvecs2bitvecs(x: Array) -> Any:
    """One bit a component: whether it is at least 0; the last byte is filled with zeros.

    Args:
        x: shape (n, d).

    Returns:
        uint8, shape (n, ceil(d / 8)): NumPy for NumPy, lazy for ``mx.array``.

    Raises:
        ValueError: ``x`` does not have two dimensions.
    """
    x = _real("fvecs2bitvecs", x)
    return _pack("fvecs2bitvecs", x, x >= 0)


def binary_to_real(codes: Array) -> Any:
    """Each bit as a component: 1 if it is set, otherwise -1.

    Args:
        codes: uint8, shape (n, bytes).

    Returns:
        float32, shape (n, 8 * bytes): NumPy for NumPy, lazy for ``mx.array``.

    Raises:
        TypeError: ``codes`` is not an array of uint8.
        ValueError: it does not have two dimensions.
    """
    op = "binary_to_real"
    array = _codes(op, "codes", codes)
    if array.ndim != 2:
        raise ArgumentError(f"[{op}] codes must have shape (n, bytes). Received {tuple(array.shape)}.")
    if isinstance(codes, mx.array):
        set_ = mx.bitwise_and(mx.expand_dims(array, -1), mx.array(_WEIGHTS, dtype=mx.uint8)) != 0
        return mx.flatten(mx.where(set_, 1.0, -1.0), 1)
    bits = np.unpackbits(codes, axis=1, bitorder="little")
    return bits.astype(np.float32) * 2 - 1


def bitvecs2fvecs(codes: Array, d: int | None = None) -> Any:
    """The first ``d`` components of ``binary_to_real``; all of them by default."""
    return binary_to_real(codes)[:, :d]


def pack_bitstrings(a: ArrayLike, nbit: int | ArrayLike) -> Codes:
    """Integers as bit strings, one behind the other.

    Args:
        a: integers, shape (n, M).
        nbit: how many bits each takes, or of shape (M,) how many those of each column take; the lowest bits are kept.

    Returns:
        uint8, shape (n, bytes): at most 7 bits of a row are unused.

    Raises:
        ValueError: shapes do not match, or ``nbit`` is not from 0 to 32.
    """
    values = np.ascontiguousarray(a, dtype=np.int32).view(np.uint32)
    if values.ndim != 2:
        raise ArgumentError(f"[pack_bitstrings] a must have shape (n, M). Received {values.shape}.")
    widths = _widths("pack_bitstrings", nbit, values.shape[1])
    bits = np.zeros((len(values), int(widths.sum())), dtype=np.uint8)
    for column, width, start in zip(values.T, widths, np.cumsum(widths) - widths, strict=True):
        bits[:, start : start + width] = column[:, None] >> np.arange(width, dtype=np.uint32) & 1
    return np.packbits(bits, axis=1, bitorder="little")


def unpack_bitstrings(b: Codes, M_or_nbits: int | ArrayLike, nbit: int | None = None) -> NDArray[np.int32]:
    """The integers of bit strings.

    Args:
        b: uint8, shape (n, bytes).
        M_or_nbits: how many integers a row holds, of ``nbit`` bits each; without ``nbit``, how many bits each takes.
        nbit: how many bits an integer takes.

    Returns:
        int32, shape (n, M).

    Raises:
        ValueError: the rows are too short, or a number of bits is not from 0 to 32.
    """
    op = "unpack_bitstrings"
    if nbit is None:
        widths = _widths(op, M_or_nbits, len(np.atleast_1d(np.asarray(M_or_nbits))))
    else:
        widths = _widths(op, nbit, _host.integer(op, "M", M_or_nbits, 0))
    codes = np.ascontiguousarray(b, dtype=np.uint8)
    if codes.ndim != 2 or codes.shape[1] * 8 < widths.sum():
        raise ArgumentError(f"[{op}] b must have shape (n, >= {-(-int(widths.sum()) // 8)}). Received {codes.shape}.")
    bits = np.unpackbits(codes, axis=1, bitorder="little").astype(np.uint32)
    out = np.zeros((len(codes), len(widths)), dtype=np.uint32)
    for m, (width, start) in enumerate(zip(widths, np.cumsum(widths) - widths, strict=True)):
        out[:, m] = (bits[:, start : start + width] << np.arange(width, dtype=np.uint32)).sum(axis=1, dtype=np.uint32)
    return out.view(np.int32)


def _widths(op: str, nbit: Any, M: int) -> NDArray[np.int64]:
    widths = np.asarray(nbit, dtype=np.int64)
    if widths.ndim == 0:
        widths = np.full(M, widths)
    if widths.shape != (M,) or (widths < 0).any() or (widths > 32).any():
        raise ArgumentError(f"[{op}] nbit must be from 0 to 32, or {M} such. Received {nbit!r}.")
    return widths
