"""A search by a cheap index whose candidates a more exact one orders anew."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes import _checks
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.flat import IndexFlat
from metalfaiss.metrics import is_similarity_metric, worst
from metalfaiss.search_parameters import IndexRefineSearchParameters, SearchParameters, with_selector
from metalfaiss.selection import select_k

__all__ = ["IndexRefine", "IndexRefineFlat"]


class IndexRefine(Index):
    """The base index finds ``k * k_factor`` candidates; those are ordered by the distances of the refining index.

    Args:
        base_index: what finds candidates.
        refine_index: what computes their distances: an index that can reconstruct vectors, best an ``IndexFlat``.

    Raises:
        TypeError: one of them is no index.
        ValueError: they differ in ``d``, ``metric_type`` or ``ntotal``.

    Attributes:
        base_index, refine_index: the two.
        k_factor: how many candidates for each result.
    """

    def __init__(self, base_index: Index, refine_index: Index) -> None:
        op = type(self).__name__
        _checks.index(op, "base_index", base_index)
        _checks.index(op, "refine_index", refine_index)
        for name in ("d", "metric_type", "ntotal"):
            ours, theirs = getattr(base_index, name), getattr(refine_index, name)
            if ours != theirs:
                raise ArgumentError(f"[{op}] The indexes must have the same {name}. Received {ours} and {theirs}.")
        super().__init__(base_index.d, base_index.metric_type)
        self.base_index = base_index
        self.refine_index = refine_index
        self.k_factor = 1.0
        self.own_fields = False
        self.own_refine_index = False

    @property
    def is_trained(self) -> bool:
        """Whether vectors may be added."""
        if "refine_index" not in self.__dict__:
            return True
        return self.base_index.is_trained and self.refine_index.is_trained

    @is_trained.setter
    def is_trained(self, trained: bool) -> None:
        if "refine_index" in self.__dict__:
            self.base_index.is_trained = self.refine_index.is_trained = trained

    @property
    def ntotal(self) -> int:
        return self.refine_index.ntotal

    def _accepted_parameters(self) -> _checks.Accepted:
        return (IndexRefineSearchParameters, *_checks.types(self.base_index._accepted_parameters()))

    def _inner(self, params: SearchParameters | None) -> SearchParameters | None:
        inside = params.base_index_params if isinstance(params, IndexRefineSearchParameters) else params
        return with_selector(inside, None if params is None else params._filter())

    def _candidates(
        self, op: str, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        factor = params.k_factor if isinstance(params, IndexRefineSearchParameters) else self.k_factor
        if not factor >= 1:
            raise ArgumentError(f"[{op}] k_factor must be at least 1. Received {factor}.")
        candidates = int(min(k * factor, max(k, self.ntotal)))
        return self.base_index._find(op, x, max(k, candidates), self._inner(params), stream)

    def _train(self, x: mx.array) -> None:
        self.base_index._train(x)
        self.refine_index._train(x)

    def _add(self, x: mx.array) -> None:
        self.refine_index._add(x)  # first: a search must never find candidates that cannot be refined
        try:
            self.base_index._add(x)
        except BaseException:
            n = self.base_index.ntotal
            self.refine_index._remove_ids(_checks.removed("", np.arange(n, self.refine_index.ntotal)))
            raise

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        _, I = self._candidates(self._op("search"), x, k, params, stream)
        D = self.refine_index._distances_at(x, I, stream)
        good = mx.logical_and(mx.greater_equal(I, 0, stream=stream), mx.isfinite(D, stream=stream), stream=stream)
        D = mx.where(good, D, mx.array(worst(self.metric_type)), stream=stream)
        I = mx.where(good, I, mx.array(-1, dtype=I.dtype), stream=stream)
        D, at = select_k(D, k, largest=is_similarity_metric(self.metric_type), stream=stream)
        return D, mx.take_along_axis(I, mx.stop_gradient(at, stream=stream), axis=-1, stream=stream)

    def _search_and_reconstruct(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array, mx.array]:
        D, I = self._search(x, k, params, stream)
        return D, I, self._reconstruct_batch(I.reshape(-1)).reshape(*I.shape, self.d)

    def _range_search(
        self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int64]]:
        """What the base index finds, with the refined distances: as in FAISS, none is left out because of them."""
        op = self._op("range_search")
        lims, D, I = self.base_index._find_within(op, x, radius, self._inner(params), stream)
        limits = lims.astype(np.int64)
        counts: NDArray[np.int64] = limits[1:] - limits[:-1]
        query = np.repeat(np.arange(x.shape[0]), counts)
        step = max(1, 2**22 // self.d)  # of vectors to hold at once
        for i in range(0, I.size, step):
            queries = mx.take(x, mx.array(query[i : i + step]), axis=0)
            refined = self.refine_index._distances_at(queries, mx.array(I[i : i + step, None]), stream)
            D[i : i + step] = _host.to_numpy(refined)[0][:, 0]
        return lims, D, I

    def _ids(self) -> NDArray[np.int64]:
        return self.base_index._ids()

    def _reset(self) -> None:
        self.base_index._reset()
        self.refine_index._reset()

    def _check_keys(self, op: str, keys: NDArray[np.int64]) -> None:
        self.refine_index._check_keys(op, keys)

    def _reconstruct_n(self, n0: int, ni: int) -> mx.array:
        return self.refine_index._reconstruct_n(n0, ni)

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        return self.refine_index._reconstruct_batch(ids)

    def _sa_code_size(self) -> int:
        return self.base_index._sa_code_size() + self.refine_index._sa_code_size()

    def _sa_encode(self, x: mx.array) -> mx.array:
        codes = [mx.array(index._sa_encode(x)) for index in (self.base_index, self.refine_index)]
        return mx.concatenate(codes, axis=1)

    def _sa_decode(self, codes: mx.array) -> Any:
        return self.refine_index._sa_decode(codes[:, self.base_index._sa_code_size() :])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_index!r}, {self.refine_index!r}, k_factor={self.k_factor})"


class IndexRefineFlat(IndexRefine):
    """``IndexRefine`` by the vectors as they are.

    Args:
        base_index: what finds candidates.
        xb: the vectors that it holds, shape (ntotal, d), if it holds any.

    Raises:
        TypeError: ``base_index`` is no index.
        ValueError: it holds vectors and ``xb`` are not as many.
    """

    def __init__(self, base_index: Index, xb: Any = None) -> None:
        _checks.index(type(self).__name__, "base_index", base_index)
        flat = IndexFlat(base_index.d, base_index.metric_type)
        if xb is not None:
            flat.add(xb.reshape(-1, base_index.d))
        super().__init__(base_index, flat)
