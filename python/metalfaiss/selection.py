"""Selection of the k best values of rows, as a native MLX operation."""

from typing import Any, overload

import mlx.core as mx
import numpy.typing as npt

from metalfaiss import _core
from metalfaiss._host import ArrayLike, Stream, integer, to_mlx, to_numpy

__all__ = ["select_k"]


@overload
def select_k(x: mx.array, k: int, *, largest: bool = False, stream: Stream = None) -> tuple[mx.array, mx.array]: ...
@overload
def select_k(
    x: npt.ArrayLike, k: int, *, largest: bool = False, stream: Stream = None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]: ...
def select_k(x: ArrayLike, k: int, *, largest: bool = False, stream: Stream = None) -> tuple[Any, Any]:
    """The k smallest (or largest) values along the last axis and where they stand, best first.

    Exact and deterministic: equal values, among them -0.0 and 0.0, are ordered by index; NaN comes last, behind the
    infinities, whichever end is asked for. The gradient of the values goes to the chosen positions; the indices have
    none.

    Each row is read once: values behind a running threshold cost one comparison, the others are kept by radix
    selection (Alabi et al., "Fast k-selection algorithms for graphics processing units", 2012). A thread's scratch is
    16 bytes for each of max(2 k, 256) candidates, however long the rows are.

    Args:
        x: shape ``(..., n)``, any strides. float32, float16 or bfloat16; other real types are selected as float32.
            Anything that is not an ``mx.array`` is taken as NumPy takes it.
        k: how many, from 0 to n.
        largest: whether to take the largest values instead of the smallest.
        stream: where to run; the kernel is for CPU streams.

    Returns:
        Values ``(..., k)`` of the dtype of ``x`` and indices ``(..., k)`` in int64: lazy ``mx.array`` for an
        ``mx.array``, NumPy arrays otherwise.

    Raises:
        ValueError: k is negative or larger than n, ``x`` has no dimension, or the stream's device has no kernel.
        TypeError: k is not an int, ``largest`` not a bool, or ``x`` not real.
    """
    op = "select_k"
    k = integer(op, "k", k, 0)
    if not isinstance(largest, bool):
        raise TypeError(f"[{op}] largest must be a bool. Received {largest!r} of type {type(largest).__name__}.")
    values, indices = _core.select_k(to_mlx(op, "x", x), k, largest, stream)
    if isinstance(x, mx.array):
        return values, indices
    values_np, indices_np = to_numpy(values, indices)
    return values_np, indices_np
