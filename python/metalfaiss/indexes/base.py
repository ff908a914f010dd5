"""The base class of the indexes: FAISS's interface, its checks, and the edge between NumPy and MLX."""

from __future__ import annotations

from typing import Any, overload

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array, Stream
from metalfaiss.indexes import _checks
from metalfaiss.indexes._ex import ExCalls
from metalfaiss.indexes._state import State
from metalfaiss.numeric import Float32
from metalfaiss.search_parameters import SearchParameters

__all__ = ["Index"]


class Index(State, ExCalls):
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

    def reset(self) -> None:
        """Removes all vectors."""
        with self._lock:
            self._reset()
            self._gave_mlx = False

    def remove_ids(self, x: Any) -> int:
        """Removes vectors. Where an index numbers them, those behind move up.

        Args:
            x: a selector, a predicate, or ids of shape (n,); ids that are not stored are ignored.

        Returns:
            How many were removed.

        Raises:
            TypeError: ``x`` is none of these.
            RuntimeError: the type of index cannot remove vectors.
        """
        selector = _checks.removed(self._op("remove_ids"), x)
        with self._lock:
            return self._remove_ids(selector._bound(self._ids))

    def merge_from(self, otherIndex: Index, add_id: int = 0) -> None:
        """Moves the vectors of another index behind those of this one; the other one is empty then.

        Args:
            otherIndex: an index of the same type and form.
            add_id: added to its ids, where an index keeps ids.

        Raises:
            TypeError: ``add_id`` is not an integer.
            ValueError: ``otherIndex`` is this index.
            RuntimeError: the indexes are not compatible.
        """
        op = self._op("merge_from")
        add_id = _host.require_int(op, "add_id", add_id)
        if otherIndex is self:
            raise ValueError(f"[{op}] otherIndex must be another index. Received the index itself.")
        self.check_compatible_for_merge(otherIndex)
        first, second = sorted((self, otherIndex), key=id)  # one order for all threads
        with first._lock, second._lock:
            self._merge_from(otherIndex, add_id)
            self._gave_mlx |= otherIndex._gave_mlx

    def check_compatible_for_merge(self, otherIndex: Index) -> None:
        """Whether ``merge_from`` would take the index.

        Raises:
            RuntimeError: it would not.
        """
        op = self._op("check_compatible_for_merge")
        self._require_same(op, "type", type(self).__name__, type(otherIndex).__name__)
        self._require_same(op, "d", self.d, otherIndex.d)
        self._require_same(op, "metric_type", self.metric_type, otherIndex.metric_type)
        self._check_compatible(op, otherIndex)

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
        found = self._find(op, queries, k, params, stream)
        if isinstance(x, mx.array):
            return found
        distances, ids = _host.to_numpy(*found)
        return _host.output(distances, D), _host.output(ids, I)

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

    # ----------------------------------------------------------------------------- reconstructing

    def reconstruct(self, key: int, x: NDArray[np.float32] | None = None) -> Array:
        """The stored vector of an id, shape (d,), float32.

        Vectors that were added as NumPy arrays come out as NumPy; if any was added as ``mx.array``, all come out
        as lazy ``mx.array``.

        Args:
            key: an id.
            x: a float32 NumPy array of shape (d,) to write to, and to return.

        Raises:
            TypeError: ``key`` is not an integer, or ``x`` not a float32 NumPy array.
            ValueError: there is no such id, or ``x`` has another shape.
            RuntimeError: the type of index cannot reconstruct vectors.
        """
        op = self._op("reconstruct")
        key = _host.require_int(op, "key", key)
        self._check_keys(op, np.array([key], dtype=np.int64))
        _checks.reconstruction(op, x, (self.d,))
        return self._reconstruction(self._reconstruct(key), x)

    def reconstruct_n(self, n0: int = 0, ni: int = -1, x: NDArray[np.float32] | None = None) -> Array:
        """The stored vectors ``n0`` to ``n0 + ni - 1``, shape (ni, d), float32, in the form of ``reconstruct``.

        Args:
            n0: the first id.
            ni: how many; -1 stands for all from ``n0``.
            x: a float32 NumPy array of shape (ni, d) to write to, and to return.

        Raises:
            TypeError: ``n0`` or ``ni`` is not an integer, or ``x`` not a float32 NumPy array.
            ValueError: there are no such ids, or ``x`` has another shape.
            RuntimeError: the type of index cannot reconstruct vectors.
        """
        op = self._op("reconstruct_n")
        n0 = _host.integer(op, "n0", n0, 0, self.ntotal)
        ni = _host.integer(op, "ni", ni, -1, self.ntotal - n0)
        ni = self.ntotal - n0 if ni == -1 else ni
        _checks.reconstruction(op, x, (ni, self.d))
        return self._reconstruction(self._reconstruct_n(n0, ni), x)

    def reconstruct_batch(self, key: Any, x: NDArray[np.float32] | None = None) -> Array:
        """The stored vectors of several ids, shape (n, d), float32.

        Args:
            key: ids, shape (n,). NumPy arrays and sequences are checked, and the form of the result is that of
                ``reconstruct``. For an ``mx.array`` the result is a lazy ``mx.array`` with NaN where an id is not
                stored, as the -1 of a search.
            x: a float32 NumPy array of shape (n, d) to write to, and to return.

        Raises:
            TypeError: ``key`` does not hold integers, or ``x`` is not a float32 NumPy array.
            ValueError: an id does not exist, or a shape is wrong.
            RuntimeError: the type of index cannot reconstruct vectors.
        """
        op = self._op("reconstruct_batch")
        keys = _checks.keys(op, key)
        _checks.reconstruction(op, x, (keys.shape[0], self.d))
        if isinstance(keys, mx.array):
            vectors = self._reconstruct_batch(keys)
            return vectors if x is None else self._reconstruction(vectors, x)
        self._check_keys(op, keys)
        return self._reconstruction(self._reconstruct_batch(mx.array(keys)), x)

    def compute_residual(self, x: Array, residual: NDArray[np.float32] | None, key: int) -> Array:
        """``x`` minus the stored vector of an id.

        Args:
            x: shape (d,).
            residual: a float32 NumPy array of shape (d,) to write to, or None.
            key: the id.

        Returns:
            Shape (d,), float32, in the form of ``x``.

        Raises:
            TypeError, ValueError, RuntimeError: as ``reconstruct`` does, or ``x`` has another shape.
        """
        out = None if residual is None else residual.reshape(1, -1)
        return self.compute_residual_n(1, x.reshape(1, -1), out, np.array([key]))[0]

    def compute_residual_n(self, n: int, xs: Array, residuals: NDArray[np.float32] | None, keys: Any) -> Array:
        """Vectors minus the stored vectors of ids.

        Args:
            n: how many, in FAISS's order of arguments.
            xs: shape (n, d).
            residuals: a float32 NumPy array of shape (n, d) to write to, or None.
            keys: ids, shape (n,).

        Returns:
            Shape (n, d), float32, in the form of ``xs``.

        Raises:
            TypeError, ValueError, RuntimeError: as ``reconstruct_batch`` does, or ``xs`` has another shape.
        """
        op = self._op("compute_residual_n")
        n = _host.integer(op, "n", n, 0)
        vectors = _checks.vectors(op, xs, self.d, Float32)
        ids = _checks.keys(op, keys)
        if (vectors.shape[0], *ids.shape) != (n, n):
            raise ValueError(f"[{op}] xs and keys must hold {n} rows. Received {vectors.shape[0]} and {ids.shape[0]}.")
        _checks.output(op, "residuals", xs, residuals, (self.d,), np.float32)
        if not isinstance(ids, mx.array):
            self._check_keys(op, ids)
        found = vectors.astype(mx.float32) - self._reconstruct_batch(mx.array(ids))
        return found if isinstance(xs, mx.array) else _host.output(_host.to_numpy(found)[0], residuals)

    # ----------------------------------------------------------------------------------- encoding

    def sa_code_size(self) -> int:
        """The bytes of an encoded vector.

        Raises:
            RuntimeError: the type of index encodes no vectors.
        """
        return self._sa_code_size()

    def sa_encode(self, x: Array, codes: NDArray[np.uint8] | None = None) -> Any:
        """Encodes vectors, without storing them.

        Args:
            x: shape (n, d).
            codes: a uint8 NumPy array (n, ``sa_code_size()``) to write to, and to return.

        Returns:
            uint8, shape (n, ``sa_code_size()``): NumPy for NumPy, ``mx.array`` for ``mx.array``.

        Raises:
            TypeError: ``x`` is neither a NumPy array nor an ``mx.array``, or is complex.
            ValueError: a shape is wrong.
            RuntimeError: the index is not trained, or its type encodes no vectors.
        """
        op = self._op("sa_encode")
        vectors = _checks.vectors(op, x, self.d, Float32).astype(mx.float32)
        self._require_trained(op)
        _checks.output(op, "codes", x, codes, (self.sa_code_size(),), np.uint8)
        return _checks.returned(x, self._sa_encode(vectors), codes)

    def sa_decode(self, codes: Array, x: NDArray[np.float32] | None = None) -> Any:
        """The vectors that codes stand for.

        Args:
            codes: uint8, shape (n, ``sa_code_size()``).
            x: a float32 NumPy array (n, d) to write to, and to return.

        Returns:
            float32, shape (n, d): NumPy for NumPy, ``mx.array`` for ``mx.array``.

        Raises:
            TypeError: ``codes`` is not an array of uint8.
            ValueError: a shape is wrong.
            RuntimeError: the index is not trained, or its type encodes no vectors.
        """
        op = self._op("sa_decode")
        given = _checks.codes(op, codes, self.sa_code_size())
        self._require_trained(op)
        _checks.output(op, "x", codes, x, (self.d,), np.float32)
        return _checks.returned(codes, self._sa_decode(given), x)
