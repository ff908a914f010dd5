"""The base class of the indexes: FAISS's interface, its checks, and the edge between NumPy and MLX."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Any, overload

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Array, Stream
from metalfaiss.metrics import METRIC_L2

__all__ = ["Index"]


class Index(ABC):
    """Vectors of ``d`` dimensions that can be searched, numbered from 0 in the order in which they are added.

    NumPy arrays and ``mx.array`` are both taken. NumPy queries get NumPy results. ``mx.array`` queries get lazy
    ``mx.array`` results, which compose with ``mx.compile``, ``mx.grad`` and ``mx.vmap``; distances are differentiable
    with respect to the queries and to stored vectors.

    Vectors added as lazy ``mx.array`` stay lazy until a search computes them. As every lazy array, they can only be
    computed by the thread that made them; once computed, any number of threads may search the index at once.

    An index made inside of a transformed function may be given traced vectors; one made outside refuses them, since
    it would outlive them.

    Attributes:
        verbose: kept for programs written for FAISS; nothing is printed.
        metric_arg: the argument of metrics that have one.
    """

    __slots__ = ("__weakref__", "_d", "_gave_mlx", "_lock", "_metric_type", "_traced", "metric_arg", "verbose")

    def __init__(self, d: int, metric: int = METRIC_L2) -> None:
        self._d = _host.integer(type(self).__name__, "d", d, 1)
        self._metric_type = metric
        self._init_unsaved()
        self._gave_mlx = False
        self.metric_arg = 0.0
        self.verbose = False

    def _init_unsaved(self) -> None:
        self._lock = threading.Lock()  # one change at a time; searches do not take it
        self._traced = _core.in_tracing()

    @property
    def d(self) -> int:
        """The dimension of the vectors."""
        return self._d

    @property
    def metric_type(self) -> int:
        """``METRIC_L2`` or ``METRIC_INNER_PRODUCT``."""
        return self._metric_type

    @property
    @abstractmethod
    def ntotal(self) -> int:
        """How many vectors are stored."""

    @property
    def is_trained(self) -> bool:
        """Whether vectors may be added."""
        return True

    def train(self, x: Array) -> None:
        """Learns from vectors what the index needs before any is added; an index that needs nothing checks ``x``.

        Args:
            x: shape (n, d).

        Raises:
            TypeError: ``x`` is neither a NumPy array nor an ``mx.array``, or is complex.
            ValueError: its shape is not (n, d).
        """
        _host.vectors(self._op("train"), x, self.d)

    def add(self, x: Array) -> None:
        """Stores vectors under the ids ``ntotal``, ``ntotal + 1``, ...

        Args:
            x: shape (n, d). An ``mx.array`` is kept without a copy, lazy if it is, and converted only if its dtype is
                not that of the index.

        Raises:
            TypeError: ``x`` is neither a NumPy array nor an ``mx.array``, or is complex.
            ValueError: its shape is not (n, d), or it is traced and the index was made outside of the transformed
                function. The index is then as it was.
        """
        op = self._op("add")
        vectors = _host.vectors(op, x, self.d)
        if _core.is_traced(vectors) and not self._traced:
            raise ValueError(
                f"[{op}] x must not be traced, or the index must be made inside of the transformed function. "
                "Received a traced array for an index made outside."
            )
        with self._lock:
            self._add(_host.own(vectors))
            self._gave_mlx |= isinstance(x, mx.array)

    @overload
    def search(
        self, x: mx.array, k: int, *, params: None = None, D: None = None, I: None = None, stream: Stream = None
    ) -> tuple[mx.array, mx.array]: ...
    @overload
    def search(
        self,
        x: NDArray[Any],
        k: int,
        *,
        params: None = None,
        D: NDArray[np.float32] | None = None,
        I: NDArray[np.int64] | None = None,
        stream: Stream = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]: ...
    def search(
        self,
        x: Array,
        k: int,
        *,
        params: None = None,
        D: NDArray[np.float32] | None = None,
        I: NDArray[np.int64] | None = None,
        stream: Stream = None,
    ) -> tuple[Any, Any]:
        """The k nearest stored vectors of each query, best first; of equal distances the lower id.

        Does not change the index: any number of threads may search one index at once.

        Args:
            x: queries, shape (n, d); computed in float32.
            k: how many, at least 1, may exceed ``ntotal``.
            params: search parameters; this index has none.
            D, I: NumPy arrays of shape (n, k), float32 and int64, to write the results of NumPy queries to.
            stream: where to run.

        Returns:
            Distances (n, k) in float32 (squared L2, or inner products) and ids (n, k) in int64. Where fewer than k
            vectors qualify, the id is -1 and the distance the metric's worst: the largest float32 for L2, the lowest
            for inner products.

        Raises:
            TypeError: ``x`` is neither a NumPy array nor an ``mx.array``, or is complex; k is not an integer; ``D`` or
                ``I`` has another dtype, or is given with an ``mx.array``; ``params`` is not None.
            ValueError: a shape is wrong, or k is less than 1.
        """
        op = self._op("search")
        queries, k = self._queries(op, x, k, stream)
        if params is not None:
            raise TypeError(f"[{op}] params must be None. Received {type(params).__name__}.")
        self._check_output(op, "D", x, D, k, np.float32)
        self._check_output(op, "I", x, I, k, np.int64)
        found = self._search(queries, k, stream)
        if isinstance(x, mx.array):
            return found
        distances, ids = _host.to_numpy(*found)
        return _host.output(distances, D), _host.output(ids, I)

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
            TypeError, ValueError: as ``search`` does.
        """
        op = self._op("assign")
        queries, k = self._queries(op, x, k, stream)
        self._check_output(op, "labels", x, labels, k, np.int64)
        _, ids = self._search(queries, k, stream)
        return ids if isinstance(x, mx.array) else _host.output(_host.to_numpy(ids)[0], labels)

    def reset(self) -> None:
        """Removes all vectors."""
        with self._lock:
            self._reset()
            self._gave_mlx = False

    def reconstruct(self, key: int, x: NDArray[np.float32] | None = None) -> Array:
        """The stored vector of an id, shape (d,), float32.

        Vectors that were added as NumPy arrays come out as NumPy; if any was added as ``mx.array``, all come out
        as lazy ``mx.array``.

        Args:
            key: an id, from 0 to ``ntotal - 1``.
            x: a float32 NumPy array of shape (d,) to write to, and to return.

        Raises:
            TypeError: ``key`` is not an integer, or ``x`` not a float32 NumPy array.
            ValueError: there is no such id, or ``x`` has another shape.
        """
        op = self._op("reconstruct")
        key = _host.integer(op, "key", key, 0, self._last(op))
        self._check_reconstruction(op, x, (self.d,))
        return self._reconstruction(self._reconstruct_n(key, 1)[0], x)

    def reconstruct_n(self, n0: int = 0, ni: int = -1, x: NDArray[np.float32] | None = None) -> Array:
        """The stored vectors ``n0`` to ``n0 + ni - 1``, shape (ni, d), float32, in the form of ``reconstruct``.

        Args:
            n0: the first id.
            ni: how many; -1 stands for all from ``n0``.
            x: a float32 NumPy array of shape (ni, d) to write to, and to return.

        Raises:
            TypeError: ``n0`` or ``ni`` is not an integer, or ``x`` not a float32 NumPy array.
            ValueError: there are no such ids, or ``x`` has another shape.
        """
        op = self._op("reconstruct_n")
        n0 = _host.integer(op, "n0", n0, 0, self.ntotal)
        ni = _host.integer(op, "ni", ni, -1, self.ntotal - n0)
        ni = self.ntotal - n0 if ni == -1 else ni
        self._check_reconstruction(op, x, (ni, self.d))
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
        """
        op = self._op("reconstruct_batch")
        ids = _host.ids(op, key, self.ntotal)
        self._check_reconstruction(op, x, (ids.shape[0], self.d))
        vectors = self._reconstruct_batch(ids)
        return vectors if isinstance(key, mx.array) and x is None else self._reconstruction(vectors, x)

    # What a subclass has. Arguments are checked, arrays are MLX's, and nothing here evaluates.

    @abstractmethod
    def _add(self, x: mx.array) -> None: ...

    @abstractmethod
    def _search(self, x: mx.array, k: int, stream: Stream) -> tuple[mx.array, mx.array]: ...

    @abstractmethod
    def _reset(self) -> None: ...

    @abstractmethod
    def _reconstruct_n(self, n0: int, ni: int) -> mx.array: ...

    @abstractmethod
    def _reconstruct_batch(self, ids: mx.array) -> mx.array: ...

    def _op(self, method: str) -> str:
        return f"{type(self).__name__}.{method}"

    def _queries(self, op: str, x: Array, k: int, stream: Stream) -> tuple[mx.array, int]:
        queries = _host.vectors(op, x, self.d).astype(mx.float32, stream=stream)
        return queries, _host.integer(op, "k", k, 1)

    def _check_output(
        self, op: str, name: str, x: Array, out: NDArray[Any] | None, k: int, dtype: type[np.generic]
    ) -> None:
        if out is not None:
            if isinstance(x, mx.array):
                raise TypeError(f"[{op}] {name} must be None for an mlx.core.array x. Received {type(out).__name__}.")
            _host.check_output(op, name, out, (x.shape[0], k), dtype)

    def _last(self, op: str) -> int:
        if self.ntotal == 0:
            raise ValueError(f"[{op}] key must be the id of a stored vector. Received an index without vectors.")
        return self.ntotal - 1

    def _check_reconstruction(self, op: str, x: NDArray[np.float32] | None, shape: tuple[int, ...]) -> None:
        if x is not None:
            _host.check_output(op, "x", x, shape, np.float32)

    def _reconstruction(self, vectors: mx.array, x: NDArray[np.float32] | None) -> Array:
        if x is None and self._gave_mlx:
            return vectors
        return _host.output(_host.to_numpy(vectors)[0], x)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("_d", "_gave_mlx", "_metric_type", "metric_arg", "verbose")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._init_unsaved()
