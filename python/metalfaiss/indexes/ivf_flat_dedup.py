"""Inverted lists that keep equal vectors once."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Stream
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.ivf_flat import IndexIVFFlat
from metalfaiss.metrics import METRIC_L2, worst
from metalfaiss.search_parameters import SearchParameters, with_selector
from metalfaiss.selectors import IDSelector, IDSelectorBatch

__all__ = ["IndexIVFFlatDedup"]

Ids = NDArray[np.int64]
_PARTS = 1000  # of the table: so many additions cost no more than one


class IndexIVFFlatDedup(IndexIVFFlat):
    """``IndexIVFFlat`` whose lists hold a vector once, and in a table beside them the ids of its repetitions.

    A search finds a vector under all its ids, one behind the other. There are no direct map, range search, update or
    reconstruction, as in FAISS. Searches finish on the host.

    Args:
        quantizer, d, nlist, metric, own_invlists: as for ``IndexIVFFlat``.

    Raises:
        TypeError, ValueError: as for ``IndexIVFFlat``.
    """

    def __init__(
        self, quantizer: Index, d: int, nlist: int, metric: int = METRIC_L2, own_invlists: bool = True
    ) -> None:
        super().__init__(quantizer, d, nlist, metric, own_invlists)
        self._set_instances(np.empty((0, 2), dtype=np.int64))

    def _set_instances(self, pairs: Ids) -> None:
        """Pairs (id in the lists, id of an equal vector), shape (n, 2), as they came and as files have them."""
        self._pairs: tuple[Ids, ...] = (pairs,)
        self._sorted: tuple[tuple[Ids, ...], Ids] = self._pairs, pairs[np.argsort(pairs[:, 0], kind="stable")]

    @property
    def _instances(self) -> Ids:
        return np.concatenate(self._pairs)

    def _by_first(self) -> Ids:
        """The pairs, to be looked up. Another thread may add some meanwhile: what is sorted says of which it is."""
        pairs, (source, by_first) = self._pairs, self._sorted
        if source is not pairs:
            every = np.concatenate(pairs)
            by_first = every[np.argsort(every[:, 0], kind="stable")]
            self._sorted = pairs, by_first
        return by_first

    def _search_at_once(
        self,
        x: NDArray[Any],
        k: int,
        params: SearchParameters | None,
        D: NDArray[np.float32] | None,
        I: Ids | None,
    ) -> tuple[NDArray[np.float32], Ids] | None:
        """As ``IndexIVF`` does, where all ids take part: what a selector chooses is found in ``_scan``."""
        chooses = params is not None and params.sel is not None
        found = None if chooses else super()._search_at_once(x, k, params, D, I)
        return None if found is None else self._repeated(*found, None)

    def set_direct_map_type(self, type: int) -> None:
        """Refuses all but ``DirectMap.NoMap``.

        Raises:
            RuntimeError: ``type`` is another one.
        """
        if type:
            self._unsupported("set_direct_map_type", ", such as IndexIVFFlat")

    def _train(self, x: mx.array) -> None:
        rows = _rows(np.ascontiguousarray(_host.to_numpy(x.astype(mx.float32))[0]).view(np.uint8))
        first = np.sort(np.unique(rows, return_index=True)[1])
        super()._train(x if first.size == x.shape[0] else x[mx.array(first)])

    def _store(self, codes: NDArray[np.uint8], ids: Ids, assign: Ids) -> None:
        found, first = _core.equal_entries(self.invlists._native, assign, ids, codes)
        again = np.flatnonzero(found)
        if len(again) == 0:
            super()._store(codes, ids, assign)
            return
        if len(again) < len(ids):
            new = np.flatnonzero(found == 0)
            super()._store(codes[new], ids[new], assign[new])
        pairs = np.empty((len(again), 2), dtype=np.int64)
        pairs[:, 0], pairs[:, 1] = first[again], ids[again]
        self._pairs = (*(self._pairs if len(self._pairs) < _PARTS else (self._instances,)), pairs)
        self._ntotal += len(again)

    def _scan(
        self,
        x: mx.array,
        k: int,
        probes: mx.array,
        params: SearchParameters | None,
        stream: Stream,
        places: bool = False,
    ) -> tuple[mx.array, mx.array]:
        if places:
            self._unsupported("search_and_return_codes", ", such as IndexIVFFlat")
        chosen = None if params is None else params.sel
        if chosen is not None:  # a vector takes part if one of its ids does
            firsts = np.concatenate([super()._ids(), self._instances[:, 0]])
            all_ids = np.concatenate([super()._ids(), self._instances[:, 1]])
            params = with_selector(params, IDSelectorBatch(firsts[chosen._members(all_ids)]))
        distances, ids = _host.to_numpy(*super()._scan(x, k, probes, params, stream))
        D, I = self._repeated(distances, ids, chosen)
        return mx.array(D), mx.array(I)

    def _repeated(self, D: NDArray[np.float32], I: Ids, chosen: IDSelector | None) -> tuple[NDArray[np.float32], Ids]:
        """Results (n, k) in which every vector stands under all its ids, or the chosen ones."""
        by_first, k = self._by_first(), I.shape[1]
        if not len(by_first):
            return D, I
        firsts = by_first[:, 0]
        begin, end = (np.searchsorted(firsts, I, side=side) for side in ("left", "right"))
        for row in np.flatnonzero((begin < end).any(axis=1)):
            ids = [
                np.concatenate([[i], by_first[a:b, 1]]) for i, a, b in zip(I[row], begin[row], end[row], strict=True)
            ]
            named, near = np.concatenate(ids), np.repeat(D[row], [len(part) for part in ids])
            if chosen is not None:
                member = chosen._members(named) | (named < 0)
                named, near = named[member], near[member]
            I[row], D[row] = -1, worst(self.metric_type)
            I[row, : len(named)], D[row, : len(named)] = named[:k], near[:k]
        return D, I

    def _ids(self) -> Ids:
        return np.concatenate([super()._ids(), self._instances[:, 1]])

    def _range_search(self, x: mx.array, radius: float, params: Any, stream: Stream) -> Any:
        self._unsupported("range_search", ", such as IndexIVFFlat")

    def _remove_ids(self, selector: IDSelector) -> int:
        """Where a vector loses the id under which its list holds it, the first of the others takes its place."""
        before = self._ntotal
        pairs = self._instances[~selector._members(self._instances[:, 1])]
        listed = np.concatenate([np.empty(0, np.int64), IndexIVFFlat._ids(self)])
        gone = listed[selector._members(listed)]
        orphans = np.isin(pairs[:, 0], gone)
        heirs: dict[int, int] = {}
        for first, other in pairs[orphans].tolist():
            heirs.setdefault(first, other)
        for list_no in range(self.nlist) if heirs else ():
            ids = np.array([heirs.get(i, i) for i in self.invlists.get_ids(list_no).tolist()], dtype=np.int64)
            if ids.size and not np.array_equal(ids, self.invlists.get_ids(list_no)):
                self.invlists.update_entries(list_no, 0, ids, self.invlists.get_codes(list_no).copy())
        moved = np.array([heirs.get(first, first) for first in pairs[:, 0].tolist()], dtype=np.int64)
        super()._remove_ids(IDSelectorBatch(gone[~np.isin(gone, list(heirs))]))
        self._set_instances(np.stack([moved, pairs[:, 1]], axis=1)[moved != pairs[:, 1]])
        self._ntotal = self.invlists.compute_ntotal() + len(self._instances)
        return before - self._ntotal

    def _reset(self) -> None:
        super()._reset()
        self._set_instances(np.empty((0, 2), dtype=np.int64))

    def _merge_from(self, other: Any, add_id: int) -> None:
        self._unsupported("merge_from", ", such as IndexIVFFlat")

    def _reconstruct_n(self, n0: int, ni: int) -> mx.array:
        self._unsupported("reconstruct", ", such as IndexIVFFlat")

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        self._unsupported("reconstruct", ", such as IndexIVFFlat")


def _rows(codes: NDArray[np.uint8]) -> NDArray[Any]:
    """Each row as one element that compares by its bytes."""
    return np.ascontiguousarray(codes).view(f"V{codes.shape[1]}").reshape(-1)
