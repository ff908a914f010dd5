"""Binary codes searched by an index of vectors."""

from __future__ import annotations

import mlx.core as mx

from metalfaiss._host import Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.hamming import binary_to_real
from metalfaiss.indexes import _checks
from metalfaiss.indexes._inner import inner_trained
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.binary import IndexBinary
from metalfaiss.metrics import METRIC_L2
from metalfaiss.search_parameters import SearchParameters

__all__ = ["IndexBinaryFromFloat"]

_WORST = 2**31 - 1


class IndexBinaryFromFloat(IndexBinary):
    """Bits become the components 1 and -1 of vectors, whose squared L2 distances are 4 times the Hamming distances.

    Args:
        index: what stores and searches the vectors, by L2 distance.

    Raises:
        TypeError: it is no index.
        ValueError: its dimension is not a multiple of 8, or its metric another one.

    Attributes:
        index: as above.
    """

    def __init__(self, index: Index) -> None:
        name = type(self).__name__
        _checks.index(name, "index", index)
        if index.metric_type != METRIC_L2:
            raise ArgumentError(f"[{name}] index must have METRIC_L2. Received {index.metric_type}.")
        super().__init__(index.d)
        self.index = index
        self.own_fields = False

    is_trained = inner_trained("index")

    @property
    def ntotal(self) -> int:
        return self.index.ntotal

    def _train(self, x: mx.array) -> None:
        self.index._train(binary_to_real(x))

    def _add(self, x: mx.array) -> None:
        self.index.add(binary_to_real(x))

    def _reset(self) -> None:
        self.index._reset()

    def _parameters(self, method: str, params: SearchParameters | None) -> SearchParameters | None:
        self._require_trained(self._op(method))
        return params  # the index inside checks them

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        D, I = self.index._find(self._op("search"), binary_to_real(x), k, params, stream)
        near = mx.where(I < 0, 0.0, mx.round(D / 4)).astype(mx.int32)
        return mx.where(I < 0, mx.array(_WORST, dtype=mx.int32), near), I

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.index!r})"
