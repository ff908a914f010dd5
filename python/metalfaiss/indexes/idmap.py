"""Ids of the caller's around an index that numbers its vectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array, Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes import _checks, _merge
from metalfaiss.indexes._inner import inner_trained
from metalfaiss.indexes.base import Index
from metalfaiss.search_parameters import SearchParameters, with_selector
from metalfaiss.selectors import IDSelector, IDSelectorBatch, IDSelectorTranslated
from metalfaiss.vectors import Int64Vector

__all__ = ["IndexIDMap", "IndexIDMap2"]


class IndexIDMap(Index):
    """An index whose vectors have any ids, kept in an array of int64.

    ``add_with_ids`` takes the place of ``add``. To get vectors back by their ids, use ``IndexIDMap2``.

    Args:
        index: the index that is searched, without vectors.

    Raises:
        TypeError: it is no index.
        RuntimeError: it holds vectors.

    Attributes:
        index: the index that is searched.
    """

    def __init__(self, index: Index) -> None:
        _checks.index(type(self).__name__, "index", index)
        if index.ntotal:
            raise RuntimeError(f"[{type(self).__name__}] index must be without vectors. Received {index.ntotal}.")
        super().__init__(index.d, index.metric_type)
        self.index = index
        self.own_fields = False
        self._set_ids(np.empty(0, dtype=np.int64))

    is_trained = inner_trained("index")

    @property
    def ntotal(self) -> int:
        return self._count

    @property
    def id_map(self) -> Int64Vector:
        """The ids, in the order of the vectors; settable through ``copy_array_to_vector``."""
        return Int64Vector(self._ids(), self._set_ids)

    def _set_ids(self, ids: NDArray[np.int64]) -> None:
        self._buffer = np.array(ids, dtype=np.int64)  # at least _count long: doubled when it is full
        self._count = ids.size
        self._version = getattr(self, "_version", 0) + 1
        self._lazy_ids: tuple[int, mx.array] | None = None

    def _append_ids(self, ids: NDArray[np.int64]) -> None:
        count = self._count + ids.size
        if count > self._buffer.size:
            larger = np.empty(max(count, 2 * self._buffer.size), dtype=np.int64)
            larger[: self._count] = self._ids()
            self._buffer = larger
        self._buffer[self._count : count] = ids
        self._count = count
        self._version += 1

    def _ids(self) -> NDArray[np.int64]:
        return self._buffer[: self._count]

    def _map(self, I: mx.array, stream: Stream) -> mx.array:
        version, known = self._version, self._lazy_ids
        if known is None or known[0] != version:  # another thread may have stored what it read before an add
            known = (version, _host.finish(mx.array(self._ids())))
            self._lazy_ids = known
        return _merge.mapped(I, known[1], stream)

    def _inner(self, op: str, params: SearchParameters | None) -> SearchParameters | None:
        """Parameters for the index inside: the filter by its positions."""
        _merge.require_ids(op, self.index.ntotal, self._count)
        sel = None if params is None else params._filter()
        return params if sel is None else with_selector(params, IDSelectorTranslated(self._ids(), sel))

    def _accepted_parameters(self) -> _checks.Accepted:
        return self.index._accepted_parameters()

    def _train(self, x: mx.array) -> None:
        self.index._train(x)

    def _add(self, x: mx.array) -> None:
        self._unsupported("add", "; add_with_ids takes its place")

    def _add_with_ids(self, x: mx.array, ids: NDArray[np.int64]) -> None:
        with self._appended(ids):
            self.index._add(x)

    @contextmanager
    def _appended(self, ids: NDArray[np.int64]) -> Iterator[None]:
        """Ids of vectors that are added within, first: a search may meet ids without vectors, never the reverse."""
        count = self._count
        self._append_ids(ids)
        try:
            yield
        except BaseException:
            self._count = count
            self._version += 1
            raise

    def _add_sa_codes(self, codes: NDArray[np.uint8], ids: NDArray[np.int64] | None) -> None:
        if ids is None:
            raise RuntimeError(f"[{self._op('add_sa_codes')}] ids must be given. Received None.")
        with self._appended(ids):
            self.index._add_sa_codes(codes, None)

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        op = self._op("search")
        D, I = self.index._find(op, x, k, self._inner(op, params), stream)
        return D, self._map(I, stream)

    def _search_and_reconstruct(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array, mx.array]:
        inner = self._inner(self._op("search_and_reconstruct"), params)
        D, I, R = self.index._search_and_reconstruct(x, k, inner, stream)
        return D, self._map(I, stream), R

    def _range_search(
        self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int64]]:
        op = self._op("range_search")
        lims, D, I = self.index._find_within(op, x, radius, self._inner(op, params), stream)
        return lims, D, _merge.mapped_at_once(I, self._ids())

    def _remove_ids(self, selector: IDSelector) -> int:
        if not self.index._renumbers():
            self._unsupported("remove_ids", " and numbers its vectors anew, or keeps ids itself, as IndexIVF does")
        gone = selector._members(self._ids())
        if gone.any():
            self.index._remove_ids(IDSelectorBatch(np.flatnonzero(gone)))
            self._set_ids(self._ids()[~gone])
        return int(gone.sum())

    def _check_compatible(self, op: str, other: IndexIDMap) -> None:
        self.index.check_compatible_for_merge(other.index)

    def _merge_from(self, other: IndexIDMap, add_id: int) -> None:
        with self._appended(other._ids() + add_id):
            self.index._merge_from(other.index, self.index.ntotal if not self.index._renumbers() else 0)
        other._set_ids(np.empty(0, dtype=np.int64))

    def _reset(self) -> None:
        self.index._reset()
        self._set_ids(np.empty(0, dtype=np.int64))

    def _reconstruct_n(self, n0: int, ni: int) -> mx.array:
        self._unsupported("reconstruct", ", such as IndexIDMap2")

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        self._unsupported("reconstruct", ", such as IndexIDMap2")

    def _check_keys(self, op: str, keys: NDArray[np.int64]) -> None:
        pass

    def _sa_code_size(self) -> int:
        return self.index._sa_code_size()

    def _sa_encode(self, x: mx.array) -> Any:
        return self.index._sa_encode(x)

    def _sa_decode(self, codes: mx.array) -> Any:
        return self.index._sa_decode(codes)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_buffer": self._ids().copy(), "_lazy_ids": None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.index!r})"


class IndexIDMap2(IndexIDMap):
    """``IndexIDMap`` that can also find the vector of an id; of equal ids, the last one added.

    Args:
        index: the index that is searched, without vectors.
    """

    def construct_rev_map(self) -> None:
        """Sorts the ids, which otherwise happens when a vector is first asked for."""
        ids = self._ids()
        order = np.argsort(ids, kind="stable")
        self._sorted: tuple[NDArray[np.int64], NDArray[np.int64]] | None = (ids[order], order)

    def check_consistency(self) -> None:
        """Kept for programs written for FAISS: there is no state that could be inconsistent."""

    def _set_ids(self, ids: NDArray[np.int64]) -> None:
        super()._set_ids(ids)
        self._sorted = None

    def _append_ids(self, ids: NDArray[np.int64]) -> None:
        super()._append_ids(ids)
        self._sorted = None

    def _positions(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the vectors of ids are, -1 for those that are not stored."""
        if self._sorted is None:
            self.construct_rev_map()
        assert self._sorted is not None
        ids, order = self._sorted
        if ids.size == 0:
            return np.full(keys.shape, -1)
        at = np.maximum(np.searchsorted(ids, keys, side="right") - 1, 0)
        return np.where(ids[at] == keys, order[at], -1)

    def _check_keys(self, op: str, keys: NDArray[np.int64]) -> None:
        missing = keys[self._positions(keys) < 0]
        if missing.size:
            raise ArgumentError(f"[{op}] key must hold ids of stored vectors. Received {missing[0]}.")

    def _reconstruct(self, key: int) -> mx.array:
        return self._reconstruct_batch(mx.array([key], dtype=mx.int64))[0]

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        positions = self._positions(_host.to_numpy(ids)[0].astype(np.int64))
        return self.index._reconstruct_batch(mx.array(positions))

    def reconstruct_n(self, n0: int = 0, ni: int = -1, x: NDArray[np.float32] | None = None) -> Array:
        """The vectors of ids ``n0``, ..., ``n0 + ni - 1``, as ``reconstruct_batch`` returns them.

        Args:
            n0: the first id.
            ni: how many; -1 stands for ``ntotal - n0``.
            x: a float32 NumPy array of shape (ni, d) to write to, and to return.

        Raises:
            TypeError, ValueError: as ``reconstruct_batch`` does.
        """
        op = self._op("reconstruct_n")
        n0, ni = _host.require_int(op, "n0", n0), _host.require_int(op, "ni", ni)
        ids = np.arange(n0, n0 + ni if ni != -1 else max(self.ntotal, n0), dtype=np.int64)
        return self.reconstruct_batch(ids, x)
