"""Indexes with inverted lists: vectors are grouped by their nearest centroid, and a search looks at a few groups."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Array, Stream
from metalfaiss.clustering import Clustering, ClusteringParameters
from metalfaiss.indexes import _checks
from metalfaiss.indexes._assign import guided, nearest
from metalfaiss.indexes._ivf_entries import IVFEntries
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.flat import IndexFlat
from metalfaiss.inverted_lists import ArrayInvertedLists, DirectMap, InvertedLists
from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2
from metalfaiss.numeric import Float32
from metalfaiss.search_parameters import SearchParameters, SearchParametersIVF

__all__ = ["IndexIVF"]

_AT_ONCE = 64  # NumPy queries, up to which a search runs on the caller's thread, without a graph


class IndexIVF(IVFEntries, Index):
    """Base class of the indexes with inverted lists.

    Attributes:
        quantizer: the index of the centroids: any index that can be searched.
        nlist: how many lists.
        nprobe: how many lists a search looks at.
        max_codes: how many stored vectors it looks at, at most; 0 for no limit.
        invlists: the lists.
        direct_map: where ids are found: see ``make_direct_map``.
        by_residual: whether codes are those of differences to the centroid.
        cp: how the centroids are trained.
        quantizer_trains_alone: 0: k-means with ``quantizer`` (0) or a flat index (2), or ``quantizer.train`` (1).
        clustering_index: the index that k-means assigns with in place of ``quantizer``, or None.
        own_fields, own_invlists, parallel_mode: kept for programs written for FAISS: objects live as long as they are
            used, and the way to divide work is found by itself.
    """

    _parameters_type = SearchParametersIVF
    PARALLEL_MODE_NO_HEAP_INIT = 1024

    def __init__(self, quantizer: Index, d: int, nlist: int, code_size: int, metric: int = METRIC_L2) -> None:
        super().__init__(d, metric)
        op = type(self).__name__
        if metric not in (METRIC_L2, METRIC_INNER_PRODUCT):
            raise ValueError(f"[{op}] metric must be METRIC_L2 or METRIC_INNER_PRODUCT. Received {metric!r}.")
        if not isinstance(quantizer, Index):
            raise TypeError(f"[{op}] quantizer must be an index. Received {type(quantizer).__name__}.")
        if quantizer.d != d:
            raise ValueError(f"[{op}] quantizer must have d {d}. Received {quantizer.d}.")
        self.quantizer = quantizer
        self.nlist = _host.integer(op, "nlist", nlist, 1)
        self.nprobe = 1
        self.max_codes = 0
        self.parallel_mode = 0
        self.own_fields = False
        self.own_invlists = True
        self.quantizer_trains_alone = 0
        self.clustering_index: Index | None = None
        self.cp = ClusteringParameters(niter=10, spherical=metric == METRIC_INNER_PRODUCT)
        self.by_residual = True
        self.code_size = code_size
        self.invlists: InvertedLists = ArrayInvertedLists(self.nlist, code_size)
        self.direct_map = DirectMap()
        self.is_trained = quantizer.is_trained and quantizer.ntotal == nlist
        self._ntotal = 0

    @property
    def ntotal(self) -> int:
        return self._ntotal

    @ntotal.setter
    def ntotal(self, ntotal: int) -> None:
        self._ntotal = _host.integer(f"{type(self).__name__}.ntotal", "ntotal", ntotal, 0)

    # -------------------------------------------------------------------------- what a subclass has

    @abstractmethod
    def _codec(self) -> _core.Codec:
        """How codes are read."""

    def _train_encoder(self, x: mx.array) -> None:
        """Learns from vectors, or their residuals, how to code; here, nothing."""

    def train_encoder_num_vectors(self) -> int:
        """How many vectors the codes are learnt from, at most; 0 where they are not learnt."""
        return self._train_encoder_num_vectors()

    def _train_encoder_num_vectors(self) -> int:
        """How many vectors it learns from."""
        return 0

    # ------------------------------------------------------------------------------------ training

    def _train(self, x: mx.array) -> None:
        self._train_quantizer(x)
        most = self._train_encoder_num_vectors()
        if most:
            x = x[mx.array(np.random.default_rng(1234).permutation(x.shape[0])[:most])] if x.shape[0] > most else x
            self._train_encoder(self._residuals(x, self._assigned(x)))
        self.is_trained = True

    def _train_quantizer(self, x: mx.array) -> None:
        op = self._op("train")
        quantizer = self.quantizer
        if quantizer.is_trained and quantizer.ntotal == self.nlist:
            return
        if self.quantizer_trains_alone == 1:
            quantizer.verbose = self.verbose
            quantizer.train(x)
            self._require_same(op, "nlist, as the quantizer's ntotal", self.nlist, quantizer.ntotal)
        elif self.quantizer_trains_alone in (0, 2):
            parameters = copy.copy(self.cp)
            parameters.verbose |= self.verbose
            clustering = Clustering(self.d, self.nlist, parameters)
            quantizer.reset()
            own = self.clustering_index
            if self.quantizer_trains_alone == 2 and own is None:
                own = IndexFlat(self.d, self.metric_type)
            clustering.train(x, quantizer if own is None else own)
            if own is not None:
                centroids = mx.array(np.asarray(clustering.centroids, dtype=np.float32).reshape(self.nlist, self.d))
                if self.quantizer_trains_alone == 2 and not quantizer.is_trained:
                    quantizer.train(centroids)
                quantizer.add(centroids)
            quantizer.is_trained = True
        else:
            raise ValueError(
                f"[{op}] quantizer_trains_alone must be 0, 1 or 2. Received {self.quantizer_trains_alone!r}."
            )

    # -------------------------------------------------------------------------------------- adding

    def _add(self, x: mx.array) -> None:
        n = x.shape[0]
        self._add_core(x, np.arange(self.ntotal, self.ntotal + n), None)

    def _add_with_ids(self, x: mx.array, ids: NDArray[np.int64]) -> None:
        if self.direct_map.type == DirectMap.Array:
            raise RuntimeError(
                f"[{self._op('add_with_ids')}] The direct map must not be an array, which has the ids 0, 1, ...: use "
                "set_direct_map_type(DirectMap.Hashtable). Received ids."
            )
        self._add_core(x, ids, None)

    def add_core(self, n: int, x: Array, xids: Any, precomputed_idx: Any) -> None:
        """Stores vectors in lists that are known.

        Args:
            n: how many, in FAISS's order of arguments.
            x: shape (n, d).
            xids: ids, shape (n,), or None for ``ntotal``, ``ntotal + 1``, ...
            precomputed_idx: the list of each, shape (n,); a vector with a negative one is not stored.

        Raises:
            TypeError, ValueError: a dtype or shape is wrong, or there is no such list.
            RuntimeError: the index is not trained.
        """
        op = self._op("add_core")
        vectors = self._new_vectors("add_core", x, Float32)
        assign = _checks.stored_ids(op, precomputed_idx, n)
        if assign.size and (assign.max() >= self.nlist or vectors.shape[0] != n):
            raise ValueError(
                f"[{op}] There must be {n} vectors, and lists from 0 to {self.nlist - 1}. "
                f"Received {vectors.shape[0]} vectors and list {assign.max()}."
            )
        with self._lock:
            ids = np.arange(self.ntotal, self.ntotal + n) if xids is None else _checks.stored_ids(op, xids, n)
            self._add_core(vectors, ids, assign)

    def _add_core(self, x: mx.array, ids: NDArray[np.int64], assign: NDArray[np.int64] | None) -> None:
        x = x.astype(mx.float32)
        if assign is None:
            assign = _host.to_numpy(self._assigned(x))[0]
        self._store(_host.view(self._encode(x, mx.array(assign))), ids, assign)

    def _store(self, codes: NDArray[np.uint8], ids: NDArray[np.int64], assign: NDArray[np.int64]) -> None:
        places = self.invlists._native.add(assign, ids, codes)
        self.direct_map._native.add(ids, places)
        self._ntotal += len(ids)

    def _assigned(self, x: mx.array, stream: Stream = None) -> mx.array:
        """The list of each vector, (n,)."""
        centroids = self._plain_centroids(None) if stream is None else None
        if centroids is not None and guided(x.shape[0], self.d, self.nlist, self.quantizer.metric_type):
            return nearest(x, centroids)
        return self.quantizer._find(self._op("add"), x, 1, None, stream)[1][:, 0]

    def _encode(self, x: mx.array, lists: mx.array) -> mx.array:
        """Codes (n, code_size) of vectors for these lists."""
        return _core.encode(self._residuals(x, lists), self._codec())

    def _decode(self, codes: mx.array, lists: mx.array) -> mx.array:
        x = _core.decode(codes, self._codec())
        return x + mx.take(self._centroids(), mx.maximum(lists, 0), axis=0) if self.by_residual else x

    def _residuals(self, x: mx.array, lists: mx.array) -> mx.array:
        return x - mx.take(self._centroids(), mx.maximum(lists, 0), axis=0) if self.by_residual else x

    def _centroids(self) -> mx.array:
        """The centroids, (nlist, d)."""
        return self.quantizer._reconstruct_n(0, self.nlist)

    def _reset(self) -> None:
        self.direct_map._native.clear()
        self.invlists.reset()
        self._ntotal = 0

    # ----------------------------------------------------------------------------------- searching

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
        if isinstance(x, np.ndarray) and len(x) <= _AT_ONCE and stream is None and numeric_type == Float32:
            centers = self._plain_centroids(params)
            if centers is not None and mx.default_device() == mx.cpu:
                return self._search_at_once(x, k, params, D, I, centers)
        return super().search(x, k, params=params, D=D, I=I, numeric_type=numeric_type, stream=stream)

    def _plain_centroids(self, params: SearchParameters | None) -> mx.array | None:
        """The centroids, if the quantizer holds them as they are, evaluated."""
        if type(params) is SearchParametersIVF and params.quantizer_params is not None:
            return None
        quantizer = self.quantizer
        if not isinstance(quantizer, IndexFlat) or quantizer.metric_type not in (METRIC_L2, METRIC_INNER_PRODUCT):
            return None
        chunks = quantizer._chunks
        plain = len(chunks) == 1 and chunks[0].dtype == mx.float32 and _core.is_evaluated(chunks[0])
        return chunks[0] if plain else None

    def _search_at_once(
        self,
        x: NDArray[Any],
        k: int,
        params: SearchParameters | None,
        D: NDArray[np.float32] | None,
        I: NDArray[np.int64] | None,
        centers: mx.array,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """A search of a few queries on the calling thread: a graph, and waking the thread that runs it, cost more."""
        op = self._op("search")
        _host.check_vectors(op, x, self.d)
        k = _host.integer(op, "k", k, 1)
        _checks.output(op, "D", x, D, (k,), np.float32)
        _checks.output(op, "I", x, I, (k,), np.int64)
        nprobe, max_codes, sel, _ = self._settings(op, self._parameters(op, params))
        found = _core.ivf_search_now(
            np.ascontiguousarray(x, dtype=np.float32),
            centers,
            self.quantizer.metric_type,
            nprobe,
            self.by_residual,
            self.invlists._native,
            self._codec(),
            k,
            self.metric_type,
            max_codes=max_codes,
            selector=sel,
        )
        return _host.output(found[0], D), _host.output(found[1], I)

    def _settings(
        self, op: str, params: SearchParameters | None
    ) -> tuple[int, int, _core.IdSelector | None, SearchParameters | None]:
        """nprobe, max_codes, a native selector, and parameters of the quantizer's search."""
        sel = None if params is None or params.sel is None else params.sel._native
        chosen = params if isinstance(params, SearchParametersIVF) else None
        nprobe = _host.integer(op, "nprobe", self.nprobe if chosen is None else chosen.nprobe, 1)
        max_codes = _host.integer(op, "max_codes", self.max_codes if chosen is None else chosen.max_codes, 0, 2**62)
        return min(nprobe, self.nlist), max_codes, sel, None if chosen is None else chosen.quantizer_params

    def _probes(self, op: str, x: mx.array, params: SearchParameters | None, stream: Stream) -> mx.array:
        nprobe, _, _, inner = self._settings(op, params)
        return self.quantizer._find(op, x, nprobe, inner, stream)[1]

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
        _, max_codes, sel, _ = self._settings(self._op("search"), params)
        return _core.ivf_search(
            x,
            mx.stop_gradient(probes, stream=stream),
            self._centroids() if self.by_residual else None,
            self.invlists._native,
            self._codec(),
            k,
            self.metric_type,
            max_codes=max_codes,
            selector=sel,
            places=places,
            stream=stream,
        )

    def _range_search(
        self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int64]]:
        probes = self._probes(self._op("range_search"), x, params, stream)
        return self._range_scan(x, radius, probes, params)

    def _range_scan(
        self, x: mx.array, radius: float, probes: mx.array, params: SearchParameters | None
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int64]]:
        _, max_codes, sel, _ = self._settings(self._op("range_search"), params)
        queries, lists = _host.to_numpy(x, probes)
        return _core.ivf_range_search(
            queries,
            lists,
            _host.to_numpy(self._centroids())[0] if self.by_residual else None,
            self.invlists._native,
            self._codec(),
            radius,
            self.metric_type,
            max_codes=max_codes,
            selector=sel,
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
            raise ValueError(f"[{op}] Iq must have shape ({n}, nprobe). Received {tuple(probes.shape)}.")
        return probes

    def _ids(self) -> NDArray[np.int64]:
        lists = [self.invlists._native.get_ids(i) for i in range(self.nlist)]
        return np.concatenate([np.empty(0, np.int64), *lists])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(d={self.d}, nlist={self.nlist}, nprobe={self.nprobe}, ntotal={self.ntotal})"
