"""Exact search: the vectors as they are, and every one of them compared."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes import _checks, _chunks
from metalfaiss.indexes._chunks import Chunks
from metalfaiss.indexes._merge import Ranges
from metalfaiss.indexes.flat_codes import IndexFlatCodes
from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2, NAMES
from metalfaiss.numeric import Float32
from metalfaiss.search_parameters import SearchParameters
from metalfaiss.selectors import IDSelector
from metalfaiss.vectors import UInt8Vector

__all__ = ["IndexFlat", "IndexFlatIP", "IndexFlatL2", "selected"]

_DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


def selected(params: SearchParameters | None, ntotal: int) -> NDArray[np.int64] | None:
    """The ids that take part, ascending; None for all."""
    return None if params is None or params.sel is None else params.sel._native.positions(ntotal)


class IndexFlat(IndexFlatCodes):
    """Exact search by squared L2 distance, inner product, or another of FAISS's metrics.

    For the first two the ids are those of a float64 computation, except where two distances differ by less than 1e-6
    relative. The others are computed in float32, on CPU streams, without derivatives; ``metric_arg`` is the power of
    ``METRIC_Lp``.

    Args:
        d: the dimension of the vectors.
        metric: ``METRIC_L2``, ``METRIC_INNER_PRODUCT``, ``METRIC_L1``, ...
        dtype: what vectors are stored as, and searched as without conversion: ``mx.float32``, ``mx.float16`` or
            ``mx.bfloat16``.

    Raises:
        TypeError: ``d`` is not an integer.
        ValueError: ``d`` is less than 1, or the metric or dtype is none of these.
    """

    def __init__(self, d: int, metric: int = METRIC_L2, *, dtype: mx.Dtype = mx.float32) -> None:
        super().__init__(d, metric)
        if metric not in NAMES:
            known = ", ".join(f"{name} ({value})" for value, name in NAMES.items())
            raise ArgumentError(f"[{type(self).__name__}] metric must be one of {known}. Received {metric!r}.")
        if dtype not in _DTYPES.values():
            raise ArgumentError(
                f"[{type(self).__name__}] dtype must be mx.float32, mx.float16 or mx.bfloat16. Received {dtype!r}."
            )
        self._dtype = dtype
        self._reset()

    @property
    def _metric(self) -> _chunks.Metric:
        return self.metric_type, self.metric_arg

    @property
    def ntotal(self) -> int:
        return _chunks.total(self._chunks)

    @property
    def dtype(self) -> mx.Dtype:
        """What the vectors are stored as."""
        return self._dtype

    @property
    def code_size(self) -> int:
        """The bytes of a stored vector."""
        return self.d * self.dtype.size

    def _reset(self) -> None:
        self._chunks: Chunks = (_host.empty(self.d, self.dtype),)

    def _add(self, x: mx.array) -> None:
        stored = x if x.dtype == self.dtype else _host.finish(x.astype(self.dtype), x)
        self._chunks = _chunks.append(self._chunks, stored)

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        chunks = self._chunks
        return _chunks.search(chunks, x, k, self._metric, stream, selected(params, _chunks.total(chunks)))

    def _range_search(self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream) -> Ranges:
        _host.require_cpu(self._op("range_search"), stream)
        chunks = self._chunks
        return _chunks.within(chunks, x, radius, self._metric, stream, selected(params, _chunks.total(chunks)))

    def _remove_ids(self, selector: IDSelector) -> int:
        before = self._chunks
        n = _chunks.total(before)
        kept = np.ones(n, dtype=np.bool_)
        kept[selector._native.positions(n)] = False
        removed = n - int(kept.sum())
        if removed:
            left = _chunks.gather(before, mx.array(np.flatnonzero(kept)))
            self._chunks = (_host.finish(left, *before),)
        return removed

    def _check_compatible(self, op: str, other: IndexFlat) -> None:
        self._require_same(op, "dtype", self.dtype, other.dtype)
        self._require_same(op, "metric_arg", self.metric_arg, other.metric_arg)

    def _merge_from(self, other: IndexFlat, add_id: int) -> None:
        for chunk in other._chunks:
            self._chunks = _chunks.append(self._chunks, chunk)
        other._reset()

    def _sa_code_size(self) -> int:
        return self.code_size

    def _sa_encode(self, x: mx.array) -> mx.array:
        return x.astype(self.dtype).view(mx.uint8)

    def _sa_decode(self, codes: mx.array) -> mx.array:
        return codes.view(self.dtype).astype(mx.float32)

    def _add_sa_codes(self, codes: NDArray[np.uint8], ids: NDArray[np.int64] | None) -> None:
        self._refuse_ids(ids)
        self._add(self._sa_decode(mx.array(codes)))

    def _permute(self, order: NDArray[np.int64]) -> None:
        stored = mx.concatenate(list(self._chunks))
        self._chunks = (_host.finish(mx.take(stored, mx.array(order), axis=0), *self._chunks),)

    @property
    def codes(self) -> UInt8Vector:
        """The bytes of all stored vectors, one vector after the other: a copy."""
        stored = mx.concatenate(list(self._chunks)).view(mx.uint8)
        return UInt8Vector(_host.to_numpy(stored)[0].reshape(-1))

    def get_xb(self) -> NDArray[np.float32]:
        """All stored vectors one after the other, shape (ntotal * d,), float32: a copy."""
        return _host.to_numpy(self._reconstruct_n(0, self.ntotal))[0].reshape(-1)

    def _reconstruct_n(self, n0: int, ni: int) -> mx.array:
        return _chunks.rows(self._chunks, n0, ni)

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        return _chunks.take(self._chunks, ids)

    def compute_distance_subset(
        self, n: int, x: NDArray[Any], k: int, distances: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> None:
        """Writes the distances of each query to k stored vectors of its own.

        Args:
            n: how many queries.
            x: shape (n, d).
            k: how many vectors for each.
            distances: shape (n, k), float32, where they are written to: an id of -1 gets an infinite L2 distance, or
                a similarity of minus infinity.
            labels: the ids, shape (n, k).

        Raises:
            TypeError, ValueError: a dtype or shape is wrong, or an id does not exist.
            RuntimeError: the metric is neither ``METRIC_L2`` nor ``METRIC_INNER_PRODUCT``.
        """
        op = self._op("compute_distance_subset")
        product = self.metric_type == METRIC_INNER_PRODUCT
        if not product and self.metric_type != METRIC_L2:
            raise RuntimeError(f"[{op}] The metric must be L2 or inner product. Received {NAMES[self.metric_type]}.")
        queries = _checks.vectors(op, x.reshape(-1)[: n * self.d].reshape(n, -1), self.d, Float32).astype(mx.float32)
        ids = _checks.stored_ids(op, np.asarray(labels).reshape(-1)[: n * k], n * k).reshape(n, k)
        self._check_keys(op, ids[ids >= 0])
        stored = self._reconstruct_batch(mx.array(ids.reshape(-1))).reshape(n, k, self.d)
        each = queries[:, None]
        found = _host.to_numpy((each * stored).sum(-1) if product else ((each - stored) ** 2).sum(-1))[0]
        found[ids < 0] = -np.inf if product else np.inf
        _host.check_output(op, "distances", distances.reshape(-1)[: n * k], (n * k,), np.float32)
        distances.reshape(-1)[: n * k] = found.reshape(-1)

    def __getstate__(self) -> dict[str, Any]:
        name = next(name for name, dtype in _DTYPES.items() if dtype == self.dtype)
        return super().__getstate__() | {"_dtype": name, "_chunks": self._chunks}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state | {"_dtype": _DTYPES[state["_dtype"]]})

    def __repr__(self) -> str:
        metric = f", {NAMES[self.metric_type]}" if type(self) is IndexFlat else ""
        return f"{type(self).__name__}({self.d}{metric}, dtype={self.dtype}, ntotal={self.ntotal})"


class IndexFlatL2(IndexFlat):
    """Exact search by squared L2 distance: ``IndexFlat(d, METRIC_L2)``.

    Args:
        d: the dimension of the vectors.
        dtype: what vectors are stored as: ``mx.float32``, ``mx.float16`` or ``mx.bfloat16``.
    """

    def __init__(self, d: int, *, dtype: mx.Dtype = mx.float32) -> None:
        super().__init__(d, METRIC_L2, dtype=dtype)


class IndexFlatIP(IndexFlat):
    """Exact search by inner product, largest first: ``IndexFlat(d, METRIC_INNER_PRODUCT)``.

    Args:
        d: the dimension of the vectors.
        dtype: what vectors are stored as: ``mx.float32``, ``mx.float16`` or ``mx.bfloat16``.
    """

    def __init__(self, d: int, *, dtype: mx.Dtype = mx.float32) -> None:
        super().__init__(d, METRIC_INNER_PRODUCT, dtype=dtype)
