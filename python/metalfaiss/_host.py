"""The edge between NumPy and MLX: what goes in as NumPy comes out as NumPy, what goes in as MLX comes out lazily.

Every host conversion and every forced evaluation of the package is in this module.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import mlx.core as mx
import numpy as np
from numpy.typing import ArrayLike as NumpyLike
from numpy.typing import NDArray

from metalfaiss import _core
from metalfaiss.errors import ArgumentError

__all__ = [
    "Array",
    "ArrayLike",
    "Stream",
    "borrowed",
    "check_output",
    "check_vectors",
    "empty",
    "finish",
    "integer",
    "output",
    "own",
    "require_cpu",
    "require_int",
    "to_mlx",
    "to_numpy",
    "vectors",
    "view",
]

Array: TypeAlias = mx.array | NDArray[Any]
ArrayLike: TypeAlias = mx.array | NumpyLike
Stream: TypeAlias = mx.Stream | mx.Device | None

_LARGEST = 2**31 - 1  # of a dimension in MLX


def require_int(op: str, name: str, value: object) -> int:
    """``value`` as an int of 64 bits; booleans, which Python counts as integers, are refused.

    Raises:
        TypeError: it is not an integer.
        ValueError: it takes more than 64 bits.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"[{op}] {name} must be an int. Received {value!r} of type {type(value).__name__}.")
    if not -(2**63) <= value < 2**63:
        raise ArgumentError(f"[{op}] {name} must be an integer of 64 bits. Received {value}.")
    return int(value)


def integer(op: str, name: str, value: object, at_least: int, at_most: int = _LARGEST) -> int:
    """``value`` as an int.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is out of range.
    """
    number = require_int(op, name, value)
    if number < at_least:
        raise ArgumentError(f"[{op}] {name} must be at least {at_least}. Received {number}.")
    if number > at_most:
        raise ArgumentError(f"[{op}] {name} must be at most {at_most}. Received {number}.")
    return number


def to_mlx(op: str, name: str, x: ArrayLike) -> mx.array:
    """The array itself, or a copy of what NumPy makes of ``x``; float64 becomes float32, as in ``mx.array``.

    Raises:
        TypeError: ``x`` does not hold numbers.
    """
    if isinstance(x, mx.array):
        return x
    a = np.asarray(x)
    if a.dtype.kind not in "biuf":
        raise TypeError(f"[{op}] {name} must be an array of real numbers. Received {type(x).__name__} of {a.dtype}.")
    dtype = np.dtype(np.float32) if a.dtype.kind == "f" and a.dtype.itemsize > 4 else a.dtype.newbyteorder("=")
    return mx.array(np.asarray(a, dtype=dtype, order="C"))  # mx.array refuses negative strides


def check_vectors(op: str, x: Array, d: int) -> None:
    """Checks an array of vectors, shape (n, d).

    Raises:
        TypeError: ``x`` is no array, or not of real numbers.
        ValueError: its shape is not (n, d).
    """
    if not isinstance(x, mx.array | np.ndarray):
        raise TypeError(f"[{op}] x must be a numpy.ndarray or an mlx.core.array. Received {type(x).__name__}.")
    real = x.dtype != mx.complex64 if isinstance(x, mx.array) else x.dtype.kind in "biuf"
    if not real:
        raise TypeError(f"[{op}] x must hold real numbers. Received {x.dtype}.")
    if x.ndim != 2 or x.shape[1] != d:
        raise ArgumentError(f"[{op}] x must have shape (n, {d}). Received {tuple(x.shape)}.")


def vectors(op: str, x: Array, d: int) -> mx.array:
    """``x`` as an array of vectors, shape (n, d): an ``mx.array`` as it is, a NumPy array copied as float32.

    Raises:
        TypeError: ``x`` is no array, or not of real numbers.
        ValueError: its shape is not (n, d).
    """
    check_vectors(op, x, d)
    return x if isinstance(x, mx.array) else mx.array(np.ascontiguousarray(x, dtype=np.float32))


def borrowed(op: str, x: Array, d: int) -> mx.array:
    """``vectors`` without a copy where that is possible: to be read on CPU streams alone, while the caller waits."""
    check_vectors(op, x, d)
    if isinstance(x, np.ndarray) and x.dtype == np.float32 and x.flags.c_contiguous and x.flags.aligned:
        return _core.borrowed(x)
    return vectors(op, x, d)


def empty(d: int, dtype: mx.Dtype) -> mx.array:
    """No vectors: an evaluated array of shape (0, d)."""
    return mx.array(np.empty((0, d), dtype=np.float32), dtype=dtype)


def own(x: mx.array) -> mx.array:
    """A handle of our own on the same data: the caller's ``x[0] = 1`` then changes the caller's array only."""
    return _core.handle(x)


def finish(made: mx.array, *sources: mx.array) -> mx.array:
    """Computes what was made of evaluated arrays; what was made of lazy or traced arrays stays lazy.

    A lazy array can only be evaluated by the thread that made it, so an index keeps none that its caller did not bring.
    """
    if all([_core.is_evaluated(x) for x in sources]):
        mx.eval(made)
        _core.is_evaluated(made)
    return made


def require_cpu(op: str, stream: Stream) -> None:
    """Refuses a GPU stream for what has no GPU kernel, which runs on the CPU unless a stream is named.

    Raises:
        ValueError: the stream is a GPU's.
    """
    device = stream.device if isinstance(stream, mx.Stream) else stream
    if device is not None and getattr(device, "type", device) == mx.gpu:  # mx.gpu itself is a type of device
        raise ArgumentError(f"[{op}] The stream must be a CPU stream: pass stream=mx.cpu. Received a GPU stream.")


def check_output(op: str, name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    """Checks an output array of the caller.

    Raises:
        TypeError: it is not a NumPy array of ``dtype``.
        ValueError: its shape differs, or it is read-only.
    """
    wanted = np.dtype(dtype)
    if not isinstance(array, np.ndarray) or array.dtype != wanted:
        received = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"[{op}] {name} must be a numpy.ndarray of {wanted}. Received {received}.")
    if array.shape != shape:
        raise ArgumentError(f"[{op}] {name} must have shape {shape}. Received {array.shape}.")
    if not array.flags.writeable:
        raise ArgumentError(f"[{op}] {name} must be writeable. Received a read-only array.")


def to_numpy(*arrays: mx.array) -> list[NDArray[Any]]:
    """Evaluates the arrays together, and copies them."""
    if not _core.compute_at_once(arrays):
        mx.eval(*arrays)
    return [np.array(a) for a in arrays]


def view(x: mx.array) -> NDArray[Any]:
    """The computed array as NumPy, read-only, without a copy."""
    mx.eval(x)
    return np.array(x, copy=False)


def output(array: NDArray[Any], out: NDArray[Any] | None) -> NDArray[Any]:
    if out is None:
        return array
    np.copyto(out, array)
    return out
