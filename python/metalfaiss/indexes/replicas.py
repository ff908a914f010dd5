"""The same vectors in several indexes, which share the queries."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss._host import Stream
from metalfaiss.indexes._group import Group
from metalfaiss.indexes.base import Index
from metalfaiss.search_parameters import SearchParameters
from metalfaiss.selectors import IDSelector

__all__ = ["IndexProxy", "IndexReplicas"]


class IndexReplicas(Group):
    """Indexes that hold the same vectors; each searches a part of the queries.

    Args:
        d: the dimension, or left out: then it is that of the first replica.
        threaded: whether replicas are trained, and searched by distance, each in a thread.

    Raises:
        TypeError: ``d`` is not an integer.
    """

    def __init__(self, *args: Any, threaded: bool = True) -> None:
        flags = [arg for arg in args if isinstance(arg, bool)]
        super().__init__(*args, threaded=flags[0] if flags else threaded)

    def add_replica(self, index: Index) -> None:
        """Adds a replica, which must hold the vectors that the others hold.

        Raises:
            TypeError: it is no index.
            RuntimeError: it differs from the others in ``d``, metric or number of vectors.
        """
        op = self._op("add_replica")
        if self._members and isinstance(index, Index):
            self._require_same(op, "ntotal", self.ntotal, index.ntotal)
        self._join(op, index)

    addIndex = add_replica

    def remove_replica(self, index: Index) -> None:
        """Takes a replica out.

        Raises:
            RuntimeError: it is none of the replicas.
        """
        self._leave(self._op("remove_replica"), index)

    removeIndex = remove_replica

    def syncWithSubIndexes(self) -> None:
        """Kept for programs written for FAISS: the replicas are asked each time."""

    addIndex, removeIndex = add_replica, remove_replica

    @property
    def ntotal(self) -> int:
        return self._members[0].ntotal if self._members else 0

    def _parts(self, n: int) -> list[tuple[Index, slice]]:
        """Which replica searches which queries; without queries, the first one."""
        step = max(1, -(-n // self.count()))
        cuts = [slice(i, min(i + step, n)) for i in range(0, n, step)] or [slice(0, 0)]
        return list(zip(self._members, cuts, strict=False))

    def _add(self, x: mx.array) -> None:
        for member in self._require_members(self._op("add")):
            member._add(x)

    def _add_with_ids(self, x: mx.array, ids: NDArray[np.int64]) -> None:
        for member in self._require_members(self._op("add_with_ids")):
            member._add_with_ids(x, ids.copy())

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        op = self._op("search")
        self._require_members(op)
        found = [member._find(op, x[part], k, params, stream) for member, part in self._parts(x.shape[0])]
        return (
            mx.concatenate([D for D, _ in found], axis=0, stream=stream),
            mx.concatenate([I for _, I in found], axis=0, stream=stream),
        )

    def _range_search(
        self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int64]]:
        op = self._op("range_search")
        self._require_members(op)
        parts = [(member, x[part]) for member, part in self._parts(x.shape[0])]
        mx.eval([queries for _, queries in parts])
        found = self._each(parts, lambda at: at[0]._find_within(op, at[1], radius, params, stream))
        counts = np.concatenate([np.diff(lims.astype(np.int64)) for lims, _, _ in found])
        lims = np.concatenate([[0], np.cumsum(counts)])
        return lims, np.concatenate([D for _, D, _ in found]), np.concatenate([I for _, _, I in found])

    def _ids(self) -> NDArray[np.int64]:
        return self._members[0]._ids() if self._members else super()._ids()

    def _remove_ids(self, selector: IDSelector) -> int:
        removed = [member._remove_ids(selector) for member in self._require_members(self._op("remove_ids"))]
        return removed[0]

    def _check_keys(self, op: str, keys: NDArray[np.int64]) -> None:
        self._require_members(op)[0]._check_keys(op, keys)

    def _reconstruct(self, key: int) -> mx.array:
        return self._members[0]._reconstruct(key)

    def _reconstruct_n(self, n0: int, ni: int) -> mx.array:
        return self._members[0]._reconstruct_n(n0, ni)

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        return self._require_members(self._op("reconstruct_batch"))[0]._reconstruct_batch(ids)


IndexProxy = IndexReplicas
