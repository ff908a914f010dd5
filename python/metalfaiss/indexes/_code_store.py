"""Binary codes in memory, and exact search among them."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Stream
from metalfaiss.indexes import _chunks
from metalfaiss.search_parameters import SearchParameters

Codes = NDArray[np.uint8]
Within = tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int64]]


class CodeStore:
    """Codes behind each other, in a few chunks that a search joins: how often depends on how often codes are added."""

    def __init__(self, code_size: int, codes: mx.array | None = None) -> None:
        empty = mx.array(np.empty((0, code_size), dtype=np.uint8))
        self.chunks: _chunks.Chunks = (empty if codes is None else codes,)

    def __len__(self) -> int:
        return _chunks.total(self.chunks)

    def append(self, x: mx.array) -> None:
        self.chunks = _chunks.append(self.chunks, x)

    def joined(self) -> mx.array:
        """All codes, as one array."""
        chunks = self.chunks
        if len(chunks) == 1:
            return chunks[0]
        codes = _host.finish(mx.concatenate(list(chunks)), *chunks)
        if self.chunks is chunks and _core.is_evaluated(codes):
            self.chunks = (codes,)  # the same codes: whoever reads the old tuple meanwhile is right, too
        return codes

    def replace(self, codes: mx.array) -> None:
        self.chunks = (codes,)

    def keep_without(self, selected: NDArray[np.int64]) -> int:
        """Removes rows, ascending; returns how many."""
        if selected.size:
            kept = np.delete(np.arange(len(self), dtype=np.int64), selected)
            self.replace(_host.finish(mx.take(self.joined(), mx.array(kept), axis=0), self.joined()))
        return int(selected.size)

    def search(self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream) -> tuple[mx.array, mx.array]:
        codes = self.joined()
        return _core.knn_hamming(x, codes, k, self._rows(codes, params), stream=stream)

    def range_search(self, x: mx.array, radius: int, params: SearchParameters | None) -> Within:
        codes = self.joined()
        lims, D, I = _host.to_numpy(*_core.range_search_hamming(x, codes, radius, self._rows(codes, params)))
        return lims, D, I

    def take(self, ids: mx.array) -> mx.array:
        """Codes of ids, zeros for -1 and other ids that do not exist."""
        codes = self.joined()
        n = codes.shape[0]
        there = mx.logical_and(ids >= 0, ids < n)
        if n == 0:
            return mx.zeros((ids.shape[0], codes.shape[1]), dtype=mx.uint8)
        rows = mx.take(codes, mx.where(there, ids, 0), axis=0)
        return mx.where(there[:, None], rows, mx.array(0, dtype=mx.uint8))

    @staticmethod
    def _rows(codes: mx.array, params: SearchParameters | None) -> mx.array | None:
        if params is None or params.sel is None:
            return None
        return mx.array(params.sel._native.positions(codes.shape[0]))
