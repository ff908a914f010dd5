"""Where arrays enter and leave: NumPy in, NumPy out; MLX in, lazy MLX out."""

from typing import Any, TypeAlias

import mlx.core as mx
import numpy as np
import numpy.typing as npt

Stream: TypeAlias = mx.Stream | mx.Device | None
ArrayLike: TypeAlias = mx.array | npt.ArrayLike


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


def to_numpy(a: mx.array) -> npt.NDArray[Any]:
    return np.array(a)


def require_int(op: str, name: str, value: object) -> int:
    """``value`` as an int; booleans, which Python counts as integers, are refused.

    Raises:
        TypeError: it is not an integer.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"[{op}] {name} must be an int. Received {value!r} of type {type(value).__name__}.")
    return int(value)
