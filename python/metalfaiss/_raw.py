"""Arrays in place of FAISS's pointers: sizes come as arguments, results go to arrays of the caller."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from metalfaiss.errors import ArgumentError

__all__ = ["read", "write"]


def read(op: str, name: str, x: Any, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """The first elements of an array, as that shape."""
    flat = np.asarray(x, dtype=dtype).reshape(-1)
    size = int(np.prod(shape))
    if flat.size < size:
        raise ArgumentError(f"[{op}] {name} must have {size} elements. Received {flat.size}.")
    return flat[:size].reshape(shape)


def write(op: str, name: str, to: Any, values: NDArray[Any]) -> None:
    """Copies ``values`` to the first elements of the array ``to``."""
    if not isinstance(to, np.ndarray) or to.dtype != values.dtype:
        received = getattr(to, "dtype", type(to).__name__)
        raise TypeError(f"[{op}] {name} must be an array of {values.dtype}. Received {received}.")
    if to.size < values.size or not to.flags.c_contiguous:
        raise ArgumentError(f"[{op}] {name} must be contiguous, with {values.size} elements. Received {to.shape}.")
    to.reshape(-1)[: values.size] = values.reshape(-1)
