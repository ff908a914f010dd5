"""Distances of one query to single stored vectors: FAISS's ``DistanceComputer`` and its kin.

They are for programs that walk through an index by themselves. Each call is one distance: many are had faster from
``search``, ``compute_distance_subset`` or ``pairwise_distances``. Arrays take the place of pointers. A computer has a
query: threads take one each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss.errors import ArgumentError
from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2
from metalfaiss.pairwise import pairwise_distances

__all__ = [
    "DistanceComputer",
    "FlatCodesDistanceComputer",
    "NegativeDistanceComputer",
    "TransformedDistanceComputer",
    "get_extra_distance_computer",
]

Row = NDArray[np.float32]
Out = NDArray[np.float32]  # its first element is written


class DistanceComputer:
    """Distances to vectors that ``row(i)`` returns, shape (d,): what ``index.get_distance_computer()`` returns.

    Args:
        row: the vector of an id.
        d: the dimension.
        metric: a metric; similarities are returned as they are.
        metric_arg: its argument.
    """

    def __init__(self, row: Callable[[int], Any], d: int, metric: int = METRIC_L2, metric_arg: float = 0.0) -> None:
        self._row, self._d, self._metric = row, d, (metric, metric_arg)
        self._query: Row | None = None

    def set_query(self, x: NDArray[Any]) -> None:
        """Sets the query: the first d elements of ``x``, copied.

        Raises:
            ValueError: ``x`` has fewer.
        """
        flat = np.array(x, dtype=np.float32).reshape(-1)
        if flat.size < self._d:
            raise ArgumentError(f"[{self._op('set_query')}] x must have {self._d} elements. Received {flat.size}.")
        self._query = flat[: self._d]

    def __call__(self, i: int) -> float:
        """The distance of the query to a stored vector.

        Raises:
            ValueError: there is no such vector.
            RuntimeError: there is no query, or the index cannot reconstruct vectors.
        """
        return self._distance(self._given_query("__call__"), self._stored(i))

    def symmetric_dis(self, i: int, j: int) -> float:
        """The distance of two stored vectors.

        Raises:
            ValueError: there is no such vector.
            RuntimeError: the index cannot reconstruct vectors.
        """
        return self._distance(self._stored(i), self._stored(j))

    def distances_batch_4(
        self, idx0: int, idx1: int, idx2: int, idx3: int, dis0: Out, dis1: Out, dis2: Out, dis3: Out
    ) -> None:
        """Writes the distances of the query to four stored vectors to four arrays.

        Raises:
            TypeError, ValueError, RuntimeError: as a call does, or an array is not float32, or empty.
        """
        found = [self(i) for i in (idx0, idx1, idx2, idx3)]
        self._write("distances_batch_4", found, (dis0, dis1, dis2, dis3))

    def _op(self, method: str) -> str:
        return f"{type(self).__name__}.{method}"

    def _given_query(self, method: str) -> Row:
        if self._query is None:
            raise RuntimeError(f"[{self._op(method)}] There must be a query: call set_query(x). Received none.")
        return self._query

    def _stored(self, i: int) -> Row:
        return np.asarray(self._row(_host.require_int(self._op("__call__"), "i", i)), dtype=np.float32)

    def _distance(self, a: Row, b: Row) -> float:
        metric, arg = self._metric
        if metric == METRIC_L2:
            return float(np.float32(((a.astype(np.float64) - b) ** 2).sum()))
        if metric == METRIC_INNER_PRODUCT:
            return float(np.float32(a.astype(np.float64) @ b))
        return float(pairwise_distances(a[None], b[None], metric, arg)[0, 0])

    def _write(self, method: str, values: list[float], outs: tuple[Out, ...]) -> None:
        for out in outs:
            if not isinstance(out, np.ndarray) or out.dtype != np.float32 or not out.size:
                received = getattr(out, "dtype", type(out).__name__)
                raise TypeError(
                    f"[{self._op(method)}] Distances must go to float32 arrays of one element. Received {received}."
                )
        for value, out in zip(values, outs, strict=True):
            out.flat[0] = value


class FlatCodesDistanceComputer(DistanceComputer):
    """A ``DistanceComputer`` of an index that keeps a code for each vector: also distances to codes.

    Args:
        index: an ``IndexFlat``, ``IndexScalarQuantizer`` or ``IndexLSH``.

    Attributes:
        code_size: the bytes of a code.
    """

    def __init__(self, index: Any) -> None:
        super().__init__(index.reconstruct, index.d, index.metric_type, index.metric_arg)
        self._index = index
        self.code_size = index.code_size

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The codes of the index: a copy, shape (ntotal * code_size,)."""
        return np.array(self._index.codes)

    @property
    def q(self) -> Row | None:
        """The query."""
        return self._query

    def distance_to_code(self, code: NDArray[np.uint8]) -> float:
        """The distance of the query to the vector that a code stands for.

        Raises:
            TypeError, ValueError: ``code`` does not hold ``code_size`` bytes.
            RuntimeError: there is no query.
        """
        op = self._op("distance_to_code")
        query = self._given_query("distance_to_code")
        if not isinstance(code, np.ndarray) or code.dtype != np.uint8:
            raise TypeError(f"[{op}] code must be an array of uint8. Received {getattr(code, 'dtype', type(code))}.")
        if code.size < self.code_size:
            raise ArgumentError(f"[{op}] code must have {self.code_size} bytes. Received {code.size}.")
        decoded = self._index.sa_decode(np.ascontiguousarray(code.reshape(-1)[: self.code_size])[None])
        return self._distance(query, decoded[0])

    def distance_to_code_batch_4(
        self,
        c1: NDArray[np.uint8],
        c2: NDArray[np.uint8],
        c3: NDArray[np.uint8],
        c4: NDArray[np.uint8],
        d1: Out,
        d2: Out,
        d3: Out,
        d4: Out,
    ) -> None:
        """Writes the distances of the query to four codes to four arrays.

        Raises:
            TypeError, ValueError, RuntimeError: as ``distance_to_code``, or an array is not float32, or empty.
        """
        found = [self.distance_to_code(c) for c in (c1, c2, c3, c4)]
        self._write("distance_to_code_batch_4", found, (d1, d2, d3, d4))

    def partial_dot_product(self, i: int, offset: int, num_components: int) -> float:
        """The inner product of a part of the query and of a stored vector: components from ``offset``.

        Raises:
            ValueError: there are no such components.
            RuntimeError: there is no query.
        """
        op = self._op("partial_dot_product")
        first = _host.integer(op, "offset", offset, 0, self._d)
        last = first + _host.integer(op, "num_components", num_components, 0, self._d - first)
        query = self._given_query("partial_dot_product").astype(np.float64)
        return float(np.float32(query[first:last] @ self._stored(i)[first:last]))


