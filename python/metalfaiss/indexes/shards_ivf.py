"""Shards with inverted lists that share one quantizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Stream
from metalfaiss.indexes import _merge
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.ivf import IndexIVF
from metalfaiss.indexes.level1 import Level1Quantizer
from metalfaiss.indexes.shards import IndexShards
from metalfaiss.search_parameters import SearchParameters, SearchParametersIVF

__all__ = ["IndexShardsIVF"]


class IndexShardsIVF(Level1Quantizer, IndexShards):
    """``IndexShards`` of indexes with the same lists: vectors and queries are assigned to lists once for all.

    Args:
        quantizer: the index of the centroids.
        nlist: how many lists.
        threaded: whether shards are searched by distance each in a thread.
        successive_ids: whether the ids of a shard come behind those of the shards before it.

    Raises:
        TypeError: ``quantizer`` is no index, or ``nlist`` not an integer.
        ValueError: ``nlist`` is less than 1.
    """

    _parameters_type = SearchParametersIVF

    def __init__(self, quantizer: Index, nlist: int, threaded: bool = False, successive_ids: bool = True) -> None:
        super().__init__(getattr(quantizer, "d", 1), threaded=threaded, successive_ids=successive_ids)
        self._init_level1(quantizer, nlist)

    @property
    def is_trained(self) -> bool:
        """Whether vectors may be added."""
        known = self.quantizer.is_trained and self.quantizer.ntotal == self.nlist
        return known and all(member.is_trained for member in self._members)

    @is_trained.setter
    def is_trained(self, trained: bool) -> None:
        for member in self._members:
            member.is_trained = trained

    def add_shard(self, index: Index) -> None:
        """Adds a shard behind the others.

        Raises:
            TypeError: it is no index.
            RuntimeError: it has no inverted lists, or another ``nlist``, ``d`` or metric than the others.
        """
        op = self._op("add_shard")
        if isinstance(index, Index) and not isinstance(index, IndexIVF):
            raise RuntimeError(f"[{op}] The shard must be an IndexIVF. Received {type(index).__name__}.")
        if isinstance(index, IndexIVF):
            self._require_same(op, "nlist", self.nlist, index.nlist)
        super().add_shard(index)

    addIndex = add_shard

    def _train(self, x: mx.array) -> None:
        members = self._require_members(self._op("train"))
        mx.eval(x)
        self._train_quantizer(x)
        centroids = self.quantizer._reconstruct_n(0, self.nlist)
        for member in members:
            quantizer = member.quantizer  # type: ignore[attr-defined]
            if quantizer.ntotal == 0:
                quantizer.train(centroids)
                quantizer.add(centroids)
            member._train(x)

    def _fill(self, member: Any, x: mx.array, ids: NDArray[np.int64] | None) -> None:
        keys = np.arange(member.ntotal, member.ntotal + x.shape[0]) if ids is None else ids
        _, lists = self.quantizer._find(self._op("add"), x, 1, None, None)
        member._add_core(x, keys, _host.to_numpy(lists)[0].reshape(-1))

    def _probes(self, op: str, x: mx.array, params: SearchParameters | None, stream: Stream) -> mx.array:
        first = self._require_members(op)[0]
        for member in self._members:
            if not isinstance(params, SearchParametersIVF):
                self._require_same(op, "nprobe", first.nprobe, member.nprobe)  # type: ignore[attr-defined]
        settings = first._settings(op, params)  # type: ignore[attr-defined]
        return self.quantizer._find(op, x, settings.nprobe, settings.quantizer_params, stream)[1]

    def _finder(
        self, op: str, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> Callable[[Any, SearchParameters | None], tuple[mx.array, mx.array]]:
        probes = self._probes(op, x, params, stream)
        return lambda member, inner: member._scan(x, k, probes, inner, stream)

    def _range_finder(
        self, op: str, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream
    ) -> Callable[[Any, SearchParameters | None], _merge.Ranges]:
        probes = self._probes(op, x, params, stream)
        mx.eval(probes)
        return lambda member, inner: member._range_scan(x, radius, probes, inner)
