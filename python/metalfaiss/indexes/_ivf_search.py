"""How an index with inverted lists searches: the lists of the nearest centroids, or lists that are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Array, Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes import _checks
from metalfaiss.indexes.flat import IndexFlat
from metalfaiss.inverted_lists import InvertedLists
from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2
from metalfaiss.numeric import Float32
from metalfaiss.search_parameters import SearchParameters, SearchParametersIVF

if TYPE_CHECKING:
    from metalfaiss.indexes.base import Index

    _Base = Index
else:
    _Base = object

__all__ = ["IVFSearch"]

_FEW = 64  # queries, up to which a search runs on the caller's thread, without a graph


class Prepared(NamedTuple):
    """What a searcher was made of."""

    quantizer: Index
    centers: mx.array
    lists: _core.InvertedLists
    codec: _core.Codec
    by_residual: bool
    searcher: _core.IvfSearcher


class Settings(NamedTuple):
    """Of one search."""

    nprobe: int
    sel: _core.IdSelector | None
    limits: dict[str, Any]  # of a search for neighbours
    range_limits: dict[str, Any]
    quantizer_params: SearchParameters | None


class IVFSearch(_Base):
    """The part of ``IndexIVF`` that searches."""

    quantizer: Index
    nlist: int
    nprobe: int
    max_codes: int
    by_residual: bool
    invlists: InvertedLists
    _prepared: Prepared | None = None

    if TYPE_CHECKING:

        def _codec(self) -> _core.Codec: ...
        def _centroids(self) -> mx.array: ...

    def search(
        self,
        x: Any,
        k: int,
        *,
        params: SearchParameters | None = None,
        D: NDArray[np.float32] | None = None,
        I: NDArray[np.int64] | None = None,
        numeric_type: int = Float32,
        stream: Stream = None,
    ) -> Any:
        """``Index.search`` among the lists of the ``nprobe`` nearest centroids; ``params`` of ``SearchParametersIVF``.

        Raises:
            TypeError, ValueError, RuntimeError: as ``Index.search`` does, or ``nprobe`` is less than 1.
        """
        if isinstance(x, np.ndarray) and stream is None and numeric_type == Float32:
            found = self._search_at_once(x, k, params, D, I)
            if found is not None:
                return found
        return super().search(x, k, params=params, D=D, I=I, numeric_type=numeric_type, stream=stream)

    def _plain_centroids(self) -> mx.array | None:
        """The centroids, if the quantizer holds all of them as they are, evaluated."""
        quantizer = self.quantizer
        if not isinstance(quantizer, IndexFlat) or quantizer.metric_type not in (METRIC_L2, METRIC_INNER_PRODUCT):
            return None
        chunks = quantizer._chunks
        if len(chunks) != 1 or chunks[0].shape[0] != self.nlist or chunks[0].dtype != mx.float32:
            return None
        return chunks[0] if _core.is_evaluated(chunks[0]) else None

    def _searcher(self) -> _core.IvfSearcher | None:
        """What searches without a graph, if the index is of the kind for it; made again when a part was replaced."""
        old = self._prepared
        if not self.is_trained or (old is None and self._plain_centroids() is None):
            return None
        quantizer, lists, codec, add = self.quantizer, self.invlists._native, self._codec(), self.by_residual
        if old is not None and old.quantizer is quantizer and old.lists is lists and old.codec is codec:
            chunks = quantizer._chunks  # type: ignore[attr-defined]
            if old.centers is chunks[0] and len(chunks) == 1 and old.by_residual is add:
                return old.searcher
        centers = self._plain_centroids()
        if centers is None:
            return None
        searcher = _core.IvfSearcher(centers, quantizer.metric_type, bool(add), lists, codec, self.metric_type)
        self._prepared = Prepared(quantizer, centers, lists, codec, add, searcher)
        return searcher

    def _search_at_once(
        self,
        x: NDArray[Any],
        k: int,
        params: SearchParameters | None,
        D: NDArray[np.float32] | None,
        I: NDArray[np.int64] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        """A search of a few queries on the calling thread: a graph, and waking the thread that runs it, cost more."""
        searcher = self._searcher()
        if searcher is None or (isinstance(params, SearchParametersIVF) and params.quantizer_params is not None):
            return None
        if not (x.dtype == np.float32 and x.flags.c_contiguous) and x.dtype.kind in "biuf" and x.size <= _FEW * self.d:
            x = np.ascontiguousarray(x, dtype=np.float32)
        if params is None and D is None and I is None:
            return searcher.search(x, k, self.nprobe, self.max_codes)  # type: ignore[no-any-return]
        op = self._op("search")
        k = _host.integer(op, "k", k, 1)
        _checks.output(op, "D", x, D, (k,), np.float32)
        _checks.output(op, "I", x, I, (k,), np.int64)
        settings = self._settings(op, self._parameters(op, params))
        found = searcher.search(x, k, settings.nprobe, selector=settings.sel, **settings.limits)
        return None if found is None else (_host.output(found[0], D), _host.output(found[1], I))

    def _settings(self, op: str, params: SearchParameters | None) -> Settings:
        sel = None if params is None or params.sel is None else params.sel._native
        chosen = params if isinstance(params, SearchParametersIVF) else None
        nprobe = _host.integer(op, "nprobe", self.nprobe if chosen is None else chosen.nprobe, 1)
        max_codes = _host.integer(op, "max_codes", self.max_codes if chosen is None else chosen.max_codes, 0, 2**62)
        if chosen is None:
            return Settings(min(nprobe, self.nlist), sel, {"max_codes": max_codes}, {}, None)
        empty = _host.integer(op, "max_empty_result_buckets", chosen.max_empty_result_buckets, 0)
        return Settings(
            min(nprobe, self.nlist),
            sel,
            {"max_codes": max_codes, "ensure_topk_full": bool(chosen.ensure_topk_full)},
            {"max_empty_result_buckets": empty},
            chosen.quantizer_params,
        )

    def _probes(self, op: str, x: mx.array, params: SearchParameters | None, stream: Stream) -> mx.array:
        settings = self._settings(op, params)
        return self.quantizer._find(op, x, settings.nprobe, settings.quantizer_params, stream)[1]

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        probes = self._probes(self._op("search"), x, params, stream)
        return self._scan(x, k, probes, params, stream)

    def _scan(
        self,
        x: mx.array,
        k: int,
        probes: mx.array,
        params: SearchParameters | None,
        stream: Stream,
        places: bool = False,
    ) -> tuple[mx.array, mx.array]:
        settings = self._settings(self._op("search"), params)
        return _core.ivf_search(
            x,
            mx.stop_gradient(probes, stream=stream) if _core.in_tracing() else probes,
            self._centroids() if self.by_residual else None,
            self.invlists._native,
            self._codec(),
            k,
            self.metric_type,
            selector=settings.sel,
            places=places,
            stream=stream,
            **settings.limits,
        )

    def _range_search(
        self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int64]]:
        probes = self._probes(self._op("range_search"), x, params, stream)
        return self._range_scan(x, radius, probes, params)

    def _range_scan(
        self, x: mx.array, radius: float, probes: mx.array, params: SearchParameters | None
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int64]]:
        settings = self._settings(self._op("range_search"), params)
        queries, lists = _host.to_numpy(x, probes)
        return _core.ivf_range_search(
            queries,
            lists,
            _host.to_numpy(self._centroids())[0] if self.by_residual else None,
            self.invlists._native,
            self._codec(),
            radius,
            self.metric_type,
            selector=settings.sel,
            **settings.range_limits,
        )

    def search_preassigned(
        self,
        x: Array,
        k: int,
        Iq: Array,
        Dq: Array | None = None,
        *,
        params: SearchParameters | None = None,
        D: NDArray[np.float32] | None = None,
        I: NDArray[np.int64] | None = None,
        stream: Stream = None,
    ) -> tuple[Any, Any]:
        """``search`` in lists that are known.

        Args:
            x, k, params, D, I, stream: as for ``search``.
            Iq: the lists of each query, shape (n, nprobe), best first; negative ones are skipped.
            Dq: distances to their centroids: kept for FAISS's signature.

        Raises:
            TypeError, ValueError, RuntimeError: as ``search`` does, or ``Iq`` has another shape.
        """
        op = self._op("search_preassigned")
        queries, k = _checks.queries(op, x, self.d, k, Float32, stream)
        _checks.output(op, "D", x, D, (k,), np.float32)
        _checks.output(op, "I", x, I, (k,), np.int64)
        probes = self._given_probes(op, Iq, queries.shape[0])
        found = self._scan(queries, k, probes, self._parameters(op, params), stream)
        if isinstance(x, mx.array):
            return found
        distances, ids = _host.to_numpy(*found)
        return _host.output(distances, D), _host.output(ids, I)

    def range_search_preassigned(
        self, x: Array, thresh: float, Iq: Array, Dq: Array | None = None, *, params: SearchParameters | None = None
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]:
        """``range_search`` in lists that are known: ``Iq``, as for ``search_preassigned``.

        Raises:
            TypeError, ValueError, RuntimeError: as ``range_search`` does, or ``Iq`` has another shape.
        """
        op = self._op("range_search_preassigned")
        queries, _ = _checks.queries(op, x, self.d, 1, Float32, None)
        probes = self._given_probes(op, Iq, queries.shape[0])
        found = self._range_scan(queries, _checks.radius(op, thresh), probes, self._parameters(op, params))
        return found[0].astype(np.uint64), found[1], found[2]

    def _given_probes(self, op: str, Iq: Array, n: int) -> mx.array:
        probes = _host.to_mlx(op, "Iq", Iq).astype(mx.int64)
        if probes.ndim != 2 or probes.shape[0] != n:
            raise ArgumentError(f"[{op}] Iq must have shape ({n}, nprobe). Received {tuple(probes.shape)}.")
        return probes
