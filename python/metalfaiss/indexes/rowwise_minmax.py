"""Codecs that scale every vector to the interval from 0 to 1 before another index encodes it."""

from __future__ import annotations

from typing import Any, ClassVar

import mlx.core as mx

from metalfaiss import _host
from metalfaiss._host import Array, Stream
from metalfaiss.indexes import _checks
from metalfaiss.indexes.base import Index
from metalfaiss.search_parameters import SearchParameters

__all__ = ["IndexRowwiseMinMax", "IndexRowwiseMinMaxBase", "IndexRowwiseMinMaxFP16"]


class IndexRowwiseMinMaxBase(Index):
    """Base class of ``IndexRowwiseMinMax`` and ``IndexRowwiseMinMaxFP16``: ``train``, ``sa_encode``, ``sa_decode``.

    Vectors are neither stored nor searched, as in FAISS. A code is the width of the vector's values, the smallest of
    them, and the code of the index inside.

    Args:
        index: what encodes the scaled vectors.

    Raises:
        TypeError: it is no index.

    Attributes:
        index: as above.
        is_trained: always True, as in FAISS; the index inside says whether it is.
    """

    _dtype: ClassVar[mx.Dtype]

    def __init__(self, index: Index) -> None:
        _checks.index(type(self).__name__, "index", index)
        super().__init__(index.d, index.metric_type)
        self.index = index
        self.own_fields = False

    @property
    def ntotal(self) -> int:
        return 0

    def train_inplace(self, x: Array) -> None:
        """``train``, under the name of FAISS's form that saves a copy by writing to ``x``; here, ``x`` stays."""
        self.train(x)

    def _scaled(self, x: mx.array) -> tuple[mx.array, mx.array]:
        """The width and the smallest value of each row (n, 2) as they are stored, and rows from 0 to 1."""
        low = x.min(axis=1, keepdims=True)
        stored = mx.concatenate([x.max(axis=1, keepdims=True) - low, low], axis=1).astype(self._dtype)
        width, low = mx.split(stored.astype(mx.float32), 2, axis=1)
        return stored, mx.where(width == 0, 0.0, (x - low) * (1 / width))

    def _train(self, x: mx.array) -> None:
        self.index._train(_host.finish(self._scaled(x.astype(mx.float32))[1], x))

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        self._unsupported("search")

    def _reset(self) -> None:
        self._unsupported("reset")

    def _sa_code_size(self) -> int:
        return self.index._sa_code_size() + 2 * self._dtype.size

    def _sa_encode(self, x: mx.array) -> mx.array:
        self.index._require_trained(self._op("sa_encode"))
        stored, rows = self._scaled(x)
        return mx.concatenate([stored.view(mx.uint8), mx.array(self.index._sa_encode(rows))], axis=1)

    def _sa_decode(self, codes: mx.array) -> Any:
        self.index._require_trained(self._op("sa_decode"))
        size = 2 * self._dtype.size
        width, low = mx.split(mx.contiguous(codes[:, :size]).view(self._dtype).astype(mx.float32), 2, axis=1)
        return mx.array(self.index._sa_decode(mx.contiguous(codes[:, size:]))) * width + low

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.index!r})"


class IndexRowwiseMinMax(IndexRowwiseMinMaxBase):
    """Scales kept in float32: 8 bytes more than the code of the index inside."""

    _dtype = mx.float32


class IndexRowwiseMinMaxFP16(IndexRowwiseMinMaxBase):
    """Scales kept in float16: 4 bytes more than the code of the index inside."""

    _dtype = mx.float16
