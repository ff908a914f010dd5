"""FAISS's C++ vectors as programs see them: arrays with ``size()``, ``at(i)`` and ``resize(n)``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metalfaiss.errors import ArgumentError

__all__ = [
    "ByteVector",
    "CharVector",
    "DoubleVector",
    "Float32Vector",
    "Float64Vector",
    "FloatVector",
    "Int8Vector",
    "Int16Vector",
    "Int32Vector",
    "Int64Vector",
    "IntVector",
    "LongLongVector",
    "LongVector",
    "UInt8Vector",
    "UInt16Vector",
    "UInt32Vector",
    "UInt64Vector",
    "Uint64Vector",
    "Vector",
    "copy_array_to_vector",
    "vector_float_to_array",
    "vector_to_array",
]


class Vector:
    """A growing array of one dtype.

    Args:
        values: what it holds at first.
        changed: called with all values after a change: how an attribute of an index is written through its vector.
    """

    dtype: ClassVar[np.dtype[Any]]

    def __init__(self, values: Any = (), changed: Callable[[NDArray[Any]], None] | None = None) -> None:
        self._values = np.array(values, dtype=self.dtype)
        self._changed = changed

    def size(self) -> int:
        return self._values.size

    def empty(self) -> bool:
        return self._values.size == 0

    def at(self, i: int) -> Any:
        if not 0 <= i < self._values.size:
            raise IndexError(f"[{type(self).__name__}.at] i must be less than {self.size()}. Received {i}.")
        return self._values[i].item()

    def push_back(self, value: Any) -> None:
        self._set(np.append(self._values, np.array(value, dtype=self.dtype)))

    def resize(self, n: int) -> None:
        """Cuts it to n values, or adds zeros."""
        kept = self._values[:n]
        self._set(np.concatenate([kept, np.zeros(n - kept.size, dtype=self.dtype)]))

    def swap(self, other: Vector) -> None:
        """Exchanges what two vectors of one dtype hold."""
        mine = self._values
        copy_array_to_vector(other._values, self)
        other._set(mine)

    def clear(self) -> None:
        self.resize(0)

    def data(self) -> NDArray[Any]:
        """The values themselves; what is written there does not reach an index."""
        return self._values

    def _set(self, values: NDArray[Any]) -> None:
        self._values = values
        if self._changed is not None:
            self._changed(values)

    def __len__(self) -> int:
        return self._values.size

    def __getitem__(self, i: int) -> Any:
        return self.at(i)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values.tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self._values, dtype=dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._values!r})"


class Float32Vector(Vector):
    dtype = np.dtype(np.float32)


class Float64Vector(Vector):
    dtype = np.dtype(np.float64)


class Int8Vector(Vector):
    dtype = np.dtype(np.int8)


class Int16Vector(Vector):
    dtype = np.dtype(np.int16)


class Int32Vector(Vector):
    dtype = np.dtype(np.int32)


class Int64Vector(Vector):
    dtype = np.dtype(np.int64)


class UInt8Vector(Vector):
    dtype = np.dtype(np.uint8)


class UInt16Vector(Vector):
    dtype = np.dtype(np.uint16)


class UInt32Vector(Vector):
    dtype = np.dtype(np.uint32)


class UInt64Vector(Vector):
    dtype = np.dtype(np.uint64)


# FAISS's older names.
FloatVector, DoubleVector, CharVector, ByteVector = Float32Vector, Float64Vector, Int8Vector, UInt8Vector
IntVector, LongVector, LongLongVector, Uint64Vector = Int32Vector, Int64Vector, Int64Vector, UInt64Vector


def vector_to_array(v: Any) -> NDArray[Any]:
    """A NumPy copy of a vector, or of anything that NumPy takes as an array.

    Raises:
        TypeError: ``v`` is a single value, or no array of numbers.
    """
    array = np.array(v)
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise TypeError(f"[vector_to_array] v must be a vector of numbers. Received {type(v).__name__}.")
    return array


def vector_float_to_array(v: Any) -> NDArray[Any]:
    """``vector_to_array``, FAISS's older name."""
    return vector_to_array(v)


def copy_array_to_vector(a: NDArray[Any], v: Vector) -> None:
    """Sets what a vector holds; one that belongs to an index changes the index.

    Args:
        a: shape (n,), of the vector's dtype.
        v: the vector.

    Raises:
        TypeError: ``v`` is no vector, or of another dtype.
        ValueError: ``a`` does not have one dimension.
    """
    op = "copy_array_to_vector"
    if not isinstance(v, Vector):
        raise TypeError(f"[{op}] v must be a vector. Received {type(v).__name__}.")
    if a.dtype != v.dtype:
        raise TypeError(f"[{op}] a must hold {v.dtype} for {type(v).__name__}. Received {a.dtype}.")
    if a.ndim != 1:
        raise ArgumentError(f"[{op}] a must have shape (n,). Received {a.shape}.")
    v._set(np.array(a))
