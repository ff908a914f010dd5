"""FAISS's heap arrays: the k best values of several queries, in arrays of the caller's, as values come in.

The rows of ``val`` and ``ids`` are in order, best first, at any time; FAISS orders them in ``reorder``.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metalfaiss.errors import ArgumentError

__all__ = ["float_maxheap_array_t", "float_minheap_array_t", "int_maxheap_array_t", "int_minheap_array_t"]


class _HeapArray:
    """The k best values, and their ids, for each of ``nh`` queries.

    Attributes:
        nh: how many queries.
        k: how many values for each.
        val: an array of ``nh * k`` elements, float32 or int32.
        ids: an array of ``nh * k`` int64.
    """

    _dtype: ClassVar[type[np.generic]]
    _largest: ClassVar[bool]  # whether the largest values are kept

    def __init__(self) -> None:
        self.nh, self.k = 0, 0
        self.val: NDArray[Any] = np.empty(0, dtype=self._dtype)
        self.ids: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def heapify(self) -> None:
        """Empties all: the worst value, and the id -1.

        Raises:
            TypeError, ValueError: ``val`` or ``ids`` has another dtype, or too few elements.
        """
        values, ids = self._rows("heapify")
        values[:], ids[:] = self._worst(), -1

    def get_val(self, key: int) -> NDArray[Any]:
        """The values of a query, shape (k,)."""
        row: NDArray[Any] = self._rows("get_val")[0][key]
        return row

    def get_ids(self, key: int) -> NDArray[np.int64]:
        """The ids of a query, shape (k,)."""
        row: NDArray[np.int64] = self._rows("get_ids")[1][key]
        return row

    def addn(self, nj: int, vin: Any, j0: int = 0, i0: int = 0, ni: int = -1) -> None:
        """Takes ``nj`` values for each of ``ni`` queries from query ``i0``; their ids are ``j0``, ``j0 + 1``, ...

        Raises:
            TypeError, ValueError: as ``heapify`` does, or there are fewer values.
        """
        count = self.nh - i0 if ni == -1 else ni
        ids = np.broadcast_to(np.arange(j0, j0 + nj, dtype=np.int64), (count, nj))
        self._take("addn", np.arange(i0, i0 + count), nj, vin, ids)

    def addn_with_ids(
        self, nj: int, vin: Any, id_in: Any = None, id_stride: int = 0, i0: int = 0, ni: int = -1
    ) -> None:
        """Takes ``nj`` values for each of ``ni`` queries from query ``i0``, and their ids.

        Args:
            nj: how many values for each.
            vin: shape (ni, nj).
            id_in: ids; None for 0, 1, ...
            id_stride: how far the ids of one query are from those of the next: 0 where they are the same for all.
            i0: the first query.
            ni: how many queries; -1 for all.

        Raises:
            TypeError, ValueError: as ``heapify`` does, or there are fewer values or ids.
        """
        if id_in is None:
            return self.addn(nj, vin, 0, i0, ni)
        count = self.nh - i0 if ni == -1 else ni
        self._take("addn_with_ids", np.arange(i0, i0 + count), nj, vin, self._strided(id_in, count, nj, id_stride))
        return None

    def addn_query_subset_with_ids(
        self, nsubset: int, subset: Any, nj: int, vin: Any, id_in: Any, id_stride: int = -1
    ) -> None:
        """Takes ``nj`` values for each query that ``subset`` names, and their ids; a stride of -1 stands for ``nj``.

        Raises:
            TypeError, ValueError: as ``heapify`` does, or there are fewer values or ids.
        """
        ids = self._strided(id_in, nsubset, nj, nj if id_stride < 0 else id_stride)
        self._take("addn_query_subset_with_ids", np.asarray(subset).reshape(-1)[:nsubset], nj, vin, ids)

    def reorder(self) -> None:
        """Kept for programs written for FAISS: rows are in order at any time."""

    def per_line_extrema(self, vals_out: NDArray[Any] | None, idx_out: NDArray[np.int64] | None) -> None:
        """Writes the worst value that each query keeps, and its id, to arrays of ``nh`` elements."""
        values, ids = self._rows("per_line_extrema")
        if vals_out is not None:
            vals_out.reshape(-1)[: self.nh] = values[:, -1]
        if idx_out is not None:
            idx_out.reshape(-1)[: self.nh] = ids[:, -1]

    def _worst(self) -> Any:
        limits: Any = np.finfo(np.float32) if self._dtype is np.float32 else np.iinfo(np.int32)
        return limits.min if self._largest else limits.max

    def _rows(self, method: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
        for name, array, dtype in (("val", self.val, self._dtype), ("ids", self.ids, np.int64)):
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                received = getattr(array, "dtype", type(array).__name__)
                raise TypeError(
                    f"[{self._op(method)}] {name} must be an array of {np.dtype(dtype)}. Received {received}."
                )
            if array.size < self.nh * self.k or not array.flags.c_contiguous:
                raise ArgumentError(
                    f"[{self._op(method)}] {name} must be contiguous, with {self.nh * self.k} elements. "
                    f"Received {array.shape}."
                )
        shape = (self.nh, self.k)
        return (
            self.val.reshape(-1)[: self.nh * self.k].reshape(shape),
            self.ids.reshape(-1)[: self.nh * self.k].reshape(shape),
        )

    def _strided(self, id_in: Any, n: int, nj: int, stride: int) -> NDArray[np.int64]:
        flat = np.asarray(id_in, dtype=np.int64).reshape(-1)
        if flat.size < max(n - 1, 0) * stride + nj:
            raise ArgumentError(
                f"[{type(self).__name__}] id_in must have {max(n - 1, 0) * stride + nj} elements. Received {flat.size}."
            )
        ids: NDArray[np.int64] = flat[np.arange(n)[:, None] * stride + np.arange(nj)]
        return ids

    def _take(self, method: str, which: NDArray[Any], nj: int, vin: Any, new_ids: NDArray[np.int64]) -> None:
        flat = np.asarray(vin, dtype=self._dtype).reshape(-1)
        if flat.size < which.size * nj:
            raise ArgumentError(f"[{self._op(method)}] vin must have {which.size * nj} elements. Received {flat.size}.")
        values, ids = self._rows(method)
        new = flat[: which.size * nj].reshape(which.size, nj)
        new_ids = np.where(new == new, new_ids, -1)  # NaN is nobody's neighbour
        both = np.concatenate([values[which], np.where(new == new, new, self._worst())], axis=1)
        key = both.astype(np.float64)
        order = np.argsort(-key if self._largest else key, axis=1, kind="stable")[:, : self.k]
        all_ids = np.concatenate([ids[which], new_ids], axis=1)
        values[which] = np.take_along_axis(both, order, axis=1)
        ids[which] = np.take_along_axis(all_ids, order, axis=1)

    def _op(self, method: str) -> str:
        return f"{type(self).__name__}.{method}"


class float_maxheap_array_t(_HeapArray):
    """The k smallest float32 values of each query."""

    _dtype, _largest = np.float32, False


class float_minheap_array_t(_HeapArray):
    """The k largest float32 values of each query."""

    _dtype, _largest = np.float32, True


class int_maxheap_array_t(_HeapArray):
    """The k smallest int32 values of each query."""

    _dtype, _largest = np.int32, False


class int_minheap_array_t(_HeapArray):
    """The k largest int32 values of each query."""

    _dtype, _largest = np.int32, True
