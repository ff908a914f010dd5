"""The base class of the indexes: FAISS's interface, its checks, and the edge between NumPy and MLX."""

from __future__ import annotations

from typing import Any, overload

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array, Stream
from metalfaiss.indexes import _checks
from metalfaiss.indexes._c_calls import CCalls, CodeCalls, ExCalls
from metalfaiss.indexes._stored import Stored
from metalfaiss.numeric import Float32
from metalfaiss.search_parameters import SearchParameters

__all__ = ["Index"]

_LEAST = 4096  # queries that are searched together
_WORK = 1e11  # multiply-adds of an exhaustive search of such a part: about a second of two cores


class Index(Stored, CCalls, CodeCalls, ExCalls):
    """Vectors of ``d`` dimensions that can be searched, numbered from 0 in the order in which they are added.

    NumPy arrays and ``mx.array`` are both taken. NumPy queries get NumPy results. ``mx.array`` queries get lazy
    ``mx.array`` results, which compose with ``mx.compile``, ``mx.grad`` and ``mx.vmap``; where vectors are stored as
    they are, distances are differentiable with respect to the queries and to stored vectors.

    Vectors added as lazy ``mx.array`` stay lazy until a search computes them. As every lazy array, they can only be
    computed by the thread that made them; once computed, any number of threads may search the index at once.

    An index made inside of a transformed function may be given traced vectors; one made outside refuses them, since
    it would outlive them.

    Attributes:
        is_trained: whether vectors may be added.
        verbose: whether long work prints what it does.
        metric_arg: the argument of metrics that have one.
    """

    # ------------------------------------------------------------------------------------ storing

    def train(self, x: Array, *, numeric_type: int = Float32) -> None:
        """Learns from vectors what the index needs before any is added; an index that needs nothing checks ``x``.

        Args:
            x: shape (n, d).
            numeric_type: what ``x`` is rounded to first: ``Float32`` (not at all), ``Float16``, ``UInt8`` or ``Int8``.

        Raises:
            TypeError: ``x`` is neither a NumPy array nor an ``mx.array``, or is complex.
            ValueError: its shape is not (n, d), or there are too few vectors.
        """
        vectors = _checks.vectors(self._op("train"), x, self.d, numeric_type)
        with self._lock:
            self._train(vectors)

    def add(self, x: Array, numeric_type: int = Float32) -> None:
        """Stores vectors under the ids ``ntotal``, ``ntotal + 1``, ...

        Args:
            x: shape (n, d). An ``mx.array`` is kept without a copy, lazy if it is, and converted only if its dtype is
                not that of the index.
            numeric_type: what ``x`` is rounded to first.

        Raises:
            TypeError: ``x`` is neither a NumPy array nor an ``mx.array``, or is complex.
            ValueError: its shape is not (n, d), or it is traced and the index was made outside of the transformed
                function. The index is then as it was.
            RuntimeError: the index is not trained.
        """
        vectors = self._new_vectors("add", x, numeric_type)
        with self._lock:
            self._add(vectors)
            self._gave_mlx |= isinstance(x, mx.array)

    def add_with_ids(self, x: Array, ids: Any, numeric_type: int = Float32) -> None:
        """Stores vectors under ids of the caller's.

        Args:
            x: shape (n, d), as ``add`` takes it.
            ids: integers, shape (n,). -1 means "none" in results: better not to use it.
            numeric_type: what ``x`` is rounded to first.

        Raises:
            TypeError, ValueError: as ``add`` does, or ``ids`` are not integers of shape (n,).
            RuntimeError: the index is not trained, or numbers its vectors itself: wrap it in ``IndexIDMap``.
        """
        vectors = self._new_vectors("add_with_ids", x, numeric_type)
        given = _checks.stored_ids(self._op("add_with_ids"), ids, vectors.shape[0])
        with self._lock:
            self._add_with_ids(vectors, given)
            self._gave_mlx |= isinstance(x, mx.array)

    # ---------------------------------------------------------------------------------- searching

    @overload
    def search(
        self,
        x: mx.array,
        k: int,
        *,
        params: SearchParameters | None = None,
        D: None = None,
        I: None = None,
        numeric_type: int = Float32,
        stream: Stream = None,
    ) -> tuple[mx.array, mx.array]: ...
    @overload
    def search(
        self,
        x: NDArray[Any],
        k: int,
        *,
        params: SearchParameters | None = None,
        D: NDArray[np.float32] | None = None,
        I: NDArray[np.int64] | None = None,
        numeric_type: int = Float32,
        stream: Stream = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]: ...
    def search(
        self,
        x: Array,
        k: int,
        *,
        params: SearchParameters | None = None,
        D: NDArray[np.float32] | None = None,
        I: NDArray[np.int64] | None = None,
        numeric_type: int = Float32,
        stream: Stream = None,
    ) -> tuple[Any, Any]:
        """The k nearest stored vectors of each query, best first; of equal distances the lower id.

        Does not change the index: any number of threads may search one index at once.

        Args:
            x: queries, shape (n, d); computed in float32.
            k: how many, at least 1, may exceed ``ntotal``.
            params: search parameters, such as a filter: they take the place of the index's own settings.
            D, I: NumPy arrays of shape (n, k), float32 and int64, to write the results of NumPy queries to.
            numeric_type: what ``x`` is rounded to first.
            stream: where to run.

        Returns:
            Distances (n, k) in float32 (squared L2, or inner products) and ids (n, k) in int64. Where fewer than k
            vectors qualify, the id is -1 and the distance the metric's worst: the largest float32 for L2, the lowest
            for inner products.

        Raises:
            TypeError: ``x`` is neither a NumPy array nor an ``mx.array``, or is complex; k is not an integer; ``D`` or
                ``I`` has another dtype, or is given with an ``mx.array``; ``params`` are of another type of index.
            ValueError: a shape is wrong, or k is less than 1.
            RuntimeError: the index is not trained.
        """
        op = self._op("search")
        queries, k = _checks.queries(op, x, self.d, k, numeric_type, stream)
        _checks.output(op, "D", x, D, (k,), np.float32)
        _checks.output(op, "I", x, I, (k,), np.int64)
        if isinstance(x, mx.array):
            return self._find(op, queries, k, params, stream)
        distances, ids = self._find_in_parts(op, queries, k, params, stream)
        return _host.output(distances, D), _host.output(ids, I)

    def _find_in_parts(
        self, op: str, queries: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> list[NDArray[Any]]:
        """``_find``, computed. Between two parts of a long search Python hears of signals: Ctrl-C ends it."""
        n, step = queries.shape[0], max(_LEAST, int(_WORK / max(1, self.ntotal * self.d)))
        if n <= step:
            return _host.to_numpy(*self._find(op, queries, k, params, stream))
        parts = [_host.to_numpy(*self._find(op, queries[i : i + step], k, params, stream)) for i in range(0, n, step)]
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def search_and_reconstruct(
        self,
        x: Array,
        k: int,
        *,
        params: SearchParameters | None = None,
        D: NDArray[np.float32] | None = None,
        I: NDArray[np.int64] | None = None,
        R: NDArray[np.float32] | None = None,
        stream: Stream = None,
    ) -> tuple[Any, Any, Any]:
        """What ``search`` finds, and the stored vectors of the ids.

        Args:
            x, k, params, D, I, stream: as for ``search``.
            R: a float32 NumPy array of shape (n, k, d) to write the vectors to.

        Returns:
            Distances (n, k), ids (n, k) and vectors (n, k, d) in float32; NaN where the id is -1.

        Raises:
            TypeError, ValueError, RuntimeError: as ``search`` does, or the index cannot reconstruct vectors.
        """
        op = self._op("search_and_reconstruct")
        queries, k = _checks.queries(op, x, self.d, k, Float32, stream)
        _checks.output(op, "D", x, D, (k,), np.float32)
        _checks.output(op, "I", x, I, (k,), np.int64)
        _checks.output(op, "R", x, R, (k, self.d), np.float32)
        found = self._search_and_reconstruct(queries, k, self._parameters(op, params), stream)
        if isinstance(x, mx.array):
            return found
        distances, ids, vectors = _host.to_numpy(*found)
        return _host.output(distances, D), _host.output(ids, I), _host.output(vectors, R)

    def range_search(
        self, x: Array, thresh: float, *, params: SearchParameters | None = None, stream: Stream = None
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]:
        """All stored vectors nearer than ``thresh``: distances below it, or similarities above it.

        Args:
            x: queries, shape (n, d); computed in float32.
            thresh: the distance (squared for L2), or similarity, that results must be better than.
            params: search parameters, such as a filter.
            stream: where to run.

        Returns:
            NumPy arrays: limits (n + 1,) in uint64, and distances and ids, of which those of query i lie from
            ``limits[i]`` to ``limits[i + 1] - 1``, by id.

        Raises:
            TypeError: ``x`` is neither a NumPy array nor an ``mx.array``, or is complex; ``thresh`` is no number;
                ``params`` are of another type of index.
            ValueError: the shape of ``x`` is not (n, d).
            RuntimeError: the index is not trained, or its type cannot search by distance.
        """
        op = self._op("range_search")
        queries, _ = _checks.queries(op, x, self.d, 1, Float32, stream)
        found = self._find_within(op, queries, _checks.radius(op, thresh), params, stream)
        return found[0].astype(np.uint64, copy=False), found[1], found[2]

    @overload
    def assign(self, x: mx.array, k: int, labels: None = None, *, stream: Stream = None) -> mx.array: ...
    @overload
    def assign(
        self, x: NDArray[Any], k: int, labels: NDArray[np.int64] | None = None, *, stream: Stream = None
    ) -> NDArray[np.int64]: ...
    def assign(self, x: Array, k: int, labels: NDArray[np.int64] | None = None, *, stream: Stream = None) -> Any:
        """The ids of ``search`` alone, shape (n, k).

        Args:
            x: queries, shape (n, d).
            k: how many.
            labels: an int64 NumPy array of shape (n, k) to write the ids of NumPy queries to.
            stream: where to run.

        Raises:
            TypeError, ValueError, RuntimeError: as ``search`` does.
        """
        op = self._op("assign")
        queries, k = _checks.queries(op, x, self.d, k, Float32, stream)
        _checks.output(op, "labels", x, labels, (k,), np.int64)
        _, ids = self._find(op, queries, k, None, stream)
        return ids if isinstance(x, mx.array) else _host.output(_host.to_numpy(ids)[0], labels)
