"""A set of vectors spread over several indexes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Stream
from metalfaiss.indexes import _merge
from metalfaiss.indexes._group import Group
from metalfaiss.indexes.base import Index
from metalfaiss.metrics import is_similarity_metric
from metalfaiss.search_parameters import SearchParameters, with_selector
from metalfaiss.selectors import IDSelector, IDSelectorTranslated

__all__ = ["IndexShards"]


class IndexShards(Group):
    """Vectors spread over indexes that are all searched.

    Args:
        d: the dimension, or left out: then it is that of the first shard.
        threaded: whether shards are trained, and searched by distance, each in a thread.
        successive_ids: whether the ids of a shard come behind those of the shards before it. If not, shards keep ids
            themselves.

    Raises:
        TypeError: ``d`` is not an integer.
    """

    def __init__(self, *args: Any, threaded: bool = False, successive_ids: bool = True) -> None:
        flags = [arg for arg in args if isinstance(arg, bool)]
        super().__init__(*args, threaded=flags[0] if flags else threaded)
        self.successive_ids = flags[1] if len(flags) > 1 else successive_ids

    def add_shard(self, index: Index) -> None:
        """Adds a shard behind the others.

        Raises:
            TypeError: it is no index.
            RuntimeError: it has another ``d`` or metric than the others.
        """
        self._join(self._op("add_shard"), index)

    def remove_shard(self, index: Index) -> None:
        """Takes a shard out.

        Raises:
            RuntimeError: it is none of the shards.
        """
        self._leave(self._op("remove_shard"), index)

    addIndex, removeIndex = add_shard, remove_shard

    def sync_with_shard_indexes(self) -> None:
        """Kept for programs written for FAISS: the shards are asked each time."""

    syncWithSubIndexes = sync_with_shard_indexes

    @property
    def ntotal(self) -> int:
        return sum(member.ntotal for member in self._members)

    def _starts(self) -> list[int]:
        if not self.successive_ids:
            return [0] * (self.count() + 1)
        return _merge.starts([member.ntotal for member in self._members])

    def _parts(self, n: int) -> list[slice]:
        return [slice(i * n // self.count(), (i + 1) * n // self.count()) for i in range(self.count())]

    def _add(self, x: mx.array) -> None:
        members = self._require_members(self._op("add"))
        if not self.successive_ids:
            first = self.ntotal
            return self._add_with_ids(x, np.arange(first, first + x.shape[0], dtype=np.int64))
        if len(members) > 1 and self.ntotal and x.shape[0]:
            raise RuntimeError(
                f"[{self._op('add')}] Shards with successive ids must be filled by one add, or one by one. "
                f"Received {x.shape[0]} vectors for shards that hold {self.ntotal}."
            )
        for member, part in zip(members, self._parts(x.shape[0]), strict=True):
            self._fill(member, _host.finish(x[part], x), None)
        return None

    def _add_with_ids(self, x: mx.array, ids: NDArray[np.int64]) -> None:
        members = self._require_members(self._op("add_with_ids"))
        if self.successive_ids:
            raise RuntimeError(
                f"[{self._op('add_with_ids')}] successive_ids must be False for vectors with ids. Received True."
            )
        for member, part in zip(members, self._parts(x.shape[0]), strict=True):
            self._fill(member, _host.finish(x[part], x), ids[part])

    def _fill(self, member: Any, x: mx.array, ids: NDArray[np.int64] | None) -> None:
        """Adds vectors to a shard."""
        if ids is None:
            member._add(x)
        else:
            member._add_with_ids(x, ids)

    def _inner(self, params: SearchParameters | None, start: int, member: Index) -> SearchParameters | None:
        sel = None if params is None else params._filter()
        if sel is not None and start:
            sel = IDSelectorTranslated(np.arange(start, start + member.ntotal, dtype=np.int64), sel)
        return with_selector(params, sel)

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        op = self._op("search")
        find = self._finder(op, x, k, params, stream)
        found = []
        for member, start in zip(self._require_members(op), self._starts(), strict=False):
            D, I = find(member, self._inner(params, start, member))
            found.append((D, _merge.shifted(I, start, stream) if start else I))
        return _merge.best(found, k, is_similarity_metric(self.metric_type), stream)

    def _finder(
        self, op: str, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> Callable[[Any, SearchParameters | None], tuple[mx.array, mx.array]]:
        """How a shard is searched, with parameters in its own ids."""
        return lambda member, inner: member._find(op, x, k, inner, stream)

    def _range_finder(
        self, op: str, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream
    ) -> Callable[[Any, SearchParameters | None], _merge.Ranges]:
        """How a shard is searched by distance."""
        return lambda member, inner: member._find_within(op, x, radius, inner, stream)

    def _range_search(
        self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int64]]:
        op = self._op("range_search")
        members = self._require_members(op)
        mx.eval(x)
        find = self._range_finder(op, x, radius, params, stream)

        def search(at: tuple[Index, int]) -> _merge.Ranges:
            member, start = at
            lims, D, I = find(member, self._inner(params, start, member))
            return lims, D, I + start

        return _merge.concatenated(self._each(list(zip(members, self._starts(), strict=False)), search), x.shape[0])

    def _ids(self) -> NDArray[np.int64]:
        ids = [member._ids() + start for member, start in zip(self._members, self._starts(), strict=False)]
        return np.concatenate([np.empty(0, dtype=np.int64), *ids])

    def _remove_ids(self, selector: IDSelector) -> int:
        removed = 0
        for member, start in zip(self._members, self._starts(), strict=False):
            inner = self._inner(SearchParameters(sel=selector), start, member)
            removed += member._remove_ids(inner.sel) if inner is not None and inner.sel is not None else 0
        return removed

    def _check_keys(self, op: str, keys: NDArray[np.int64]) -> None:
        if self.successive_ids:
            super()._check_keys(op, keys)

    def _reconstruct_n(self, n0: int, ni: int) -> mx.array:
        return self._reconstruct_batch(mx.arange(n0, n0 + ni, dtype=mx.int64))

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        if not self.successive_ids:
            self._unsupported("reconstruct", ": successive_ids must be True")
        out = mx.full((ids.shape[0], self.d), float("nan"))
        for member, start in zip(self._members, self._starts(), strict=False):
            inside = mx.logical_and(ids >= start, ids < start + member.ntotal)
            if member.ntotal:
                there = member._reconstruct_batch(mx.where(inside, ids - start, mx.array(-1, dtype=mx.int64)))
                out = mx.where(inside[:, None], there, out)
        return out
