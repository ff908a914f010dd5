"""Exact search of numbers, kept sorted."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Stream
from metalfaiss.indexes import _chunks
from metalfaiss.indexes.flat import IndexFlatL2, selected
from metalfaiss.metrics import METRIC_L1
from metalfaiss.search_parameters import SearchParameters
from metalfaiss.vectors import Int32Vector

__all__ = ["IndexFlat1D"]


class IndexFlat1D(IndexFlatL2):
    """Vectors of one dimension, of which a search looks at 2 k in order instead of all. Distances are ``|x - y|``,
    those of ``range_search`` their squares, and missing ones infinite, as in FAISS.

    Args:
        continuous_update: whether ``add`` sorts; otherwise ``update_permutation`` does, when it is called.

    Attributes:
        continuous_update: as above.
        perm: the ids in the order of their values.
    """

    def __init__(self, continuous_update: bool = True) -> None:
        super().__init__(1)
        self.continuous_update = bool(continuous_update)

    @property
    def perm(self) -> Int32Vector:
        """The ids in the order of their values: a copy."""
        return Int32Vector(self._sorted[0])

    def update_permutation(self) -> None:
        """Sorts the stored values."""
        values = _host.to_numpy(self._reconstruct_n(0, self.ntotal))[0].reshape(-1)
        order = np.argsort(values, kind="stable")
        self._sorted = order, values[order]  # one assignment: searches of other threads see both or neither

    def _reset(self) -> None:
        super()._reset()
        self._sorted = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)

    def _changed(self) -> None:
        if self.continuous_update:
            self.update_permutation()

    def _add(self, x: mx.array) -> None:
        super()._add(x)
        self._changed()

    def _remove_ids(self, selector: Any) -> int:
        removed = super()._remove_ids(selector)
        self._changed()
        return removed

    def _merge_from(self, other: Any, add_id: int) -> None:
        super()._merge_from(other, add_id)
        self._changed()

    def _permute(self, order: NDArray[np.int64]) -> None:
        super()._permute(order)
        self._changed()

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        if params is not None and params.sel is not None:
            chosen = selected(params, self.ntotal)
            D, I = _chunks.search(self._chunks, x, k, (METRIC_L1, 0.0), stream, chosen)
            return mx.where(mx.less(I, 0, stream=stream), mx.array(float("inf")), D, stream=stream), I
        order, values = self._sorted
        if order.size != self.ntotal and not self.continuous_update:
            raise RuntimeError(
                f"[{self._op('search')}] The values must be sorted: call update_permutation(). Received "
                f"{self.ntotal} values of which {order.size} are."
            )
        distances, ids = _nearest(_host.to_numpy(x)[0][:, 0].astype(np.float32), order, values, k)
        return mx.array(distances), mx.array(ids)


def _nearest(
    queries: NDArray[np.float32], order: NDArray[np.int64], values: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k values next to each query, (n, k): they are among the k on either side of where it would stand."""
    n, width = values.size, min(2 * k + 2, values.size)
    first = np.clip(np.searchsorted(values, queries) - k - 1, 0, n - width)
    at = first[:, None] + np.arange(width)
    distances = np.abs(queries[:, None] - values[at])
    ids = order[at]
    distances[~np.isfinite(distances)] = np.inf
    best = np.lexsort((ids, distances))[:, :k]
    out_d = np.full((queries.size, k), np.inf, dtype=np.float32)
    out_i = np.full((queries.size, k), -1, dtype=np.int64)
    out_d[:, : best.shape[1]] = np.take_along_axis(distances, best, 1)
    out_i[:, : best.shape[1]] = np.take_along_axis(ids, best, 1)
    out_i[np.isinf(out_d)] = -1
    return out_d, out_i
