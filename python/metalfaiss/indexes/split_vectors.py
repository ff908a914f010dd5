"""Vectors of which each index has some dimensions."""

from __future__ import annotations

import mlx.core as mx

from metalfaiss._host import Stream
from metalfaiss.indexes import _checks
from metalfaiss.indexes.base import Index
from metalfaiss.metrics import METRIC_L2
from metalfaiss.search_parameters import SearchParameters

__all__ = ["IndexSplitVectors"]


class IndexSplitVectors(Index):
    """Dimensions divided between indexes, one behind the other. The nearest vector of a query is made of the nearest of
    each: its id is that of the first index, plus ``ntotal`` times that of the second, and so on.

    Args:
        d: the dimension of the vectors.
        threaded: for FAISS's signature; searches use all threads in any case.

    Raises:
        TypeError: ``d`` is not an integer.
        ValueError: it is less than 1.

    Attributes:
        sub_indexes: the indexes, which are filled by themselves.
        threaded, own_fields: kept for programs written for FAISS; without effect.
    """

    def __init__(self, d: int, threaded: bool = False) -> None:
        super().__init__(d)
        self.threaded, self.own_fields = bool(threaded), False
        self.sub_indexes: list[Index] = []

    @property
    def sum_d(self) -> int:
        """The dimensions of the indexes together."""
        return sum(index.d for index in self.sub_indexes)

    @property
    def ntotal(self) -> int:
        return self.sub_indexes[0].ntotal if self.sub_indexes else 0

    @property
    def metric_type(self) -> int:
        """That of the indexes."""
        return self.sub_indexes[0].metric_type if self.sub_indexes else METRIC_L2

    def add_sub_index(self, index: Index) -> None:
        """Gives the next dimensions to an index.

        Raises:
            TypeError: it is none.
            RuntimeError: it has another metric, or another number of vectors.
        """
        _checks.index(self._op("add_sub_index"), "index", index)
        self.sub_indexes.append(index)
        try:
            self.sync_with_sub_indexes()
        except RuntimeError:
            self.sub_indexes.pop()
            raise

    def sync_with_sub_indexes(self) -> None:
        """Checks that the indexes go together, after they have changed.

        Raises:
            RuntimeError: they have not the same metric and number of vectors.
        """
        for index in self.sub_indexes:
            for name in ("metric_type", "ntotal"):
                self._require_same(self._op("sync_with_sub_indexes"), name, getattr(self, name), getattr(index, name))
        self.is_trained = all(index.is_trained for index in self.sub_indexes)

    def _train(self, x: mx.array) -> None:
        self._unsupported("train", ": train the indexes")

    def _reset(self) -> None:
        self._unsupported("reset", ": reset the indexes")

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        op = self._op("search")
        if params is not None:
            raise RuntimeError(f"[{op}] params must be None. Received {params!r}.")
        if k != 1:
            raise RuntimeError(f"[{op}] k must be 1. Received {k}.")
        if self.sum_d != self.d:
            raise RuntimeError(f"[{op}] The indexes must have {self.d} dimensions. Received {self.sum_d}.")
        D, I, found = mx.array(0.0), mx.array(0, dtype=mx.int64), mx.array(True)
        first, factor = 0, 1
        for index in self.sub_indexes:
            d, i = index._find(op, x[:, first : first + index.d], 1, None, stream)
            found = mx.logical_and(found, mx.greater_equal(i, 0, stream=stream), stream=stream)
            D = mx.add(D, d, stream=stream)
            I = mx.add(I, mx.multiply(i, mx.array(factor, dtype=mx.int64), stream=stream), stream=stream)
            first, factor = first + index.d, factor * index.ntotal
        missing = mx.array(-1, dtype=mx.int64)
        return mx.where(found, D, mx.array(float("nan")), stream=stream), mx.where(found, I, missing, stream=stream)