class NegativeDistanceComputer(DistanceComputer):
    """The distances of another computer with the other sign."""

    def __init__(self, basedis: DistanceComputer) -> None:
        super().__init__(basedis._row, basedis._d, *basedis._metric)
        self.basedis = basedis

    def set_query(self, x: NDArray[Any]) -> None:
        """Sets the query."""
        self.basedis.set_query(x)

    def __call__(self, i: int) -> float:
        """The distance of the query to a stored vector, negated."""
        return -self.basedis(i)

    def symmetric_dis(self, i: int, j: int) -> float:
        """The distance of two stored vectors, negated."""
        return -self.basedis.symmetric_dis(i, j)


class TransformedDistanceComputer(DistanceComputer):
    """Of an index behind transforms: the query passes through them, stored vectors have."""

    def __init__(self, inner: DistanceComputer, d: int, apply: Callable[[Row], Any]) -> None:
        super().__init__(inner._row, d, *inner._metric)
        self._inner, self._apply = inner, apply

    def set_query(self, x: NDArray[Any]) -> None:
        """Sets the query, as it is before the transforms."""
        super().set_query(x)
        self._inner.set_query(self._apply(self._given_query("set_query")[None])[0])

    def __call__(self, i: int) -> float:
        """The distance of the transformed query to a vector that the index inside stores."""
        return self._inner(i)

    def symmetric_dis(self, i: int, j: int) -> float:
        """The distance of two vectors that the index inside stores."""
        return self._inner.symmetric_dis(i, j)


def get_extra_distance_computer(d: int, mt: int, metric_arg: float, xb: NDArray[Any]) -> DistanceComputer:
    """Distances to vectors of d numbers, by any metric.

    Raises:
        ValueError: ``xb`` does not hold vectors of d numbers; and, from the computer, that there is no such vector.
    """
    op = "get_extra_distance_computer"
    flat = np.asarray(xb, dtype=np.float32).reshape(-1)
    if flat.size % _host.integer(op, "d", d, 1):
        raise ArgumentError(f"[{op}] xb must hold vectors of {d} elements. Received {flat.size} elements.")
    rows = flat.reshape(-1, d)
    return DistanceComputer(lambda i: rows[_host.integer(op, "i", i, 0, len(rows) - 1)], d, mt, metric_arg)
