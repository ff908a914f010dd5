"""Ids of the caller's choice for an index of binary codes that numbers its codes itself."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss._host import Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes._code_store import Within
from metalfaiss.indexes._inner import inner_trained
from metalfaiss.indexes._merge import mapped, mapped_at_once, require_ids
from metalfaiss.indexes.binary import IndexBinary
from metalfaiss.search_parameters import SearchParameters, with_selector
from metalfaiss.selectors import IDSelectorTranslated
from metalfaiss.vectors import Int64Vector

__all__ = ["IndexBinaryIDMap", "IndexBinaryIDMap2"]

Ids = NDArray[np.int64]


class IndexBinaryIDMap(IndexBinary):
    """An index of binary codes under ids of the caller's.

    Search parameters are those of the index inside; a filter is asked about the caller's ids.

    Args:
        index: the index that stores the codes, empty.

    Raises:
        TypeError: ``index`` is not an ``IndexBinary``.
        RuntimeError: it is not empty.

    Attributes:
        index: the index that stores the codes.
        own_fields: kept for programs written for FAISS; Python owns the index.
    """

    is_trained = inner_trained("index")

    def __init__(self, index: IndexBinary) -> None:
        name = type(self).__name__
        if not isinstance(index, IndexBinary):
            raise TypeError(f"[{name}] index must be an IndexBinary. Received {type(index).__name__}.")
        if index.ntotal:
            raise RuntimeError(f"[{name}] index must be empty. Received one of {index.ntotal} codes.")
        super().__init__(index.d)
        self.index = index
        self.own_fields = False
        self._id_map: Ids = np.empty(0, dtype=np.int64)

    @property
    def _parameters_type(self) -> type[SearchParameters]:  # type: ignore[override]
        return self.index._parameters_type

    @property
    def ntotal(self) -> int:
        return self.index.ntotal

    @property
    def id_map(self) -> Int64Vector:
        """The ids in the order of the codes inside, as many as there are; settable."""
        return Int64Vector(self._id_map, self._set_id_map)

    @id_map.setter
    def id_map(self, ids: Any) -> None:
        self._set_id_map(np.array(ids, dtype=np.int64))

    def _set_id_map(self, ids: Ids) -> None:
        self._id_map = np.array(ids, dtype=np.int64)

    def _train(self, x: mx.array) -> None:
        self.index._train(x)

    def _add(self, x: mx.array) -> None:
        self._unsupported("add", " without ids: call add_with_ids")

    def _add_with_ids(self, x: mx.array, ids: Ids) -> None:
        before = self._id_map
        self._id_map = np.concatenate([before, ids])  # first, so that a search knows the id of all that it finds
        try:
            self.index._add(x)
        except BaseException:
            self._id_map = before
            raise

    def _reset(self) -> None:
        self.index._reset()
        self._id_map = self._id_map[:0]

    def _remove_ids(self, selector: Any) -> int:
        gone = selector._members(self._id_map)
        removed = self.index.remove_ids(np.flatnonzero(gone))
        self._id_map = self._id_map[~gone]
        return removed

    def _check_compatible(self, op: str, other: IndexBinaryIDMap) -> None:
        self.index.check_compatible_for_merge(other.index)

    def _merge_from(self, other: IndexBinaryIDMap, add_id: int) -> None:
        before = self._id_map
        self._id_map = np.concatenate([before, other._id_map + add_id])
        try:
            self.index.merge_from(other.index)
        except BaseException:
            self._id_map = before
            raise
        other._id_map = other._id_map[:0]

    def _inner(self, op: str, params: SearchParameters | None) -> SearchParameters | None:
        require_ids(op, self.index.ntotal, self._id_map.size)
        if params is None or params.sel is None:
            return params
        return with_selector(params, IDSelectorTranslated(self._id_map, params.sel))

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        D, I = self.index._search(x, k, self._inner(self._op("search"), params), stream)
        return D, mapped(I, mx.array(self._id_map), stream)  # the ids after the search: those of all that it found

    def _range_search(self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream) -> Within:
        inner = self._inner(self._op("range_search"), params)
        lims, D, I = self.index._range_search(x, radius, inner, stream)
        return lims, D, mapped_at_once(I, self._id_map)

    def _ids(self) -> Ids:
        return self._id_map

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.index!r})"


class IndexBinaryIDMap2(IndexBinaryIDMap):
    """``IndexBinaryIDMap`` that reconstructs codes by id; of equal ids the last one added counts."""

    def _where(self, keys: Ids) -> Ids:
        """The position of each id inside, or -1."""
        id_map = self._id_map
        if not id_map.size:
            return np.full(keys.shape, -1, dtype=np.int64)
        order = np.argsort(id_map, kind="stable")
        at = order[np.maximum(np.searchsorted(id_map, keys, side="right", sorter=order) - 1, 0)]
        return np.where(id_map[at] == keys, at, -1)

    def _check_keys(self, op: str, keys: Ids) -> None:
        missing = keys[self._where(keys) < 0]
        if missing.size:
            raise ArgumentError(f"[{op}] key must hold ids of stored codes. Received {missing[0]}.")

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        return self.index._reconstruct_batch(mx.array(self._where(np.array(ids))))

    def reconstruct_n(self, n0: int = 0, ni: int = -1, x: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Not for ids of the caller's: raises RuntimeError, as in FAISS. ``reconstruct_batch`` takes ids."""
        self._unsupported("reconstruct_n")

    def check_consistency(self) -> None:
        """Kept for programs written for FAISS: ids are looked up in ``id_map`` itself, which cannot be inconsistent."""

    def construct_rev_map(self) -> None:
        """Kept for programs written for FAISS, as ``check_consistency``."""
