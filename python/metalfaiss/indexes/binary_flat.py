"""Exact search by Hamming distance."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from metalfaiss import _host
from metalfaiss._host import Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes._code_store import Codes, CodeStore, Within
from metalfaiss.indexes.binary import IndexBinary
from metalfaiss.search_parameters import SearchParameters
from metalfaiss.vectors import UInt8Vector

__all__ = ["IndexBinaryFlat"]


class IndexBinaryFlat(IndexBinary):
    """Exact search by Hamming distance.

    Args:
        d: the bits of a code, a multiple of 8.

    Raises:
        TypeError: ``d`` is not an integer.
        ValueError: ``d`` is not a positive multiple of 8.

    Attributes:
        use_heap, query_batch_size: kept for programs written for FAISS, where they choose among ways to one result.
    """

    def __init__(self, d: int) -> None:
        super().__init__(d)
        self.use_heap, self.query_batch_size = True, 32
        self._reset()

    @property
    def ntotal(self) -> int:
        return len(self._store)

    @property
    def xb(self) -> UInt8Vector:
        """The stored codes, one behind the other; settable."""
        return UInt8Vector(_host.to_numpy(self._store.joined())[0].reshape(-1), self._set_xb)

    @xb.setter
    def xb(self, codes: Any) -> None:
        self._set_xb(np.asarray(codes, dtype=np.uint8))

    def _set_xb(self, codes: Codes) -> None:
        if codes.size % self.code_size:
            raise ArgumentError(
                f"[{self._op('xb')}] xb must hold codes of {self.code_size} bytes. Received {codes.size}."
            )
        self._store = CodeStore(self.code_size, mx.array(codes.reshape(-1, self.code_size)))

    def _reset(self) -> None:
        self._store = CodeStore(self.code_size)

    def _add(self, x: mx.array) -> None:
        self._store.append(x)

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        return self._store.search(x, k, params, stream)

    def _range_search(self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream) -> Within:
        return self._store.range_search(x, int(radius), params)

    def _remove_ids(self, selector: Any) -> int:
        return self._store.keep_without(selector._native.positions(self.ntotal))

    def _merge_from(self, other: IndexBinaryFlat, add_id: int) -> None:
        self._store.append(other._store.joined())
        other._reset()

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        return self._store.take(ids)
