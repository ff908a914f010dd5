"""Indexes with inverted lists: vectors are grouped by their nearest centroid, and a search looks at a few groups."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Array, Stream
from metalfaiss._lloyd import on_cpu
from metalfaiss.clustering import ClusteringParameters
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes import _checks
from metalfaiss.indexes._assign import nearest, nearest_at_once, worthwhile
from metalfaiss.indexes._c_calls import ListCalls
from metalfaiss.indexes._ivf_entries import IVFEntries
from metalfaiss.indexes._ivf_search import IVFSearch
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.level1 import Level1Quantizer
from metalfaiss.inverted_lists import ArrayInvertedLists, DirectMap, InvertedLists
from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2
from metalfaiss.numeric import Float32
from metalfaiss.search_parameters import SearchParametersIVF

__all__ = ["IndexIVF"]


class IndexIVF(IVFSearch, IVFEntries, ListCalls, Level1Quantizer, Index):
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
    _unsaved: ClassVar[tuple[str, ...]] = (*Index._unsaved, "_prepared")
    _encodes_at_once = False  # whether ``_codes_at_once`` knows its codes
    PARALLEL_MODE_NO_HEAP_INIT = 1024

    def __init__(self, quantizer: Index, d: int, nlist: int, code_size: int, metric: int = METRIC_L2) -> None:
        super().__init__(d, metric)
        if metric not in (METRIC_L2, METRIC_INNER_PRODUCT):
            op = type(self).__name__
            raise ArgumentError(f"[{op}] metric must be METRIC_L2 or METRIC_INNER_PRODUCT. Received {metric!r}.")
        self._init_level1(quantizer, nlist)
        self.cp = ClusteringParameters(niter=10, spherical=metric == METRIC_INNER_PRODUCT)
        self.nprobe = 1
        self.max_codes = 0
        self.parallel_mode = 0
        self.own_invlists = True
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

    # -------------------------------------------------------------------------------------- adding

    def add(self, x: Array, numeric_type: int = Float32) -> None:
        """``Index.add``; NumPy vectors are read where they lie.

        Raises:
            TypeError, ValueError, RuntimeError: as ``Index.add`` does.
        """
        if not self._add_at_once("add", x, None, numeric_type):
            super().add(x, numeric_type)

    def add_with_ids(self, x: Array, ids: Any, numeric_type: int = Float32) -> None:
        """``Index.add_with_ids``; NumPy vectors are read where they lie.

        Raises:
            TypeError, ValueError, RuntimeError: as ``Index.add_with_ids`` does.
        """
        if not self._add_at_once("add_with_ids", x, ids, numeric_type):
            super().add_with_ids(x, ids, numeric_type)

    def _add_at_once(self, method: str, x: Array, ids: Any, numeric_type: int) -> bool:
        """Adds NumPy vectors without a graph, where that is possible."""
        if not (isinstance(x, np.ndarray) and self._encodes_at_once and on_cpu(None)):
            return False
        if x.dtype != np.float32 or numeric_type != Float32:
            return False
        op = self._op(method)
        _host.check_vectors(op, x, self.d)
        self._require_trained(op)
        centroids = self._plain_centroids()
        if centroids is None or not (x.flags.c_contiguous and x.flags.aligned):
            return False
        given = None if ids is None else _checks.stored_ids(op, ids, len(x))
        lists = nearest_at_once(x, centroids, self.quantizer.metric_type)
        codes = self._codes_at_once(x, centroids, lists)
        with self._lock:
            if given is None:
                given = np.arange(self.ntotal, self.ntotal + len(x))
            else:
                self._require_no_array()
            self._store(codes, given, lists)
        return True

    def _codes_at_once(
        self, x: NDArray[np.float32], centroids: mx.array, lists: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """Codes (n, code_size) of contiguous vectors for these lists, where ``_encodes_at_once``."""
        if not self.by_residual:
            return _core.encode_now(x, self._codec())
        return _core.encode_now(x, self._codec(), np.ascontiguousarray(_host.view(centroids)), lists)

    def _add(self, x: mx.array) -> None:
        n = x.shape[0]
        self._add_core(x, np.arange(self.ntotal, self.ntotal + n), None)

    def _add_with_ids(self, x: mx.array, ids: NDArray[np.int64]) -> None:
        self._require_no_array()
        self._add_core(x, ids, None)

    def _require_no_array(self) -> None:
        if self.direct_map.type == DirectMap.Array:
            raise RuntimeError(
                f"[{self._op('add_with_ids')}] The direct map must not be an array, which has the ids 0, 1, ...: use "
                "set_direct_map_type(DirectMap.Hashtable). Received ids."
            )

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
            raise ArgumentError(
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
        places = self.invlists._changed("add_entries").add(assign, ids, codes)
        self.direct_map._native.add(ids, places)
        self._ntotal += len(ids)

    def _assigned(self, x: mx.array, stream: Stream = None) -> mx.array:
        """The list of each vector, (n,)."""
        centroids = self._plain_centroids() if stream is None else None
        if centroids is not None and worthwhile(x.shape, self.nlist, self.quantizer.metric_type, None):
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

    def _ids(self) -> NDArray[np.int64]:
        lists = [self.invlists._native.get_ids(i) for i in range(self.nlist)]
        return np.concatenate([np.empty(0, np.int64), *lists])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(d={self.d}, nlist={self.nlist}, nprobe={self.nprobe}, ntotal={self.ntotal})"
