"""The base class of the indexes of binary codes: FAISS's interface and its checks."""

from __future__ import annotations

from typing import Any, overload

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array, Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes import _checks
from metalfaiss.indexes._c_calls import CCalls
from metalfaiss.indexes._code_store import Codes
from metalfaiss.indexes._common import Common
from metalfaiss.metrics import METRIC_L2
from metalfaiss.search_parameters import SearchParameters, bound

__all__ = ["IndexBinary"]


class IndexBinary(Common, CCalls):
    """Codes of ``d`` bits that can be searched by Hamming distance, numbered from 0 in the order they are added.

    Codes are uint8, shape (n, d / 8), NumPy or ``mx.array``; results are NumPy for NumPy, lazy for ``mx.array``.

    Attributes:
        is_trained: whether codes may be added.
        verbose: whether long work prints what it does.
    """

    metric_type = METRIC_L2

    def __init__(self, d: int) -> None:
        name = type(self).__name__
        super().__init__(_host.integer(name, "d", d, 8))
        if d % 8:
            raise ArgumentError(f"[{name}] d must be a multiple of 8. Received {d}.")

    @property
    def _width(self) -> int:
        """The elements of a code, as an array has them."""
        return self.code_size

    @property
    def code_size(self) -> int:
        """The bytes of a code."""
        return self._d // 8

    # ------------------------------------------------------------------------------------ storing

    def train(self, x: Array) -> None:
        """Learns from codes what the index needs before any is added; an index that needs nothing checks ``x``.

        Args:
            x: uint8, shape (n, d / 8).

        Raises:
            TypeError: ``x`` is not an array of uint8.
            ValueError: its shape is not (n, d / 8), or there are too few.
        """
        codes = self._codes_of("train", "x", x)
        with self._lock:
            self._train(codes)

    def add(self, x: Array) -> None:
        """Stores codes under the ids ``ntotal``, ``ntotal + 1``, ...

        Args:
            x: uint8, shape (n, d / 8).

        Raises:
            TypeError: ``x`` is not an array of uint8.
            ValueError: its shape is not (n, d / 8).
            RuntimeError: the index is not trained.
        """
        codes = self._codes_of("add", "x", x)
        self._require_trained(self._op("add"))
        with self._lock:
            self._add(_host.own(codes))

    def add_with_ids(self, x: Array, ids: Any) -> None:
        """Stores codes under ids of the caller's.

        Args:
            x: uint8, shape (n, d / 8).
            ids: integers, shape (n,).

        Raises:
            TypeError, ValueError: as ``add`` does, or ``ids`` are not integers of shape (n,).
            RuntimeError: the index is not trained, or numbers its codes itself: wrap it in ``IndexBinaryIDMap``.
        """
        codes = self._codes_of("add_with_ids", "x", x)
        self._require_trained(self._op("add_with_ids"))
        given = _checks.stored_ids(self._op("add_with_ids"), ids, codes.shape[0])
        with self._lock:
            self._add_with_ids(_host.own(codes), given)

    # ---------------------------------------------------------------------------------- searching

    @overload
    def search(
        self, x: mx.array, k: int, *, params: SearchParameters | None = None, stream: Stream = None
    ) -> tuple[mx.array, mx.array]: ...
    @overload
    def search(
        self, x: Codes, k: int, *, params: SearchParameters | None = None, stream: Stream = None
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]: ...
    def search(
        self, x: Array, k: int, *, params: SearchParameters | None = None, stream: Stream = None
    ) -> tuple[Any, Any]:
        """The k nearest stored codes of each query, nearest first; of equal distances the lower id.

        Does not change the index: any number of threads may search one index at once.

        Args:
            x: queries, uint8, shape (n, d / 8).
            k: how many, at least 1, may exceed ``ntotal``.
            params: search parameters, such as a filter: they take the place of the index's own settings.
            stream: where to run; a CPU stream.

        Returns:
            Hamming distances (n, k) in int32 and ids (n, k) in int64. Where fewer than k codes qualify, the id is -1
            and the distance 2^31 - 1.

        Raises:
            TypeError: ``x`` is not an array of uint8; k is not an integer; ``params`` are of another type of index.
            ValueError: the shape of ``x`` is not (n, d / 8), or k is less than 1.
            RuntimeError: the index is not trained.
        """
        op = self._op("search")
        codes, k = self._codes_of("search", "x", x), _host.integer(op, "k", k, 1)
        found = self._search(codes, k, self._parameters("search", params), stream)
        if isinstance(x, mx.array):
            return found
        distances, ids = _host.to_numpy(*found)
        return distances, ids

    def range_search(
        self, x: Array, thresh: float, *, params: SearchParameters | None = None, stream: Stream = None
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]:
        """All stored codes nearer than ``thresh``.

        Args:
            x: queries, uint8, shape (n, d / 8).
            thresh: the Hamming distance that results must be below.
            params: search parameters, such as a filter.
            stream: where to run; a CPU stream.

        Returns:
            NumPy arrays: limits (n + 1,) in uint64, and distances, float32, and ids, of which those of query i lie from
            ``limits[i]`` to ``limits[i + 1] - 1``, by id.

        Raises:
            TypeError: ``x`` is not an array of uint8; ``thresh`` is no number; ``params`` are of another type of index.
            ValueError: the shape of ``x`` is not (n, d / 8).
            RuntimeError: the index is not trained.
        """
        op = self._op("range_search")
        codes = self._codes_of("range_search", "x", x)
        radius = _checks.radius(op, thresh)
        below = int(np.ceil(min(max(radius, 0.0), self.d + 1.0))) if radius == radius else 0
        lims, D, I = self._range_search(codes, below, self._parameters("range_search", params), stream)
        return lims.astype(np.uint64, copy=False), D, I

    def search_and_reconstruct(
        self, x: Array, k: int, *, params: SearchParameters | None = None, stream: Stream = None
    ) -> tuple[Any, Any, Any]:
        """What ``search`` finds, and the stored codes of the ids, uint8, shape (n, k, d / 8); zeros where the id is -1.

        Raises:
            TypeError, ValueError, RuntimeError: as ``search`` does, or the index cannot reconstruct codes.
        """
        D, I = self.search(x, k, params=params, stream=stream)
        codes = self._reconstruct_batch(mx.array(I).reshape(-1)).reshape(*I.shape, self.code_size)
        return D, I, codes if isinstance(x, mx.array) else _host.to_numpy(codes)[0]

    def assign(self, x: Array, k: int, labels: NDArray[np.int64] | None = None, *, stream: Stream = None) -> Any:
        """The ids of ``search`` alone, shape (n, k).

        Args:
            x: queries, uint8, shape (n, d / 8).
            k: how many.
            labels: an int64 NumPy array of shape (n, k) to write the ids of NumPy queries to.
            stream: where to run.

        Raises:
            TypeError, ValueError, RuntimeError: as ``search`` does.
        """
        _checks.output(self._op("assign"), "labels", x, labels, (k,), np.int64)
        _, ids = self.search(x, k, stream=stream)
        return ids if isinstance(ids, mx.array) else _host.output(ids, labels)

    # ----------------------------------------------------------------------------- reconstructing

    def reconstruct(self, key: int) -> Codes:
        """The stored code of an id, uint8, shape (d / 8,).

        Raises:
            TypeError: ``key`` is not an integer.
            ValueError: there is no such id.
            RuntimeError: the type of index cannot reconstruct codes.
        """
        code: Codes = self.reconstruct_batch([_host.require_int(self._op("reconstruct"), "key", key)])[0]
        return code

    def reconstruct_n(self, n0: int = 0, ni: int = -1, x: Codes | None = None) -> Codes:
        """The stored codes ``n0`` to ``n0 + ni - 1``, uint8, shape (ni, d / 8).

        Args:
            n0: the first id.
            ni: how many; -1 stands for all from ``n0``.
            x: a uint8 NumPy array to write to, and to return.

        Raises:
            TypeError: ``n0`` or ``ni`` is not an integer, or ``x`` not a uint8 NumPy array.
            ValueError: there are no such ids, or ``x`` has another shape.
            RuntimeError: the type of index cannot reconstruct codes.
        """
        op = self._op("reconstruct_n")
        n0 = _host.integer(op, "n0", n0, 0, self.ntotal)
        ni = _host.integer(op, "ni", ni, -1, self.ntotal - n0)
        ni = self.ntotal - n0 if ni == -1 else ni
        if x is not None:
            _host.check_output(op, "x", x, (ni, self.code_size), np.uint8)
        codes: Codes = _host.output(self.reconstruct_batch(np.arange(n0, n0 + ni)), x)
        return codes

    def reconstruct_batch(self, key: Any) -> Codes:
        """The stored codes of several ids, uint8, shape (n, d / 8).

        Raises:
            TypeError: ``key`` does not hold integers.
            ValueError: an id does not exist, or ``key`` does not have one dimension.
            RuntimeError: the type of index cannot reconstruct codes.
        """
        op = self._op("reconstruct_batch")
        keys = _checks.keys(op, np.asarray(key))
        self._check_keys(op, np.asarray(keys))
        return _host.to_numpy(self._reconstruct_batch(mx.array(keys)))[0]

    def sa_code_size(self) -> int:
        """The bytes of a code."""
        return self.code_size

    # ----------------------------------------------------- what a subclass has, or has from Unsupported

    def _check_keys(self, op: str, keys: NDArray[np.int64]) -> None:
        _checks.in_range(op, keys, self.ntotal, "codes")

    # --------------------------------------------------------------------------- helpers of subclasses

    def _codes_of(self, method: str, name: str, x: Array) -> mx.array:
        self._check_codes(method, name, x)
        return x if isinstance(x, mx.array) else mx.array(np.ascontiguousarray(x))

    def _check_codes(self, method: str, name: str, x: Array) -> None:
        is_array = isinstance(x, mx.array | np.ndarray)
        if not is_array or x.dtype != (mx.uint8 if isinstance(x, mx.array) else np.uint8):
            received = getattr(x, "dtype", type(x).__name__)
            raise TypeError(f"[{self._op(method)}] {name} must be an array of uint8. Received {received}.")
        if x.ndim != 2 or x.shape[1] != self.code_size:
            raise ArgumentError(
                f"[{self._op(method)}] {name} must have shape (n, {self.code_size}). Received {tuple(x.shape)}."
            )

    def _parameters(self, method: str, params: SearchParameters | None) -> SearchParameters | None:
        if params is None and self.is_trained:
            return None
        op = self._op(method)
        self._require_trained(op)
        checked = _checks.parameters(op, params, self._parameters_type)
        out: SearchParameters | None = bound(checked, self._ids)
        return out
