"""Several indexes of binary codes as one: codes spread over them, or the same codes in each."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Stream
from metalfaiss.indexes import _merge
from metalfaiss.indexes._code_store import Within
from metalfaiss.indexes.binary import IndexBinary
from metalfaiss.search_parameters import SearchParameters, with_selector
from metalfaiss.selectors import IDSelectorTranslated

__all__ = ["IndexBinaryReplicas", "IndexBinaryShards"]

_NONE = 2**31 - 1  # the distance of a missing result


class _BinaryGroup(IndexBinary):
    """Members in a list, all of one ``d``."""

    def __init__(self, d: int | None, threaded: bool) -> None:
        self._members: list[IndexBinary] = []
        self._known_d = d is not None
        super().__init__(8 if d is None else d)
        self.threaded = threaded
        self.own_indices = False

    @property
    def is_trained(self) -> bool:
        """Whether codes may be added."""
        return all(member.is_trained for member in self._members)

    @is_trained.setter
    def is_trained(self, trained: bool) -> None:
        for member in self._members:
            member.is_trained = trained

    def count(self) -> int:
        """How many indexes it is made of."""
        return len(self._members)

    def at(self, i: int) -> IndexBinary:
        """Index i of those."""
        return self._members[i]

    def syncWithSubIndexes(self) -> None:
        """Kept for programs written for FAISS: the indexes are asked each time."""

    def _join(self, op: str, member: object) -> None:
        if not isinstance(member, IndexBinary):
            raise TypeError(f"[{op}] index must be an IndexBinary. Received {type(member).__name__}.")
        if self._known_d:
            self._require_same(op, "d", self.d, member.d)
        self._d, self._known_d = member.d, True
        self._members.append(member)

    def _leave(self, op: str, member: object) -> None:
        for at, known in enumerate(self._members):
            if known is member:
                del self._members[at]
                return
        raise RuntimeError(f"[{op}] The index must be one of the {self.count()} members. Received another one.")

    def _require_members(self, method: str) -> tuple[IndexBinary, ...]:
        if not self._members:
            raise RuntimeError(f"[{self._op(method)}] There must be at least one index inside. Received none.")
        return tuple(self._members)

    def _train(self, x: mx.array) -> None:
        for member in self._require_members("train"):
            member._train(x)

    def _reset(self) -> None:
        for member in self._members:
            member._reset()

    def __repr__(self) -> str:
        return f"{type(self).__name__}([{', '.join(map(repr, self._members))}])"


class IndexBinaryShards(_BinaryGroup):
    """Codes spread over indexes that are all searched.

    Args:
        d: the bits of a code, or None: then it is that of the first shard.
        threaded: kept for FAISS's signature: a search uses all cores.
        successive_ids: whether the ids of a shard come behind those of the shards before it. If not, shards keep ids
            themselves.

    Raises:
        TypeError, ValueError: ``d`` is not a positive multiple of 8.
    """

    def __init__(self, d: int | None = None, threaded: bool = False, successive_ids: bool = True) -> None:
        super().__init__(d, threaded)
        self.successive_ids = successive_ids

    def add_shard(self, index: IndexBinary) -> None:
        """Adds a shard behind the others.

        Raises:
            TypeError: it is no index of binary codes.
            RuntimeError: it has another ``d`` than the others.
        """
        self._join(self._op("add_shard"), index)

    def remove_shard(self, index: IndexBinary) -> None:
        """Takes a shard out.

        Raises:
            RuntimeError: it is none of the shards.
        """
        self._leave(self._op("remove_shard"), index)

    addIndex, removeIndex = add_shard, remove_shard

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
        members = self._require_members("add")
        if not self.successive_ids:
            return self._add_with_ids(x, np.arange(self.ntotal, self.ntotal + x.shape[0], dtype=np.int64))
        if len(members) > 1 and self.ntotal and x.shape[0]:
            raise RuntimeError(
                f"[{self._op('add')}] Shards with successive ids must be filled by one add, or one by one. "
                f"Received {x.shape[0]} codes for shards that hold {self.ntotal}."
            )
        for member, part in zip(members, self._parts(x.shape[0]), strict=True):
            member._add(_host.finish(x[part], x))
        return None

    def _add_with_ids(self, x: mx.array, ids: NDArray[np.int64]) -> None:
        members = self._require_members("add_with_ids")
        if self.successive_ids:
            raise RuntimeError(
                f"[{self._op('add_with_ids')}] successive_ids must be False for codes with ids. Received True."
            )
        for member, part in zip(members, self._parts(x.shape[0]), strict=True):
            member._add_with_ids(_host.finish(x[part], x), ids[part])

    def _inner(self, params: SearchParameters | None, start: int, member: IndexBinary) -> SearchParameters | None:
        sel = None if params is None else params._filter()
        if sel is not None and start:
            sel = IDSelectorTranslated(np.arange(start, start + member.ntotal, dtype=np.int64), sel)
        return with_selector(params, sel)

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        found = []
        for member, start in zip(self._require_members("search"), self._starts(), strict=False):
            D, I = member._search(x, k, self._inner(params, start, member), stream)
            found.append((D.astype(mx.float32, stream=stream), _merge.shifted(I, start, stream) if start else I))
        D, I = _merge.best(found, k, False, stream)
        none = mx.array(_NONE, dtype=mx.int32)
        near = mx.minimum(D, mx.array(2.0**24), stream=stream).astype(mx.int32, stream=stream)
        return mx.where(mx.less(I, 0, stream=stream), none, near, stream=stream), I

    def _range_search(self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream) -> Within:
        found = []
        for member, start in zip(self._require_members("range_search"), self._starts(), strict=False):
            lims, D, I = member._range_search(x, radius, self._inner(params, start, member), stream)
            found.append((lims, D, I + start))
        return _merge.concatenated(found, x.shape[0])

    def _ids(self) -> NDArray[np.int64]:
        ids = [member._ids() + start for member, start in zip(self._members, self._starts(), strict=False)]
        return np.concatenate([np.empty(0, dtype=np.int64), *ids])

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        if not self.successive_ids:
            self._unsupported("reconstruct", ": successive_ids must be True")
        out = mx.zeros((ids.shape[0], self.code_size), dtype=mx.uint8)
        for member, start in zip(self._members, self._starts(), strict=False):
            inside = mx.logical_and(ids >= start, ids < start + member.ntotal)
            if member.ntotal:
                there = member._reconstruct_batch(mx.where(inside, ids - start, mx.array(-1, dtype=mx.int64)))
                out = mx.where(inside[:, None], there, out)
        return out


class IndexBinaryReplicas(_BinaryGroup):
    """Indexes that hold the same codes; each searches a part of the queries.

    Args:
        d: the bits of a code, or None: then it is that of the first replica.
        threaded: kept for FAISS's signature: a search uses all cores.

    Raises:
        TypeError, ValueError: ``d`` is not a positive multiple of 8.
    """

    def __init__(self, d: int | None = None, threaded: bool = True) -> None:
        super().__init__(d, threaded)

    def add_replica(self, index: IndexBinary) -> None:
        """Adds a replica, which must hold the codes that the others hold.

        Raises:
            TypeError: it is no index of binary codes.
            RuntimeError: it differs from the others in ``d`` or number of codes.
        """
        op = self._op("add_replica")
        if self._members and isinstance(index, IndexBinary):
            self._require_same(op, "ntotal", self.ntotal, index.ntotal)
        self._join(op, index)

    def remove_replica(self, index: IndexBinary) -> None:
        """Takes a replica out.

        Raises:
            RuntimeError: it is none of the replicas.
        """
        self._leave(self._op("remove_replica"), index)

    addIndex, removeIndex = add_replica, remove_replica

    @property
    def ntotal(self) -> int:
        return self._members[0].ntotal if self._members else 0

    def _parts(self, method: str, x: mx.array) -> list[tuple[IndexBinary, mx.array]]:
        """Which replica searches which queries; without queries, the first one."""
        members, n = self._require_members(method), x.shape[0]
        step = max(1, -(-n // len(members)))
        cuts = [slice(i, min(i + step, n)) for i in range(0, n, step)] or [slice(0, 0)]
        return [(member, x[cut]) for member, cut in zip(members, cuts, strict=False)]

    def _add(self, x: mx.array) -> None:
        for member in self._require_members("add"):
            member._add(x)

    def _add_with_ids(self, x: mx.array, ids: NDArray[np.int64]) -> None:
        for member in self._require_members("add_with_ids"):
            member._add_with_ids(x, ids.copy())

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        found = [member._search(part, k, params, stream) for member, part in self._parts("search", x)]
        return (
            mx.concatenate([D for D, _ in found], axis=0, stream=stream),
            mx.concatenate([I for _, I in found], axis=0, stream=stream),
        )

    def _range_search(self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream) -> Within:
        parts = self._parts("range_search", x)
        found = [member._range_search(part, radius, params, stream) for member, part in parts]
        counts = np.concatenate([np.diff(lims.astype(np.int64)) for lims, _, _ in found])
        lims = np.concatenate([[0], np.cumsum(counts)])
        return lims, np.concatenate([D for _, D, _ in found]), np.concatenate([I for _, _, I in found])

    def _ids(self) -> NDArray[np.int64]:
        return self._members[0]._ids() if self._members else super()._ids()

    def _remove_ids(self, selector: Any) -> int:
        removed = [int(member._remove_ids(selector)) for member in self._require_members("remove_ids")]
        return removed[0]

    def _check_keys(self, op: str, keys: NDArray[np.int64]) -> None:
        self._require_members("reconstruct")[0]._check_keys(op, keys)

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        return self._require_members("reconstruct")[0]._reconstruct_batch(ids)
