"""What programs written for FAISS call beside its indexes."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes.base import Index

__all__ = [
    "MatrixStats",
    "clone_binary_index",
    "clone_index",
    "downcast_IndexBinary",
    "downcast_InvertedLists",
    "downcast_Quantizer",
    "downcast_VectorTransform",
    "downcast_index",
    "normalize_L2",
    "rev_swig_ptr",
    "swig_ptr",
]

T = TypeVar("T")


def normalize_L2(x: Array) -> None:
    """Scales vectors to length 1, in place; those of length 0 stay as they are.

    Args:
        x: shape (n, d), float32; a writeable NumPy array, or an ``mx.array``, which is lazy after it as before.

    Raises:
        TypeError: ``x`` is no array of float32.
        ValueError: its shape is not (n, d), or it is read-only.
    """
    op = "normalize_L2"
    if not isinstance(x, mx.array | np.ndarray) or x.dtype not in (mx.float32, np.float32):
        received = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"[{op}] x must be an array of float32. Received {received}.")
    if x.ndim != 2:
        raise ArgumentError(f"[{op}] x must have shape (n, d). Received {tuple(x.shape)}.")
    if isinstance(x, mx.array):
        norms = mx.linalg.norm(x, axis=1, keepdims=True)
        x[:] = x / mx.where(norms > 0, norms, mx.array(1.0))
        return
    _host.check_output(op, "x", x, x.shape, np.float32)
    squares = np.einsum("ij,ij->i", x, x, dtype=np.float64)[:, None]
    np.divide(x, np.sqrt(squares, where=squares > 0, out=np.ones_like(squares)), out=x, casting="unsafe")


def clone_index(index: Index) -> Index:
    """A deep copy of an index. Vectors are shared until one of the two changes.

    Raises:
        TypeError: ``index`` is no index.
    """
    if not isinstance(index, Index):
        raise TypeError(f"[clone_index] index must be an Index. Received {type(index).__name__}.")
    return copy.deepcopy(index)


def clone_binary_index(index: T) -> T:
    """A deep copy of a binary index."""
    return copy.deepcopy(index)


def downcast_index(index: T) -> T:
    """The object itself: it has its type already."""
    return index


downcast_IndexBinary = downcast_index
downcast_InvertedLists = downcast_index
downcast_Quantizer = downcast_index
downcast_VectorTransform = downcast_index


def swig_ptr(a: NDArray[Any]) -> NDArray[Any]:
    """The array itself, where FAISS takes a pointer to its data.

    Raises:
        TypeError: it is no NumPy array.
        ValueError: it is not contiguous.
    """
    if not isinstance(a, np.ndarray):
        raise TypeError(f"[swig_ptr] a must be a numpy.ndarray. Received {type(a).__name__}.")
    if not a.flags.c_contiguous:
        raise ArgumentError(f"[swig_ptr] a must be contiguous. Received strides {a.strides} for shape {a.shape}.")
    return a


def rev_swig_ptr(ptr: Any, n: int) -> NDArray[Any]:
    """The first n elements behind what ``swig_ptr``, ``get_xb`` or a vector's ``data`` returned, as a view."""
    return np.asarray(ptr).reshape(-1)[:n]


class MatrixStats:
    """What stands out in a set of vectors.

    Args:
        m: shape (n, d), float32.

    Raises:
        ValueError: its shape is not (n, d).

    Attributes:
        n, d: how many vectors, and their dimension.
        n_valid: how many are finite in all dimensions.
        n_collision: FAISS's count of different vectors of one hash: 0, as vectors are compared.
        min_norm2, max_norm2: the smallest and largest norms of the finite vectors: not squared, as in FAISS.
        mean, stddev: of each dimension, float64, over the finite vectors.
        comments: all of this in words.
    """

    def __init__(self, m: NDArray[np.float32]) -> None:
        x = np.asarray(m, dtype=np.float32)
        if x.ndim != 2:
            raise ArgumentError(f"[MatrixStats] m must have shape (n, d). Received {x.shape}.")
        self.n, self.d = x.shape
        finite = np.ascontiguousarray(x[np.isfinite(x).all(axis=1)])
        self.n_valid = len(finite)
        self.n_collision = 0
        repeated = self.n_valid - len(np.unique(finite.view(f"V{4 * self.d}"))) if finite.size else 0
        squares = np.einsum("ij,ij->i", finite, finite, dtype=np.float64)
        norms = np.sqrt(squares)
        self.min_norm2, self.max_norm2 = (float(norms.min()), float(norms.max())) if finite.size else (0.0, 0.0)
        self.mean = finite.mean(axis=0, dtype=np.float64) if finite.size else np.zeros(self.d)
        self.stddev = finite.std(axis=0, dtype=np.float64) if finite.size else np.zeros(self.d)
        self.comments = "".join(f"{line}\n" for line in self._lines(repeated, int((squares == 0).sum())))

    def _lines(self, repeated: int, zeros: int) -> list[str]:
        constant, far = self.stddev == 0, np.abs(self.mean) > 1e4 * np.maximum(self.stddev, 1e-30)
        return [
            f"{self.n} vectors of {self.d} dimensions",
            f"not finite: {self.n - self.n_valid} vectors",
            f"repeated: {repeated} vectors",
            f"L2 norms: {self.min_norm2:g} to {self.max_norm2:g}, {zeros} of them 0",
            f"constant: {int(constant.sum())} dimensions",
            f"mean beyond 10000 standard deviations: {int((far & ~constant).sum())} dimensions",
            f"standard deviations: {self.stddev.min(initial=np.inf):g} to {self.stddev.max(initial=0):g}",
        ]
